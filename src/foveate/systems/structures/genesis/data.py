"""The paper's data in their own layouts, one's own light curves, and simulated stars."""

from __future__ import annotations

import hashlib
import io
import json
import os
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from foveate.errors import InputError
from foveate.parts.caching import cache_folder
from foveate.parts.progress import bar
from foveate.parts.training import Draw, train_loader
from foveate.results import write_atomically
from foveate.systems.structures.genesis import curves, synthetic, views
from foveate.systems.structures.genesis.method import prepare
from foveate.systems.structures.genesis.records import Views, read_views
from foveate.systems.structures.genesis.search import search
from foveate.systems.structures.genesis.splits import PARTS, Split, split
from foveate.systems.structures.genesis.tables import Event, is_dr24, read_dr24, read_events

Augment = Literal["none", "flip", "flip+noise", "random flip"]
SHIPPED_BINS = 501  # of the shipped weights: what is taken where no network says otherwise
CHUNK = 32  # stars whose views are kept in one file


# ---------------------------------------------------------------------------------------------------------------------
# training sets
# ---------------------------------------------------------------------------------------------------------------------


class Examples(Dataset):
    """Views as they are: ``{"view": (1, bins), "local": (1, local_bins), "label": ()}``."""

    def __init__(self, views: Views) -> None:
        self.views = views

    def __len__(self) -> int:
        """Count the events."""
        return len(self.views)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return one event."""
        arrays = (self.views.view[index], self.views.local[index], self.views.label[index])
        return dict(zip(("view", "local", "label"), map(torch.as_tensor, arrays), strict=True))


class Augmented(Dataset):
    """Training views with their variants, indexed with a `Draw`.

    Args:
        views: The events.
        augment: ``flip`` adds every view reversed in time, ``flip+noise`` four copies with Gaussian noise besides, whose
            deviation is that view's own robust scatter: an epoch is 2 or 6 times as long. ``random flip`` reverses half of
            them (Astronet's).
    """

    def __init__(self, views: Views, augment: Augment) -> None:
        if augment not in ("none", "flip", "flip+noise", "random flip"):
            raise InputError("augment", f"there is no {augment!r}", "none, flip, flip+noise or random flip")
        self.views, self.augment = views, augment
        self.variants = {"flip": 2, "flip+noise": 6}.get(augment, 1)

    def __len__(self) -> int:
        """Count the variants of all events."""
        return self.variants * len(self.views)

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        """Return one variant of one event."""
        variant, event = divmod(draw.index, len(self.views))
        both = [self.views.view[event], self.views.local[event]]
        if variant == 1 or (self.augment == "random flip" and draw.generator().random() < 0.5):
            both = [x[:, ::-1].copy() for x in both]
        elif variant > 1:
            # The copies are made once and for all, so that their noise does not depend on the epoch.
            rng = np.random.default_rng((draw.seed, variant, event))
            both = [x + (scatter(x) * rng.standard_normal(x.shape)).astype(np.float32) for x in both]
        example = {"view": both[0], "local": both[1], "label": self.views.label[event]}
        return {name: torch.as_tensor(value) for name, value in example.items()}


def scatter(view: np.ndarray) -> float:
    """Return the robust standard deviation of a view: 1.4826 times the median absolute deviation.

    Example:
        >>> scatter(np.array([-1.0, -0.1, 0.0, 0.1, 1.0])).__round__(3)
        0.148
    """
    return 1.4826 * float(np.median(np.abs(view - np.median(view)))) if view.size else 0.0


# ---------------------------------------------------------------------------------------------------------------------
# sources of events
# ---------------------------------------------------------------------------------------------------------------------


class Events(LightningDataModule):
    """What all sources of labelled events share: splits, views, loaders.

    Args:
        root: Folder of the data set.
        bins: Length of the global view; by default what the network takes, or the shipped one.
        local_bins: Length of the local view; by default what the network takes, or 201.
        split: ``fixed``, ``mccv`` or ``mccv_by_star``; see `foveate.systems.structures.genesis.splits`.
        split_seed: Seed of a random split.
        augment: See `Augmented`.
        batch_size: Views per step and process.
        mask_transits: Leave an event's own transits out when its star's spline is fitted.
        jobs: Processes that make views.
        seed: Seed of order and augmentation.
        num_workers: Loader processes.
    """

    def __init__(
        self,
        root: str = "",
        bins: int | None = None,
        local_bins: int | None = None,
        split: Split = "fixed",
        split_seed: int = 0,
        augment: Augment = "flip+noise",
        batch_size: int = 64,
        mask_transits: bool = False,
        jobs: int = 1,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        if jobs < 1:
            raise InputError("jobs", f"{jobs} processes", "at least one")
        self.root, self.bins, self.local_bins, self.split, self.split_seed = Path(root), bins, local_bins, split, split_seed
        self.augment, self.batch_size, self.mask_transits, self.jobs = augment, batch_size, mask_transits, jobs
        self.seed, self.num_workers = seed, num_workers

    @abstractmethod
    def events(self) -> list[Event]:
        """List the labelled events, in the order of their table.

        Raises:
            InputError: If the folder is not laid out as expected.
        """

    @abstractmethod
    def made(self, events: Sequence[Event], bins: int, local_bins: int) -> Views:
        """Make the views of some events."""

    def parts(self) -> dict[str, list[Event]]:
        """List the events of each part: ``train``, ``val`` and ``test``."""
        events = self.events()
        return {part: [events[i] for i in chosen] for part, chosen in self.indices(events).items()}

    def indices(self, events: Sequence[Event]) -> dict[str, np.ndarray]:
        """Split events; a fixed split is the table's own, where it says which part each event is in."""
        if self.split == "fixed" and all(event.part for event in events):
            given = np.array([event.part for event in events])
            return {part: np.flatnonzero(given == part) for part in PARTS}
        columns = [list(column) for column in zip(*((e.label, e.id, e.star) for e in events), strict=True)]
        return split(self.split, *columns, self.split_seed)

    def views(self, events: Sequence[Event] | None = None) -> Views:
        """Make the views of some or all events, of the lengths that the network takes."""
        return self.made(self.events() if events is None else events, *self._lengths())

    def _lengths(self) -> tuple[int, int]:
        """Return the lengths of the global and the local view: what was asked for, what the network takes, or the shipped one.

        Raises:
            InputError: If what was asked for is not what the network takes.
        """
        module = self.trainer.lightning_module if self.trainer is not None else None
        takes = getattr(getattr(module, "network", None), "arguments", {})
        found = []
        for name, otherwise in (("bins", SHIPPED_BINS), ("local_bins", 201)):
            asked, wanted = getattr(self, name), takes.get(name)
            if asked and wanted and asked != wanted:
                raise InputError(
                    f"data.{name}", f"the views have {asked} bins, the network takes {wanted}", "one number for both"
                )
            found.append(asked or wanted or otherwise)
        return found[0], found[1]

    def setup(self, stage: str) -> None:
        """Make all views.

        Raises:
            InputError: If the stage's part holds no events.
        """
        events = self.events()
        chosen = self.indices(events)
        for part in {"fit": ("train", "val"), "validate": ("val",)}.get(stage, ("test",)):
            if not len(chosen[part]):
                raise InputError(self.root, f"{len(events)} events leave none for the part {part}", "at least 10 events")
        whole = self.views(events)
        self.train, self.val, self.test = (whole.take(chosen[part]) for part in PARTS)

    def train_dataloader(self) -> DataLoader:
        """Variants of the training events in batches: ``{"view", "local", "label"}``."""
        return train_loader(self, Augmented(self.train, self.augment), self.batch_size, self.seed, self.num_workers)

    def val_dataloader(self) -> DataLoader:
        """Validation events as they are."""
        return DataLoader(Examples(self.val), 256, num_workers=self.num_workers)

    def test_dataloader(self) -> DataLoader:
        """Test events as they are."""
        return DataLoader(Examples(self.test), 256, num_workers=self.num_workers)


class InMemory(Events):
    """Views that are there already, with a split of one's own: what cross-validation trains on.

    Args:
        views: All events.
        chosen: Indices of the events of each part.
        augment: See `Augmented`.
        batch_size: Views per step.
        seed: Seed of order and augmentation.
    """

    def __init__(self, views: Views, chosen: dict[str, np.ndarray], augment: Augment, batch_size: int, seed: int) -> None:
        super().__init__(augment=augment, batch_size=batch_size, seed=seed)
        self.whole, self.chosen = views, chosen

    def events(self) -> list[Event]:
        """List the events."""
        return [Event(i, s, int(y)) for i, s, y in zip(self.whole.id, self.whole.star, self.whole.label, strict=True)]

    def made(self, events: Sequence[Event], bins: int, local_bins: int) -> Views:
        """Return all."""
        return self.whole

    def indices(self, events: Sequence[Event]) -> dict[str, np.ndarray]:
        """Return the split."""
        return self.chosen


class TFRecords(Events):
    """The released pipeline's shards: ``train-0000k-of-00008``, ``val-00000-of-00001``, ``test-00000-of-00001``.

    The parts of a fixed split are those of the shards.
    """

    def events(self) -> list[Event]:
        """Read the shards."""
        whole, parts = self._read
        columns = zip(whole.id, whole.star, whole.label, parts, strict=True)
        return [Event(name, star, int(label), part=part) for name, star, label, part in columns]

    @cached_property
    def _read(self) -> tuple[Views, list[str]]:
        shards = {part: sorted(self.root.glob(f"{part}-*-of-*")) for part in PARTS}
        if not any(shards.values()):
            raise InputError(self.root, "has no train-*-of-*, val-*-of-* or test-*-of-*", "the released pipeline's TFRecords")
        read = [(part, read_views(path)) for part, paths in shards.items() for path in paths]
        sizes = {(v.view.shape[2], v.local.shape[2]) for _, v in read}
        if len(sizes) > 1:
            raise InputError(self.root, f"holds views of {len(sizes)} lengths: {sorted(sizes)}", "one length")
        # What has no label cannot be learned from.
        kept = [(part, v.take(np.flatnonzero(v.label >= 0))) for part, v in read]
        return Views.joined([v for _, v in kept]), [part for part, v in kept for _ in range(len(v))]

    def made(self, events: Sequence[Event], bins: int, local_bins: int) -> Views:
        """Return the views of some events; they are all there.

        Raises:
            InputError: If they are of another length than the network takes.
        """
        whole, _ = self._read
        module = self.trainer.lightning_module if self.trainer is not None else None
        if (self.bins or module) and whole.view.shape[2] != bins:
            raise InputError(
                self.root, f"its views have {whole.view.shape[2]} bins, the network takes {bins}", "one number for both"
            )
        place = {name: i for i, name in enumerate(whole.id)}
        return whole.take([place[event.id] for event in events])


class FromCurves(Events):
    """What sources of light curves share: their views are made once, and kept in the user's cache."""

    @abstractmethod
    def star(self, events: Sequence[Event]) -> Iterator[tuple[views.Flat, views.Ephemeris]]:
        """Detrend one star: for each of its events the light curve and when it happens."""

    @abstractmethod
    def depends(self, events: Sequence[Event]) -> Any:
        """Return what the views of some events depend on beside the code, as plain values."""

    def made(self, events: Sequence[Event], bins: int, local_bins: int) -> Views:
        """Make the views, star by star, or take them from the cache."""
        from joblib import Parallel, delayed

        order = sorted(range(len(events)), key=lambda i: events[i].star)
        stars = [list(group) for _, group in groupby(order, key=lambda i: events[i].star)]
        chunks = [[i for star in stars[k : k + CHUNK] for i in star] for k in range(0, len(stars), CHUNK)]
        # Two processes that make the same views at a time begin at different places and share the work.
        first = os.getpid() % max(1, len(chunks))
        found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        turned = chunks[first:] + chunks[:first]
        with bar("making views") as tick:
            tick(0, len(events))
            work = (delayed(self._chunk)([events[i] for i in chunk], bins, local_bins) for chunk in turned)
            for chunk, pair in zip(turned, Parallel(n_jobs=self.jobs, return_as="generator")(work), strict=True):
                found |= {i: (pair[0][k], pair[1][k]) for k, i in enumerate(chunk)}
                tick(len(chunk))
        both = [np.stack([found[i][k] for i in range(len(events))]) for k in (0, 1)]
        label = np.array([event.label for event in events], np.int64)
        return Views(*both, label, tuple(e.id for e in events), tuple(e.star for e in events))

    def _chunk(self, events: Sequence[Event], bins: int, local_bins: int) -> tuple[np.ndarray, np.ndarray]:
        """Make the views of some stars' events, or read them: float32 ``(n, 1, bins)`` and ``(n, 1, local_bins)``."""
        content = [bins, local_bins, self.mask_transits, _code(), self.depends(events)]
        key = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]
        path = cache_folder() / "genesis" / "views" / f"{key}.npz"
        try:
            with np.load(path, allow_pickle=False) as kept:
                return kept["view"], kept["local"]
        except (OSError, ValueError, KeyError, EOFError):
            pass  # not there yet, or broken: it is made anew
        pairs: list[tuple[Tensor, Tensor]] = []
        for _, group in groupby(events, key=lambda event: event.star):
            for flat, ephemeris in self.star(list(group)):
                pairs.append((prepare(flat, ephemeris, bins), prepare(flat, ephemeris, local_bins, local=True)))
        view, local = (torch.stack(column).numpy() for column in zip(*pairs, strict=True))
        buffer = io.BytesIO()
        np.savez(buffer, view=view, local=local)
        write_atomically(path, buffer.getvalue())
        return view, local

    def flat(self, curve: views.LightCurve, ephemeris: views.Ephemeris | None) -> views.Flat:
        """Detrend, with the event left out if asked for."""
        return views.flatten(curve, ephemeris if self.mask_transits else None)


def _code() -> str:
    """Hash the code that views depend on."""
    files = (views, synthetic, curves)
    return hashlib.sha256(b"".join(Path(str(f.__file__)).read_bytes() for f in files)).hexdigest()[:16]


def _stamps(events: Sequence[Event]) -> list[Any]:
    """Say what files events rest on, and when those were changed."""
    files = sorted({path for event in events for path in event.files})
    when = [(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) if p.exists() else (str(p), 0, 0) for p in files]
    return [when, [(e.id, [str(f) for f in e.files], e.ephemeris and vars(e.ephemeris)) for e in events]]


class Kepler(FromCurves):
    """Kepler's Q1-Q17 DR24 table (one CSV file in the folder) and light curves ``0012/001234567/kplr001234567-*_llc.fits``.

    Args:
        partial: Leave out the stars whose light curves are not there.
        **settings: See `Events`.
    """

    def __init__(self, partial: bool = False, **settings: Any) -> None:
        super().__init__(**settings)
        self.partial = partial

    def events(self) -> list[Event]:
        """List the labelled events of the table with their stars' files."""
        tables = [path for path in sorted(self.root.glob("*.csv")) if is_dr24(path)]
        if len(tables) != 1:
            said = f"holds {len(tables)} tables of threshold-crossing events"
            raise InputError(
                self.root, said, "one CSV file, the Q1-Q17 DR24 table, beside folders 0007, 0008 ... of light curves"
            )
        found, lost = [], []
        for event in read_dr24(tables[0]):
            folder = self.root / event.star[:4] / event.star
            files = tuple(sorted(folder.glob(f"kplr{event.star}-*_llc.fits")))
            if files:
                found.append(Event(event.id, event.star, event.label, files, event.ephemeris))
            else:
                lost.append(folder)
        if not found or (lost and not self.partial):
            count = len({*lost})
            said = f"holds no kplr*_llc.fits ({count} stars of {tables[0].name} have none)"
            raise InputError(lost[0], said, "long-cadence light curves of every star, or --data.partial true")
        return found

    def star(self, events: Sequence[Event]) -> Iterator[tuple[views.Flat, views.Ephemeris]]:
        """Join the quarters and detrend them.

        Note:
            The first transit of the table may lie in a quarter that is not there; the epoch is then moved by whole periods.
        """
        curve = curves.read_star(events[0].files)
        first = float(curve.time[0])
        flat = None
        for event in events:
            given = event.ephemeris
            if given is None:
                continue
            epoch = given.t0 if given.t0 >= first else first + (given.t0 - first) % given.period
            ephemeris = views.Ephemeris(given.period, epoch, given.duration)
            views.check_ephemeris(curve, ephemeris)
            flat = self.flat(curve, ephemeris) if flat is None or self.mask_transits else flat
            yield flat, ephemeris

    def depends(self, events: Sequence[Event]) -> Any:
        """Name the files."""
        return _stamps(events)


class Own(FromCurves):
    """Your own light curves: ``events.csv`` with columns file, label, period, t0, duration [hours], and part if you have one.

    See `foveate.systems.structures.genesis.tables.read_events`. Where an event has no ephemeris it is searched, as `foveate
    run` does.
    """

    def events(self) -> list[Event]:
        """List the labelled events."""
        events = read_events(self.root / "events.csv")
        for event in events:
            if event.label < 0:
                raise InputError(self.root / "events.csv", f"{event.id} has no label", "PC or 1, AFP, NTP or 0 for every event")
        return events

    def star(self, events: Sequence[Event]) -> Iterator[tuple[views.Flat, views.Ephemeris]]:
        """Read, search where there is no ephemeris, and detrend."""
        for event in events:
            yield detrended(curves.read_star(event.files), event.ephemeris, self.mask_transits)[:2]

    def depends(self, events: Sequence[Event]) -> Any:
        """Name the files."""
        return _stamps(events)


def detrended(
    curve: views.LightCurve, ephemeris: views.Ephemeris | None, mask_transits: bool = False
) -> tuple[views.Flat, views.Ephemeris, float]:
    """Detrend a light curve and find out when its event happens.

    Args:
        curve: The light curve.
        ephemeris: When the event happens; None searches for one.
        mask_transits: Leave the event out when the spline is fitted.

    Returns:
        The flat light curve, the ephemeris, and the signal-to-noise ratio of the search, NaN if none was needed.

    Raises:
        InputError: If the ephemeris does not fit the light curve, or nothing can be searched.
    """
    if ephemeris is not None:
        views.check_ephemeris(curve, ephemeris)
        return views.flatten(curve, ephemeris if mask_transits else None), ephemeris, float("nan")
    flat = views.flatten(curve)
    found = search(flat, curve.name)
    return views.flatten(curve, found.ephemeris) if mask_transits else flat, found.ephemeris, found.snr


class Sample(FromCurves):
    """Simulated stars; see `foveate.systems.structures.genesis.synthetic`.

    Args:
        events: Number of events.
        quarters: Quarters of each light curve.
        world: Seed of the stars.
        **settings: See `Events`.
    """

    def __init__(self, events: int = 1500, quarters: int = 4, world: int = 0, **settings: Any) -> None:
        super().__init__(**settings)
        if events < 10 or quarters < 1:
            raise InputError("events, quarters", f"{events}, {quarters}", "at least 10 events and a quarter")
        self.count, self.quarters, self.world = events, quarters, world

    def events(self) -> list[Event]:
        """List the events, whose kinds are drawn first."""
        numbered: dict[int, int] = {}
        found = []
        for star, kind in self._plan:
            numbered[star] = numbered.get(star, 0) + 1
            found.append(Event(f"{star}-{numbered[star]}", str(star), int(kind == "PC")))
        return found

    def star(self, events: Sequence[Event]) -> Iterator[tuple[views.Flat, views.Ephemeris]]:
        """Simulate one star and detrend it; all of its events are in the light curve, whichever are asked for."""
        star = int(events[0].star)
        kinds = self._kinds[star]
        curve, simulated = synthetic.simulate(star, kinds, self.world, self.quarters)
        flat = None
        for event in events:
            ephemeris = simulated[int(event.id.partition("-")[2]) - 1].ephemeris
            flat = self.flat(curve, ephemeris) if flat is None or self.mask_transits else flat
            yield flat, ephemeris

    @cached_property
    def _plan(self) -> list[tuple[int, synthetic.Kind]]:
        return synthetic.plan(self.count, self.world)

    @cached_property
    def _kinds(self) -> dict[int, list[synthetic.Kind]]:
        kinds: dict[int, list[synthetic.Kind]] = {}
        for star, kind in self._plan:
            kinds.setdefault(star, []).append(kind)
        return kinds

    def depends(self, events: Sequence[Event]) -> Any:
        """Name the stars: each is drawn from its number and the world's."""
        return [self.world, self.quarters, [(e.id, self._kinds[int(e.star)]) for e in events]]
