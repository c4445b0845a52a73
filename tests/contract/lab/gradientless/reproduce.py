"""Claims about colours. ``LAB_LOG`` names a file that tells of every task begun; ``LAB_KILL`` how many of them are survived."""

import os
import signal
from pathlib import Path
from typing import Any, Literal

import numpy as np

from foveate.results import Curve, Picture
from lab.gradientless.data import Sample
from lab.gradientless.method import Nearest

Group = Literal["three", "one", "constant", "wrong"]


def noise(seed: int, budget: str, group: Group) -> dict[str, dict[str, Any]]:
    """Name uneven colours: one error per test item."""
    _begin(f"noise {seed} {group}")
    data = Sample(noise=150, seed=seed)
    test, (features, names) = data.arrays("test"), data.arrays("train").values()
    if group in ("three", "one"):
        answer = Nearest({"three": 3, "one": 1}[group]).fit(features, names).predict(test["features"])
    else:
        answer = np.full(len(names), {"constant": names[0], "wrong": "grey"}[group])
    errors = (answer != test["names"]).astype(float)
    curve = Curve([1, 2], [1.0, float(errors.mean())], "error")
    return {group: {"error": errors, "curve": curve, "picture": Picture.from_unit(np.full((4, 4), errors.mean()))}}


def counts(seed: int, budget: str) -> dict[str, dict[str, float]]:
    """Count the colours."""
    _begin("counts")
    return {"ours": {"classes": len(np.unique(Sample().arrays("train")["names"]))}}


def _begin(task: str) -> None:
    if "LAB_LOG" in os.environ:
        log = Path(os.environ["LAB_LOG"])
        with log.open("a") as file:
            file.write(f"{task}\n")
        if len(log.read_text().splitlines()) == int(os.environ.get("LAB_KILL", 0)):
            os.kill(os.getpid(), signal.SIGKILL)
