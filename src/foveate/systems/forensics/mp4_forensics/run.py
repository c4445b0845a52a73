"""Actions: what a file says and what wrote it, models of one's own files, and two files side by side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from foveate.errors import InputError
from foveate.parts.caching import cache_folder
from foveate.parts.progress import bar
from foveate.results import Record, Result, Table, Text, write_atomically
from foveate.systems.forensics.mp4_forensics import data, evaluation, report
from foveate.systems.forensics.mp4_forensics.baselines import dissimilarity
from foveate.systems.forensics.mp4_forensics.boxes import read_tree
from foveate.systems.forensics.mp4_forensics.data import Task, embedded, hollows, labelled, read_manifest
from foveate.systems.forensics.mp4_forensics.method import ContainerForensics, Reduce, prepare
from foveate.systems.forensics.mp4_forensics.symbols import Settings, Tracks, Typing, difference

MADE_UP = "brands and networks of the embedded files are made up: fit a model on files of your own to tell real ones apart"


def examine(
    videos: list[Path], task: Task = "tool", model: Path | None = None, damaged: bool = False, neighbours: int = 5
) -> Iterator[Result | InputError]:
    """Print a file's boxes, and tell what wrote it by the known files that are nearest.

    Args:
        videos: MP4, MOV, M4A, 3GP ... files; only their headers are read.
        task: What is to be told: brand, tool, library, network, altered; brand_blind and tool_blind after a network.
        model: What `fit` wrote; without one the embedded files are the known ones.
        damaged: Take what can be read of a file that is cut off or whose sizes contradict each other.
        neighbours: Known files that are told.
    """
    if neighbours < 1:
        raise InputError("neighbours", f"is {neighbours}", "1 or more")
    known, task, notes = _known(model, task)
    for path in videos:
        try:
            tree = read_tree(path, damaged)
            document = prepare(tree)
            (verdict,) = known.judge([document], neighbours)
        except InputError as error:
            yield error
            continue
        symbols = document.symbols(known.settings)
        said = report.verdict_text(verdict, task)
        parts = {
            "tree": Text(report.tree_text(tree) + "\n"),
            "boxes": Record(report.tree_record(tree)),
            "features": Record({**symbols.counts, **symbols.values}),
            "verdict": Record({"task": task, **verdict.record(), "complaints": [str(c) for c in tree.complaints]}),
            "map": report.draw_map(known, known.transform([document]), [path.name], f"{path.name}, {said.partition(';')[0]}"),
        }
        yield Result(parts, (report.tree_text(tree), f"{path.name}: {said}", *notes))


def inspect(video: Path, damaged: bool = False) -> Result:
    """Print a file's boxes, with offsets, sizes and fields, and what is wrong with them.

    Args:
        video: MP4, MOV, M4A, 3GP ...; only its headers are read.
        damaged: Take what can be read of a file that is cut off or whose sizes contradict each other.
    """
    tree = read_tree(video, damaged, movie=not damaged)
    text = report.tree_text(tree)
    return Result({"tree": Text(text + "\n"), "boxes": Record(report.tree_record(tree))}, (text,))


def compare(first: Path, second: Path, keep_identifying: bool = False) -> Result:
    """List the symbols that only one of two files has, and those whose values differ.

    Args:
        first: A file.
        second: Another.
        keep_identifying: Compare dates, places, titles and the like, too.
    """
    one, other = (prepare(read_tree(path)) for path in (first, second))
    found = difference(one, other, Settings(drop_identifying=not keep_identifying))
    share = {"first_not_in_second": dissimilarity(one, other), "second_not_in_first": dissimilarity(other, one)}
    lines = [
        f"{name.replace('_', ' ')} ({len(listed)})\n" + "\n".join(f"  {s}" for s in listed) for name, listed in found.items()
    ]
    alone = [f"{path.name} has {part:.1%}" for path, part in zip((first, second), share.values(), strict=True)]
    head = f"of its symbols alone {', '.join(alone)}"
    text = "\n".join([head, *lines])
    return Result({"difference": Record({**share, **found}), "text": Text(text + "\n")}, (text,))


def fit(
    manifest: Path,
    task: Task = "tool",
    typing: Typing = "typed",
    tracks: Tracks = "by_handler",
    order_features: bool = False,
    keep_identifying: bool = False,
    select: bool = True,
    reduce: Reduce = "lda",
    dim: int = 16,
    neighbors: int = 1,
    reject: bool = True,
    seed: int = 0,
) -> Result:
    """Learn from files of your own: a model for `examine`, what the selection kept, and a picture.

    Args:
        manifest: CSV with the columns path, and brand, device, tool, network, source_id as far as known.
        task: What is to be told.
        typing: Continuous fields are one column each, or each value is a symbol.
        tracks: Tracks by their media, by their position, or all alike.
        order_features: The order of boxes is a symbol, too.
        keep_identifying: Keep dates, places, titles: for analysis only, they identify recordings.
        select: Leave out constant, rare and repeated columns.
        reduce: Linear discriminants, principal components, neighbourhood components, or none.
        dim: Dimensions at most.
        neighbors: Known files that vote.
        reject: Find the distance beyond which a file is unknown.
        seed: Of the folds that it is found with.
    """
    items = _items(manifest, task)
    made = ContainerForensics(
        typing=typing, tracks=tracks, order_features=order_features, drop_identifying=not keep_identifying, select=select,
        reduce=reduce, max_components=dim, n_neighbors=neighbors, reject=reject, seed=seed,
    )  # fmt: skip
    with evaluation.naming(manifest):
        made.fit(items.files, items.label, items.group)
    summary = {
        "task": task, "files": len(items.label), "groups": len(set(items.group.tolist())),
        "classes": {str(c): int((items.label == c).sum()) for c in made.classes_}, "columns": made.columns_seen,
        "columns_kept": made.columns_kept, "dimensions": made.projected_.shape[1], "threshold": made.threshold_,
    }  # fmt: skip
    kept = f"{made.columns_seen} columns, {made.columns_kept} kept"
    note = f"{kept}; now: foveate run mp4_forensics VIDEO --model {manifest.stem}_model.safetensors"
    picture = report.draw_map(made, made.projected_[:0], [], f"{manifest.name}: {task}")
    return Result({"model": report.Model(made.to_bytes(task)), "summary": Record(summary), "map": picture}, (note,))


def map(manifest: Path, task: Task = "tool", model: Path | None = None, reduce: Reduce = "lda") -> Result:
    """Draw files of your own in the plane: among the known ones of a model, or by themselves.

    Args:
        manifest: CSV as for `fit`.
        task: What is to be told, where no model is given.
        model: What `fit` wrote.
        reduce: How the plane is found, where no model is given.
    """
    if model is not None:
        known, _, _ = _known(model, task)
        files = read_manifest(manifest)
        documents = [k.document for k in files]
        points, names = known.transform(documents), [d.name for d in documents]
        labels = known.predict(documents).tolist()
        picture = report.draw_map(known, points, names, manifest.name)
    else:
        items = _items(manifest, task)
        known = ContainerForensics(reduce=reduce, max_components=2, reject=False)
        with evaluation.naming(manifest):
            known.fit(items.files, items.label)
        points, names, labels = known.projected_, known.names_, items.label.tolist()
        picture = report.draw_map(known, points[:0], [], f"{manifest.name}: {task}")
    rows = [[n, c, *p] for n, c, p in zip(names, labels, report.plane(points).tolist(), strict=True)]
    return Result({"map": picture, "coordinates": Table(("file", "class", "x", "y"), rows)})


def evaluate(manifest: Path, task: Task = "tool", folds: int = 5, seed: int = 0) -> Result:
    """Compare the classifier with the others on files of your own, no source or device on both sides of a split.

    Args:
        manifest: CSV as for `fit`.
        task: What is to be told.
        folds: Parts.
        seed: Of the split.
    """
    items = _items(manifest, task)
    with evaluation.naming(manifest), bar(f"evaluating {manifest.name}") as tick:
        tick(0, len(evaluation.CLASSIFIERS))
        said = {}
        for name in evaluation.CLASSIFIERS:
            said[name] = evaluation.held_out_predictions(items, name, folds, seed)
            tick(1)
    scores = {name: evaluation.scores(items.label, answer) for name, answer in said.items()}
    metrics = list(scores["nn"])
    table = Table(("classifier", *metrics), [[name, *(s[m] for m in metrics)] for name, s in scores.items()])
    columns = ([d.name for d in items.files], items.group, items.label, *said.values())
    rows = [list(row) for row in zip(*columns, strict=True)]
    return Result({"scores": table, "answers": Table(("file", "group", "class", *said), rows)})


def sample(name: str = "", tool: str = "ffmpeg") -> Result:
    """Write an embedded file, its media as zeros, to try the other actions with.

    Args:
        name: One of the manifest that comes with the system; else the first one of the tool.
        tool: Whose file.
    """
    chosen = [
        (row, file) for row, file in hollows() if (row["name"] == name if name else row["tool"] == tool and not row["network"])
    ]
    if not chosen:
        known = ", ".join(dict.fromkeys(row["tool"] for row, _ in hollows()))
        raise InputError(name or tool, "is no embedded file or tool", f"a name of manifest.csv, or one of {known}")
    row, file = chosen[0]
    return Result(
        {"video": report.Content(file.content())}, (f"{row['name']}: {row['tool']} {row['version']} {row['options']}",)
    )


# ---------------------------------------------------------------------------------------------------------------------


def _items(manifest: Path, task: Task) -> data.Labelled:
    known = read_manifest(manifest)
    with evaluation.naming(manifest):
        return labelled(known, task)


def _known(model: Path | None, task: Task) -> tuple[ContainerForensics, Task, tuple[str, ...]]:
    """Return a model, what it tells, and what the user should know of it."""
    if model is not None:
        made, told = ContainerForensics.load(model)
        return made, told if told in data.TASKS else task, ()  # type: ignore[return-value]
    code = sorted(Path(__file__).parent.glob("*.py"))
    path = cache_folder() / "mp4_forensics" / f"{task}-{data.DIGEST}-{data.digest(*code)}.safetensors"
    notes = (
        "the known files are the ones that foveate ships, of few versions of few tools",
        *((MADE_UP,) if task not in ("tool", "library", "altered") else ()),
    )
    try:
        return ContainerForensics.load(path)[0], task, notes
    except InputError:
        items = labelled(embedded(), task)
        made = ContainerForensics().fit(items.files, items.label, items.group)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, made.to_bytes(task))
    except (OSError, InputError):
        pass  # it is made anew next time
    return made, task, notes
