"""A claim about sizes."""

from foveate.parts.counting import parameters
from lab.awkward.method import Mixer


def sizes(seed: int, budget: str) -> dict[str, dict[str, float]]:
    """Count parameters."""
    return {name: {"parameters": parameters(Mixer(width))} for name, width in (("narrow", 4), ("wide", 8))}
