"""One progress bar on the terminal, and none in a pipe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Tick(Protocol):
    """Told how much was done, and how much more there is to do."""

    def __call__(self, done: int, more: int = 0) -> None:
        """Move the bar."""


@contextmanager
def bar(label: str) -> Iterator[Tick]:
    """Show a bar on standard error while a block runs.

    Args:
        label: What is being done.

    Yields:
        A function to tell progress to: ``tick(done, more)``.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task, total = progress.add_task(label, total=0), 0

        def tick(done: int, more: int = 0) -> None:
            nonlocal total
            total += more
            progress.update(task, advance=done, total=total)

        yield tick
