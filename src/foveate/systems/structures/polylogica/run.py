"""Check a specification on a mesh or a volume, minimise a model, compare semantics: on the command line or from Python."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

import numpy as np

from foveate.errors import InputError
from foveate.parts.progress import bar
from foveate.results import Part, Record, Result, Table
from foveate.systems.structures.polylogica import reporting
from foveate.systems.structures.polylogica.bisimulation import Logic
from foveate.systems.structures.polylogica.bisimulation import minimise as coarsest
from foveate.systems.structures.polylogica.imgql import read_specification
from foveate.systems.structures.polylogica.labelling import Border
from foveate.systems.structures.polylogica.method import Compat, warm_up
from foveate.systems.structures.polylogica.models import frame_record
from foveate.systems.structures.polylogica.output import MOST_IN_PAGE, Page, Specified, Truth, Volume, compact
from foveate.systems.structures.polylogica.reading import Reading, read_model
from foveate.systems.structures.polylogica.reporting import Engine, Semantics, Shape
from foveate.systems.structures.polylogica.samples import SAMPLES, Sample, tissue_labels

MOST_VALUES = 10_000_000  # in classes.json, some 60 MB


def check(
    model: Path,
    spec: Path,
    semantics: Semantics = "poly",
    adjacency: Literal[0, 4, 6, 8, 18, 26] = 0,
    subdivide: int = 0,
    rules: str = "",
    labels: list[Path] | None = None,
    border: Border = "closed",
    stride: int = 1,
    background: bool = False,
    compat: Compat = "none",
    engine: Engine = "sparse",
    cache: Literal["on", "off"] = "on",
    threads: int = 1,
    mesh: Shape = "vtu",
    picture: bool = True,
    view: bool = False,
) -> Result:
    """Check a specification: for every cell of a model, whether each saved formula holds there.

    Args:
        model: A mesh, a label volume, a folder of PNG slices, or a model in the authors' JSON.
        spec: The specification, in ImgQL.
        semantics: `poly` is the paper's; `graph` forgets which of two cells is the face; with `voxel` voxels are the cells.
        adjacency: For `voxel`: 6, 18 or 26, for pixels 4 or 8; 0 is the smallest.
        subdivide: Subdivide the complex barycentrically so many times first.
        rules: Rules that make atoms of coordinates, colours and maps, such as "deep = sulc > 0.5 & y < 10, crown = sulc < 0".
        labels: Files with a value for each point of a GIFTI surface, as [one.gii,two.gii].
        border: Whether labelled regions have their border: closed or open.
        stride: Take every so many-th voxel.
        background: Keep voxels that have no atom.
        compat: Read near and interior as an earlier release did.
        engine: `reference` follows the definitions cell by cell, slowly.
        cache: Whether a formula that stands in several places is evaluated once.
        threads: Formulas evaluated side by side.
        mesh: Format of the cells with an array for each saved formula.
        picture: Draw the cells where the formulas hold.
        view: Write a page that shows them in a browser, to turn.

    Returns:
        Truth vectors in the order of the model's file, counts, the cells with the answers, a picture.
    """
    if threads < 0 or subdivide < 0:
        raise InputError("threads, subdivide", f"{threads}, {subdivide}", "0 or more")
    reading = Reading(rules, tuple(labels or ()), border, stride, background, semantics == "voxel", adjacency)
    with bar("checking") as tick:
        tick(0, 4)
        started = time.perf_counter()
        warm_up()
        source = read_model(model, reading).subdivided(subdivide)
        tick(1)
        asked = read_specification(spec, source.atoms.keys(), source.hint)
        loaded = time.perf_counter()
        values, printed, evaluated = reporting.answers(source, asked, semantics, compat, engine, cache == "on", threads)
        done = time.perf_counter()
        tick(1)
        parts: dict[str, Part] = {
            "result": Truth({name: source.in_order(cells) for name, cells in values.items()}),
            "counts": reporting.counts(source, values),
        }
        notes = [*source.notes, *printed]
        if asked.loads:
            notes.append(f"load {', '.join(asked.loads)}: {model} is checked")
        shape, more = reporting.on_mesh(source, values, mesh)
        parts |= shape
        notes += more
        tick(1)
        if values and picture:
            pictures, more = reporting.picture(source, values)
            parts |= pictures
            notes += more
        if values and view:
            if source.whole is None or source.size > MOST_IN_PAGE:
                notes.append(f"no page: that takes a complex of {MOST_IN_PAGE:,} cells at most")
            else:
                parts["view"] = Page(source.whole, values, f"{model.name}, {spec.name}")
        tick(1)
    times = f"loaded in {loaded - started:.2f} s, checked in {done - loaded:.3f} s"
    notes.append(f"{source.size:,} cells, {evaluated} formulas evaluated; {times}")
    return Result(parts, tuple(notes))


def minimise(
    model: Path,
    logic: Logic = "gamma",
    apart: str = "",
    rules: str = "",
    labels: list[Path] | None = None,
    border: Border = "closed",
    stride: int = 1,
    background: bool = False,
    mesh: Shape = "vtu",
    picture: bool = True,
) -> Result:
    """Minimise a model: the classes of cells that no formula tells apart, and the quotient that satisfies the same formulas.

    Args:
        model: A mesh, a label volume, or a model in the authors' JSON.
        logic: `gamma` is the paper's logic; `eta` is weaker and has fewer classes (branching equivalence).
        apart: Two cells, by name or number, with a comma between: a specification that tells them apart is written, too.
        rules: Rules that make atoms of coordinates, colours and maps, such as "deep = sulc > 0.5 & y < 10, crown = sulc < 0".
        labels: Files with a value for each point of a GIFTI surface, as [one.gii,two.gii].
        border: Whether labelled regions have their border: closed or open.
        stride: Take every so many-th voxel.
        background: Keep voxels that have no atom.
        mesh: Format of the cells with their class; PLY has no numbers, so it is the VTU or none.
        picture: Draw the classes.

    Returns:
        The class of each cell, the truth vector of each class, the quotient as a model, its size, a picture.
    """
    if mesh == "ply":
        raise InputError("mesh", "PLY would not hold the number of a class", "vtu or none")
    with bar("minimising") as tick:
        tick(0, 2)
        source = read_model(model, Reading(rules, tuple(labels or ()), border, stride, background))
        tick(1)
        found = coarsest(source.frame, source.atoms, logic)
        tick(1)
    classes = source.in_order(found.classes)
    frame, atoms = found.quotient()
    names = source.names or [str(i) for i in range(source.size)]
    report = {"cells": source.size, "classes": found.count, "ratio": found.count / source.size, "rounds": len(found.rounds)}
    parts: dict[str, Part] = {
        "members": Table(["cell", "class"], list(zip(names, classes.tolist(), strict=True))),
        "quotient": Record(frame_record(frame, atoms)),
        "report": Record({"logic": logic, **report}),
    }
    notes = list(source.notes)
    if found.count * source.size <= MOST_VALUES:
        parts["classes"] = Truth({str(k): classes == k for k in range(found.count)})
    else:
        notes.append(f"no truth vectors: {found.count:,} classes of {source.size:,} cells; the members' table has the classes")
    if apart:
        parts["apart"], note = reporting.apart(source, found, apart)
        notes.append(note)
    shape, _ = reporting.on_mesh(source, {"class": found.classes}, mesh)
    parts |= shape
    if picture:
        pictures, more = reporting.picture(
            source, {f"{found.count:,} classes of {source.size:,} cells": found.classes}, counts=False
        )
        parts |= pictures
        notes += more
    return Result(parts, tuple(notes))


def compare(
    volume: Path,
    spec: Path,
    adjacency: Literal[0, 4, 6, 8, 18, 26] = 0,
    rules: str = "",
    border: Border = "closed",
    stride: int = 1,
    background: bool = False,
) -> Result:
    """Check a specification on a label volume's voxels and on the volume cut into tetrahedra, and list where the two differ.

    All cells inside one voxel satisfy the same formulas, so a voxel is compared with any of its tetrahedra.

    Args:
        volume: A NIfTI label volume, a folder of PNG slices, or a label picture.
        spec: The specification, in ImgQL.
        adjacency: Of voxels: 6, 18 or 26, of pixels 4 or 8; 0 is the smallest.
        rules: Rules that make atoms, such as "dense = value > 200".
        border: Whether a labelled region has its border when it is cut: closed or open.
        stride: Take every so many-th voxel.
        background: Keep voxels that have no atom.

    Returns:
        How many voxels satisfy each saved formula under either semantics, the voxels where the two differ, a picture of slices.
    """
    answers: list[dict[str, np.ndarray]] = []
    with bar("comparing") as tick:
        tick(0, 2)
        for voxels in (True, False):
            source = read_model(volume, Reading(rules, (), border, stride, background, voxels, adjacency))
            if source.grid is None:
                raise InputError(volume, "is no picture or volume", "a NIfTI volume or PNG slices")
            asked = read_specification(spec, source.atoms.keys(), source.hint)
            answers.append(reporting.answers(source, asked)[0])
            tick(1)
    if not answers[0]:
        raise InputError(spec, "saves nothing to compare", 'a statement such as: save "name" ap("label1")')
    counted, listed, drawn = reporting.differences(source.grid, *answers)
    notes = () if len(listed.rows) < reporting.MOST_ROWS else (f"the table of differences stops at {reporting.MOST_ROWS:,}",)
    return Result({"counts": counted, "differences": listed, "picture": drawn}, notes)


def convert(
    mesh: Path,
    rules: str = "",
    labels: list[Path] | None = None,
    border: Border = "closed",
    stride: int = 1,
    background: bool = False,
) -> Result:
    """Turn a mesh or a volume into a model in the authors' JSON, every face once.

    Args:
        mesh: A mesh, a label volume, or a model to be put in order.
        rules: Rules that make atoms of coordinates, colours and maps, such as "deep = sulc > 0.5 & y < 10, crown = sulc < 0".
        labels: Files with a value for each point of a GIFTI surface, as [one.gii,two.gii].
        border: Whether labelled regions have their border: closed or open.
        stride: Take every so many-th voxel.
        background: Keep voxels that have no atom.

    Returns:
        The model.
    """
    source = read_model(mesh, Reading(rules, tuple(labels or ()), border, stride, background))
    if source.whole is None:
        raise InputError(mesh, "is no simplicial complex", "a mesh or a volume")
    return Result({"model": compact(source)}, source.notes)


def sample(name: Sample = "triangle") -> Result:
    """Write an embedded model and a specification to try the others with.

    Args:
        name: `triangle`, a `maze` of 27 rooms, the pial surface of a `brain`, or its `tissue` as a label volume.

    Returns:
        A model in the authors' JSON, or a NIfTI volume; and a specification.
    """
    make, text = SAMPLES[name]
    model: Part = Volume(*tissue_labels()) if name == "tissue" else compact(make())
    return Result({"model": model, "spec": Specified(text)})
