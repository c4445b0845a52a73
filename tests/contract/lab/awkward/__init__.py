"""Mixes the content of a picture with the style of another."""

from lab.awkward.method import Mixer

__all__ = ["Mixer"]
