"""Pictures to classify: the paper's data sets and any folder of classes, embedded digits, and all of it held in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from foveate.parts.training import Draw, ResumableLoader, StepSampler, steps_done
from foveate.readers import labelled_pictures as sets
from foveate.readers.classification_data import (
    CIFAR10,
    CIFAR100,
    MNIST,
    ClassificationData,
    Digits,
    Folder,
    ImageNet,
    Shapes,
)
from foveate.readers.labelled import Labelled
from foveate.samples import digits

__all__ = ["CIFAR10", "CIFAR100", "MNIST", "Folder", "ImageNet", "Sample", "Shapes", "Whole", "statistics"]

JUDGED = 256  # pictures at a time where nothing is learned


class Sample(Digits):
    """Embedded: scikit-learn's 1,797 real digits, 8 x 8 made 32 x 32: 1,200 to train on, 97 for validation, 500 to test.

    Args:
        batch_size: Pictures per step.
        **options: Of `foveate.readers.classification_data.Digits`.
    """

    def __init__(self, batch_size: int = 64, **options: Any) -> None:
        super().__init__(batch_size=batch_size, **options)

    def parts(self) -> dict[str, Labelled]:
        """Divide by the seed."""
        pictures, labels = digits.digits(self.side)
        order = np.random.default_rng((self.seed, 1)).permutation(len(labels))
        whole = Labelled(pictures, labels, digits.CLASSES)
        return dict(zip(sets.PARTS, (whole.take(part) for part in np.split(order, [1200, 1297])), strict=True))


class Whole(LightningDataModule):
    """A data set held in memory, out of which batches are cut at once: many times as fast where pictures are small.

    Training moves the evaluated view by up to ``source.shift`` pixels, as is usual on CIFAR, and mirrors it by chance if
    ``source.mirror`` says so.

    Args:
        source: Where the pictures come from; its batch size and seed count here, too.
    """

    def __init__(self, source: ClassificationData) -> None:
        super().__init__()
        self.source, self.side, self.classes = source, source.side, source.classes
        self.batch_size, self.seed = source.batch_size, source.seed

    def setup(self, stage: str) -> None:
        """Read all."""
        self.held = {part: self.source.tensors(part) for part in sets.PARTS}

    def train_dataloader(self) -> DataLoader:
        """Batches to train on, in the order of (seed, epoch)."""
        pictures, labels = self.held["train"]
        size = min(self.batch_size, len(labels))
        sampler = StepSampler(len(labels), size, self.seed, lambda: steps_done(self.trainer))
        batches = _Cut(pictures, labels, self.source.shift, self.source.mirror)
        return ResumableLoader(batches, size, sampler=sampler, collate_fn=_as_it_is, drop_last=True)

    def val_dataloader(self) -> list[dict[str, Tensor]]:
        """The validation part in batches."""
        return self._batches("val")

    def test_dataloader(self) -> list[dict[str, Tensor]]:
        """The test part in batches."""
        return self._batches("test")

    def _batches(self, part: str) -> list[dict[str, Tensor]]:
        pairs = zip(*(column.split(JUDGED) for column in self.held[part]), strict=True)
        return [{"image": image, "label": label} for image, label in pairs]


class _Cut(Dataset):
    """Pictures in memory, indexed with many `Draw`s at a time."""

    def __init__(self, pictures: Tensor, labels: Tensor, shift: int, mirror: bool) -> None:
        self.pictures, self.labels, self.shift, self.mirror = pictures, labels, shift, mirror
        self.wide = F.pad(pictures, (shift,) * 4, mode="reflect") if shift else pictures

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, draws: Sequence[Draw]) -> dict[str, Tensor]:
        index = torch.tensor([draw.index for draw in draws])
        if not self.shift and not self.mirror:
            return {"image": self.pictures[index], "label": self.labels[index]}
        drawn = [draw.generator().integers((2 * self.shift + 1, 2 * self.shift + 1, 2)) for draw in draws]
        top, left, turned = torch.from_numpy(np.array(drawn)).T
        rows, columns = (torch.arange(n) for n in self.pictures.shape[2:])
        if self.mirror:
            columns = torch.where(turned[:, None] == 1, columns.flip(0), columns)
        y, x = top[:, None] + rows, left[:, None] + columns
        image = self.wide[index[:, None, None], :, y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2)
        return {"image": image.contiguous(), "label": self.labels[index]}


def _as_it_is(batch: Any) -> Any:
    return batch


def statistics(pictures: Tensor) -> tuple[float, float]:
    """Return mean and deviation of all values of pictures, which MLP-7 and LeNet-5 are normalised by."""
    return float(pictures.mean()), float(pictures.std())
