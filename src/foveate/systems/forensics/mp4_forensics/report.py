"""What a user sees: the tree as text, a verdict in words, and the file among known ones as a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from foveate.results import Picture
from foveate.systems.forensics.mp4_forensics.boxes import Box, Tree
from foveate.systems.forensics.mp4_forensics.method import ContainerForensics, Evidence, Verdict
from foveate.systems.forensics.mp4_forensics.streams import streams

ALIKE = 4  # boxes of one type side by side that are told one by one


@dataclass(frozen=True)
class Content:
    """The bytes of a file."""

    content: bytes
    suffix: ClassVar[str] = ".mp4"
    kind: ClassVar[str] = "video"

    def write(self, path: Path) -> None:
        """Write them."""
        path.write_bytes(self.content)


@dataclass(frozen=True)
class Model(Content):
    """A fitted model."""

    suffix: ClassVar[str] = ".safetensors"
    kind: ClassVar[str] = "model"


def tree_text(tree: Tree) -> str:
    """Write a tree, one line for each box; of many boxes of one kind side by side the first few."""
    head = f"{tree.name}, {tree.size:,} bytes ({tree.bytes_read:,} read): {'; '.join(map(str, streams(tree))) or 'no tracks'}"
    lines = [head, *_lines(tree.boxes, 1)]
    lines += [f"  {'!' if c.severity == 'broken' else '?'} {c}" for c in tree.complaints[:50]]
    return "\n".join(lines)


def _lines(boxes: Sequence[Box], depth: int) -> Iterator[str]:
    counts = Counter(box.type for box in boxes)
    told: Counter[str] = Counter()
    for box in boxes:
        told[box.type] += 1
        if told[box.type] > ALIKE:
            continue
        said = " ".join(
            f"{name}={_short(value)}" for name, value in box.fields.items() if not (name in ("version", "flags") and not value)
        )
        name = f"{box.type} [{box.key}]" if box.key else box.type
        yield f"{'  ' * depth}{name} {box.size:,} @{box.start:,}" + (f"  {said}" if said else "")
        yield from _lines(box.children, depth + 1)
    for kind, count in counts.items():
        if count > ALIKE:
            yield f"{'  ' * depth}{kind}: {count - ALIKE:,} more"


def _short(value: Any) -> str:
    said = ",".join(map(str, value[:6])) + (",..." if len(value) > 6 else "") if isinstance(value, list) else str(value)
    return (said if len(said) <= 60 else said[:57] + "...") or "''"


def tree_record(tree: Tree) -> dict[str, Any]:
    """Return a tree as plain values: every box with offset, sizes and fields."""

    def one(box: Box) -> dict[str, Any]:
        found: dict[str, Any] = {"type": box.type, "offset": box.start, "size": box.size, "header": box.header}
        found |= {"key": box.key} if box.key else {}
        found |= {"fields": box.fields} if box.fields else {}
        return found | ({"boxes": [one(child) for child in box.children]} if box.is_parent else {})

    complaints = [
        {"severity": c.severity, "kind": c.kind, "path": c.path, "offset": c.offset, "says": c.says} for c in tree.complaints
    ]
    return {
        "file": tree.name, "size": tree.size, "bytes_read": tree.bytes_read, "streams": [s._asdict() for s in streams(tree)],
        "boxes": [one(box) for box in tree.boxes], "complaints": complaints,
    }  # fmt: skip


def verdict_text(verdict: Verdict, task: str, most: int = 6) -> str:
    """Say a verdict and what spoke for it."""
    label = f"unknown (nearest: {verdict.label})" if verdict.unknown else verdict.label
    near = verdict.neighbours[0]
    lines = [
        f"{task}: {label}; nearest known file {near.file} at {near.distance:.2f} (unknown beyond {verdict.threshold:.2f}), "
        f"next class {verdict.other} {verdict.margin:.2f} farther",
    ]
    if verdict.unseen > 0.05:
        lines.append(f"  {verdict.unseen:.0%} of what it says stands in no known file: take the verdict with care")
    for title, sign in ((f"speaks for {verdict.label}, not {verdict.other}", 1), (f"speaks for {verdict.other}", -1)):
        chosen = [e for e in verdict.evidence if sign * e.weight > 0][:most]
        if chosen:
            lines += [f"  {title}:", *(f"    {_evidence_line(e)}" for e in chosen)]
    return "\n".join(lines)


def _evidence_line(evidence: Evidence) -> str:
    def said(value: float | None) -> str:
        return "none" if value is None else f"{value:.4g}"

    more = f"; with {len(evidence.same)} more alike" if evidence.same else ""
    values = f"here {said(evidence.here)}, nearest {said(evidence.nearest)}, other {said(evidence.other)}"
    return f"{evidence.weight:+8.2f}  {evidence.symbol} ({values}{more})"


def draw_map(model: ContainerForensics, projected: np.ndarray, names: Sequence[str], title: str) -> Picture:
    """Draw known files in the plane of the first two dimensions, and others among them.

    Args:
        model: Fitted.
        projected: The others ``(N, D)``.
        names: Of the others.
        title: Line above.

    Returns:
        RGB, 1,000 x 700 pixels.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    known, asked = plane(model.projected_), plane(projected)
    figure = Figure(figsize=(10, 7), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    markers = "osD^vP"
    for k, name in enumerate(model.classes_):
        chosen = model.label_ == k
        colour = f"C{k % 10}"
        axes.scatter(
            known[chosen, 0], known[chosen, 1], s=26, marker=markers[k // 10 % len(markers)], color=colour, alpha=0.6,
            edgecolors="none", label=str(name),
        )  # fmt: skip
    for i, (point, name) in enumerate(zip(asked, names, strict=True)):
        axes.scatter(*point, s=260, marker="*", color="black", zorder=5)
        if i < 12:
            axes.annotate(name, point, xytext=(8, 8), textcoords="offset points", fontsize=9, zorder=6, parse_math=False)
    # Classes lie far apart and close together at once.
    width = float(np.median(np.ptp(known, axis=0))) / 6 or 1.0
    axes.set_xscale("asinh", linear_width=width)
    if model.projected_.shape[1] > 1:
        axes.set_yscale("asinh", linear_width=width)
        axes.set_ylabel("second dimension")
    else:
        axes.set_yticks([])
        axes.set_ylabel("(spread out to be seen)")
    axes.set(xlabel="first dimension")
    axes.set_title(title, fontsize=11, parse_math=False)
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Picture(np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))


def plane(projected: np.ndarray) -> np.ndarray:
    """Return two coordinates ``(N, 2)``: the first two dimensions, or the only one and a spread that means nothing."""
    if projected.shape[1] >= 2:
        return projected[:, :2]
    spread = np.arange(len(projected)) * 0.6180339887 % 1 - 0.5
    return np.stack([projected[:, 0], spread if len(projected) > 1 else np.zeros(1)], axis=1)
