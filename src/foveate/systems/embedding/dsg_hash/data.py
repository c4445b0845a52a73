"""The paper's data sets, your own folder, and the embedded pictures, with signals of which of them are alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from foveate.errors import InputError
from foveate.parts import weights as files
from foveate.parts.caching import cached
from foveate.parts.inference import quick
from foveate.parts.training import Draw
from foveate.readers import retrieval_sets as sets
from foveate.readers.labelled import Labelled
from foveate.readers.retrieval_data import Item, RetrievalData, fingerprints, glyph_parts, read
from foveate.results import Picture
from foveate.systems.embedding.dsg_hash import method
from foveate.systems.embedding.dsg_hash.guidance import Distill, Guidance, Source, Weights, guide

VERSION = 1  # of what makes guidance: another one, and what is in the cache is made anew


class Guided(RetrievalData):
    """What all sources share: pictures, and signals of their pairs that are found once and kept.

    Training batches are ``{"image", "index", "signal", "weight"}``; the latter two are ``(B, B)``, see
    `foveate.systems.embedding.dsg_hash.guidance.Guidance.among`.

    Args:
        root: Folder of the data set.
        batch_size: Pictures per step and process.
        views: 0 trains on pictures, augmented anew in every epoch. 1 trains on the features of the pictures as they are, by a
            frozen backbone, made once; with more, that many less one are of augmented pictures, and each step draws one.
        backbone: What makes the features of the guidance, and those that a frozen network sees.
        guidance: Where the signals come from; see `foveate.systems.embedding.dsg_hash.guidance.guide`, as for the next six.
        weights: ``smooth`` or ``hard``.
        distill: ``kmeans``, ``spectral`` or ``off``.
        alpha: Of the lower threshold.
        beta: Of the upper threshold.
        clusters: How many; 0 takes 10 for CIFAR-10, 20 for the embedded pictures and 70 elsewhere, or a tenth of the pictures
            if that is less.
        d_max: The distance at which a negative signal is certain.
        first: For ``distillhash``: weights of a network that learned from ``noisy``.
        partners: Put beside every other picture of a batch one that a signal calls like it: by chance there would be hardly any
            in a small batch.
        **options: Of `foveate.readers.retrieval_data.RetrievalData`.
    """

    classes = 70
    signed = True

    def __init__(
        self,
        root: str = "",
        batch_size: int = 24,
        guidance: Source = "dsg",
        weights: Weights = "smooth",
        distill: Distill = "kmeans",
        alpha: float = 2.0,
        beta: float = 2.0,
        clusters: int = 0,
        d_max: float = 2.0,
        first: str | None = None,
        partners: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(root=root, batch_size=batch_size, **options)
        self.guidance, self.first, self.clusters, self.partners = guidance, first, clusters, partners
        self.settings = {"weights": weights, "distill": distill, "alpha": alpha, "beta": beta, "d_max": d_max}

    def plain(self, picture: Picture) -> Tensor:
        """Scale, and cut out the middle."""
        return method.prepare(picture, self.side)

    def view(self, picture: Picture, rng: np.random.Generator) -> Tensor:
        """Cut a window and mirror it."""
        return method.random_view(picture, rng, self.side)

    def train_set(self, items: Sequence[Item]) -> Dataset:
        """Make the pictures, or their features, that are trained on."""
        if not self.views:
            return GuidedSet(len(items), partial(_viewed, items, self.view))
        views = self.features("train")[None]
        if self.views > 1:
            views = np.concatenate([views, self._made(items, self.view, self.views - 1, self.seed)])
        return GuidedSet(len(items), partial(_chosen, torch.from_numpy(views)))

    def train_dataloader(self) -> DataLoader:
        """Batches to train on; the guidance is found first, or taken as it was found before."""
        self.signals = self.guide()
        if self.partners:
            self.train.know(self.signals)
        return super().train_dataloader()

    def on_after_batch_transfer(self, batch: dict[str, Tensor], dataloader_idx: int) -> dict[str, Tensor]:
        """Look the signals of a training batch up."""
        if "index" not in batch:
            return batch
        found = self.signals.among(batch["index"].cpu().numpy())
        signal, weight = (torch.from_numpy(a).to(batch["image"].device) for a in found)
        return {**batch, "signal": signal, "weight": weight}

    def guide(self) -> Guidance:
        """Find the signals of the training pictures' pairs, or take them as they were found before.

        Raises:
            InputError: See `foveate.systems.embedding.dsg_hash.guidance.guide`.
        """
        train = self.parts()["train"]
        names = [str(item) if isinstance(item, Path) else str(i) for i, item in enumerate(train.items)]
        clusters = self.clusters or min(self.classes, max(2, len(train) // 10))
        codes, made_by = self._first_codes(train.items) if self.guidance == "distillhash" else (None, "")
        labels = train.labels if self.guidance == "oracle" else None
        told = "" if labels is None else fingerprints([labels])
        settings = {"guidance": self.guidance, **self.settings, "clusters": clusters, "seed": self.seed}
        features = self.features("train")
        key = [VERSION, fingerprints([features]), names, settings, made_by, told]

        def make() -> dict[str, np.ndarray]:
            made = guide(features, **settings, labels=labels, codes=codes, names=names)
            return made.arrays()

        return Guidance.of(cached("guidance", key, make))

    def _first_codes(self, items: Sequence[Item]) -> tuple[np.ndarray, str]:
        """Return what a network that learned from noisy signals makes of the training pictures, and its name."""
        if not self.first:
            raise InputError("first", "distillhash needs a network that learned from noisy signals", "its weights")
        network = files.load(method.DSGHash, Path(self.first))
        name, run = network.name, quick(network, "float32", channels_last=not self.views)
        inputs = torch.from_numpy(self.features("train")) if self.views else None
        parts = []
        for start in range(0, len(items), 32):
            some = range(start, min(start + 32, len(items)))
            given = torch.stack([self.plain(read(items[i])) for i in some]) if inputs is None else inputs[some]
            parts.append(run(given))
        return torch.cat(parts).numpy(), name


def _viewed(items: Sequence[Item], view: Callable[[Picture, np.random.Generator], Tensor], draw: Draw) -> Tensor:
    """Augment a picture."""
    return view(read(items[draw.index]), draw.generator())


def _chosen(views: Tensor, draw: Draw) -> Tensor:
    """Choose one of the features ``(views, N, D)`` of a picture."""
    return views[draw.generator().integers(len(views)) if len(views) > 1 else 0, draw.index]


class GuidedSet(Dataset):
    """Pictures with their numbers: ``{"image", "index"}``.

    Args:
        count: How many.
        make: Gives the picture of a draw.
    """

    def __init__(self, count: int, make: Callable[[Draw], Tensor]) -> None:
        self.count, self.make = count, make
        self.alike = np.zeros(0, np.int64)
        self.ends = np.zeros(count + 1, np.int64)

    def know(self, guidance: Guidance) -> None:
        """Note which pictures are alike."""
        positive = guidance.s == 1
        one, other = guidance.i[positive], guidance.j[positive]
        both = np.concatenate([one, other])
        self.alike = np.concatenate([other, one])[np.argsort(both, kind="stable")]
        self.ends = np.concatenate([[0], np.cumsum(np.bincount(both, minlength=self.count))])

    def __len__(self) -> int:
        """Count the pictures."""
        return self.count

    def __getitem__(self, draw: Draw) -> dict[str, Tensor | int]:
        """Make one."""
        return {"image": self.make(draw), "index": draw.index}

    def __getitems__(self, draws: Sequence[Draw]) -> list[dict[str, Tensor | int]]:
        """Make a batch; every other picture gives way to one that is like the one before it, if any is known."""
        chosen: list[Draw] = []
        for place, draw in enumerate(draws):
            like = self.alike[slice(*self.ends[[chosen[-1].index, chosen[-1].index + 1]])] if place % 2 else ()
            chosen.append(draw._replace(index=int(draw.generator().choice(like))) if len(like) else draw)
        return [self[draw] for draw in chosen]


class Folder(Guided):
    """Your own pictures at any depth, no labels; or ``train/``, ``database/`` and ``query/``, a sub-folder for each label."""

    def parts(self) -> dict[str, Labelled]:
        """List the pictures."""
        return sets.folder(self.root, self.seed)


class CIFAR10(Guided):
    """CIFAR-10's Python batches: 5,000 training pictures, 1,000 queries, the other 59,000 to search."""

    classes = 10

    def parts(self) -> dict[str, Labelled]:
        """Split as SSDH's code does."""
        return sets.cifar10(self.root, self.seed, protocol="ssdh")


class Flickr25k(Guided):
    """MIRFlickr-25k: ``im1.jpg`` ... and its annotations; 2,000 queries, 10,000 training pictures of the rest."""

    def parts(self) -> dict[str, Labelled]:
        """Split at random."""
        return sets.mirflickr(self.root, self.seed)


class NUSWide(Guided):
    """NUS-WIDE's original folders: 21 concepts, 2,100 queries, 10,500 training pictures, the rest to search."""

    def parts(self) -> dict[str, Labelled]:
        """Split by concepts."""
        return sets.nus_wide(self.root, self.seed)


class NUSWide10(Guided):
    """NUS-WIDE's 10 most frequent concepts, as listed for SSDH's code: 5,000 queries, 5,000 training pictures of the rest."""

    def parts(self) -> dict[str, Labelled]:
        """Split at random."""
        return sets.tc10(self.root, self.seed)


class Lists(Guided):
    """Lists of pictures and rows of labels, as the hashing community hands on NUS-WIDE and MSCOCO."""

    def parts(self) -> dict[str, Labelled]:
        """Read the lists."""
        return sets.listed(self.root, self.seed)


class Features(Guided):
    """Features that were made elsewhere: an .npz with ``features`` (N, D); the network then has no backbone."""

    def __init__(self, root: str = "", batch_size: int = 256, **options: Any) -> None:
        super().__init__(root=root, batch_size=batch_size, **{"views": 1, **options})

    def parts(self) -> dict[str, Labelled]:
        """Read the file."""
        return sets.features(self.root, self.seed)

    def features(self, part: str) -> np.ndarray:
        """Return the features as they are."""
        return np.asarray(self.parts()[part].items, np.float32)


class Sample(Guided):
    """Embedded pictures: drawn things on photographs; see `foveate.samples.glyphs`.

    Args:
        copies: Pictures of each of the 20 things to train on and search; a quarter as many are queries.
        clutter: Contrast of the photographs behind them.
        side: Side of the pictures that the network sees.
        draw: Which collection is drawn; another one is other pictures of the same things.
        **options: Of `Guided`.
    """

    classes = 20

    def __init__(self, copies: int = 80, clutter: float = 0.25, side: int = 160, draw: int = 0, **options: Any) -> None:
        super().__init__(side=side, **options)
        self.copies, self.clutter, self.draw = copies, clutter, draw

    def parts(self) -> dict[str, Labelled]:
        """Draw the pictures, or take them as they were drawn before."""
        return glyph_parts(self.copies, self.clutter, self.draw)
