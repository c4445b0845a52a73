"""The paper's claims as experiments."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from foveate.results import Curve
from foveate.systems.structures.polylogica import drawing
from foveate.systems.structures.polylogica.bisimulation import Separator, minimise
from foveate.systems.structures.polylogica.complexes import Complex, closed, subdivide
from foveate.systems.structures.polylogica.imgql import Specification, read_specification
from foveate.systems.structures.polylogica.method import Checker, Formulas, Frame, Naive, Space
from foveate.systems.structures.polylogica.models import Model, read_json
from foveate.systems.structures.polylogica.output import compact
from foveate.systems.structures.polylogica.samples import BRAIN, TISSUE, brain, tissue, triangle, white_maze

Budget = Literal["quick", "full"]
Outcome = dict[str, dict[str, Any]]

# ---------------------------------------------------------------------------------------------------------------------
# random models and formulas
# ---------------------------------------------------------------------------------------------------------------------


def random_complex(rng: np.random.Generator, points: int = 7, tops: int = 6) -> Complex:
    """Draw a complex: up to ``tops`` simplices of dimensions 0 to 3 and their faces."""
    chosen: list[list[np.ndarray]] = [[] for _ in range(4)]
    for _ in range(rng.integers(1, tops + 1)):
        d = int(rng.integers(4))
        chosen[d].append(rng.choice(points, d + 1, replace=False))
    return closed(rng.random((points, 3)), [np.array(rows).reshape(-1, d + 1) for d, rows in enumerate(chosen)])


def random_atoms(rng: np.random.Generator, size: int) -> dict[str, np.ndarray]:
    """Draw two atoms, each on a share of the cells that is drawn, too."""
    return {name: rng.random(size) < rng.uniform(0.2, 0.8) for name in "pq"}


def random_formula(formulas: Formulas, rng: np.random.Generator, depth: int) -> int:
    """Draw a formula of the paper's logic over p and q, of some depth at most."""
    if depth == 0 or rng.random() < 0.1:
        return formulas.atom("pq"[rng.integers(2)])
    operators = ("not", "and", "or", "near", "interior", "through", "through")
    operator = operators[rng.integers(len(operators))]
    count = 2 if operator in ("and", "or", "through") else 1
    return formulas.make(operator, *(random_formula(formulas, rng, depth - 1) for _ in range(count)))


@dataclass(frozen=True)
class Stepwise(Frame):
    """The face poset with a flood that steps between neighbouring dimensions only: what an implementation must not do.

    Attributes:
        steps: The pairs of the poset whose dimensions differ by one.
    """

    steps: Frame

    @classmethod
    def of(cls, whole: Complex) -> Stepwise:
        """Make it of a complex."""
        upper, lower = whole.frame.pairs()
        chosen = whole.dimensions[upper] - whole.dimensions[lower] == 1
        return cls(whole.frame.start, whole.frame.below, Frame.from_pairs(whole.size, upper[chosen], lower[chosen]))

    def through(self, safe: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Flood along the steps alone."""
        component = self.steps.components(np.where(safe, 0, -1))
        start = np.unique(component[safe & self.star(target)])
        return self.closure(np.isin(component, start) & safe)


def pendant() -> tuple[Complex, dict[str, np.ndarray]]:
    """Return the case on which `Stepwise` fails: a triangle, p at one corner and inside only, and an edge from there to q."""
    points = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [-1, 0, 0]])
    whole = closed(points, [np.empty((0, 1)), np.array([[0, 3]]), np.array([[0, 1, 2]])])
    corner, face = whole.find(np.array([[0]]))[0], whole.find(np.array([[0, 1, 2]]))[0]
    edge = whole.find(np.array([[0, 3]]))[0]
    cells = np.arange(whole.size)
    return whole, {"p": np.isin(cells, [corner, face, edge]), "q": cells == whole.find(np.array([[3]]))[0]}


# ---------------------------------------------------------------------------------------------------------------------
# exactness
# ---------------------------------------------------------------------------------------------------------------------


def subdivision(seed: int, budget: Budget) -> Outcome:
    """Check random formulas on complexes and on their subdivisions, and count the cells that disagree (claim C1)."""
    rng = np.random.default_rng(seed)
    cases = {"quick": 60, "full": 500}[budget]
    arms: dict[str, Callable[[Complex], Space]] = {"all faces": lambda c: c.frame, "neighbouring dimensions": Stepwise.of}
    wrong = dict.fromkeys(arms, 0)
    for case in range(cases):
        formulas = Formulas()
        if case:
            whole = random_complex(rng)
            atoms = random_atoms(rng, whole.size)
            formula = random_formula(formulas, rng, 4)
        else:
            whole, atoms = pendant()
            formula = formulas.make("through", formulas.atom("p"), formulas.atom("q"))
        finer, carrier = subdivide(whole)
        for arm, space in arms.items():
            (coarse,) = Checker(space(whole), atoms).values(formulas, [formula])
            (fine,) = Checker(space(finer), {n: a[carrier] for n, a in atoms.items()}).values(formulas, [formula])
            wrong[arm] += int(np.count_nonzero(coarse[carrier] != fine))
    return {arm: {"mismatches": count, "cases": cases} for arm, count in wrong.items()}


def small_complexes(points: int = 3) -> Iterator[Complex]:
    """List all complexes whose points are among a few."""
    simplices = [s for d in range(points) for s in itertools.combinations(range(points), d + 1)]
    place = np.eye(points, 3)
    seen = set()
    for chosen in itertools.product((False, True), repeat=len(simplices)):
        tops = [s for s, c in zip(simplices, chosen, strict=True) if c]
        if tops:
            whole = closed(place, [np.array([s for s in tops if len(s) == d + 1]).reshape(-1, d + 1) for d in range(points)])
            key = tuple(tuple(map(tuple, rows.tolist())) for rows in whole.simplices)
            if key not in seen:
                seen.add(key)
                yield whole


def paths(seed: int, budget: Budget) -> Outcome:
    """Compare the flood with a search for paths from every cell (claim C2)."""
    rng = np.random.default_rng(seed)
    wrong = cases = 0
    for whole in small_complexes({"quick": 2, "full": 3}[budget]):
        slow = Naive(whole.frame)
        sets = [np.array(bits, bool) for bits in itertools.product((False, True), repeat=whole.size)]
        for safe, target in itertools.product(sets, sets):
            wrong += int(np.count_nonzero(whole.frame.through(safe, target) != slow.through(safe, target)))
            cases += 1
    for _ in range({"quick": 100, "full": 2000}[budget]):
        whole = random_complex(rng, points=9, tops=6)
        if whole.size <= 60:
            atoms = random_atoms(rng, whole.size)
            slow = Naive(whole.frame)
            wrong += int(np.count_nonzero(whole.frame.through(*atoms.values()) != slow.through(*atoms.values())))
            cases += 1
    return {"flood": {"mismatches": wrong, "cases": cases}}


def bisimilarity(seed: int, budget: Budget) -> Outcome:
    """Minimise random complexes and a maze; try random formulas on classes and quotient, and separate classes (claim C3)."""
    rng = np.random.default_rng(seed)
    maze = white_maze({"quick": 2, "full": 5}[budget])
    models = [(maze.frame, {"p": maze.atoms["G"], "q": maze.atoms["corridor"]})]
    for _ in range({"quick": 20, "full": 200}[budget]):
        whole = random_complex(rng)
        models.append((whole.frame, random_atoms(rng, whole.size)))
    wrong = told = pairs = 0
    ratios = []
    for number, (frame, atoms) in enumerate(models):
        found = minimise(frame, atoms)
        ratios.append(found.count / frame.size)
        formulas = Formulas()
        roots = [random_formula(formulas, rng, 4) for _ in range(20 if number else 200)]
        quotient, theirs = found.quotient()
        for whole, small in zip(
            Checker(frame, atoms).values(formulas, roots), Checker(quotient, theirs).values(formulas, roots), strict=True
        ):
            wrong += int(np.count_nonzero(whole != small[found.classes]))
        formulas = Formulas()
        separator = Separator(found, formulas)
        chosen = list(itertools.permutations(found.first.tolist(), 2))
        made = [separator.formula(one, other) for one, other in chosen]
        values = Checker(frame, atoms).values(formulas, [formula for formula in made if formula is not None])
        told += sum(bool(v[one] and not v[other]) for v, (one, other) in zip(values, chosen, strict=False))
        pairs += len(chosen)
    return {"classes": {"mismatches": wrong, "separated": told / pairs, "ratio": float(np.mean(ratios)), "cases": len(models)}}


# ---------------------------------------------------------------------------------------------------------------------
# speed
# ---------------------------------------------------------------------------------------------------------------------


def specified(text: str, model: Model) -> Specification:
    """Read a specification's text for a model."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spec.imgql"
        path.write_text(text, encoding="utf-8")
        return read_specification(path, model.atoms)


# Operators of every kind, so that no kind dominates.
GROWTH = """\
let ways(goal) = eta((ap("G") | eta(ap("corridor"),goal)),goal)
let one = ways(ap("W"))
let two = ways(one) \\ one
save "one" one
save "two" two
save "three" ways(two) \\ (one | two)
save "edge" boundary(one)
save "inside" interior(two | ap("W"))
save "around" sur(ap("W"),ap("corridor"))
"""


def seconds_to_check(model: Model, asked: Specification, repeats: int = 5, threads: int = 1) -> float:
    """Time the evaluation of all saved formulas: the median of some repeats after one to warm up."""
    checker = Checker(model.frame, model.atoms, threads=threads)
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        checker.values(asked.formulas, list(asked.saves.values()))
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))


def growth(seed: int, budget: Budget) -> Outcome:
    """Time mazes of growing size, and fit a line to the logarithms (claim C4)."""
    sizes, times = [], []
    for n in {"quick": (3, 4, 6, 8), "full": (5, 8, 12, 18, 26, 35)}[budget]:
        model = white_maze(n)
        asked = specified(GROWTH, model)
        sizes.append(model.size)
        times.append(seconds_to_check(model, asked))
    slope = float(np.polyfit(np.log(sizes), np.log(times), 1)[0])
    curve = Curve(np.log10(sizes).tolist(), np.log10(times).tolist(), "log10 seconds to check (x: log10 cells)")
    return {"check": {"slope": slope, "seconds": times[-1], "cells": sizes[-1], "curve": curve}}


def surface(seed: int, budget: Budget) -> Outcome:
    """Load a brain's surface from JSON and check 33 formulas on it; show some of them (claim C4)."""
    model = brain()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "brain.json"
        compact(model).write(path)
        start = time.perf_counter()
        loaded = read_json(path)
        loading = time.perf_counter() - start
    asked = specified(BRAIN, loaded)
    taken = seconds_to_check(loaded, asked)
    found = Checker(model.frame, model.atoms).values(asked.formulas, list(asked.saves.values()))
    values = dict(zip(asked.saves, found, strict=True))
    outcome: Outcome = {"check": {"seconds": taken, "loading": loading, "cells": model.size, "evaluated": asked.size}}
    for name in ("basin",) if budget == "quick" else ("basin", "shore", "inner bank", "thin pond"):
        picture = drawing.draw(model.whole, {"": values[name]}, counts=False) if model.whole else None
        outcome[name] = {"cells": int(values[name].sum()), "picture": picture}
    return outcome


def sharing(seed: int, budget: Budget) -> Outcome:
    """Evaluate random specifications whose definitions build on each other, with and without the cache (claim C5)."""
    rng = np.random.default_rng(seed)
    model = white_maze(2)
    names = list(model.atoms)
    lines = [f'let a{i} = ap("{name}")' for i, name in enumerate(names)]
    for i in range(len(names), len(names) + {"quick": 8, "full": 12}[budget]):
        one, other = rng.integers(max(0, i - 3), i, size=2)
        body = ["a{} & a{}", "a{} | a{}", "through(a{},a{})", "near(a{}) \\ a{}"][rng.integers(4)].format(one, other)
        lines.append(f"let a{i} = {body}")
    lines += [f'save "{i}" a{i}' for i in range(len(names), len(lines))]
    asked = specified("\n".join(lines) + "\n", model)
    outcome = {}
    for arm, cache in (("cached", True), ("not cached", False)):
        checker = Checker(model.frame, model.atoms, cache=cache)
        start = time.perf_counter()
        checker.values(asked.formulas, list(asked.saves.values()))
        taken = time.perf_counter() - start
        outcome[arm] = {"evaluated": checker.evaluated, "surplus": checker.evaluated - asked.size, "seconds": taken}
    return outcome


# ---------------------------------------------------------------------------------------------------------------------
# other semantics
# ---------------------------------------------------------------------------------------------------------------------


def semantics(seed: int, budget: Budget) -> Outcome:
    """Compare with closure on the graph of cells and on voxels (claim C6).

    The graph: near(red) on the triangle. Voxels: the grey and white matter of the MNI template under two specifications' sets,
    one Dice coefficient for each formula.
    """
    model = triangle()
    formulas = Formulas()
    near = formulas.make("near", formulas.atom("red"))
    (poly,) = Checker(model.frame, model.atoms).values(formulas, [near])
    (graph,) = Checker(model.frame.symmetric(), model.atoms).values(formulas, [near])
    outcome: Outcome = {"graph": {"differing": int(np.count_nonzero(poly != graph))}}
    stride = {"quick": 10, "full": 4}[budget]
    cut = tissue(stride)
    asked = specified(TISSUE, cut)
    roots = list(asked.saves.values())
    cell = cut.grid.cells() if cut.grid else np.zeros(0, np.int64)
    ours = [values[cell] for values in Checker(cut.frame, cut.atoms).values(asked.formulas, roots)]
    for adjacency in (6, 18, 26):
        voxels = tissue(stride, voxels=True, adjacency=adjacency)
        theirs = Checker(voxels.frame, voxels.atoms).values(asked.formulas, roots)
        dice = [2 * np.count_nonzero(a & b) / max(int(a.sum()) + int(b.sum()), 1) for a, b in zip(ours, theirs, strict=True)]
        apart = [int(np.count_nonzero(a != b)) for a, b in zip(ours, theirs, strict=True)]
        outcome[f"voxels, {adjacency}"] = {"dice": dice, "differing": apart}
    return outcome
