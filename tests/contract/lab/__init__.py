"""Systems that live outside foveate, as a laboratory's own would: odd ones that keep the contract, and one that breaks it."""

from pathlib import Path

from foveate.catalogue import Card, read_card


def card(slug: str) -> Card:
    """Read the card of one of them."""
    return read_card(Path(__file__).with_name(slug), f"lab.{slug}", "lab")
