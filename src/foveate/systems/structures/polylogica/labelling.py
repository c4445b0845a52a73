"""What a file says of points and cells, made atomic propositions: by the user's rules, of colours, and of whole numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from foveate.errors import InputError
from foveate.systems.structures.polylogica.complexes import Complex

Border = Literal["closed", "open"]
Atoms = dict[str, np.ndarray]
Test = Callable[[np.ndarray], np.ndarray]
Holds = Callable[[str, Test], np.ndarray]  # a field and a test of its values to the cells for which it comes out true

COLOURS = ("red", "green", "blue")
MOST_LABELS = 64  # whole numbers of more values are taken for measurements


def spread(whole: Complex, listed: np.ndarray, holds: np.ndarray, border: Border) -> np.ndarray:
    """Extend a set from listed cells to those that are not listed: the borders of listed ones.

    Args:
        whole: The complex.
        listed: Cells of which something is known.
        holds: bool, what is known of each.
        border: ``closed``: a border cell is in the set if some listed cell above it is; ``open``: if all are.
    """
    inside, outside, known = (np.zeros(whole.size, bool) for _ in range(3))
    inside[listed[holds]], outside[listed[~holds]], known[listed] = True, True, True
    if border == "closed":
        return np.where(known, inside, whole.frame.closure(inside))
    return np.where(known, inside & ~outside, whole.frame.closure(inside) & ~whole.frame.closure(outside))


_RULE = re.compile(r"\s*([A-Za-z_][\w.-]*)\s*(<=|>=|!=|=|<|>)\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*")
_TESTS: dict[str, Callable[[Any, float], np.ndarray]] = {
    "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal, "=": np.equal, "!=": np.not_equal,
}  # fmt: skip


def by_rules(rules: str, fields: Sequence[str], holds: Holds) -> Atoms:
    """Make atoms by rules, ``name = field > number & field <= number, other = ...``.

    Raises:
        InputError: If a rule cannot be understood, or names a field that is not there.
    """
    atoms: Atoms = {}
    for rule in filter(str.strip, rules.split(",")):
        name, _, body = rule.partition("=")
        conjunction = None
        for part in body.split("&"):
            match = _RULE.fullmatch(part)
            if not name.strip() or not match:
                raise InputError("rules", f"{rule.strip()!r} cannot be understood", "name = field > number & field <= number")
            field_name, operator, number = match.groups()
            if field_name not in fields:
                raise InputError("rules", f"there is no field {field_name!r}", f"one of {', '.join(fields)}")
            chosen = holds(field_name, lambda values, o=operator, n=float(number): _TESTS[o](values, n))
            conjunction = chosen if conjunction is None else conjunction & chosen
        atoms[name.strip()] = conjunction
    return atoms


def quantised(colours: Atoms) -> Atoms:
    """Make the authors' atoms of colours in [0, 1]: r0 to r3, g0 to g3 and b0 to b3, each channel as round(3 c)."""
    return {f"{channel[0]}{level}": np.rint(3 * colours[channel]) == level for channel in COLOURS for level in range(4)}


def labels(name: str, column: np.ndarray, always: bool = False) -> list[tuple[str, np.ndarray]]:
    """Make atoms of whole numbers: the name for a mask of zeros and ones, else name and number for each but zero.

    Args:
        name: The field's.
        column: Its values; of real numbers no atoms are made.
        always: Whether the number is told for a mask, too.
    """
    if column.dtype.kind not in "biu":
        return []
    present = np.unique(column)
    if len(present) > MOST_LABELS:
        return []
    if not always and set(present.tolist()) <= {0, 1}:
        return [(name, column.astype(bool))]
    return [(f"{name}{value}", column == value) for value in present.tolist() if value]
