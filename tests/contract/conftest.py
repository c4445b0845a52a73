"""Lets `lab` be imported as the package of another project would be."""

import sys
from pathlib import Path

collect_ignore = ["lab"]
sys.path.insert(0, str(Path(__file__).parent))
