"""The paper's data sets, your own folder, and the embedded pictures, two augmented views of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from foveate.errors import InputError
from foveate.parts.scaling import scaled
from foveate.readers import retrieval_sets as sets
from foveate.readers.labelled import Labelled
from foveate.readers.retrieval_data import Item, RetrievalData, TwoCachedViews, TwoViews, glyph_parts
from foveate.results import Picture
from foveate.systems.embedding.cibhash import method


def augmentation(side: int) -> v2.Transform:
    """Make the paper's augmentation: cut, mirror, recolour, grey, blur (released configuration)."""
    return v2.Compose(
        [
            v2.RandomResizedCrop(side, scale=(0.5, 1), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.7),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([v2.GaussianBlur(3, (0.1, 2))], p=0.5),
        ]
    )


def _moderate(picture: Picture, side: int) -> Tensor:
    """Scale a picture so that its short side is at most ``side``: a crop of it loses nothing that is seen."""
    factor = min(1.0, side / min(picture.size))
    return scaled(picture, *(max(1, round(n * factor)) for n in picture.size))


class Views(RetrievalData):
    """What all sources share: a picture squeezed to a square to use, and two augmented views of it to train on."""

    def plain(self, picture: Picture) -> Tensor:
        """Squeeze to a square."""
        return method.prepare(picture, self.side)

    def view(self, picture: Picture, rng: np.random.Generator) -> Tensor:
        """Augment."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**63)))
            return augmentation(self.side)(_moderate(picture, 4 * self.side))

    def train_set(self, items: Sequence[Item]) -> Dataset:
        """Two views, fresh or chosen among those that were made once."""
        if self.views == 1:
            raise InputError("views", "1", "0 (fresh ones), or at least 2 to choose from")
        return TwoCachedViews(self.feature_views(items)) if self.views else TwoViews(items, self.view)


class Folder(Views):
    """Your own pictures at any depth, no labels; or ``train/``, ``database/`` and ``query/``, a sub-folder for each label."""

    def parts(self) -> dict[str, Labelled]:
        """List the pictures."""
        return sets.folder(self.root, self.seed)


class CIFAR10(Views):
    """CIFAR-10's Python batches: 5,000 training pictures, all 50,000 to search, 5,000 queries, 5,000 for validation."""

    def parts(self) -> dict[str, Labelled]:
        """Split as the authors do."""
        return sets.cifar10(self.root, self.seed)


class NUSWide(Views):
    """NUS-WIDE's original folders: 21 concepts, 10,500 training pictures, 2,100 queries, the rest to search."""

    def parts(self) -> dict[str, Labelled]:
        """Split as the authors do."""
        return sets.nus_wide(self.root, self.seed)


class COCO(Views):
    """MSCOCO's annotations and pictures: 10,000 training pictures, 5,000 queries, the rest to search."""

    def parts(self) -> dict[str, Labelled]:
        """Split as the authors do."""
        return sets.coco(self.root, self.seed)


class Lists(Views):
    """Lists of pictures and rows of labels, as the hashing community hands on NUS-WIDE and MSCOCO."""

    def parts(self) -> dict[str, Labelled]:
        """Read the lists."""
        return sets.listed(self.root, self.seed)


class Features(Views):
    """Features that were made elsewhere: an .npz with ``features`` (N, D), for a network without a backbone."""

    def parts(self) -> dict[str, Labelled]:
        """Read the file."""
        return sets.features(self.root, self.seed)

    def train_set(self, items: Sequence[Item]) -> Dataset:
        """Views of features that dropout and noise make, since there is no picture to augment."""
        return _NoisyFeatures(np.asarray(items, np.float32))

    def features(self, part: str) -> np.ndarray:
        """Return the features as they are."""
        return np.asarray(self.parts()[part].items, np.float32)

    def setup(self, stage: str) -> None:
        """Read the file; nothing is a picture."""
        self.views = 1
        network = getattr(getattr(self.trainer, "lightning_module", None), "network", None)
        width = self.parts()["train"].items.shape[1]
        if network is not None and (network.arguments["backbone"] or len(network.centre) != width):
            wanted = f"--recipe features --model.network.init_args.width {width}"
            raise InputError(self.root, f"has features of length {width}, which the network does not take", wanted)
        super().setup(stage)


class _NoisyFeatures(Dataset):
    """Two views of a feature vector: a tenth of its values dropped, the others scaled by up to a tenth."""

    def __init__(self, features: np.ndarray) -> None:
        self.features = features

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, draw: Any) -> dict[str, Tensor]:
        rng, feature = draw.generator(), self.features[draw.index]
        views = [feature * (rng.random(feature.shape) > 0.1) * rng.uniform(0.9, 1.1, feature.shape) for _ in range(2)]
        return {name: torch.from_numpy(np.float32(view)) for name, view in zip(("image", "other"), views, strict=True)}


class Sample(Views):
    """Embedded pictures: drawn things on photographs; see `foveate.samples.glyphs`.

    Args:
        copies: Pictures of each of the 20 things to train on and search; a quarter as many are queries.
        clutter: Contrast of the photographs behind them.
        side: Side of the pictures that the network sees.
        draw: Which collection is drawn; another one is other pictures of the same things.
        **options: Of `foveate.readers.retrieval_data.RetrievalData`.
    """

    def __init__(self, copies: int = 80, clutter: float = 0.5, side: int = 160, draw: int = 0, **options: Any) -> None:
        super().__init__(side=side, **options)
        self.copies, self.clutter, self.draw = copies, clutter, draw

    def parts(self) -> dict[str, Labelled]:
        """Draw the pictures, or take them as they were drawn before."""
        return glyph_parts(self.copies, self.clutter, self.draw)
