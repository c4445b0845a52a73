"""CIBHash learns binary codes for image search from unlabelled pictures (arXiv 2105.06138)."""

from foveate.systems.embedding.cibhash.method import CIBHash, binarise, information_loss

__all__ = ["CIBHash", "binarise", "information_loss"]
