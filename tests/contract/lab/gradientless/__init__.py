"""Names the colour of a picture, by the nearest colours that it has seen."""

from lab.gradientless.method import Nearest

__all__ = ["Nearest"]
