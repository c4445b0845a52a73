"""Search for a cell, train it on one's own pictures, use it: from the command line or from Python."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from foveate.errors import InputError
from foveate.parts import weights as files
from foveate.parts.counting import macs, parameters
from foveate.parts.progress import bar
from foveate.readers.pictures import find_pictures, read_picture
from foveate.results import Part, Record, Result, Table
from foveate.systems.efficiency.na_nas import method as networks
from foveate.systems.efficiency.na_nas.data import Augmented, Layout, open_data
from foveate.systems.efficiency.na_nas.drawing import dot, draw
from foveate.systems.efficiency.na_nas.fitting import Weights, fit_kept, score, scored_by_training
from foveate.systems.efficiency.na_nas.method import CellNetwork
from foveate.systems.efficiency.na_nas.neighbourhood import Aggregate, Expectation, Kind, Neighbourhood
from foveate.systems.efficiency.na_nas.reporting import (
    FLATNESS,
    Neighbour,
    benchmark_report,
    flatness_rows,
    log_rows,
    neighbours_of,
    summary,
)
from foveate.systems.efficiency.na_nas.search import Found, Method, Scores
from foveate.systems.efficiency.na_nas.search import search as search_cells
from foveate.systems.efficiency.na_nas.spaces import SPACES, Cell, Space, find_space
from foveate.systems.efficiency.na_nas.table import EMBEDDED, Tabular, read_table
from foveate.systems.efficiency.na_nas.train import Final, Searching

SpaceName = Literal["nb201", "darts", "nano", "nano6"]
# How the derived cell is trained if nothing else is asked for: NAS-Bench-201's, DARTS's, and the embedded table's recipe.
_SMALL = {"width": 16, "cells": 2, "epochs": 15, "batch": 50, "lr": 0.1, "weight_decay": 5e-4, "nesterov": True}
FINAL: dict[str, dict[str, Any]] = {
    "nb201": {"width": 16, "cells": 5, "epochs": 200, "batch": 256, "lr": 0.1, "weight_decay": 5e-4, "nesterov": True},
    "darts": {
        "width": 36, "cells": 20, "epochs": 600, "batch": 96, "lr": 0.025, "weight_decay": 3e-4, "drop_path": 0.2,
        "auxiliary": True, "cutout": 16,
    },
    "nano": _SMALL,
    "nano6": _SMALL,
}  # fmt: skip
NUMBERS = {"width": int, "cells": int, "epochs": int, "batch": int, "lr": float, "weight_decay": float, "drop_path": float}
ARCH = "an arch.json that na_nas search wrote: {cell, space, ...}"


def search(
    method: Method = "na-rs",
    space: SpaceName = "nano",
    table: Path | None = None,
    data: Path | None = None,
    layout: Layout = "folder",
    aggregate: Aggregate = "mean",
    d: Literal[1, 2, 3] = 1,
    n_nb: int | None = None,
    k: int = 4,
    expectation: Expectation = "sampled",
    include_self: bool = True,
    dedup: bool = False,
    neighbor: Kind = "shift",
    w_step: Literal["center", "neighbor"] = "center",
    order: Literal[1, 2] = 1,
    candidates: int = 20,
    evaluations: int = 0,
    epochs: int = 0,
    width: int = 0,
    cells: int = 0,
    side: int = 0,
    batch: int = 64,
    alpha_lr: float = 3e-4,
    seed: int = 0,
) -> Result:
    """Search for a cell that is good together with its neighbours.

    rs, evo and darts look at a cell alone; na-rs, na-evo and na-darts at its neighbourhood. The first two kinds look cells
    up in a table, or train each one for a few epochs on your data; darts learns a supernet. What was trained is kept: an
    interrupted call goes on.

    Args:
        method: Random search, regularised evolution or differentiable search, plain or neighbourhood-aware.
        space: nb201 (NAS-Bench-201), darts, or one of the small ones nano and nano6.
        table: A table to look cells up in: na_nas's JSON, or a folder of NATS-Bench. The embedded one for nano by default.
        data: Folder of pictures to search on; darts searches on drawn shapes without one.
        layout: What the folder is.
        aggregate: Of the losses in the neighbourhood: mean, median, worst, mean-std (mean plus deviation), or self.
        d: Edges on which a neighbour may differ.
        n_nb: Neighbours drawn for a candidate of na-rs and na-evo: 10, and all of them in the small spaces, by default.
        k: Neighbours in an architecture step of na-darts.
        expectation: sampled; unbiased (the mean's estimate of the whole neighbourhood); or exact: all neighbours.
        include_self: Whether a cell is of its own neighbourhood.
        dedup: Leave neighbours out that compute the same as the cell.
        neighbor: Relaxed neighbours by shift of the mixing weights, or by mix towards another operation.
        w_step: na-darts: the weights learn at the architecture itself, or at a neighbour.
        order: 2 takes darts's gradient through a step of the weights.
        candidates: Candidates of rs and evo.
        evaluations: Stop by cells scored, neighbours counted, rather than by candidates.
        epochs: Of a supernet (50) or of each cell (3).
        width: Channels while searching: 16, and 8 in the small spaces, by default.
        cells: Cells while searching: 8 for darts, else 1 a stage, by default.
        side: Side of the pictures: 32, and 16 for the drawn shapes, by default.
        batch: Pictures a step.
        alpha_lr: Rate of the architecture in darts.
        seed: Of all that is drawn.

    Returns:
        The cell with how it was found (arch), every candidate (log), each neighbour's score (flatness), and drawings.
    """
    found_space = find_space(space)
    _positive(candidates=candidates, batch=batch)
    plain = not method.startswith("na-")
    small = found_space.name.startswith("nano")
    relaxed = method.endswith("darts")
    if n_nb is None:
        n_nb = found_space.count(1) if small else 10
    around = Neighbourhood(
        "self" if plain else aggregate, d, k if relaxed else n_nb, expectation if not plain else "sampled", include_self,
        neighbor if relaxed else "shift",
    )  # fmt: skip
    asked = {
        "method": method, "aggregate": around.aggregate, "d": d, "neighbours": 0 if around.alone else around.neighbours,
        "expectation": expectation, "include_self": include_self, "dedup": dedup, "seed": seed,
    }  # fmt: skip
    width, cells = width or (8 if small else 16), cells or (8 if space == "darts" else 1)
    if relaxed:
        if table is not None:
            raise InputError("table", "darts learns from pictures", "--data, or rs or evo")
        opened = open_data(data, layout, side or (32 if data else 16), batch, seed, halves=True)
        module = _supernet(opened, found_space, around, width, cells, epochs or 50, w_step, order, alpha_lr, seed)
        return _relaxed_result(module, opened, found_space, asked)
    if data is not None and table is not None:
        raise InputError("table and data", "both are given", "one of them to score cells by")
    benchmark: Tabular | None = None
    if data is not None:
        opened = open_data(data, layout, side or 32, batch, seed)
        evaluate = scored_by_training(opened, found_space, width, cells, epochs or 3, seed)
    else:
        benchmark = _benchmark(table, found_space)
        errors = 1 - benchmark.search.mean(1)
        evaluate = _looked_up(benchmark, errors)
    kind: Literal["random", "evolution"] = "evolution" if method.endswith("evo") else "random"
    with bar("searching") as tick:
        tick(0, 0 if evaluations else candidates)
        found = search_cells(
            found_space, Scores(evaluate), around, kind, candidates, evaluations, np.random.default_rng(seed), dedup, tick
        )
    return _cells_result(found, found_space, benchmark, asked)


def _positive(**values: float) -> None:
    for name, value in values.items():
        if value < 1:
            raise InputError(name, f"{value}", "1 or more")


def _benchmark(table: Path | None, space: Space) -> Tabular:
    if table is None and space.name != "nano":
        raise InputError("space", f"no table of {space.name} is shipped", "--table FILE, or --data FOLDER to train on")
    found = read_table(table or EMBEDDED)
    if found.space != space:
        raise InputError(table, f"is a table of {found.space.name}", f"one of {space.name}, or --space {found.space.name}")
    return found


def _looked_up(table: Tabular, errors: np.ndarray) -> Any:
    return lambda cell: float(errors[table.row(cell)])


def _supernet(
    data: Augmented, space: Space, around: Neighbourhood, width: int, cells: int, epochs: int, w_step: Any, order: Any,
    alpha_lr: float, seed: int,
) -> Searching:  # fmt: skip
    """Learn a supernet, from where an interrupted call left it."""
    options = {
        "space": space.name, "width": width, "cells": cells, "classes": len(data.classes), "aggregate": around.aggregate,
        "d": around.d, "k": around.neighbours, "expectation": around.expectation, "neighbor": around.kind,
        "include_self": around.include_self, "w_step": w_step, "order": order, "epochs": epochs, "alpha_lr": alpha_lr,
        "seed": seed,
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = Searching(**options)
    fit_kept(module, data, epochs, ["search", options], "searching", seed)
    return module


def _relaxed_result(module: Searching, data: Augmented, space: Space, asked: dict[str, Any]) -> Result:
    """Derive the cell, and score it and its neighbours with the supernet's own weights."""
    network = module.network.eval()
    cell = network.derived()
    pictures, labels = data.tensors("val")
    device = next(network.parameters()).device

    def error(one: Cell) -> float:
        return 1 - score(lambda x: network(x.to(device), one), pictures, labels)

    around_it = neighbours_of(space, cell)
    if len(around_it) > 60:  # one pass over the validation part takes long enough
        rng = np.random.default_rng(0)
        around_it = [around_it[i] for i in np.sort(rng.choice(len(around_it), 60, replace=False))]
    with bar("neighbours") as tick:
        tick(0, len(around_it))
        flat = []
        for neighbour in around_it:
            flat.append(Neighbour(neighbour, error(neighbour)))
            tick(1)
    own = error(cell)
    columns = ["epoch", "cell", "train_loss", "architecture_loss", "entropy"]
    log = Table(columns, [[row[c] for c in columns] for row in module.history])
    content = asked | {"steps": "supernet", "scored_by": "the supernet's weights, validation part"}
    return _result(space, cell, own, None, flat, log, content, ())


def _cells_result(found: Found, space: Space, table: Tabular | None, asked: dict[str, Any]) -> Result:
    best = found.best
    counted = {
        "candidates": len(found.tried), "unique_evaluations": len(found.scores.known), "requested": found.scores.asked,
        "scored_by": "table" if table else "short trainings, validation part",
    }  # fmt: skip
    report: dict[str, Any] = {}
    if table is not None:
        errors = 1 - table.search.mean(1)
        # Read for the report only; not counted as evaluations.
        flat = [Neighbour(n, float(errors[table.row(n)])) for n in neighbours_of(space, best.cell)]
        report = {"benchmark": benchmark_report(table, best.cell)}
    else:
        flat = [Neighbour(n, error) for n, error in best.neighbours]
    columns = ["candidate", "cell", "role", "error", "aggregated", "new", "unique"]
    notes = (f"{len(found.tried)} candidates, {len(found.scores.known)} cells scored, {found.scores.asked} scores asked for",)
    return _result(
        space, best.cell, best.own, best.value, flat, Table(columns, log_rows(found, space)), asked | counted | report, notes
    )


def _result(
    space: Space,
    cell: Cell,
    own: float,
    value: float | None,
    flat: Sequence[Neighbour],
    log: Table,
    content: dict[str, Any],
    notes: tuple[str, ...],
) -> Result:
    text = space.text(cell)
    final = FINAL[space.name]
    network = CellNetwork(text, space.name, final["width"], final["cells"], auxiliary=bool(final.get("auxiliary")))
    sizes = {"parameters": parameters(network.eval()), "macs_32": macs(network, (1, 3, 32, 32))}
    record = {
        "cell": text, "space": space.name, "error": own, "aggregated": value, "connected": space.connected(cell), **content,
        "flatness": summary(space, cell, own, flat), "final": final, "final_network": sizes,
    }  # fmt: skip
    title = f"{space.name}: error {own:.3f}" + ("" if value is None else f", aggregated {value:.3f}")
    parts: dict[str, Part] = {
        "arch": Record(record),
        "log": log,
        "flatness": Table(FLATNESS, flatness_rows(space, cell, flat)),
        "drawing": draw(space, cell, title),
        "graph": dot(space, cell),
    }
    return Result(parts, (f"{text}", *notes))


def info() -> Result:
    """Tell the sizes of the search spaces and of neighbourhoods in them.

    Returns:
        A table, and the same as lines.
    """
    columns = ["space", "edges", "operations", "cells", "at_1", "at_2", "at_3", "ball_1", "ball_2", "unconnected", "functions"]
    rows = []
    for space in SPACES.values():
        counted: list[Any] = ["", ""]
        if space.size < 10**6:
            every = list(space.every())
            counted = [sum(not space.connected(c) for c in every), len({space.function(c) for c in every})]
        near = [space.at_distance(n) for n in (1, 2, 3)]
        balls = [1 + space.count(n) for n in (1, 2)]
        rows.append([space.name, space.edges, len(space.operations), space.size, *near, *balls, *counted])
    lines = tuple(", ".join(f"{c} {v}" for c, v in zip(columns, row, strict=True) if v != "") for row in rows)
    return Result({"spaces": Table(columns, rows)}, lines)


def train_final(
    arch: Path,
    data: Path,
    layout: Layout = "folder",
    side: int = 32,
    width: int = 0,
    cells: int = 0,
    epochs: int = 0,
    batch: int = 0,
    lr: float = 0.0,
    seed: int = 0,
) -> Result:
    """Train the network of a cell on your pictures. An interrupted call goes on where it was.

    Args:
        arch: What search wrote; what it says under "final" is the recipe.
        data: Folder with a folder of pictures for each class, with or without train/, val/ and test/ above them; or a data set.
        layout: What the folder is.
        side: Side of the pictures.
        width: Channels, in place of the recipe's.
        cells: Cells, in place of the recipe's.
        epochs: In place of the recipe's.
        batch: Pictures a step, in place of the recipe's.
        lr: Rate, in place of the recipe's.
        seed: Of all that is drawn.

    Returns:
        The weights, and a report with the accuracy on the validation and the test part.
    """
    text, space, recipe = _read_arch(arch)
    recipe |= {n: v for n, v in (("width", width), ("cells", cells), ("epochs", epochs), ("batch", batch), ("lr", lr)) if v}
    _positive(**{name: recipe[name] for name in ("width", "cells", "epochs", "batch")})
    opened = open_data(data, layout, side, recipe["batch"], seed, cutout=int(recipe.get("cutout", 0)))
    options = {
        "cell": text, "space": space.name, "width": recipe["width"], "cells": recipe["cells"], "classes": len(opened.classes),
        "auxiliary": bool(recipe.get("auxiliary")), "side": side, "crop": opened.crop, "labels": list(opened.classes),
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = CellNetwork(**options)
    rates = {name: recipe[name] for name in ("lr", "weight_decay", "nesterov", "drop_path") if name in recipe}
    module = Final(network, **({"drop_path": 0.0} | rates))
    fit_kept(module, opened, recipe["epochs"], ["final", options, recipe], "training", seed)
    network = network.cpu().eval()
    parts = {part: opened.tensors(part) for part in ("val", "test")}
    report = {
        "cell": text, "space": space.name, "classes": list(opened.classes), "recipe": recipe, "seed": seed,
        **{f"{part}_accuracy": score(network, *parts[part]) for part in parts},
        "parameters": parameters(network), "macs": macs(network, (1, 3, side, side)),
        "pictures": {part: len(labelled) for part, labelled in opened.found.items()},
    }  # fmt: skip
    return Result({"weights": Weights(network), "report": Record(report)})


def _read_arch(path: Path) -> tuple[str, Space, dict[str, Any]]:
    """Read a cell, its space and its recipe."""
    if not path.is_file():
        raise InputError(path, "is a folder" if path.is_dir() else "there is no such file", ARCH)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(path, f"is not JSON ({type(error).__name__}: {error})", ARCH) from error
    if not isinstance(content, dict) or not isinstance(content.get("cell"), str) or content.get("space") not in SPACES:
        raise InputError(path, "names no cell and space", ARCH)
    space = SPACES[content["space"]]
    recipe = FINAL[space.name] | (content["final"] if isinstance(content.get("final"), dict) else {})
    for name, kind in NUMBERS.items():
        value = recipe.get(name, kind())
        if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else int) or value < 0:
            raise InputError(path, f"final.{name} is {value!r}", "a number from 0 up")
    return space.text(space.parse(content["cell"], path)), space, recipe


def predict(weights: Path, photos: Path, batch: int = 64) -> Result:
    """Tell the class of pictures with a trained network.

    Args:
        weights: What train_final wrote (..._weights.safetensors), or a checkpoint of `foveate train na_nas --stage final`.
        photos: A picture, or a folder with pictures at any depth.
        batch: Pictures at a time.

    Returns:
        For each picture its class, the probability, and the probabilities of all classes.
    """
    _positive(batch=batch)
    network = files.load(CellNetwork, weights)
    paths = find_pictures(photos) if photos.is_dir() else [photos]
    if not paths:
        raise InputError(photos, "has no pictures", "a picture, or a folder with PNG, JPEG, WebP, TIFF or BMP files")
    labels = network.labels or [str(i) for i in range(network.classes)]
    rows: list[list[Any]] = []
    notes = []
    with bar("pictures") as tick:
        tick(0, len(paths))
        for start in range(0, len(paths), batch):
            views, kept = [], []
            for path in paths[start : start + batch]:
                try:
                    views.append(networks.prepare(read_picture(path), network.side, network.crop))
                    kept.append(path)
                except InputError as error:
                    if not photos.is_dir():
                        raise
                    notes.append(str(error))
            if views:
                with torch.inference_mode():
                    told = networks.finish(network(torch.stack(views)))
                for path, row in zip(kept, told, strict=True):
                    name = str(path.relative_to(photos)) if photos.is_dir() else path.name
                    best = int(row.argmax())
                    rows.append([name, labels[best], round(float(row[best]), 6), *(round(float(p), 6) for p in row)])
            tick(len(paths[start : start + batch]))
    if not rows:
        raise InputError(photos, f"none of its {len(paths)} pictures can be read; {notes[0]}", "undamaged pictures")
    return Result({"predictions": Table(["file", "class", "probability", *labels], rows)}, tuple(notes))
