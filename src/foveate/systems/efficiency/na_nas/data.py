"""Pictures to search and to train on: real layouts and the embedded shapes, with cutout, and in two halves for DARTS."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from foveate.errors import InputError
from foveate.parts.training import Draw, train_loader
from foveate.readers import classification_data as sources
from foveate.readers.classification_data import ClassificationData, Views, moved_by_chance

Layout = Literal["folder", "cifar10", "cifar100", "imagenet"]


class Augmented(ClassificationData):
    """What all sources share here.

    Args:
        cutout: Side of the square that is blanked in each training picture; DARTS's final training has 16.
        halves: Batches for a bilevel search: ``{"image", "label"}`` of one half of the training part, which the weights learn
            from, and ``{"other_image", "other_label"}`` of the other, which the architecture does.
        **options: Of `foveate.readers.classification_data.ClassificationData`.
    """

    keeps = False  # whether pictures as they are seen are kept in memory

    def __init__(self, cutout: int = 0, halves: bool = False, **options: Any) -> None:
        super().__init__(**options)
        if cutout < 0:
            raise InputError("cutout", str(cutout), "0 or more pixels")
        self.cutout, self.halves = cutout, halves

    def augmented(self, plain: Tensor, rng: np.random.Generator) -> Tensor:
        """Move, mirror by chance, and cut out of a picture ``(3, side, side)``."""
        picture = moved_by_chance(plain, self.shift, rng) if self.shift else plain.clone()
        if self.mirror and rng.random() < 0.5:
            picture = picture.flip(2)
        if self.cutout:
            picture = picture.clone()
            down, right = (int(n) for n in rng.integers(0, self.side, 2))
            half = self.cutout // 2
            rows, columns = (slice(max(0, n - half), max(0, n - half + self.cutout)) for n in (down, right))
            picture[:, rows, columns] = 0.5
        return picture

    def look(self, index: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return a training picture, augmented, and its label."""
        if self.keeps:
            pictures, labels = self.tensors("train")
            plain, label = pictures[index], labels[index]
        else:
            item = Views(self.found["train"], self)[index]
            plain, label = item["image"], torch.tensor(item["label"])
        return self.augmented(plain, rng), label

    def train_dataloader(self) -> DataLoader:
        """Batches to train or to search on."""
        self._find()
        count = len(self.found["train"])
        dataset: Dataset = Halves(self, count) if self.halves else Whole(self, count)
        size = len(dataset)  # type: ignore[arg-type]
        return train_loader(self, dataset, min(self.batch_size, size), self.seed, self.num_workers)


class Whole(Dataset):
    """The training part: ``{"image", "label"}``."""

    def __init__(self, data: Augmented, count: int) -> None:
        self.data, self.count = data, count

    def __len__(self) -> int:
        """Count the pictures."""
        return self.count

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        """Augment one."""
        image, label = self.data.look(draw.index, draw.generator())
        return {"image": image, "label": label}


class Halves(Dataset):
    """The two halves of the training part side by side.

    Args:
        data: The source.
        count: Pictures in the training part; the halves are drawn by the data's seed.
    """

    def __init__(self, data: Augmented, count: int) -> None:
        if count < 2:
            raise InputError(data.root, f"has {count} pictures to search on", "at least two, one for each half")
        self.data = data
        order = np.random.default_rng((data.seed, 17)).permutation(count)
        self.first, self.second = order[: count // 2], order[count // 2 :]
        self.epoch, self.partners = -1, self.second

    def __len__(self) -> int:
        """Count the pictures of the first half."""
        return len(self.first)

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        """Augment one of each half; which ones meet is drawn anew in every epoch."""
        if draw.epoch != self.epoch:
            self.epoch = draw.epoch
            self.partners = np.random.default_rng((draw.seed, draw.epoch, 18)).permutation(self.second)
        image, label = self.data.look(int(self.first[draw.index]), draw.generator())
        other_rng = np.random.default_rng((draw.seed, draw.epoch, draw.index, 1))
        other, other_label = self.data.look(int(self.partners[draw.index]), other_rng)
        return {"image": image, "label": label, "other_image": other, "other_label": other_label}


class Folder(Augmented, sources.Folder):
    """Your own pictures, a folder for each class, with or without train/, val/ and test/ above them."""


class CIFAR10(Augmented, sources.CIFAR10):
    """CIFAR-10, Python or binary version."""


class CIFAR100(Augmented, sources.CIFAR100):
    """CIFAR-100, Python version, fine labels."""


class ImageNet(Augmented, sources.ImageNet):
    """ImageNet-1k: train/ and val/ with a folder for each class."""


class Sample(Augmented, sources.Shapes):
    """Embedded: ten drawn shapes, scaled down to 16 pixels, moved by up to two.

    Args:
        count: Pictures to train on.
        held_out: Pictures of ``val`` and of ``test``, each.
        severity: Of their shift; see `foveate.samples.shapes`.
        side: Of the pictures.
        shift: See `ClassificationData`.
        mirror: Arrows and crescents keep their direction by default.
        **options: Of `foveate.readers.classification_data.Shapes` and of `Augmented`.
    """

    keeps = True

    def __init__(
        self,
        count: int = 2000,
        held_out: int = 1000,
        severity: int | None = 0,
        side: int = 16,
        shift: int = 2,
        mirror: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(count=count, held_out=held_out, severity=severity, side=side, shift=shift, mirror=mirror, **options)


class SampleHalves(Sample):
    """The embedded shapes in two halves, for the search.

    Args:
        halves: See `Augmented`.
        **options: Of `Sample`.
    """

    def __init__(self, halves: bool = True, **options: Any) -> None:
        super().__init__(halves=halves, **options)


class Digits(Augmented, sources.Digits):
    """Embedded: scikit-learn's digits at 16 pixels, moved by up to two; what the experiments with small supernets see.

    Args:
        side: Of the pictures.
        shift: See `ClassificationData`.
        **options: Of `Augmented`.
    """

    keeps = True

    def __init__(self, side: int = 16, shift: int = 2, **options: Any) -> None:
        super().__init__(side=side, shift=shift, **options)


LAYOUTS: dict[Layout, type[Augmented]] = {"folder": Folder, "cifar10": CIFAR10, "cifar100": CIFAR100, "imagenet": ImageNet}


def open_data(root: Path | None, layout: Layout, side: int, batch: int, seed: int, **options: Any) -> Augmented:
    """Open a data set, or the embedded shapes if no folder is given.

    Raises:
        InputError: If it is not laid out as the layout says, or has nothing in one of its parts.
    """
    if root is None:
        made: Augmented = Sample(side=side, batch_size=batch, seed=seed, **options)
    else:
        made = LAYOUTS[layout](root=str(root), side=side, batch_size=batch, seed=seed, **options)
    made._find()
    return made
