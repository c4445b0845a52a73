"""Tabular benchmarks: every cell of a space trained once, so that a search is a look-up and the true optimum is known.

``nano125.json`` beside this file holds the 125 cells of the space ``nano`` on scikit-learn's handwritten digits, in two
settings: a short, noisy one to search in, and a longer one on disturbed test pictures that tells what a cell is worth. It
was made by

    python -m foveate.systems.efficiency.na_nas.table --rebuild

which goes on where it was interrupted. Other tables come from NAS-Bench-201 through the ``nats-bench`` package (`from_nats`).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from foveate.errors import InputError
from foveate.parts.caching import cache_folder, digest
from foveate.parts.counting import macs, parameters
from foveate.parts.progress import bar
from foveate.parts.training import seed_generators
from foveate.results import write_atomically
from foveate.samples.digits import digits
from foveate.systems.efficiency.na_nas.method import CellNetwork
from foveate.systems.efficiency.na_nas.spaces import SPACES, Cell, Space

EMBEDDED = Path(__file__).with_name("nano125.json")
EXPECTED = "a table that na_nas wrote (JSON), or a folder NATS-tss-v1_0-3ffb9-simple"
SIDE, CLASSES = 16, 10
SIZES = {"train": 1000, "val": 300, "test": 497}
COPIES = 4  # of the test part, each disturbed by another draw
# Noise on the test part, from hard to easy. The table has the hardest one at which the rank correlation is within GUARD,
# or comes nearest to it.
LEVELS = (0.3, 0.2, 0.15, 0.1)
GUARD = (0.4, 0.85)
VERSION = 2


@dataclass(frozen=True)
class Setting:
    """How the cells of a table are trained.

    Attributes:
        width: Channels of the first stage.
        cells: Per stage.
        epochs: Of training.
        pictures: Of the training part that are trained on.
        seeds: Trainings of each cell.
    """

    width: int
    cells: int
    epochs: int
    pictures: int
    seeds: int


SETTINGS = {"search": Setting(8, 1, 3, 400, 3), "test": Setting(16, 2, 15, 1000, 2)}


@dataclass(frozen=True)
class Tabular:
    """A table of accuracies.

    Attributes:
        space: The space; rows are its cells in the order of `Space.every`.
        search: float64 ``(cells, seeds)``: accuracy in [0, 1] in the search setting, one column for each training.
        test: float64 ``(cells, seeds)``: accuracy in the test setting.
        cost: ``{"parameters", "macs"}`` of the test setting's networks, int64 ``(cells,)``, if known.
        about: How it was made.
    """

    space: Space
    search: np.ndarray
    test: np.ndarray
    cost: dict[str, np.ndarray] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    def row(self, cell: Cell) -> int:
        """Return the row of a cell."""
        found = 0
        for operation in cell:
            found = found * len(self.space.operations) + operation
        return found

    @cached_property
    def cells(self) -> list[Cell]:
        """All cells, by row."""
        return list(self.space.every())

    @cached_property
    def connected(self) -> np.ndarray:
        """Whether something passes through a cell, ``(cells,)``."""
        return np.array([self.space.connected(cell) for cell in self.cells])

    @cached_property
    def functions(self) -> np.ndarray:
        """A number for what each cell computes, ``(cells,)``."""
        return np.unique([self.space.function(cell) for cell in self.cells], return_inverse=True)[1]

    def around(self, d: int = 1) -> np.ndarray:
        """Return the rows of the neighbours of each cell, int64 ``(cells, neighbours)``, in the order of `Space.changes`."""
        cells = np.array(self.cells, np.int64)
        base = len(self.space.operations)
        place = base ** np.arange(self.space.edges - 1, -1, -1)
        made = []
        for change in self.space.changes(d):
            moved = cells.copy()
            for edge, shift in change:
                moved[:, edge] = (moved[:, edge] + shift) % base
            made.append(moved @ place)
        return np.stack(made, 1)

    def rank_correlation(self) -> float:
        """Compute Spearman's correlation of the settings over the connected cells."""
        from scipy.stats import spearmanr

        kept = self.connected
        return float(spearmanr(self.search[kept].mean(1), self.test[kept].mean(1)).statistic)


# ---------------------------------------------------------------------------------------------------------------------
# reading
# ---------------------------------------------------------------------------------------------------------------------


def read_table(path: Path | None = None) -> Tabular:
    """Read a table: a JSON file of `write_table`, a folder of NATS-Bench, or the embedded one.

    Raises:
        InputError: If it is missing, broken, or not whole.
    """
    path = Path(path or EMBEDDED)
    if path.is_dir() or path.suffix in (".pth", ".pbz2"):
        return _nats_files(path)
    if not path.is_file():
        raise InputError(path, "there is no such file", EXPECTED)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(path, f"is not JSON ({type(error).__name__}: {error})", EXPECTED) from error
    if not isinstance(content, dict) or content.get("space") not in SPACES or not isinstance(content.get("cells"), dict):
        raise InputError(path, "is not a table of cells", EXPECTED)
    space = SPACES[content["space"]]
    if space.size > 10**6:
        raise InputError(path, f"cannot hold all {space.size:.2g} cells of {space.name}", "a table of nb201, nano or nano6")
    rows: list[dict[str, Any]] = []
    for cell in space.every():
        text = space.text(cell)
        entry = content["cells"].get(text)
        if not isinstance(entry, dict):
            raise InputError(path, f"lacks the cell {text}", f"all {space.size} cells of {space.name}")
        rows.append(entry)
    columns = {name: _column(path, rows, name) for name in ("search", "test")}
    cost = {}
    for name in ("parameters", "macs"):
        if all(isinstance(row.get(name), int) for row in rows):
            cost[name] = np.array([row[name] for row in rows], np.int64)
    return Tabular(space, **columns, cost=cost, about={k: v for k, v in content.items() if k not in ("space", "cells")})


def _column(path: Path, rows: list[dict[str, Any]], name: str) -> np.ndarray:
    lists = [row.get(name) for row in rows]
    count = len(lists[0]) if isinstance(lists[0], list) else 0
    for found in lists:
        right = isinstance(found, list) and len(found) == count > 0 and all(type(v) in (int, float) for v in found)
        if not right or not all(0 <= v <= 1 for v in found):
            wrong = f"has {found!r} as accuracies of a cell in the {name} setting"
            raise InputError(path, wrong, "as many numbers from 0 to 1 for each cell")
    return np.array(lists, np.float64)


def _nats_files(path: Path) -> Tabular:
    try:
        from nats_bench import create
    except ModuleNotFoundError as error:
        raise InputError(path, "is read by the package nats-bench, which is not installed", "pip install nats_bench") from error
    try:
        api = create(str(path), "tss", fast_mode=path.is_dir(), verbose=False)
    except Exception as error:  # the package raises whatever the damage leads to
        raise InputError(path, f"is no NATS-Bench topology table ({type(error).__name__}: {error})", EXPECTED) from error
    return from_nats(api)


def from_nats(api: Any, dataset: str = "cifar10") -> Tabular:
    """Take the two settings from NATS-Bench (NAS-Bench-201): 12 epochs validated, and 200 epochs tested.

    Args:
        api: What ``nats_bench.create(..., "tss")`` returns.
        dataset: ``cifar10``, ``cifar100`` or ``ImageNet16-120``.
    """
    space = SPACES["nb201"]
    search, test = [], []
    # The table has CIFAR-10's validation part under another name.
    searched = "cifar10-valid" if dataset == "cifar10" else dataset
    with bar("table") as tick:
        tick(0, space.size)
        for cell in space.every():
            index = api.query_index_by_arch(space.text(cell))
            short = api.get_more_info(index, searched, hp="12", is_random=False)
            long = api.get_more_info(index, dataset, hp="200", is_random=False)
            search.append([short["valid-accuracy"] / 100])
            test.append([long["test-accuracy"] / 100])
            tick(1)
    about = {"data": f"NATS-Bench tss, {dataset}", "settings": {"search": "12 epochs", "test": "200 epochs"}}
    return Tabular(space, np.array(search), np.array(test), about=about)


# ---------------------------------------------------------------------------------------------------------------------
# making
# ---------------------------------------------------------------------------------------------------------------------


def parts() -> dict[str, tuple[Tensor, Tensor]]:
    """Split the digits: float32 pictures ``(N, 1, 16, 16)`` in [0, 1] and labels of train, val and test."""
    pictures, labels = digits(SIDE)
    order = np.random.default_rng(0).permutation(len(labels))
    found, start = {}, 0
    for part, size in SIZES.items():
        rows = order[start : start + size]
        found[part] = (torch.from_numpy(pictures[rows][:, None] / np.float32(255)), torch.from_numpy(labels[rows]))
        start += size
    return found


def disturbed(pictures: Tensor, shift: int, noise: float, contrast: float, rng: np.random.Generator) -> Tensor:
    """Move each picture by up to ``shift`` pixels each way, take contrast away and add noise."""
    side = pictures.shape[-1]
    padded = functional.pad(pictures, (shift,) * 4)
    places = rng.integers(0, 2 * shift + 1, (len(pictures), 2))
    moved = torch.stack([p[:, y : y + side, x : x + side] for p, (y, x) in zip(padded, places, strict=True)])
    added = torch.from_numpy(rng.standard_normal(moved.shape).astype(np.float32))
    return 0.5 + contrast * (moved - 0.5) + noise * added


def batches(setting: Setting, seed: int, batch: int = 50) -> list[tuple[Tensor, Tensor]]:
    """Make the batches of a training, alike for all cells: moved by up to 2 pixels, noise of 0.1."""
    pictures, labels = (x[: setting.pictures] for x in parts()["train"])
    made = []
    for epoch in range(setting.epochs):
        rng = np.random.default_rng((seed, epoch))
        for rows in torch.from_numpy(rng.permutation(len(labels))).split(batch):
            given = disturbed(pictures[rows], 2, 0.1, 1.0, rng)
            made.append((given.contiguous(memory_format=torch.channels_last), labels[rows]))
    return made


def examined() -> dict[str, list[tuple[Tensor, Tensor]]]:
    """Make what accuracies are taken on: the validation part as it is, and copies of the test part at each level of noise."""
    found = parts()
    pictures, labels = found["test"]
    tests = []
    for noise in LEVELS:
        copies = [disturbed(pictures, 3, noise, 0.7, np.random.default_rng((99, i))) for i in range(COPIES)]
        tests.append((torch.cat(copies), labels.repeat(COPIES)))
    return {"search": [found["val"]], "test": tests}


def train(network: CellNetwork, given: list[tuple[Tensor, Tensor]], lr: float = 0.1) -> None:
    """Train on batches: SGD with Nesterov's momentum 0.9, weight decay 5e-4, cosine to zero."""
    network.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.SGD(network.parameters(), lr, 0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, len(given))
    for pictures, labels in given:
        optimiser.zero_grad()
        functional.cross_entropy(network(pictures), labels).backward()
        optimiser.step()
        schedule.step()


@torch.inference_mode()
def accuracy(network: CellNetwork, pictures: Tensor, labels: Tensor) -> float:
    """Measure the share of pictures that are told right."""
    network.eval()
    right = [network(x).argmax(1) == y for x, y in zip(pictures.split(500), labels.split(500), strict=True)]
    return float(torch.cat(right).double().mean())


def trained(cell: Cell, name: str, seed: int, space: Space, given: list[tuple[Tensor, Tensor]]) -> CellNetwork:
    """Train a cell in a setting; its first weights depend on seed and cell."""
    setting = SETTINGS[name]
    seed_generators(seed, *cell)
    network = CellNetwork(space.text(cell), space.name, setting.width, setting.cells, CLASSES, 1, side=SIDE)
    train(network, given)
    return network


def build(space: Space, working: Path) -> dict[str, dict[str, Any]]:
    """Train every cell of a space in both settings; each training's outcome is kept, and another call goes on there.

    Further trainings in the test setting come after the first of every cell. Cells through which nothing passes get the
    chance's score without a training.

    Args:
        space: The space.
        working: Folder for what is done so far.

    Returns:
        Cell as text to its entry: ``search`` and ``test`` hold a list for each training, with its accuracy at each level.
    """
    given = {(n, seed): batches(s, seed) for n, s in SETTINGS.items() for seed in range(s.seeds)}
    asked = examined()
    path = working / f"{space.name}-{digest([VERSION, {n: asdict(s) for n, s in SETTINGS.items()}])}.json"
    done: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    first = [("search", seed) for seed in range(SETTINGS["search"].seeds)] + [("test", 0)]
    rounds = [first, [("test", seed) for seed in range(1, SETTINGS["test"].seeds)]]
    with bar("cells") as tick:
        tick(0, space.size * len(rounds))
        for trainings in rounds:
            for cell in space.every():
                _measure(cell, space, trainings, given, asked, done.setdefault(space.text(cell), _costs(cell, space)))
                write_atomically(path, json.dumps(done))
                tick(1)
    return done


def _costs(cell: Cell, space: Space) -> dict[str, Any]:
    final = CellNetwork(space.text(cell), space.name, SETTINGS["test"].width, SETTINGS["test"].cells, CLASSES, 1)
    counts = {"parameters": parameters(final), "macs": macs(final, (1, 1, SIDE, SIDE))}
    return {"search": [], "test": [], **counts, "seconds": 0.0}


def _measure(
    cell: Cell,
    space: Space,
    trainings: list[tuple[str, int]],
    given: dict[tuple[str, int], list[tuple[Tensor, Tensor]]],
    asked: dict[str, list[tuple[Tensor, Tensor]]],
    entry: dict[str, Any],
) -> None:
    """Train a cell as often as is asked for and was not done yet, and note its accuracies."""
    started = time.process_time()
    for name, seed in trainings:
        if len(entry[name]) <= seed:
            scores = [1 / CLASSES] * len(asked[name])
            if space.connected(cell):
                network = trained(cell, name, seed, space, given[name, seed])
                scores = [round(accuracy(network, *pictures), 6) for pictures in asked[name]]
            entry[name].append(scores)
    entry["seconds"] = round(entry["seconds"] + time.process_time() - started, 2)


def at_level(cells: dict[str, dict[str, Any]], level: int) -> dict[str, dict[str, Any]]:
    """Choose a level of noise: entries with one accuracy for each training, and those at the other levels beside them."""
    made = {}
    for text, entry in cells.items():
        levels = {f"test_noise_{noise}": [scores[i] for scores in entry["test"]] for i, noise in enumerate(LEVELS)}
        chosen = {"search": [scores[0] for scores in entry["search"]], "test": levels[f"test_noise_{LEVELS[level]}"]}
        made[text] = chosen | {"parameters": entry["parameters"], "macs": entry["macs"]} | levels
    return made


def write_table(path: Path, space: Space, cells: dict[str, dict[str, Any]], about: dict[str, Any]) -> None:
    """Write a table, a cell a line."""
    lines = [f"  {json.dumps(text)}: {json.dumps(entry)}" for text, entry in cells.items()]
    head = json.dumps({"space": space.name, **about}, indent=1)[:-2]
    write_atomically(path, head + ',\n "cells": {\n' + ",\n".join(lines) + "\n }\n}\n")


def write_chosen(path: Path, space: Space, cells: dict[str, dict[str, Any]], commit: str) -> None:
    """Write the table at the hardest level of noise at which the guard holds, or else at the one that comes nearest to it."""
    about = dict(_about()) | {"commit": commit, "processor_seconds": round(sum(e["seconds"] for e in cells.values()))}
    by_noise = {}
    for level, noise in enumerate(LEVELS):
        write_table(path, space, at_level(cells, level), about | {"noise": noise, "rank_correlation_by_noise": by_noise})
        by_noise[str(noise)] = round(read_table(path).rank_correlation(), 4)
    kept = min(
        range(len(LEVELS)), key=lambda i: max(GUARD[0] - by_noise[str(LEVELS[i])], by_noise[str(LEVELS[i])] - GUARD[1], 0)
    )
    found = about | {"noise": LEVELS[kept], "rank_correlation_by_noise": by_noise}
    write_table(path, space, at_level(cells, kept), found)


def _about() -> Iterator[tuple[str, Any]]:
    yield "data", f"scikit-learn's digits, {SIDE} x {SIDE}; {SIZES}, {COPIES} disturbed copies of the test part"
    yield "settings", {name: asdict(setting) for name, setting in SETTINGS.items()}
    yield "versions", {"torch": torch.__version__, "numpy": np.__version__}


def main() -> None:
    """Make the embedded table again."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rebuild", action="store_true", help="train what is not trained yet, and write the table")
    parser.add_argument("--commit", default="", help="the code's commit, noted in the table")
    parser.add_argument("--out", type=Path, default=EMBEDDED)
    options = parser.parse_args()
    if options.rebuild:
        torch.set_num_threads(1)
        space = SPACES["nano"]
        cells = build(space, cache_folder() / "na_nas")
        write_chosen(options.out, space, cells, options.commit)
    table = read_table(options.out)
    print(
        f"{options.out.name}: {table.space.size} cells, Spearman's correlation of the settings {table.rank_correlation():.3f}"
    )


if __name__ == "__main__":
    main()
