"""foveate: computer-vision papers that work. Run them on your file, train them on your data, measure their claims.

>>> import foveate
>>> "hinet" in foveate.list_systems()
True
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveate.errors import InputError, MissingExtra

if TYPE_CHECKING:
    from foveate.catalogue import Card
    from foveate.results import Result

__all__ = ["InputError", "MissingExtra", "list_systems", "load", "reproduce", "run", "show"]
__version__ = importlib.metadata.version("foveate")

PathLike = str | os.PathLike[str]


def list_systems(wing: str | None = None) -> list[str]:
    """Return the names of all systems, or of one wing's.

    Raises:
        InputError: If there is no such wing.
    """
    from foveate.catalogue import cards

    return [card.slug for card in cards(wing)]


def show(slug: str) -> Card:
    """Return a system's card: what it takes and gives, its presets, its claims.

    Raises:
        InputError: If there is no such system.

    Example:
        >>> show("hinet").arxiv
        '2105.06086'
    """
    from foveate.catalogue import find

    return find(slug)


def load(slug: str, preset: str | None = None, weights: PathLike | None = None, **arguments: Any) -> Any:
    """Return a system's network (an `nn.Module`) or estimator (scikit-learn style), in evaluation mode.

    Args:
        slug: The system.
        preset: Build it untrained with the arguments of a preset of the card.
        weights: Load these weights; without preset, weights and arguments the shipped ones are loaded.
        **arguments: Build it untrained with these constructor arguments (on top of the preset's).

    Raises:
        InputError: If there is no such system or preset, or the weights do not fit.

    Example:
        >>> import torch
        >>> load("hinet", preset="tiny")(torch.rand(1, 3, 32, 32)).shape
        torch.Size([1, 3, 32, 32])
    """
    from foveate.catalogue import find

    card = find(slug)
    if not card.network:
        raise InputError(slug, "has no network to load", "one of its actions; see foveate show")
    kind = getattr(card.module("method"), card.network)
    if preset is None and weights is None and not arguments:
        weights = card.folder / "weights.safetensors"
    if weights is not None and (preset is not None or arguments):
        raise InputError(slug, "got weights together with a preset or arguments", "either: weights know their arguments")
    if weights is not None:
        from foveate.parts import weights as files

        return files.load(kind, Path(weights))
    if preset is not None and preset not in card.preset:
        raise InputError(preset, f"{slug} has no such preset", f"one of {', '.join(card.preset)}")
    made = kind(**{**(card.preset[preset] if preset else {}), **arguments})
    return made.eval() if card.learns == "gradient" else made


def run(slug: str, *inputs: PathLike | Sequence[PathLike], action: str | None = None, **options: Any) -> Any:
    """Run an action of a system on files.

    Args:
        slug: The system.
        *inputs: The action's inputs, in its order. Where it has one input, a list of files gives a list of results.
        action: Which; the first of the card by default.
        **options: The action's other parameters.

    Returns:
        A `foveate.results.Result`: a mapping of named parts with ``save(folder)``. For a list of files, a list of results.

    Raises:
        InputError: If an input or an option is wrong.
    """
    from foveate import actions
    from foveate.catalogue import find

    several = len(inputs) == 1 and isinstance(inputs[0], (list, tuple))
    given = list(inputs[0]) if several else list(inputs)  # type: ignore[arg-type]
    for path in given:
        if not isinstance(path, (str, os.PathLike)):
            raise InputError(slug, f"got a {type(path).__name__} as input", "a path, or a list of paths")
    results: list[Result] = []
    for outcome in actions.run(find(slug), [Path(p) for p in given], action, **options):  # type: ignore[arg-type]
        if isinstance(outcome, InputError):
            raise outcome
        results.append(outcome)
    if not several and len(results) != 1:
        raise InputError(slug, f"got {len(results)} inputs", "one path, or one list of paths")
    return results if several else results[0]


def reproduce(slug: str, budget: str = "quick", **options: Any) -> dict[str, Any]:
    """Run a system's experiments and judge its claims; see `foveate.evidence.reproduce`.

    Returns:
        The evidence, as it is written to evidence.json.
    """
    from foveate import evidence
    from foveate.catalogue import find

    return evidence.reproduce(find(slug), budget=budget, **options)
