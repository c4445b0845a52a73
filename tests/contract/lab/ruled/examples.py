"""What the contract feeds it."""

from pathlib import Path


def example(action: str, name: str, suffix: str, folder: Path) -> Path:
    """Write a text."""
    path = folder / f"text.{suffix}"
    path.write_text("A quick brown fox.\n", encoding="utf-8")
    return path
