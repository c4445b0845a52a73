"""What software wrote an MP4 or MOV file, told from its boxes alone (arXiv 2105.06361)."""

from foveate.systems.forensics.mp4_forensics.boxes import Box, Tree, read_tree
from foveate.systems.forensics.mp4_forensics.method import ContainerForensics, prepare

__all__ = ["Box", "ContainerForensics", "Tree", "prepare", "read_tree"]
