"""Pictures, scaled otherwise than in method.py, and noise from a generator of its own."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from foveate.parts.training import Draw, train_loader
from foveate.readers.pictures import find_pictures, read_picture

RNG = np.random.default_rng(0)  # goes on from wherever it was


class Numbers(Dataset):
    """Random pictures of one brightness, and a noise that no draw knows of."""

    def __len__(self) -> int:
        """Count them."""
        return 8

    def __getitem__(self, key: Draw | int) -> dict[str, Tensor]:
        """Return one."""
        return {"picture": torch.full((3, 8, 8), 0.1) + torch.tensor(RNG.random((3, 8, 8)) / 9, dtype=torch.float32)}


class Sample(LightningDataModule):
    """Noise."""

    def train_dataloader(self) -> DataLoader:
        """Batches."""
        return train_loader(self, Numbers(), 2, 0)


class Files(Dataset):
    """Pictures divided by 256."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        """Count them."""
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return one."""
        pixels = read_picture(self.paths[index]).pixels
        return {"picture": torch.tensor(np.array(pixels[..., :3], np.float32).transpose(2, 0, 1) / 256)}


class Classes(LightningDataModule):
    """Pictures under ``train/`` and ``val/``."""

    def __init__(self, root: str) -> None:
        super().__init__()
        self.root = Path(root)

    def parts(self) -> dict[str, Any]:
        """List them."""
        return {part: find_pictures(self.root / part) for part in ("train", "val")}

    def val_dataloader(self) -> DataLoader:
        """One by one."""
        return DataLoader(Files(self.parts()["val"]), 1)
