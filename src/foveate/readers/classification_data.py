"""Pictures to classify, as data modules: real layouts, and the embedded digits and shapes."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from foveate.errors import InputError
from foveate.parts.classifiers import prepare
from foveate.parts.training import Draw, train_loader
from foveate.readers import labelled_pictures as sets
from foveate.readers.labelled import Labelled
from foveate.readers.pictures import read_picture
from foveate.results import Picture
from foveate.samples import digits, shapes

INNER = 32  # of the 40 pixels of a drawn picture
EVALUATED_BATCH = 256  # pictures at a time where nothing is learned


class ClassificationData(LightningDataModule):
    """What all sources of labelled pictures share: loaders, and the two ways of looking at a picture.

    Batches are ``{"image": float32 (B, 3, side, side) in [0, 1], "label": int64 (B,)}``.

    Args:
        root: Folder of the data set.
        batch_size: Pictures per step and process.
        side: Side of the pictures that the network sees.
        crop: Share of the short side that is seen in evaluation.
        shift: How far training moves a picture, in pixels of ``side``, each way.
        mirror: Mirror every second picture in training.
        seed: Seed of parts, order and augmentation.
        num_workers: Loader processes.
    """

    def __init__(
        self,
        root: str = "",
        batch_size: int = 128,
        side: int = 32,
        crop: float = 1.0,
        shift: int = 4,
        mirror: bool = True,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        if side < 1 or not 0 < crop <= 1 or not 0 <= shift < side:
            raise InputError("side, crop and shift", f"{side}, {crop} and {shift}", "at least 1, 0 to 1, and 0 to side - 1")
        self.root, self.batch_size, self.side, self.crop = Path(root), batch_size, side, crop
        self.shift, self.mirror, self.seed, self.num_workers = shift, mirror, seed, num_workers
        self.found: dict[str, Labelled] = {}
        self._whole: dict[str, tuple[Tensor, Tensor]] = {}

    @abstractmethod
    def parts(self) -> dict[str, Labelled]:
        """List what there is: ``train``, ``val`` and ``test``.

        Raises:
            InputError: If the folder is not laid out as expected.
        """

    @property
    def classes(self) -> tuple[str, ...]:
        """What the classes are called."""
        self._find()
        return self.found["train"].classes

    def plain(self, picture: Picture) -> Tensor:
        """Make the view that a network is evaluated on, ``(3, side, side)`` in [0, 1]; `Classifier.prepare` makes the same."""
        return prepare(picture, self.side, self.crop)

    def view(self, picture: Picture, rng: np.random.Generator) -> Tensor:
        """Make a view to train on: moved, and mirrored by chance."""
        moved = moved_by_chance(self.plain(picture), self.shift, rng)
        return moved.flip(2) if self.mirror and rng.random() < 0.5 else moved

    def _find(self) -> None:
        if not self.found:
            self.found = self.parts()
            counts = {part: len(labelled) for part, labelled in self.found.items()}
            if not all(counts.get(part) for part in sets.PARTS):
                raise InputError(self.root, f"has {counts} pictures", "some of each part: train, val and test")

    def setup(self, stage: str) -> None:
        """Find the pictures; refuse a network of another side or number of classes.

        Raises:
            InputError: If there is nothing, or it does not fit the network.
        """
        self._find()
        network = getattr(getattr(self.trainer, "lightning_module", None), "network", None)
        pairs = {"side": self.side, "classes": len(self.classes)}
        for name, ours in pairs.items():
            theirs = getattr(network, name, ours)
            if isinstance(theirs, int) and theirs != ours:
                raise InputError(name, f"the data's is {ours}, the network's {theirs}", "the same for both")

    def train_dataloader(self) -> DataLoader:
        """Batches to train on; no picture twice in one."""
        self._find()
        train = self.found["train"]
        return train_loader(self, Views(train, self), min(self.batch_size, len(train)), self.seed, self.num_workers)

    def val_dataloader(self) -> DataLoader:
        """The validation part."""
        return self._evaluated("val")

    def test_dataloader(self) -> DataLoader:
        """The test part."""
        return self._evaluated("test")

    def _evaluated(self, part: str) -> DataLoader:
        self._find()
        return DataLoader(Views(self.found[part], self), EVALUATED_BATCH, num_workers=self.num_workers)

    def tensors(self, part: str) -> tuple[Tensor, Tensor]:
        """Return a whole part as it is evaluated.

        Args:
            part: ``train``, ``val`` or ``test``.

        Returns:
            Pictures, float32 ``(N, 3, side, side)`` in [0, 1], and labels, int64 ``(N,)``.
        """
        self._find()
        if part not in self._whole:
            items = [Views(self.found[part], self)[i] for i in range(len(self.found[part]))]
            labels = torch.tensor([item["label"] for item in items])
            self._whole[part] = torch.stack([item["image"] for item in items]), labels
        return self._whole[part]


def moved_by_chance(picture: Tensor, reach: int, rng: np.random.Generator) -> Tensor:
    """Move a picture ``(C, H, W)`` by up to ``reach`` pixels each way; what comes in at the edge is its mirror image."""
    down, right = (int(n) for n in rng.integers(0, 2 * reach + 1, 2))
    wide = F.pad(picture, (reach,) * 4, mode="reflect")
    return wide[:, down : down + picture.shape[1], right : right + picture.shape[2]]


class Views(Dataset):
    """Labelled pictures, augmented if they are indexed with a `Draw`."""

    def __init__(self, labelled: Labelled, data: ClassificationData) -> None:
        self.labelled, self.data = labelled, data

    def __len__(self) -> int:
        """Count the pictures."""
        return len(self.labelled)

    def __getitem__(self, key: Draw | int) -> dict[str, Any]:
        """Read one."""
        index = key.index if isinstance(key, Draw) else key
        item = self.labelled.items[index]
        picture = read_picture(item) if isinstance(item, Path) else Picture(np.ascontiguousarray(item))
        image = self.data.view(picture, key.generator()) if isinstance(key, Draw) else self.data.plain(picture)
        return {"image": image, "label": int(self.labelled.labels[index])}  # type: ignore[index]


class Folder(ClassificationData):
    """Your own pictures, a folder for each class; see `foveate.readers.labelled_pictures.folder`."""

    def parts(self) -> dict[str, Labelled]:
        """List the pictures."""
        return sets.folder(self.root, self.seed)


class CIFAR10(ClassificationData):
    """CIFAR-10, Python or binary version."""

    def parts(self) -> dict[str, Labelled]:
        """Read the batches."""
        return sets.cifar10(self.root, self.seed)


class CIFAR100(ClassificationData):
    """CIFAR-100, Python version, fine labels."""

    def parts(self) -> dict[str, Labelled]:
        """Read the files."""
        return sets.cifar100(self.root, self.seed)


class MNIST(ClassificationData):
    """MNIST's four files; nothing is mirrored."""

    def __init__(self, root: str = "", mirror: bool = False, **options: Any) -> None:
        super().__init__(root, mirror=mirror, **options)

    def parts(self) -> dict[str, Labelled]:
        """Read the files."""
        return sets.mnist(self.root, self.seed)


class ImageNet(ClassificationData):
    """ImageNet-1k: train/WNID/*.JPEG and val/WNID/*.JPEG, seen in the middle 224 of 256 pixels."""

    def __init__(self, root: str = "", side: int = 224, crop: float = 0.875, shift: int = 28, **options: Any) -> None:
        super().__init__(root, side=side, crop=crop, shift=shift, **options)

    def parts(self) -> dict[str, Labelled]:
        """List the pictures."""
        return sets.imagenet(self.root, self.seed)


class Digits(ClassificationData):
    """Embedded: scikit-learn's 1,797 real digits, 1,000 to train on, 297 for validation, 500 to test.

    Args:
        side: Side of the pictures that the network sees.
        shift: See `ClassificationData`.
        mirror: See `ClassificationData`.
        **options: See `ClassificationData`.
    """

    def __init__(self, side: int = 32, shift: int = 0, mirror: bool = False, **options: Any) -> None:
        super().__init__(side=side, shift=shift, mirror=mirror, **options)

    def parts(self) -> dict[str, Labelled]:
        """Divide by the seed."""
        pictures, labels = digits.digits(self.side)
        order = np.random.default_rng((self.seed, 1)).permutation(len(labels))
        whole = Labelled(pictures, labels, digits.CLASSES)
        return dict(zip(sets.PARTS, (whole.take(part) for part in np.split(order, [1000, 1297])), strict=True))


class Shapes(ClassificationData):
    """Embedded: ten drawn shapes on textured ground; see `foveate.samples.shapes`. Training cuts 32 out of 40 pixels.

    Args:
        count: Pictures to train on.
        held_out: Pictures of ``val`` and of ``test``, each.
        draw: Which pictures: another number, others.
        severity: Shift of ``val`` and ``test``: 0 (none) to 4, or None for all of them mixed.
        noisy: Blur and sensor noise.
        crop: Share that is seen: the inner 32 of 40 pixels.
        **options: See `ClassificationData`.
    """

    def __init__(
        self,
        count: int = 8000,
        held_out: int = 2000,
        draw: int = 0,
        severity: int | None = 0,
        noisy: bool = True,
        crop: float = INNER / shapes.SIDE,
        **options: Any,
    ) -> None:
        super().__init__(crop=crop, **options)
        self.count, self.held_out, self.draw, self.severity, self.noisy = count, held_out, draw, severity, noisy

    def parts(self) -> dict[str, Labelled]:
        """Draw the pictures, or take them as they were drawn before."""
        wanted = {"train": (self.count, 0), "val": (self.held_out, self.severity), "test": (self.held_out, self.severity)}
        found = {}
        for number, (part, (count, severity)) in enumerate(wanted.items()):
            drawn = shapes.shapes(count, 3 * self.draw + number, severity, self.noisy)
            found[part] = Labelled(drawn.pictures, drawn.labels, shapes.CLASSES)
        return found

    def view(self, picture: Picture, rng: np.random.Generator) -> Tensor:
        """Cut a view out by chance, mirrored by chance."""
        whole = prepare(picture, round(self.side / self.crop))
        top, left = (int(n) for n in rng.integers(0, whole.shape[1] - self.side + 1, 2))
        cut = whole[:, top : top + self.side, left : left + self.side]
        return cut.flip(2) if self.mirror and rng.random() < 0.5 else cut
