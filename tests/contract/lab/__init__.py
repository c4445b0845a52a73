"""Systems that live outside foveate, as a laboratory's own would: odd ones that keep the contract, and one that breaks it."""

from pathlib import Path

from foveate.catalogue import Card, read_card


def card(slug: str) -> Card:
    """Read the card of one of them."""
    return read_card(Path(__file__).with_name(slug), f"lab.{slug}", "lab")


def install(folder: Path) -> list[str]:
    """Install them into a folder, as pip would in editable mode.

    Returns:
        What belongs on the import path.
    """
    info = folder / "lab-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lab\nVersion: 0.1\n")
    points = [f"{slug} = lab.{slug}" for slug in ("awkward", "gradientless", "ruled")]
    (info / "entry_points.txt").write_text("\n".join(["[foveate.systems]", *points, ""]))
    return [str(folder), str(Path(__file__).parents[1])]
