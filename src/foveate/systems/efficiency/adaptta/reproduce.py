"""AdapTTA's claims as experiments, on embedded shapes that camera and light have shifted since the networks were trained.

Networks are trained once, on clean pictures. A seed is a draw of pictures: some to calibrate with, others to test on. What
accuracy and passes come to is told from the logits of all passes, which are run once and kept.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from scipy.stats import spearmanr

from foveate.parts import weights
from foveate.parts.caching import cached
from foveate.results import Curve, Picture
from foveate.samples.shapes import SEVERITIES, shapes
from foveate.systems.efficiency.adaptta.confidence import Aggregate, Criterion, running, softmax
from foveate.systems.efficiency.adaptta.method import AdapTTA, Classifier, Mode
from foveate.systems.efficiency.adaptta.models import Model, exported, of, open_model
from foveate.systems.efficiency.adaptta.policy import (
    NEVER,
    Policy,
    answers,
    calibrate,
    mcnemar,
    oracle,
    random_stop,
    read_policy,
    stops,
    sweep,
)
from foveate.systems.efficiency.adaptta.ready import SHIPPED, SHIPPED_POLICY
from foveate.systems.efficiency.adaptta.timing import interleaved, threads_of
from foveate.systems.efficiency.adaptta.train import base
from foveate.systems.efficiency.adaptta.transforms import SETS
from foveate.systems.efficiency.adaptta.video import frames, write_video

Budget = Literal["quick", "full"]
Group = Literal["resnet", "vgg", "mobilenet", "int8"]

VERSION = 1  # of the passes that are kept; another one runs them anew
# With their epochs: nine leave the MobileNet at 59 % on clean pictures, where the others are at 90 %.
NETWORKS = {"vgg": ("vgg11x0.25_bn_cifar", 9), "mobilenet": ("mobilenetv3_small_050_cifar", 27)}
COUNTS: dict[Budget, dict[str, int]] = {"quick": {"val": 120, "test": 120}, "full": {"val": 1500, "test": 2000}}
TIMED: dict[Budget, int] = {"quick": 6, "full": 60}  # pictures for each seed
PASSES = (10, 5)
GRID = np.arange(1, 10.01, 0.5)  # mean passes at which curves of several seeds are told


class Passes(NamedTuple):
    """All passes over one draw of pictures.

    Attributes:
        logits: float32 ``(N, 10, 10)``, in the listed order of crop10.
        labels: int64 ``(N,)``.
        severities: int64 ``(N,)``, 0 to 4.
    """

    logits: np.ndarray
    labels: np.ndarray
    severities: np.ndarray


def drawn(seed: int, part: str, budget: Budget) -> Any:
    """Draw the pictures of a seed's part; none of them is another's, or was trained on."""
    return shapes(COUNTS[budget][part], 3 * seed + {"val": 1, "test": 2}[part], None)


def opened(group: Group, budget: Budget) -> Model:
    """Open a group's network: the shipped one, as floats or integers, or one that is trained for this."""
    if group in NETWORKS:
        name, epochs = NETWORKS[group]
        return of(base(name, epochs=epochs) if budget == "full" else base(name, epochs=1, count=128))
    network = weights.load(Classifier, SHIPPED)
    if group == "resnet":
        return of(network)
    kept = cached("adaptta", ["int8", VERSION, of(network).digest, budget, _versions()], lambda: _integers(network, budget))
    with tempfile.TemporaryDirectory(prefix="foveate-") as folder:
        path = Path(folder) / "int8.onnx"
        path.write_bytes(kept["content"].tobytes())
        return open_model(str(path), threads=1)


def _integers(network: Classifier, budget: Budget) -> dict[str, np.ndarray]:
    """Quantise: the ranges come from clean pictures of the kind that it was trained on."""
    clean = shapes({"quick": 20, "full": 200}[budget], 0, 0).pictures
    views = (network.prepare(Picture(pixels))[None].numpy() for pixels in clean)
    return {"content": np.frombuffer(exported(network, views).content, np.uint8)}


def _versions() -> list[str]:
    from importlib.metadata import version

    return [version(name) for name in ("torch", "onnx", "onnxruntime")]


def passes(model: Model, seed: int, part: str, budget: Budget) -> Passes:
    """Run all ten passes of a network over a draw, or take them as they were run before."""
    found = drawn(seed, part, budget)
    tta = AdapTTA(model.logits, Policy(SETS["crop10"], NEVER, crop=model.crop, side=model.side))
    key = ["passes", VERSION, model.digest, seed, part, len(found.labels)]
    kept = cached("adaptta", key, lambda: {"logits": tta.all_passes(iter(found.pictures), 256)})
    return Passes(kept["logits"], found.labels, found.severities)


def calibrated(model: Model, found: Passes, most: int, **switches: Any) -> tuple[Policy, list[int]]:
    """Calibrate, and tell where the policy's transforms stand in the list."""
    policy, _ = calibrate(
        found.logits,
        found.labels,
        SETS["crop10"],
        n_max=most,
        crop=model.crop,
        side=model.side,
        model=model.about(),
        **switches,
    )
    return policy, [SETS["crop10"].index(name) for name in policy.transforms]


# ---------------------------------------------------------------------------------------------------------------------
# accuracy and passes
# ---------------------------------------------------------------------------------------------------------------------


def shifted(seed: int, budget: Budget, group: Group) -> dict[str, dict[str, Any]]:
    """Calibrate on some shifted pictures and judge others (claims C2, C6 and ours of equal passes).

    ``random`` hands the adaptive arm's numbers of passes out by chance, ``same`` gives every picture as many passes as the
    adaptive arm takes on average, rounded up, and ``oracle`` stops as soon as the answer is right.
    """
    model = opened(group, budget)
    val, test = (passes(model, seed, part, budget) for part in ("val", "test"))
    arms: dict[str, dict[str, Any]] = {}
    for most in PASSES:
        policy, order = calibrated(model, val, most)
        p, sure = running(test.logits[:, order], policy.criterion, policy.aggregate)
        adaptive = stops(sure, policy.tau)
        chance = random_stop(adaptive, np.random.default_rng((seed, most)))
        counts = {
            "static": np.full_like(adaptive, most), "adaptive": adaptive, "random": chance, "oracle": oracle(p, test.labels),
            "same": np.full_like(adaptive, int(np.ceil(adaptive.mean()))),
        }  # fmt: skip
        if most == PASSES[0]:
            counts = {"single": np.ones_like(adaptive), **counts}
        static = answers(p, counts["static"]) == test.labels
        for name, k in counts.items():
            right = answers(p, k) == test.labels
            arms[f"{group}_{name}" + ("" if name == "single" else str(most))] = {
                "accuracy": 100 * float(right.mean()), "passes": float(k.mean()), "p": mcnemar(right, static),
            }  # fmt: skip
        if group == "resnet" and most == PASSES[0]:
            curve = sweep(p, sure, test.labels)
            by_count = (p.argmax(axis=-1) == test.labels[:, None]).mean(axis=0)
            for name, x, y in (("adaptive", curve.passes, curve.accuracy), ("static", np.arange(1, most + 1), by_count)):
                shown = 100 * np.interp(GRID, x, y)
                arms[f"{group}_{name}{most}"]["curve"] = Curve(GRID.tolist(), shown.tolist(), "accuracy [%]", "mean passes")
    return arms


SWITCHES: dict[str, dict[str, Any]] = {
    "margin": {}, "listed": {"order": "listed"}, "random_order": {"order": "random"}, "scaled": {"temperature": None},
    **{name: {"criterion": name} for name in get_args(Criterion) if name != "margin"},
    **{name: {"aggregate": name} for name in get_args(Aggregate) if name != "mean_prob"},
}  # fmt: skip


def switches(seed: int, budget: Budget) -> dict[str, dict[str, Any]]:
    """Turn each switch, and see whether hard pictures get more passes (claim C6).

    ``hardness`` is Spearman's correlation of a picture's passes with the cross-entropy of its first pass, ``rise`` that with
    the severity of its shift. ``random_stop`` has the passes of ``margin``, by chance.
    """
    model = opened("resnet", budget)
    val, test = (passes(model, seed, part, budget) for part in ("val", "test"))
    rows = np.arange(len(test.labels))
    loss = -np.log(np.maximum(softmax(test.logits[:, 0])[rows, test.labels], 1e-12))
    arms: dict[str, dict[str, Any]] = {}
    for name, options in SWITCHES.items():
        policy, order = calibrated(model, val, PASSES[0], **options)
        p, sure = running(test.logits[:, order], policy.criterion, policy.aggregate, policy.temperature)
        k = stops(sure, policy.tau, 2 if policy.criterion == "agreement" else 1)
        chosen = {name: k}
        if name == "margin":
            chosen["random_stop"] = random_stop(k, np.random.default_rng((seed, PASSES[0])))
        for arm, count in chosen.items():
            by_severity = [float(count[test.severities == s].mean()) for s in range(SEVERITIES)]
            arms[arm] = {
                "accuracy": 100 * float((answers(p, count) == test.labels).mean()), "passes": float(count.mean()),
                "hardness": _correlation(count, loss), "rise": _correlation(count, test.severities),
            }  # fmt: skip
            if name == "margin":
                arms[arm]["curve"] = Curve(list(range(SEVERITIES)), by_severity, "mean passes", "severity of the shift")
    return arms


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return Spearman's correlation, 0 where one of the two never varies."""
    return float(spearmanr(one, other).statistic) if np.ptp(one) and np.ptp(other) else 0.0


# ---------------------------------------------------------------------------------------------------------------------
# time
# ---------------------------------------------------------------------------------------------------------------------


def latency(seed: int, budget: Budget) -> dict[str, dict[str, float]]:
    """Time one picture after the other on one thread, from its pixels to the answer (claims C1 and C5).

    The modes alternate on each picture; each picture's median of three rounds counts. ``speedup`` is against the static arm;
    ``share`` is the speed-up over N / mean passes, what it would be if a pass were all that takes time.
    """
    arms: dict[str, dict[str, float]] = {}
    with threads_of(1):
        for group in get_args(Group):
            model = opened(group, budget)
            val = passes(model, seed, "val", budget)
            pictures = [Picture(pixels) for pixels in drawn(seed, "test", budget).pictures[: TIMED[budget]]]
            for most in PASSES:
                policy, _ = calibrated(model, val, most)
                tta = AdapTTA(model.logits, policy)
                taken = float(np.mean([tta(picture).passes for picture in pictures]))
                modes: dict[str, Callable[[Picture], Any]] = {
                    mode: _asked(tta, mode)
                    for mode in (("static", "adaptive", "single") if most == 10 else ("static", "adaptive"))
                }
                spent = {mode: float(times.mean()) for mode, times in interleaved(modes, pictures).items()}
                for mode, ms in spent.items():
                    arm = f"{group}_{mode}" + ("" if mode == "single" else str(most))
                    arms[arm] = {"ms": ms, "speedup": spent["static"] / ms}
                arms[f"{group}_adaptive{most}"]["share"] = spent["static"] / spent["adaptive"] * taken / most
    return arms


def _asked(tta: AdapTTA, mode: Mode) -> Callable[[Picture], Any]:
    return lambda picture: tta(picture, mode)


def video(seed: int, budget: Budget) -> dict[str, dict[str, float]]:
    """Play a video through each mode, decoding included, three times in turn; the median rate counts (claim C3)."""
    model = opened("resnet", budget)
    policy, _ = calibrated(model, passes(model, seed, "val", budget), PASSES[0])
    tta = AdapTTA(model.logits, policy)
    count = {"quick": 6, "full": 100}[budget]
    rates: dict[Mode, list[float]] = {"single": [], "static": [], "adaptive": []}
    with tempfile.TemporaryDirectory(prefix="foveate-") as folder, threads_of(1):
        path = write_video(drawn(seed, "test", budget).pictures[:count], Path(folder) / "shapes.mp4")
        for _ in range(3):
            for mode, found in rates.items():
                start = time.perf_counter()
                for frame in frames(path):
                    tta(frame, mode)
                found.append(count / (time.perf_counter() - start))
    return {mode: {"fps": float(np.median(found))} for mode, found in rates.items()}


# ---------------------------------------------------------------------------------------------------------------------
# what holds exactly
# ---------------------------------------------------------------------------------------------------------------------


def exact(seed: int, budget: Budget) -> dict[str, dict[str, float]]:
    """Compare both ends of the threshold with static and with single, picture by picture (claim C4), and count views made.

    All criteria and aggregations are tried. The least passes by `agreement` are two, which static of two views is held against.
    """
    network, policy = weights.load(Classifier, SHIPPED), read_policy(SHIPPED_POLICY)
    pictures = [Picture(pixels) for pixels in shapes({"quick": 4, "full": 30}[budget], 3 * seed + 2, None).pictures]
    found: dict[str, list[tuple[float, int]]] = {"never": [], "at_once": [], "agreement_at_once": []}
    for criterion in get_args(Criterion):
        for aggregate in get_args(Aggregate):
            tta = AdapTTA(network, policy).with_policy(criterion=criterion, aggregate=aggregate)
            two = criterion == "agreement"
            least = tta.with_policy(transforms=policy.transforms[: 2 if two else 1])
            ends = {"never": (NEVER, tta), "agreement_at_once" if two else "at_once": (0.0, least)}
            for arm, (tau, rival) in ends.items():
                asked = tta.with_policy(tau=tau)
                for picture in pictures:
                    given, other = asked(picture), rival(picture, "static")
                    found[arm].append((float(np.abs(given.p - other.p).max()), given.passes))
    arms = {
        arm: {"apart": max(apart for apart, _ in pairs), "passes": float(np.mean([k for _, k in pairs]))}
        for arm, pairs in found.items()
    }
    done = [AdapTTA(network, policy)(picture) for picture in pictures]
    arms["lazy"] = {"views": sum(a.made for a in done) / sum(a.passes for a in done)}
    return arms
