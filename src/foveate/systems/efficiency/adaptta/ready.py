"""A classifier with its policy, opened and ready to be asked, and its answers put into words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from foveate.errors import InputError
from foveate.readers.pictures import read_picture
from foveate.results import Picture
from foveate.systems.efficiency.adaptta.method import AdapTTA, Answer, Mode
from foveate.systems.efficiency.adaptta.models import Model, open_model
from foveate.systems.efficiency.adaptta.policy import NEVER, Policy, read_policy
from foveate.systems.efficiency.adaptta.timing import threads_of, told
from foveate.systems.efficiency.adaptta.transforms import SETS

HERE = Path(__file__).parent
SHIPPED, SHIPPED_POLICY = HERE / "weights.safetensors", HERE / "policy.json"
DEMO = "demo weights: a small network that knows ten drawn shapes; give --policy, or --model and --weights, for your own"


@dataclass(frozen=True)
class Ready:
    """A wrapped classifier, its labels, and what the user should know of it."""

    tta: AdapTTA
    model: Model
    notes: tuple[str, ...]

    def label(self, index: int) -> str:
        """Name a class."""
        labels = self.model.labels or self.tta.policy.labels
        return labels[index] if labels else str(index)

    def told(self, answer: Answer, mode: Mode, timing: bool) -> dict[str, Any]:
        """Put an answer into plain values."""
        order = np.argsort(-answer.p, kind="stable")[:5]
        values: dict[str, Any] = {
            "label": self.label(answer.index), "index": answer.index, "probability": _rounded(answer.probability), "mode": mode,
            "passes": answer.passes, "of": self.tta.policy.n_max, "views_made": answer.made,
            "views": list(self.tta.policy.transforms[: answer.passes]),
            self.tta.policy.criterion: [_rounded(c) for c in answer.confidences],
            "each_pass_says": [self.label(w) for w in answer.winners],
            "top": {self.label(int(i)): _rounded(float(answer.p[i])) for i in order},
        }  # fmt: skip
        return values | ({"milliseconds": answer.milliseconds} if timing else {})

    def row(self, name: str | int, answer: Answer | InputError, timing: bool) -> list[Any]:
        """Make an answer's row of a table; a file's has a column for what is wrong with it."""
        if isinstance(answer, InputError):
            return [name, "", "", "", "", "", *([""] if timing else []), str(answer)]
        sure = " ".join(f"{c:.4f}" for c in answer.confidences)
        values = [name, self.label(answer.index), answer.index, _rounded(answer.probability), answer.passes, sure]
        return values + ([round(answer.milliseconds, 3)] if timing else []) + ([""] if isinstance(name, str) else [])

    def line(self, name: str, answer: Answer) -> str:
        """Say an answer in one line."""
        passes = f"{answer.passes} of {self.tta.policy.n_max} passes"
        return f"{name}: {self.label(answer.index)} ({answer.probability:.2f}), {passes}, {answer.milliseconds:.1f} ms"


def columns(first: str, timing: bool, problem: bool = False) -> list[str]:
    """Name the columns of a table of answers."""
    names = [first, "label", "index", "probability", "passes", "confidences"]
    return names + (["milliseconds"] if timing else []) + (["problem"] if problem else [])


def _rounded(value: float) -> float:
    """Round to what does not hang on the order of a sum."""
    return round(float(value), 5)


def open_ready(
    policy_file: Path | None, model: str, weights: str, mode: Mode, tau: float | None, n_max: int, threads: int
) -> Ready:
    """Open a classifier and its policy, and see that they belong together."""
    if n_max < 0 or threads < 0:
        raise InputError("n_max, threads", f"{n_max}, {threads}", "0 or more")
    if tau is not None and not -1 <= tau <= 2:
        raise InputError("tau", f"{tau}", "0 (stop at once) to 1; above 1 never stops")
    notes: tuple[str, ...] = ()
    if policy_file is None and not model:
        policy_file, notes = SHIPPED_POLICY, (DEMO,)
    if policy_file is None:
        opened = open_model(model, weights, threads=threads)
        if mode == "adaptive" and tau is None:
            known = "foveate run adaptta calibrate FOLDER --model ... writes a policy; or --tau 0.5, or --mode static"
            raise InputError(model, "has no policy: how sure is sure enough is not known", known)
        policy = Policy(SETS["crop10"], NEVER, crop=opened.crop, side=opened.side, labels=opened.labels, model=opened.about())
    else:
        policy = read_policy(policy_file)
        opened = _belonging(policy_file, policy, model, weights, threads)
    policy = replace(policy, transforms=policy.transforms[: n_max or None], tau=policy.tau if tau is None else tau)
    tta = AdapTTA(opened.logits, policy)
    with threads_of(threads):
        _warm(tta)
    return Ready(tta, opened, notes)


def _belonging(path: Path, policy: Policy, model: str, weights: str, threads: int) -> Model:
    """Open the classifier of a policy.

    Raises:
        InputError: If it is another one than the policy was calibrated for.
    """
    named = policy.model.get("source")
    if not isinstance(named, dict) or not isinstance(named.get("model"), str):
        raise InputError(path, "does not say which classifier it is for", "a policy that calibrate wrote")
    if model:
        named = {**named, "model": model, "weights": weights}
    elif named["model"] == "shipped":
        named = {"model": str(SHIPPED)}
    elif weights:
        named = {**named, "weights": weights}
    try:
        opened = open_model(**named, threads=threads)
    except TypeError as error:
        raise InputError(path, f"says of its classifier what cannot be: {error}", "a policy that calibrate wrote") from error
    if opened.classes != policy.model.get("classes"):
        raise InputError(
            path, f"is for {policy.model.get('classes')} classes, {opened.name} has {opened.classes}", "its own classifier"
        )
    if opened.digest != policy.model.get("digest") or opened.side != policy.side:
        wrong = f"was calibrated for other weights than those of {opened.name}"
        raise InputError(path, wrong, "the classifier that it was calibrated for, or calibrate anew")
    return opened


def _warm(tta: AdapTTA) -> None:
    """Run a few passes, so that the first picture is not charged for what is prepared once."""
    grey = np.full((tta.policy.side, tta.policy.side, 3), 128, np.uint8)
    for _ in range(3):
        tta(grey, "single")


def answered(ready: Ready, paths: Sequence[Path], mode: Mode, batch: int) -> Iterator[tuple[Path, Answer | InputError]]:
    """Read and classify pictures, one by one or together."""
    opened: list[Picture | InputError] = []
    for path in paths:
        try:
            opened.append(read_picture(path))
        except InputError as error:
            opened.append(error)
    pictures = (p for p in opened if isinstance(p, Picture))
    found = ready.tta.stream(pictures, batch, mode)
    for path, picture in zip(paths, opened, strict=True):
        yield path, picture if isinstance(picture, InputError) else next(found)


def summary(done: Sequence[Answer], most: int, mode: Mode, timing: bool = False) -> tuple[dict[str, Any], str]:
    """Sum up many answers, as values and in a line."""
    passes = np.array([a.passes for a in done])
    values: dict[str, Any] = {
        "pictures": len(done), "mode": mode, "mean_passes": float(passes.mean()), "most_passes": most,
        "views_made": sum(a.made for a in done),
        "pictures_by_passes": {str(k): int((passes == k).sum()) for k in range(1, most + 1)},
    }  # fmt: skip
    times = np.array([a.milliseconds for a in done])
    if timing:
        percentiles = {str(q): float(np.percentile(times, q)) for q in (5, 50, 95, 99)}
        values |= {"milliseconds": percentiles, "pictures_per_second": float(1000 / times.mean())}
    return values, f"{len(done)} pictures, {passes.mean():.2f} of {most} passes on average; {told(times)}"
