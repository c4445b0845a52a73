"""Claims measured: experiments run over seeds, judged by one rule for all systems, written as JSON and figures.

An experiment is a function of reproduce.py, ``(seed, budget) -> {arm: {metric: value}}``. A value is a number, or a list of
numbers, one per test item; a `Curve` or a `Picture` beside them is shown and not judged. If the function has a parameter
``group`` annotated with a `Literal`, each of its values is a task of its own, which returns its arms: long experiments then
run side by side and survive an interruption in smaller pieces.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import time
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from foveate.catalogue import HOME, Card, Claim
from foveate.errors import InputError
from foveate.parts.caching import cache_folder
from foveate.results import Curve, Picture, staging, write_atomically

Budget = Literal["quick", "full"]
Backend = Literal["loky", "ray", "dask"]
CONFIDENCE = 0.95
LEAST_SEEDS = 5  # fewer seeds decide no relational claim


@dataclass(frozen=True)
class Task:
    """One piece of an experiment: one seed, and one group of arms if the experiment has groups."""

    experiment: str
    seed: int
    group: str | None

    @property
    def name(self) -> str:
        """Name of its file in the cache."""
        return f"{self.experiment}-{self.seed}" + (f"-{self.group}" if self.group else "")


@dataclass
class Measured:
    """What an experiment gave, over all seeds.

    Attributes:
        values: arm -> metric -> seed -> one number per test item.
        curves: arm -> seed -> `Curve`.
        pictures: arm -> file of the first seed's picture.
    """

    values: dict[str, dict[str, dict[int, list[float]]]] = field(default_factory=dict)
    curves: dict[str, dict[int, Curve]] = field(default_factory=dict)
    pictures: dict[str, Path] = field(default_factory=dict)

    def add(self, seed: int, content: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
        """Add what one task gave, as `_keep` wrote it."""
        for arm, entries in content.items():
            for name, value in entries.items():
                if isinstance(value, list):
                    self.values.setdefault(arm, {}).setdefault(name, {})[seed] = value
                elif "file" in value:
                    self.pictures.setdefault(arm, folder / value["file"])
                else:
                    self.curves.setdefault(arm, {})[seed] = Curve(**value)


# ---------------------------------------------------------------------------------------------------------------------
# judging
# ---------------------------------------------------------------------------------------------------------------------


def interval(differences: Sequence[float]) -> tuple[float, float, float]:
    """Return mean and 95 % interval (Student's t) of paired differences, one per seed.

    Example:
        >>> [round(v, 3) for v in interval([0.1, 0.2, 0.3, 0.2, 0.2])]
        [0.2, 0.112, 0.288]
    """
    from scipy import stats

    values = np.asarray(differences, dtype=float)
    mean = float(values.mean())
    if len(values) < 2:
        return mean, -math.inf, math.inf
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return mean, mean - half, mean + half


def decide(relation: str, low: float, high: float, margin: float | None) -> str:
    """Judge an interval of differences that are oriented so that more is better for the method.

    Example:
        >>> decide("better than", 0.1, 0.3, None), decide("no worse than", -0.1, 0.1, 0.05)
        ('holds', 'undecided')
        >>> decide("equal to", -0.01, 0.02, 0.05), decide("better than", -0.3, -0.1, None)
        ('holds', 'does not hold')
    """
    line = {"better than": 0.0, "no worse than": -(margin or 0.0), "equal to": -(margin or 0.0)}[relation]
    below = math.inf if relation != "equal to" else (margin or 0.0)
    if line < low and high < below:
        return "holds"
    return "does not hold" if high < line or low > below else "undecided"


def judge(claim: Claim, measured: Measured | None, better: str) -> dict[str, Any]:
    """Judge one claim by what its experiment measured.

    Args:
        claim: The claim.
        measured: Its experiment's outcome, or None if it was not run.
        better: Direction of the metric, ``higher`` or ``lower``.

    Returns:
        ``{"id", "kind", "metric", "rule", "verdict", "note", ...}`` with ``value`` for a structural claim and
        ``comparisons`` and ``matters`` for a relational one. Differences are method minus baseline.
    """
    found: dict[str, Any] = {
        "id": claim.id,
        "kind": claim.kind,
        "metric": claim.metric,
        "rule": claim.rule(),
        "note": "",
        "value": None,
    }
    if claim.kind == "absolute":
        return {**found, "verdict": "needs data", "note": claim.command}
    if measured is None:
        return {**found, "verdict": "not measured"}
    if claim.kind == "structural":
        values = next(iter(measured.values[claim.method][claim.metric].values()))
        if len(values) != 1:
            raise InputError(f"claim {claim.id}", f"its experiment gives {len(values)} values", "one number")
        (value,) = values
        low, high = claim.within or (claim.equals, claim.equals)
        return {**found, "value": value, "verdict": "holds" if low <= value <= high else "does not hold"}
    comparisons = [_compare(claim, measured, baseline, better) for baseline in claim.baseline]
    verdicts = {c["verdict"] for c in comparisons}
    verdict = next((v for v in ("does not hold", "undecided") if v in verdicts), "holds")
    fewest = min(c["seeds"] for c in comparisons)
    if fewest < LEAST_SEEDS:
        found["note"] = f"{fewest} seeds; {LEAST_SEEDS} are needed"
    large = all(abs(c["difference"]) >= (claim.margin or 0) for c in comparisons)
    matters = large if claim.relation == "better than" and claim.margin is not None else None
    if matters is False and verdict == "holds":
        found["note"] = f"but by less than the {claim.margin:g} that matters"
    return {**found, "verdict": verdict, "comparisons": comparisons, "matters": matters}


def _compare(claim: Claim, measured: Measured, baseline: str, better: str) -> dict[str, Any]:
    """Compare two arms, paired by seed and, within a seed, by test item."""
    ours, theirs = (measured.values[arm][claim.metric] for arm in (claim.method, baseline))
    seeds = sorted(ours.keys() & theirs.keys())
    for seed in seeds:
        if len(ours[seed]) != len(theirs[seed]):
            counts = f"{len(ours[seed])} test items for {claim.method}, {len(theirs[seed])} for {baseline}"
            raise InputError(f"claim {claim.id}", f"its experiment gives {counts}", "the same items for all arms")
    differences = [float(np.mean(np.subtract(ours[s], theirs[s], dtype=float))) for s in seeds]
    mean, low, high = interval(differences)
    oriented = (low, high) if better == "higher" else (-high, -low)
    enough = math.isfinite(mean) and len(seeds) >= LEAST_SEEDS
    verdict = decide(claim.relation, *oriented, claim.margin) if enough else "undecided"
    return {
        "baseline": baseline, "difference": mean, "low": _finite(low), "high": _finite(high), "verdict": verdict,
        "seeds": len(seeds), "per_seed": differences,
    }  # fmt: skip


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


# ---------------------------------------------------------------------------------------------------------------------
# running
# ---------------------------------------------------------------------------------------------------------------------


def reproduce(
    card: Card,
    claim: str | None = None,
    budget: Budget = "quick",
    seeds: int | None = None,
    jobs: int | None = None,
    backend: Backend = "loky",
    out: Path | str | None = None,
) -> dict[str, Any]:
    """Run a system's experiments and judge its claims.

    Tasks that were finished before, with the same code, are not run again, so an interrupted call goes on where it was.

    Args:
        card: The system.
        claim: Only this claim's experiment; what the folder's evidence says of the others is kept if it stems from the
            same code and budget.
        budget: ``quick`` (a minute) or ``full``.
        seeds: Seeds of the relational experiments; by default what the card says, or 5 (2 if quick).
        jobs: Tasks side by side, one thread each; as many as there are cores by default.
        backend: joblib's: ``loky`` for this machine, ``ray`` or ``dask`` for a cluster.
        out: Folder of the evidence; a folder for the system is made in it. By default ``evidence`` for the full budget and
            ``runs/evidence`` for the quick one, so that a quick run does not replace committed evidence.

    Returns:
        The content of evidence.json.

    Raises:
        InputError: If the claim does not exist or the folder cannot be written.
    """
    for value, choices in ((budget, typing.get_args(Budget)), (backend, typing.get_args(Backend))):
        if value not in choices:
            raise InputError(card.slug, f"got {value!r}", f"one of {', '.join(choices)}")
    if (seeds is not None and seeds < 1) or (jobs is not None and jobs < 1):
        raise InputError(card.slug, f"got {seeds} seeds and {jobs} jobs", "at least one of each")
    asked = [c for c in card.claim if c.id == claim]
    if asked and asked[0].kind == "absolute":
        raise InputError(claim, "needs the paper's data", asked[0].command)
    chosen = [c for c in card.claim if c.kind != "absolute" and claim in (None, c.id)]
    if claim is not None and not chosen:
        names = ", ".join(c.id for c in card.claim if c.kind != "absolute")
        raise InputError(claim, f"{card.slug} has no such claim to measure", f"one of {names}")
    folder = folder_of(card, budget, out)
    started, clock = datetime.now(UTC), time.monotonic()
    code = fingerprint(card)
    on, using = machine(), versions()
    # What was measured elsewhere, or with other versions, is not passed off as measured here.
    place = hashlib.sha256(json.dumps([on, using]).encode()).hexdigest()[:8]
    cache = cache_folder() / "tasks" / card.slug / code[:16] / f"{budget}-{place}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(error.filename, f"cannot be written: {error.strerror}", "a folder that can be written") from error
    tasks = _tasks(card, [c.experiment for c in chosen], budget, seeds)
    _run(card, tasks, budget, cache, jobs or os.cpu_count() or 1, backend)
    measured: dict[str, Measured] = {}
    for task in tasks:
        content = json.loads((cache / task.name / "values.json").read_text(encoding="utf-8"))
        measured.setdefault(task.experiment, Measured()).add(task.seed, content, cache / task.name)
    better = {name: metric["better"] for name, metric in card.metric.items()}
    verdicts = {c.id: judge(c, measured.get(c.experiment), better.get(c.metric, "higher")) for c in card.claim}
    experiments = {name: _summary(m) for name, m in measured.items()}
    figures = [path.name for name, m in measured.items() for path in draw(name, m, card, folder)]
    earlier = _earlier(folder, code, budget, on["accelerator"]) if claim else None
    if earlier:
        kept = {c["id"]: c for c in earlier["claims"]}
        verdicts = {i: kept.get(i, v) if v["verdict"] == "not measured" else v for i, v in verdicts.items()}
        experiments = {**earlier["experiments"], **experiments}
        figures = list(dict.fromkeys([*earlier["figures"], *figures]))
    counts = [1 + max(task.seed for task in tasks), *([earlier["seeds"]] if earlier else [])]
    found = {
        "slug": card.slug,
        "budget": budget,
        "seeds": max(counts),
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - clock, 1),
        "machine": on,
        "versions": using,
        "commit": commit(),
        "code": code,
        "claims": list(verdicts.values()),
        "experiments": experiments,
        "figures": figures,
    }
    write_atomically(folder / "evidence.json", json.dumps(found, indent=1) + "\n")
    return found


def folder_of(card: Card, budget: Budget, out: Path | str | None = None) -> Path:
    """Return the folder that a system's evidence is written to; see `reproduce`."""
    return Path(out if out is not None else "evidence" if budget == "full" else "runs/evidence") / card.slug


def _tasks(card: Card, experiments: Sequence[str], budget: Budget, seeds: int | None) -> list[Task]:
    """List the tasks of some experiments, each experiment once."""
    structural = {c.experiment for c in card.claim if c.kind == "structural"}
    relational = {c.experiment for c in card.claim if c.kind == "relational"}
    tasks = []
    for name in dict.fromkeys(experiments):
        function = experiment(card, name)
        settings = card.experiment.get(name, {})
        default = settings.get("seeds", LEAST_SEEDS) if budget == "full" else settings.get("quick_seeds", 2)
        count = 1 if name in structural - relational else seeds or default
        for seed in range(count):
            tasks += [Task(name, seed, group) for group in groups(function) or [None]]
    return tasks


def experiment(card: Card, name: str) -> Callable[..., Any]:
    """Return an experiment of a system.

    Raises:
        InputError: If reproduce.py has no such function.
    """
    function = getattr(card.module("reproduce"), name, None)
    if function is None:
        raise InputError(f"{card.slug}/reproduce.py", f"has no experiment {name!r}", "the experiments that the card names")
    return function


def groups(function: Callable[..., Any]) -> list[str]:
    """List the groups of arms of an experiment: the values of its parameter ``group``, if it has one."""
    if "group" not in inspect.signature(function).parameters:
        return []
    return list(typing.get_args(typing.get_type_hints(function)["group"]))


def _run(card: Card, tasks: Sequence[Task], budget: Budget, cache: Path, jobs: int, backend: Backend) -> None:
    """Run what is not in the cache yet: experiments that measure time after the others and one by one."""
    from joblib import Parallel, delayed, parallel_config

    from foveate.parts.progress import bar

    waiting = [task for task in tasks if not _finished(cache / task.name)]
    alone = [t for t in waiting if card.experiment.get(t.experiment, {}).get("alone")]
    together = [t for t in waiting if t not in alone]
    with bar(f"reproducing {card.slug}") as tick:
        tick(len(tasks) - len(waiting), len(tasks))
        if together:
            side_by_side = backend != "loky" or jobs > 1
            streams = {"return_as": "generator_unordered"} if backend == "loky" else {}
            with _cluster(backend), parallel_config(backend=backend if side_by_side else "sequential", n_jobs=jobs):
                work = (delayed(_measure)(card.slug, t, budget, cache, 1 if side_by_side else None) for t in together)
                for _ in Parallel(**streams)(work):
                    tick(1)
        for task in alone:
            _measure(card.slug, task, budget, cache, None)
            tick(1)


@contextmanager
def _cluster(backend: Backend) -> Iterator[None]:
    """Make a cluster's back end known to joblib: one that was connected to already, else a local one for the while."""
    from foveate.errors import MissingExtra

    local = None
    try:
        if backend == "ray":
            from ray.util.joblib import register_ray

            register_ray()
        elif backend == "dask":
            from distributed import Client, get_client

            try:
                get_client()
            except ValueError:
                local = Client()  # the setting DASK_SCHEDULER_ADDRESS names another
    except ModuleNotFoundError as error:
        raise MissingExtra(backend, "cluster") from error
    try:
        yield
    finally:
        if local is not None:
            local.close()


def _finished(folder: Path) -> bool:
    """Whether a task's numbers are there and whole; what is broken is cleared away."""
    try:
        json.loads((folder / "values.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except ValueError:
        shutil.rmtree(folder)
        return False
    return True


def _measure(slug: str, task: Task, budget: Budget, cache: Path, threads: int | None) -> None:
    """Run one task and keep what it gave; several run side by side, each on one thread."""
    import torch

    from foveate.catalogue import find

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        function = experiment(find(slug), task.experiment)
        arguments = {"group": task.group} if task.group else {}
        _keep(function(task.seed, budget, **arguments), cache / task.name)
    finally:
        torch.set_num_threads(before)


def _keep(outcome: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    """Write what a task gave: values.json, and pictures beside it, all or nothing."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with staging(folder.parent) as temporary:
        content: dict[str, dict[str, Any]] = {}
        for arm, entries in outcome.items():
            content[arm] = {}
            for name, value in entries.items():
                if isinstance(value, Picture):
                    value.write(temporary / f"{arm}_{name}.png")
                    content[arm][name] = {"file": f"{arm}_{name}.png"}
                elif isinstance(value, Curve):
                    content[arm][name] = {"x": list(value.x), "y": list(value.y), "label": value.label, "across": value.across}
                else:
                    content[arm][name] = [float(v) for v in np.atleast_1d(value)]
        (temporary / "values.json").write_text(json.dumps(content), encoding="utf-8")
        if not folder.exists():
            temporary.rename(folder)


def _metrics(measured: Measured) -> list[str]:
    return list(dict.fromkeys(metric for arm in measured.values.values() for metric in arm))


def _summary(measured: Measured) -> dict[str, Any]:
    """Put an experiment's numbers into plain values: per seed and test item, and over seeds."""
    arms: dict[str, Any] = {}
    for arm, metrics in measured.values.items():
        arms[arm] = {}
        for metric, per_seed in metrics.items():
            means = [float(np.mean(values)) for values in per_seed.values()]
            arms[arm][metric] = {
                "mean": float(np.mean(means)),
                "sd": float(np.std(means, ddof=1)) if len(means) > 1 else None,
                "per_seed": {str(seed): values for seed, values in per_seed.items()},
            }
    curves = {
        arm: {"label": next(iter(c.values())).label, **{str(s): {"x": list(v.x), "y": list(v.y)} for s, v in c.items()}}
        for arm, c in measured.curves.items()
    }
    return {"arms": arms, "curves": curves}


def _earlier(folder: Path, code: str, budget: Budget, accelerator: str | None) -> dict[str, Any] | None:
    """Return the evidence that lies in a folder, if it stems from the same code, budget and kind of machine."""
    path = folder / "evidence.json"
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None  # broken, and about to be written anew
    same = (found["code"], found["budget"], found["machine"]["accelerator"]) == (code, budget, accelerator)
    return found if same else None


# ---------------------------------------------------------------------------------------------------------------------
# figures
# ---------------------------------------------------------------------------------------------------------------------


def draw(name: str, measured: Measured, card: Card, folder: Path) -> Iterator[Path]:
    """Draw an experiment: every arm with its seeds and interval per metric, the learning curves, the pictures.

    Yields:
        The files, in ``folder``.
    """
    from matplotlib.figure import Figure

    def save(figure: Figure, label: str) -> Path:
        path = folder / f"{label}.png"
        with staging(folder) as temporary:
            figure.savefig(temporary / path.name, dpi=110, bbox_inches="tight", metadata={"Software": None})
            os.replace(temporary / path.name, path)
        return path

    several = any(len(seeds) > 1 for arm in measured.values.values() for seeds in arm.values())
    if several:
        metrics = _metrics(measured)
        figure = Figure(figsize=(4.6 * len(metrics), 1.2 + 0.4 * len(measured.values)), layout="constrained")
        for axes, metric in zip(np.atleast_1d(figure.subplots(1, len(metrics))), metrics, strict=True):
            arms = [arm for arm in measured.values if metric in measured.values[arm]]
            for row, arm in enumerate(arms):
                means = [float(np.mean(v)) for v in measured.values[arm][metric].values()]
                mean, low, high = interval(means)
                axes.plot(means, [row] * len(means), "o", color="0.6", markersize=4)
                axes.errorbar(mean, row, xerr=[[mean - low], [high - mean]], fmt="D", color="C0", capsize=3)
            axes.set_yticks(range(len(arms)), arms)
            axes.invert_yaxis()
            axes.set_xlabel(f"{metric} [{card.metric.get(metric, {}).get('unit', '')}]")
            axes.grid(axis="x", alpha=0.3)
        figure.suptitle(f"{card.slug}: {name} (seeds, mean and 95 % interval)")
        yield save(figure, name)
    if measured.curves:
        figure = Figure(figsize=(6, 3.6), layout="constrained")
        axes = figure.subplots()
        for arm, curves in measured.curves.items():
            x = next(iter(curves.values())).x
            axes.plot(x, np.mean([c.y for c in curves.values()], axis=0), marker=".", label=arm)
        shown = next(iter(next(iter(measured.curves.values())).values()))
        axes.set_xlabel(shown.across)
        axes.set_ylabel(shown.label)
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
        axes.set_title(f"{card.slug}: {name} (mean over seeds)")
        yield save(figure, f"{name}_curves")
    if measured.pictures:
        from foveate.readers.pictures import read_picture

        count = len(measured.pictures)
        figure = Figure(figsize=(3 * min(count, 4), 3.3 * math.ceil(count / 4)), layout="constrained")
        panels = figure.subplots(math.ceil(count / 4), min(count, 4), squeeze=False).flat
        for axes, (arm, path) in zip(panels, measured.pictures.items(), strict=False):
            axes.imshow(read_picture(path).colour())
            values = measured.values.get(arm, {})
            metric = next(iter(values), None)
            score = (
                f"\nall items: {np.mean(next(iter(values[metric].values()))):.2f} {card.metric[metric]['unit']}"
                if metric
                else ""
            )
            axes.set_title(arm + score, fontsize=9)
        for axes in figure.axes:
            axes.axis("off")
        yield save(figure, f"{name}_pictures")


# ---------------------------------------------------------------------------------------------------------------------
# where and with what it was measured
# ---------------------------------------------------------------------------------------------------------------------


def fingerprint(card: Card) -> str:
    """Hash the code that an experiment depends on, its comments and docstrings left out, and the shipped weights.

    That is the system's own, and what it imports from parts, readers and samples, directly or not.
    """
    own = sorted(card.folder.rglob("*.py"))
    digest = hashlib.sha256()
    for path in sorted({*own, *_imported(own)}):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
                body[0].value.value = None
        digest.update(path.name.encode() + ast.dump(tree).encode())
    for path in sorted(card.folder.glob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _imported(paths: Iterable[Path]) -> set[Path]:
    """List the files of this package that some files import, at any remove."""
    found: set[Path] = set()
    waiting = list(paths)
    while waiting:
        names: list[str] = []
        for node in ast.walk(ast.parse(waiting.pop().read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                # What is imported from a package may be a module of it.
                names += [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            inside = name.split(".")
            if inside[0] == HOME.name:
                place = HOME.joinpath(*inside[1:])
                fresh = {p for p in (place.with_suffix(".py"), place / "__init__.py") if p.is_file()} - found
                found |= fresh
                waiting += fresh
    return found


def machine() -> dict[str, Any]:
    """Describe the machine."""
    import torch

    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        processor = names[0] if names else processor
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "processor": processor, "cores": os.cpu_count(), "memory_gb": round(memory / 2**30), "accelerator": accelerator
    }  # fmt: skip


def versions() -> dict[str, str]:
    """List the versions of what the numbers depend on."""
    from importlib.metadata import version

    names = ("foveate", "torch", "torchvision", "lightning", "numpy", "scipy", "scikit-image")
    return {"python": sys.version.split()[0], **{name: version(name) for name in names}}


def commit() -> str | None:
    """Return the commit of the source tree, with ``+`` if it was changed since; None for an installed package."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(HOME), *arguments], capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "--", str(HOME)) else "")
    except (OSError, subprocess.CalledProcessError):
        return None
