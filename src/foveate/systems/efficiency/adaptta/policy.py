"""How many passes a picture gets: order of the transforms and threshold, found on a calibration set and kept in a file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, get_args

import numpy as np

from foveate.errors import InputError
from foveate.systems.efficiency.adaptta.confidence import Aggregate, Criterion, least_passes, running, softmax
from foveate.systems.efficiency.adaptta.transforms import CROP, Order, checked

NEVER = 1.01  # a threshold that no confidence reaches
QUANTILES = 200
EXPECTED = "a policy.json that `foveate run adaptta calibrate` wrote"


@dataclass(frozen=True)
class Policy:
    """What decides how many passes a picture gets, and what the passes are.

    Attributes:
        transforms: Names of all N transforms in the order in which they run, ``centre`` first.
        tau: Threshold: passes stop at the first confidence that is at least this.
        criterion: How confidence is scored; see `confidence`.
        aggregate: How passes are put together; see `contribution`.
        temperature: Logits are divided by it; 1 leaves them.
        crop: Share of the short side that the standard view shows.
        side: Side of the views.
        model: Of the classifier it was calibrated for: ``digest``, ``classes``, ``name``, ``weights``.
        labels: Names of the classes.
        calibration: What was measured when it was calibrated.
    """

    transforms: tuple[str, ...]
    tau: float
    criterion: Criterion = "margin"
    aggregate: Aggregate = "mean_prob"
    temperature: float = 1.0
    crop: float = CROP
    side: int = 224
    model: Mapping[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    calibration: Mapping[str, Any] = field(default_factory=dict)
    suffix: ClassVar[str] = ".json"
    kind: ClassVar[str] = "policy"

    @property
    def n_max(self) -> int:
        """N, the most passes."""
        return len(self.transforms)

    def write(self, path: Path) -> None:
        """Write JSON."""
        path.write_text(json.dumps(asdict(self), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_policy(path: Path) -> Policy:
    """Read a policy.

    Raises:
        InputError: If the file is missing, is no policy, or holds values that cannot be.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(path, f"cannot be read: {error.strerror}", EXPECTED) from error
    except ValueError as error:
        at = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise InputError(path, f"is not JSON{at}", EXPECTED) from error
    if not isinstance(content, dict):
        raise InputError(path, f"holds a {type(content).__name__}", EXPECTED)
    wanted = {f.name for f in fields(Policy)}
    strange, missing = sorted(content.keys() - wanted), sorted({"transforms", "tau", "side", "model"} - content.keys())
    if strange or missing:
        raise InputError(path, f"lacks {', '.join(missing)}" if missing else f"has an unknown entry {strange[0]!r}", EXPECTED)
    for name, kinds, says in (
        ("transforms", list, "a list"), ("tau", (int, float), "a number"), ("temperature", (int, float), "a number"),
        ("crop", (int, float), "a number"), ("side", int, "a whole number"), ("model", dict, "a table"),
        ("labels", list, "a list"), ("calibration", dict, "a table"),
    ):  # fmt: skip
        value = content.get(name, () if kinds is list else 1)
        if name in content and (not isinstance(value, kinds) or isinstance(value, bool)):
            raise InputError(path, f"{name} is {value!r}", says)
    for name, choices in (("criterion", get_args(Criterion)), ("aggregate", get_args(Aggregate))):
        if content.get(name, choices[0]) not in choices:
            raise InputError(path, f"{name} is {content[name]!r}", f"one of {', '.join(choices)}")
    if not (math.isfinite(content["tau"]) and content["side"] > 0 and 0 < content.get("temperature", 1.0) < math.inf):
        raise InputError(path, "tau, side or temperature is no number that can be used", EXPECTED)
    crop = content.get("crop", CROP)
    content["transforms"] = checked([str(n) for n in content["transforms"]], path, content["side"], crop)
    content["labels"] = tuple(str(label) for label in content.get("labels", ()))
    return Policy(**content)


# ---------------------------------------------------------------------------------------------------------------------
# stopping, on cached passes
# ---------------------------------------------------------------------------------------------------------------------


def stops(confidence: np.ndarray, tau: float, least: int = 1) -> np.ndarray:
    """Count the passes of each picture: up to the first confidence that reaches the threshold, else all.

    Args:
        confidence: ``(N, K)`` after each pass.
        tau: The threshold.
        least: Passes that always run.

    Returns:
        int64 ``(N,)``, ``least`` to K.

    Example:
        >>> stops(np.array([[0.9, 0.2], [0.3, 0.8]]), 0.5), stops(np.array([[0.9, 0.2]]), 0.5, least=2)
        (array([1, 2]), array([2]))
    """
    enough = confidence >= tau
    enough[:, : least - 1] = False
    enough[:, -1] = True
    return enough.argmax(axis=1) + 1


def answers(p: np.ndarray, passes: np.ndarray) -> np.ndarray:
    """Return what each picture is taken for after its number of passes.

    Args:
        p: ``(N, K, C)`` distributions after each pass.
        passes: ``(N,)``, 1 to K.

    Returns:
        int64 ``(N,)``.
    """
    return p[np.arange(len(p)), passes - 1].argmax(axis=-1)


def oracle(p: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Count the passes up to the first after which the answer is right (all, if it never is): a bound for any criterion."""
    right = p.argmax(axis=-1) == labels[:, None]
    right[:, -1] = True
    return right.argmax(axis=1) + 1


def random_stop(passes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Hand the same numbers of passes out at random: the control that shows what the criterion knows."""
    return rng.permutation(passes)


class Curve(NamedTuple):
    """What each threshold costs and gains on a set of pictures, thresholds that differ in nothing left out.

    Attributes:
        tau: Rising.
        passes: Mean passes.
        accuracy: Share of right answers.
    """

    tau: np.ndarray
    passes: np.ndarray
    accuracy: np.ndarray


def sweep(p: np.ndarray, confidence: np.ndarray, labels: np.ndarray, least: int = 1) -> Curve:
    """Try thresholds: 0, quantiles of the confidences of all pictures and passes, and one that is never reached.

    Args:
        p: ``(N, K, C)`` distributions after each pass.
        confidence: ``(N, K)``.
        labels: ``(N,)``.
        least: Passes that always run.
    """
    quantiles = np.quantile(confidence, np.linspace(0, 1, QUANTILES), method="nearest")
    taus = np.unique(np.concatenate([[0.0], quantiles, [NEVER]]))
    right = p.argmax(axis=-1) == labels[:, None]
    points: dict[tuple[float, float], float] = {}
    for tau in taus:
        k = stops(confidence, tau, least)
        point = (float(k.mean()), float(right[np.arange(len(k)), k - 1].mean()))
        # Of thresholds with the same outcome the lowest stays; the one that is never reached always does.
        if point not in points or tau == NEVER:
            points[point] = float(tau)
    rows = sorted((tau, *point) for point, tau in points.items())
    return Curve(*(np.array(column) for column in zip(*rows, strict=True)))


# ---------------------------------------------------------------------------------------------------------------------
# calibration
# ---------------------------------------------------------------------------------------------------------------------


def best_order(
    logits: np.ndarray,
    labels: np.ndarray,
    order: Order = "greedy",
    aggregate: Aggregate = "mean_prob",
    temperature: float = 1.0,
) -> list[int]:
    """Order the transforms, the standard view first.

    Args:
        logits: ``(N, K, C)`` of the passes as listed.
        labels: ``(N,)``.
        order: ``greedy`` goes on with the transform that raises the accuracy of the running mean most (of several, that which
            makes the true class likelier); ``listed`` leaves them; ``random`` shuffles them by a fixed seed.
        aggregate: See `contribution`.
        temperature: See `contribution`.
    """
    count = logits.shape[1]
    if order == "random":
        return [0, *(1 + np.random.default_rng(0).permutation(count - 1)).tolist()]
    chosen, left = [0], list(range(1, count))
    while order == "greedy" and left:

        def gain(k: int) -> tuple[float, float]:
            p, _ = running(logits[:, [*chosen, k]], "maxprob", aggregate, temperature)
            last = p[:, -1]
            likelihood = np.log(np.maximum(last[np.arange(len(last)), labels], 1e-12)).mean()
            return float((last.argmax(axis=-1) == labels).mean()), float(likelihood)

        best = max(left, key=gain)
        chosen.append(best)
        left.remove(best)
    return chosen + left


def best_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Find the temperature that makes the true classes of single passes likeliest (Guo et al., 2017).

    Args:
        logits: ``(N, C)``.
        labels: ``(N,)``.
    """
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        p = softmax(logits / math.exp(log_temperature))
        return -float(np.log(np.maximum(p[np.arange(len(p)), labels], 1e-12)).mean())

    found = minimize_scalar(loss, bounds=(math.log(0.1), math.log(20)), method="bounded")
    return math.exp(float(found.x))


def calibrate(
    logits: np.ndarray,
    labels: np.ndarray,
    transforms: Sequence[str],
    /,
    *,
    n_max: int = 0,
    criterion: Criterion = "margin",
    aggregate: Aggregate = "mean_prob",
    order: Order = "greedy",
    epsilon: float = 0.0,
    temperature: float | None = 1.0,
    **about: Any,
) -> tuple[Policy, Curve]:
    """Find the policy with the fewest passes that is as accurate as all passes, on pictures kept for this.

    Args:
        logits: ``(N, K, C)`` of all K passes, in the order of ``transforms``.
        labels: ``(N,)``.
        transforms: Their names.
        n_max: The most passes; 0 for all.
        criterion: See `confidence`.
        aggregate: See `contribution`.
        order: See `best_order`.
        epsilon: How much accuracy may be given up, as a share.
        temperature: Divide logits by it; None finds it here.
        **about: More attributes of the policy.

    Returns:
        The policy, and all thresholds with what they cost and gain.
    """
    if temperature is None:
        temperature = best_temperature(logits[:, 0], labels)
    chosen = best_order(logits, labels, order, aggregate, temperature)[: n_max or None]
    p, sure = running(logits[:, chosen], criterion, aggregate, temperature)
    curve = sweep(p, sure, labels, least_passes(criterion))
    static = float((p[:, -1].argmax(axis=-1) == labels).mean())
    good = np.flatnonzero(curve.accuracy >= static - epsilon - 1e-12)
    best = good[np.argmin(curve.passes[good])]
    calibration = {
        "pictures": len(labels), "order": order, "epsilon": epsilon,
        "accuracy_single": float((p[:, 0].argmax(axis=-1) == labels).mean()), "accuracy_static": static,
        "accuracy_adaptive": float(curve.accuracy[best]), "mean_passes": float(curve.passes[best]),
    }  # fmt: skip
    names = tuple(transforms[k] for k in chosen)
    found = Policy(
        names, float(curve.tau[best]), criterion, aggregate, float(temperature), calibration=calibration, **about
    )  # fmt: skip
    return found, curve


def mcnemar(one: np.ndarray, other: np.ndarray) -> float:
    """Return the exact McNemar test's p-value of two lists of right and wrong answers to the same pictures.

    Example:
        >>> mcnemar(np.array([True] * 9 + [False]), np.array([True] * 9 + [False]))
        1.0
    """
    from scipy.stats import binomtest

    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    return float(binomtest(only_one, only_one + only_other).pvalue) if only_one + only_other else 1.0
