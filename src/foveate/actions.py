"""`foveate run`: a system's typed functions, given files and asked for results."""

from __future__ import annotations

import glob
import inspect
import os
import types
import typing
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from foveate.catalogue import Card
from foveate.errors import InputError
from foveate.results import Result, staging, unwritable

Action = Callable[..., Any]


def find_action(card: Card, name: str | None = None) -> tuple[str, Action]:
    """Return an action of a system by name, or its default one.

    Raises:
        InputError: If there is no such action.
    """
    if card.rivals:
        raise InputError(
            card.slug, "is a comparison, with nothing to run", f"foveate reproduce {card.slug}, or one of its rivals"
        )
    name = name or next(iter(card.action), "")
    if name not in card.action:
        raise InputError(card.slug, f"has no action {name!r}", f"one of {', '.join(card.action)}")
    function = getattr(card.module("run"), name, None)
    if function is None:
        raise InputError(f"{card.slug}/run.py", f"has no function {name!r}", "a function for each action of the card")
    return name, function


def input_names(function: Action) -> dict[str, bool]:
    """Tell an action's inputs: name to whether it takes a list of files. Inputs are the paths that have no default."""
    hints = typing.get_type_hints(function)
    required = [n for n, p in inspect.signature(function).parameters.items() if p.default is p.empty]
    return {n: hints.get(n) == list[Path] for n in required if hints.get(n) in (Path, list[Path])}


def takes_many(card: Card, name: str, function: Action) -> bool:
    """Whether several files, folders and globs may be given: the action has one input, and that is a file."""
    inputs = input_names(function)
    declared = card.action[name].get("inputs", {})
    return len(inputs) == 1 and declared.get(next(iter(inputs)), {}).get("kind") != "folder"


def run(card: Card, inputs: Sequence[Path], action: str | None = None, **options: Any) -> Iterator[Result | InputError]:
    """Run an action.

    Args:
        card: The system.
        inputs: For an action with one input, any number of files, of which each gives a result; else one path per input.
        action: Its name; the first of the card by default.
        **options: The action's other parameters.

    Yields:
        A result for each input, or what is wrong with it, in order. Each result is named after its (first) input.

    Raises:
        InputError: If the number of inputs or an option is wrong.
    """
    name, function = find_action(card, action)
    names = input_names(function)
    where = f"foveate run {card.slug} {name}"
    known = inspect.signature(function).parameters
    hints = typing.get_type_hints(function)
    for option, value in options.items():
        if option not in known or option in names:
            raise InputError(where, f"has no option {option!r}", ", ".join(n for n in known if n not in names))
        options[option] = _checked(where, option, hints[option], value)
    if takes_many(card, name, function) and inputs:
        labels = _labels(inputs)
        (argument, listed), *_ = names.items()
        if listed:
            outcomes: Iterable[Any] = function(list(inputs), **options)
        else:
            outcomes = (_one(function, {argument: path}, options) for path in inputs)
        for label, outcome in zip(labels, outcomes, strict=True):
            yield replace(outcome, name=label) if isinstance(outcome, Result) else outcome
        return
    if len(inputs) != len(names):
        raise InputError(where, f"got {len(inputs)} inputs", f"{' '.join(n.upper() for n in names)}")
    given = {n: [path] if listed else path for (n, listed), path in zip(names.items(), inputs, strict=True)}
    outcome = _one(function, given, options)
    yield replace(outcome, name=_stem(inputs[0]) if inputs else card.slug) if isinstance(outcome, Result) else outcome


def _checked(where: str, option: str, hint: Any, value: Any) -> Any:
    """Refuse an option's value that its type does not admit; a path may be given as text."""
    if Path in (hint, *typing.get_args(hint)) and isinstance(value, (str, os.PathLike)):
        return Path(value)
    if not _admits(hint, value):
        expected = " or ".join(map(repr, typing.get_args(hint))) or getattr(hint, "__name__", str(hint))
        raise InputError(where, f"{option} is {value!r}", expected)
    return value


def _admits(hint: Any, value: Any) -> bool:
    """Whether a value fits a type: a union, a literal or a plain class; of other types nothing is refused.

    Example:
        >>> _admits(Literal[1, 8] | None, 8), _admits(Literal[1, 8] | None, 3), _admits(float, 2), _admits(int, True)
        (True, False, True, False)
        >>> _admits(list[int], [1])
        True
    """
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_admits(choice, value) for choice in typing.get_args(hint))
    if origin is Literal:
        return value in typing.get_args(hint)
    if not isinstance(hint, type) or origin is not None:
        return True
    if isinstance(value, bool):
        return hint in (bool, object)
    return isinstance(value, (float, int) if hint is float else hint)


def _one(function: Action, inputs: dict[str, Any], options: dict[str, Any]) -> Result | InputError:
    try:
        return function(**inputs, **options)
    except InputError as error:
        return error


def _labels(paths: Sequence[Path]) -> list[str]:
    """Name results after their inputs: by stem, with the suffix where two share it, with a number where that fails too."""
    stems = Counter(map(_stem, paths))
    labels: dict[str, None] = {}
    for path in paths:
        label = _stem(path) if stems[_stem(path)] == 1 else path.name.replace(".", "-")
        number = 1
        while label in labels:
            number += 1
            label = f"{path.name.replace('.', '-')}-{number}"
        labels[label] = None
    return list(labels)


def _stem(path: Path) -> str:
    """Name an input: a folder by all of its name, wherever one stands, a file without its suffix, packed or not."""
    return path.resolve().name if path.is_dir() else Path(path.name.removesuffix(".gz")).stem


def spell_out_flags(function: Action, arguments: Sequence[str]) -> list[str]:
    """Let ``--flag`` stand for ``--flag true``, which is what jsonargparse wants of a boolean.

    Example:
        >>> def action(photo: Path, force: bool = False, tile: int = 256) -> None: ...
        >>> spell_out_flags(action, ["a.png", "--force", "--tile", "64"])
        ['a.png', '--force=true', '--tile', '64']
    """
    flags = {f"--{name}" for name, hint in typing.get_type_hints(function).items() if hint is bool}
    following = [*arguments, ""][1:]
    return [
        f"{a}=true" if a in flags and after.lower() not in ("true", "false") else a
        for a, after in zip(arguments, following, strict=True)
    ]


def expand(patterns: Sequence[str], formats: Sequence[str]) -> list[Path]:
    """Turn files, folders and globs into files.

    Args:
        patterns: A folder gives every file of the formats under it, at any depth, but hidden ones; a glob what it matches.
        formats: Suffixes without the dot.

    Raises:
        InputError: If a folder or a glob gives nothing. Files that are missing are left for the action to refuse.
    """
    suffixes = (
        {"." + f for f in formats} | ({".jpeg"} if "jpg" in formats else set()) | ({".tiff"} if "tif" in formats else set())
    )
    files: list[Path] = []
    for pattern in patterns:
        if not pattern:
            raise InputError("''", "names no file", "a file, a folder or a glob")
        path = Path(pattern)
        if path.is_dir():
            seen = (p for p in path.rglob("*") if p.name.lower().endswith(tuple(suffixes)) and p.is_file())
            found = sorted(p for p in seen if not any(part.startswith(".") for part in p.relative_to(path).parts))
            wanted = f"files that end in {', '.join(sorted(suffixes))}"
        elif not path.exists() and glob.has_magic(pattern):
            found = sorted(p for p in map(Path, glob.glob(pattern, recursive=True)) if p.is_file())
            wanted = "a pattern that matches files"
        else:
            found, wanted = [path], ""
        if not found:
            raise InputError(pattern, "gives no input", wanted)
        files += found
    return list(dict.fromkeys(files))


def check_writable(out: Path) -> None:
    """Find out before the work, and not after it, that a folder cannot be written.

    Raises:
        InputError: If it, or the nearest folder above it that exists, cannot.
    """
    existing = next(p for p in (out, *out.absolute().parents) if p.exists())
    if not existing.is_dir():
        raise InputError(out, "cannot be written: a file is in the way", "a folder")
    try:
        with staging(existing):
            pass
    except OSError as error:
        raise unwritable(out, error) from error
