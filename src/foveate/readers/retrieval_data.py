"""Pictures to learn codes from and to search, as a data module: what the systems that hash pictures share."""

from __future__ import annotations

import hashlib
import os
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from foveate.errors import InputError
from foveate.parts.backbones import PACKAGED, Backbone
from foveate.parts.caching import cached
from foveate.parts.inference import quick
from foveate.parts.progress import bar
from foveate.parts.training import Draw, train_loader
from foveate.readers.labelled import Labelled
from foveate.readers.pictures import read_picture
from foveate.results import Picture
from foveate.samples.glyphs import PHOTOGRAPHS, THINGS, Role, collection

QUERY, DATABASE = 0, 1  # roles of an item that is evaluated
Item = Path | np.ndarray


class RetrievalData(LightningDataModule):
    """What all sources of pictures to search share: loaders, and features of a frozen backbone that are made once.

    A system says how a picture becomes a tensor (`plain`, `view`), a source what there is (`parts`).

    Args:
        root: Folder of the data set.
        batch_size: Pictures per step and process.
        side: Side of the pictures that the network sees.
        views: 0 augments anew in every epoch and trains on pictures. A number makes that many augmented views of each picture
            once and trains on their features by a frozen backbone, a hundred times as fast; validation and test see features,
            too.
        backbone: The frozen backbone that makes the features; must be the network's.
        pretrained: Its weights; see `foveate.parts.backbones.Backbone`.
        seed: Seed of order and augmentation.
        num_workers: Loader processes.
    """

    signed = False  # whether features are taken before the backbone's last activation

    def __init__(
        self,
        root: str = "",
        batch_size: int = 64,
        side: int = 224,
        views: int = 0,
        backbone: str = PACKAGED,
        pretrained: str = "packaged",
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        if side < 32 or views < 0:
            raise InputError("side and views", f"{side} and {views}", "a side of 32 or more, and no fewer than 0 views")
        self.found: dict[str, Labelled] = {}
        self.root, self.batch_size, self.side, self.views = Path(root), batch_size, side, views
        self.backbone, self.pretrained, self.seed, self.num_workers = backbone, pretrained, seed, num_workers

    @abstractmethod
    def parts(self) -> dict[str, Labelled]:
        """List what there is: ``train``, ``database``, and ``val`` and ``query`` if they are known.

        Raises:
            InputError: If the folder is not laid out as expected.
        """

    @abstractmethod
    def plain(self, picture: Picture) -> Tensor:
        """Turn a picture into the tensor that the network sees when it is used."""

    @abstractmethod
    def view(self, picture: Picture, rng: np.random.Generator) -> Tensor:
        """Turn a picture into one that training sees: cut, mirrored, recoloured by chance."""

    @abstractmethod
    def train_set(self, items: Sequence[Item]) -> Dataset:
        """Make the data set that is trained on, indexed with a `Draw`."""

    def setup(self, stage: str) -> None:
        """Find the files of a stage: ``fit``, ``validate`` or ``test``.

        Raises:
            InputError: If there is nothing of the stage's.
        """
        self._fits()
        self.found = found = self.parts()
        wanted = {"fit": "train", "test": "query"}.get(stage, "database")
        if not len(found.get(wanted, ())):
            raise InputError(self.root, f"has nothing to {stage} on", f"a {wanted} part; found: {', '.join(found)}")
        if stage == "fit":
            self.train = self.train_set(found["train"].items)

    def _fits(self) -> None:
        """Refuse a network that would see other pictures, or features of another backbone, than it is trained on here."""
        network = getattr(getattr(self.trainer, "lightning_module", None), "network", None)
        backbone = getattr(network, "backbone", None)
        if not isinstance(backbone, Backbone):
            return
        pairs = {"side": (self.side, network.side)}
        if self.views:
            pairs |= {"backbone": (self.backbone, backbone.name), "pretrained": (self.pretrained, backbone.pretrained)}
            if not backbone.frozen:
                raise InputError("views", f"{self.views} made once, of a backbone that is trained", "0, or a frozen backbone")
        for name, (ours, theirs) in pairs.items():
            if ours != theirs:
                raise InputError(name, f"the data's is {ours}, the network's {theirs}", "the same for both")

    def train_dataloader(self) -> DataLoader:
        """Batches to train on; no picture twice in one."""
        return train_loader(self, self.train, min(self.batch_size, len(self.train)), self.seed, self.num_workers)

    def val_dataloader(self) -> DataLoader:
        """Validation queries and then the database, plain, with labels and roles.

        Without validation queries, some of the database are searched for among the others: the queries stay unseen.
        """
        if len(self.found.get("val", ())):
            return self._evaluated(("val", None, QUERY), ("database", None, DATABASE))
        count = len(self.found.get("database", ()))
        order = np.random.default_rng(0).permutation(count)
        few = np.sort(order[: min(500, count // 2)])
        return self._evaluated(("database", few, QUERY), ("database", np.setdiff1d(order, few), DATABASE))

    def test_dataloader(self) -> DataLoader:
        """Queries and then the database."""
        return self._evaluated(("query", None, QUERY), ("database", None, DATABASE))

    def _evaluated(self, *chosen: tuple[str, np.ndarray | None, int]) -> DataLoader:
        parts = []
        for name, some, role in chosen:
            part = self.found.get(name, Labelled([], None))
            rows = np.arange(len(part)) if some is None else some
            items = self.features(name)[rows] if self.views else _Plain([part.items[i] for i in rows], self.plain)
            parts.append((items, np.full(len(rows), -1) if part.labels is None else part.labels[rows], role))
        return DataLoader(_Evaluated(parts), self.batch_size, num_workers=self.num_workers)

    def features(self, part: str) -> np.ndarray:
        """Return the features of a part's pictures, as they are: float32 ``(N, D)``, made once and kept."""
        found = self.found or self.parts()
        return self._made(found[part].items, lambda p, _: self.plain(p), 1)[0]

    def feature_views(self, items: Sequence[Item]) -> np.ndarray:
        """Return the features of ``views`` augmented views of each picture: float32 ``(views, N, D)``, made once and kept."""
        return self._made(items, self.view, self.views, self.seed)

    def _made(
        self, items: Sequence[Item], tensor: Callable[[Picture, np.random.Generator], Tensor], views: int, *seed: int
    ) -> np.ndarray:
        kind = f"{type(self).__module__}.{type(self).__qualname__}"  # says how pictures become tensors
        weights = Path(self.pretrained)
        made_by = fingerprints([weights]) if weights.is_file() else self.pretrained
        key = [kind, fingerprints(items), self.backbone, made_by, self.signed, self.side, views, *seed]

        def make() -> dict[str, np.ndarray]:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)  # random weights are the same ones every time
                backbone = Backbone(self.backbone, self.pretrained, signed=self.signed)
            network = quick(backbone, "float32")
            made = []
            with bar("features") as tick:
                tick(0, views * len(items))
                for view in range(views):
                    for start in range(0, len(items), 32):
                        draws = [
                            (i, np.random.default_rng((*seed, view, i))) for i in range(start, min(start + 32, len(items)))
                        ]
                        made.append(network(torch.stack([tensor(read(items[i]), rng) for i, rng in draws])))
                        tick(len(draws))
            return {"features": torch.cat(made).reshape(views, len(items), -1).numpy()}

        return cached("features", key, make)["features"]


class TwoViews(Dataset):
    """Two views of each picture, drawn anew in every epoch: ``{"image", "other"}``.

    Args:
        items: Files or arrays.
        view: Makes one view.
    """

    def __init__(self, items: Sequence[Item], view: Callable[[Picture, np.random.Generator], Tensor]) -> None:
        self.items, self.view = items, view

    def __len__(self) -> int:
        """Count the pictures."""
        return len(self.items)

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        """Make two views."""
        picture, rng = read(self.items[draw.index]), draw.generator()
        return {"image": self.view(picture, rng), "other": self.view(picture, rng)}


class TwoCachedViews(Dataset):
    """Features of two different views of each picture, out of some that were made once: ``{"image", "other"}``.

    Args:
        features: ``(views, N, D)``, two views or more.
    """

    def __init__(self, features: np.ndarray) -> None:
        if len(features) < 2:
            raise InputError("views", f"{len(features)}", "0 (fresh ones), or at least 2 to choose from")
        self.features = torch.from_numpy(features)

    def __len__(self) -> int:
        """Count the pictures."""
        return self.features.shape[1]

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        """Choose two views."""
        one, other = draw.generator().choice(len(self.features), 2, replace=False)
        return {"image": self.features[one, draw.index], "other": self.features[other, draw.index]}


class _Plain(Sequence[Tensor]):
    """Pictures as tensors, one at a time."""

    def __init__(self, items: Sequence[Item], plain: Callable[[Picture], Tensor]) -> None:
        self.items, self.plain = items, plain

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]
        return self.plain(read(self.items[index]))


class _Evaluated(Dataset):
    """What is evaluated, in order: ``{"image", "label", "role"}``; label -1 where none is known.

    Args:
        parts: Pictures or features, their labels, and their role.
    """

    def __init__(self, parts: Sequence[tuple[Sequence[Any], np.ndarray, int]]) -> None:
        self.parts = parts
        self.places = [(part, i) for part, (items, _, _) in enumerate(parts) for i in range(len(items))]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> dict[str, Tensor | int]:
        part, i = self.places[index]
        items, labels, role = self.parts[part]
        return {"image": torch.as_tensor(items[i]), "label": torch.as_tensor(labels[i]), "role": role}


@cache
def glyph_parts(copies: int = 80, clutter: float = 0.5, draw: int = 0) -> dict[str, Labelled]:
    """Draw the embedded pictures as a data set, or take them as they were drawn before; see `foveate.samples.glyphs`.

    Args:
        copies: Pictures of each of the 20 things in ``train`` and ``database``, which are the same; a quarter as many in
            ``query``, an eighth in ``val``.
        clutter: Contrast of the photographs behind them.
        draw: Which collection; another one is other pictures of the same things.
    """

    def make() -> dict[str, np.ndarray]:
        counts: dict[Role, int] = {"database": copies, "query": max(1, copies // 4), "val": max(1, copies // 8)}
        drawn = {role: collection(role, count, clutter, draw) for role, count in counts.items()}
        return {f"{role}_{name}": a for role, c in drawn.items() for name, a in c._asdict().items()}

    found = cached("glyphs", [1, copies, clutter, draw], make)
    parts = {role: Labelled(found[f"{role}_pixels"], found[f"{role}_labels"], tuple(THINGS)) for role in PHOTOGRAPHS}
    return {"train": parts["database"], **parts}


def read(item: Item) -> Picture:
    """Read a picture from its file, or take an array ``(H, W, 3)`` uint8 for one."""
    return read_picture(item) if isinstance(item, Path) else Picture(np.asarray(item))


def fingerprints(items: Sequence[Item]) -> str:
    """Hash what identifies pictures: name, size and time of files, the values of arrays."""
    digest = hashlib.sha256()
    for item in items:
        if isinstance(item, Path):
            status = item.stat() if item.exists() else None
            digest.update(os.fsencode(item) + f":{status and (status.st_size, status.st_mtime_ns)}".encode())
        else:
            digest.update(np.ascontiguousarray(item))
    return digest.hexdigest()
