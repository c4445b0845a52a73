"""AdapTTA: test-time augmentation that stops as soon as a picture needs no more of it.

Static test-time augmentation classifies N views of every picture and averages. AdapTTA looks at the average after each view: an
easy picture is sure after the first, and only a hard one pays for all. Three blocks can be exchanged: the list of views
(`transforms`), how they are put together, and how sure that is (`confidence`); a threshold that is found on a calibration set
(`policy`) ties them together.

Paper: arXiv 2105.06183. Its four pages give the principle; the blocks are ours where it does not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from foveate.errors import InputError
from foveate.parts.classifiers import Classifier
from foveate.results import Picture
from foveate.systems.efficiency.adaptta import transforms
from foveate.systems.efficiency.adaptta.confidence import confidence, contribution, least_passes, together
from foveate.systems.efficiency.adaptta.policy import Policy
from foveate.systems.efficiency.adaptta.transforms import CROP, Views

__all__ = ["AdapTTA", "Answer", "Classifier", "prepare"]

Mode = Literal["adaptive", "static", "single"]
Source = Picture | np.ndarray | Views


def prepare(picture: Picture | Views, side: int = 224, crop: float = CROP) -> Tensor:
    """Make the standard view, which a picture is first seen in: float32 ``(3, side, side)`` in [0, 1].

    It is what `foveate.parts.classifiers.prepare` makes, to the bit. Given `Views`, these remember what they made.
    """
    views = picture if isinstance(picture, Views) else Views(picture, ["centre"], side, crop)
    return views[0]


@dataclass(frozen=True)
class Answer:
    """What a picture is taken for, and what that took.

    Attributes:
        index: The class.
        p: float32 ``(C,)``, all passes together.
        confidences: After each pass; empty in the modes that do not look at it.
        winners: The class that each pass has for itself.
        passes: Passes run.
        made: Views made.
        milliseconds: From the picture to the answer, decoding not included; in a batch, the batch's time shared out.
    """

    index: int
    p: np.ndarray
    confidences: tuple[float, ...]
    winners: tuple[int, ...]
    passes: int
    made: int
    milliseconds: float

    @property
    def probability(self) -> float:
        """Of the class."""
        return float(self.p[self.index])


class AdapTTA:
    """Any classifier, asked about a picture as often as it takes.

    Args:
        classifier: Any function of float32 ``(B, 3, side, side)`` in [0, 1] that returns logits ``(B, C)``: a module in
            evaluation mode, an ONNX session's, yours.
        policy: Views, threshold, and how passes are put together.

    Example:
        >>> policy = Policy(("centre", "mirrored"), tau=0.9, side=8)
        >>> wrapped = AdapTTA(lambda x: x.mean((2, 3)) * 50, policy)
        >>> red = np.zeros((9, 9, 3), np.uint8) + np.uint8([200, 0, 0])
        >>> wrapped(red).index, wrapped(red).passes, wrapped(red, "static").passes
        (0, 1, 2)
    """

    def __init__(self, classifier: Callable[[Tensor], Any] | nn.Module, policy: Policy) -> None:
        transforms.checked(policy.transforms, "policy", policy.side, policy.crop)
        if isinstance(classifier, nn.Module):
            classifier.eval()
        self.classifier, self.policy = classifier, policy
        self.least = min(least_passes(policy.criterion), policy.n_max)

    def views(self, picture: Source) -> Views:
        """Return the views of a picture, or of RGB pixels uint8 ``(H, W, 3)``; none is made yet."""
        if isinstance(picture, Views):
            return picture
        picture = picture if isinstance(picture, Picture) else Picture(picture)
        return Views(picture, self.policy.transforms, self.policy.side, self.policy.crop)

    def logits(self, views: Tensor) -> np.ndarray:
        """Run one pass over views ``(B, 3, side, side)``: float32 ``(B, C)``.

        Raises:
            InputError: If the classifier returns anything else, or not a number.
        """
        with torch.inference_mode():
            found = self.classifier(views)
        if isinstance(found, Tensor):
            found = found.detach().float().cpu().numpy()
        found = np.asarray(found, np.float32)
        if found.ndim != 2 or len(found) != len(views) or found.shape[1] < 2:
            said = f"returns {found.shape} for {len(views)} views"
            raise InputError("the classifier", said, "a row of logits for each view, of two classes at least")
        if not np.isfinite(found).all():
            raise InputError("the classifier", "returns what is no number", "finite logits")
        return found

    def __call__(self, picture: Source, mode: Mode = "adaptive") -> Answer:
        """Classify one picture, pass after pass.

        Args:
            picture: The picture, or RGB pixels uint8 ``(H, W, 3)``.
            mode: ``adaptive``; ``static``, all passes, always; or ``single``, the standard view alone.
        """
        start = time.perf_counter()
        views, policy = self.views(picture), self.policy
        before, most = views.made, 1 if mode == "single" else policy.n_max
        total: np.ndarray | float = np.float32(0)
        sure: list[float] = []
        winners: list[int] = []
        for k in range(1, most + 1):
            logits = self.logits((prepare(views) if k == 1 else views[k - 1])[None])[0]
            winners.append(int(logits.argmax()))
            total = total + contribution(logits, policy.aggregate, policy.temperature)
            if mode == "adaptive":
                p = together(total / np.float32(k), policy.aggregate)
                agreement = winners.count(int(p.argmax())) / k
                sure.append(float(confidence(p, policy.criterion, agreement)))
                if k >= self.least and sure[-1] >= policy.tau:
                    break
        p = together(total / np.float32(k), policy.aggregate)
        spent = 1000 * (time.perf_counter() - start)
        return Answer(int(p.argmax()), p, tuple(sure), tuple(winners), k, views.made - before, spent)

    def batch(self, pictures: Sequence[Source], mode: Mode = "adaptive") -> list[Answer]:
        """Classify several pictures together: each pass runs over those that are not done yet.

        On a device that is as quick with many views as with one this saves less; see the paper's title.
        """
        if len(pictures) == 0:
            return []
        start = time.perf_counter()
        views, policy = [self.views(p) for p in pictures], self.policy
        before, most = [v.made for v in views], 1 if mode == "single" else policy.n_max
        active = np.arange(len(views))
        totals: np.ndarray | None = None
        sure: list[list[float]] = [[] for _ in views]
        winners: list[list[int]] = [[] for _ in views]
        for k in range(1, most + 1):
            logits = self.logits(torch.stack([prepare(views[i]) if k == 1 else views[i][k - 1] for i in active]))
            for i, winner in zip(active, logits.argmax(axis=-1), strict=True):
                winners[i].append(int(winner))
            totals = np.zeros((len(views), logits.shape[1]), np.float32) if totals is None else totals
            totals[active] += contribution(logits, policy.aggregate, policy.temperature)
            if mode == "adaptive":
                p = together(totals[active] / np.float32(k), policy.aggregate)
                agreement = np.array([winners[i].count(w) / k for i, w in zip(active, p.argmax(axis=-1), strict=True)])
                found = confidence(p, policy.criterion, agreement)
                for i, value in zip(active, found, strict=True):
                    sure[i].append(float(value))
                active = active[~((k >= self.least) & (found >= policy.tau))]
            if not len(active):
                break
        passes = np.array([len(w) for w in winners])
        p = together(totals / np.float32(passes)[:, None], policy.aggregate)
        spent = 1000 * (time.perf_counter() - start) / len(views)
        return [
            Answer(int(p[i].argmax()), p[i], tuple(sure[i]), tuple(winners[i]), len(winners[i]), v.made - before[i], spent)
            for i, v in enumerate(views)
        ]

    def stream(self, pictures: Iterator[Source], batch: int = 1, mode: Mode = "adaptive") -> Iterator[Answer]:
        """Classify pictures as they come, ``batch`` at a time."""
        if batch == 1:
            for picture in pictures:
                yield self(picture, mode)
            return
        waiting: list[Source] = []
        for picture in pictures:
            waiting.append(picture)
            if len(waiting) == batch:
                yield from self.batch(waiting, mode)
                waiting = []
        yield from self.batch(waiting, mode)

    def all_passes(self, pictures: Iterator[Source], batch: int = 64) -> np.ndarray:
        """Run every pass over every picture, as calibration needs it: logits float32 ``(N, K, C)``."""
        found: list[np.ndarray] = []
        waiting: list[Tensor] = []

        def run() -> None:
            stacked = torch.stack(waiting)
            found.append(np.stack([self.logits(stacked[:, k]) for k in range(stacked.shape[1])], axis=1))
            waiting.clear()

        for picture in pictures:
            waiting.append(torch.stack(list(self.views(picture))))
            if len(waiting) == batch:
                run()
        if waiting:
            run()
        return np.concatenate(found)

    def with_policy(self, **changes: Any) -> AdapTTA:
        """Return the same classifier under a changed policy."""
        return AdapTTA(self.classifier, replace(self.policy, **changes))
