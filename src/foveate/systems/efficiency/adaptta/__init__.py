"""AdapTTA: test-time augmentation around any classifier, for as long as a picture needs it (arXiv 2105.06183)."""

from foveate.systems.efficiency.adaptta.method import AdapTTA, Answer
from foveate.systems.efficiency.adaptta.policy import Policy, calibrate, read_policy

__all__ = ["AdapTTA", "Answer", "Policy", "calibrate", "read_policy"]
