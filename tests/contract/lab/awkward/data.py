"""Contents and styles, from folders and from the embedded photographs; a style is smaller than its content."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from foveate.parts.training import Draw, train_loader
from foveate.readers.paired import Pair, draw_window, same_names
from foveate.readers.pictures import read_picture
from foveate.results import Picture
from foveate.samples.photographs import photograph
from lab.awkward.method import prepare


class Items(Dataset):
    """Pairs, with what should come of them: the content, in the mean colour of the style."""

    def __init__(self, items: Sequence[tuple[Picture, Picture]]) -> None:
        self.items = items

    def __len__(self) -> int:
        """Count the pairs."""
        return len(self.items)

    def __getitem__(self, key: Draw | int) -> dict[str, Tensor]:
        """Return a random window of the content if drawn, the style, and what should come of them."""
        content, style = self.items[key.index if isinstance(key, Draw) else key]
        if isinstance(key, Draw):
            content = content.crop(*draw_window(content.size, 16, key.generator()))
        content, style = prepare(content), prepare(style)
        wanted = content - content.mean((1, 2), keepdim=True) + style.mean((1, 2), keepdim=True)
        return {"content": content, "style": style, "wanted": wanted}


class Pairs(LightningDataModule):
    """Pictures of equal names under ``<part>/content`` and ``<part>/style``."""

    def __init__(self, root: str = "", batch_size: int = 4, seed: int = 0) -> None:
        super().__init__()
        self.root, self.batch_size, self.seed = Path(root), batch_size, seed

    def parts(self) -> dict[str, Sequence[Any]]:
        """List the pairs of files."""
        return {part: same_names(self.root / part / "content", self.root / part / "style") for part in ("train", "val")}

    def setup(self, stage: str) -> None:
        """Read them."""
        for part, pairs in self.parts().items():
            items = [tuple(map(read_picture, p)) if isinstance(p, Pair) else p for p in pairs]
            setattr(self, part, Items(items))

    def train_dataloader(self) -> DataLoader:
        """Windows in batches."""
        return train_loader(self, self.train, self.batch_size, self.seed)

    def val_dataloader(self) -> DataLoader:
        """Whole pictures."""
        return DataLoader(self.val, 1)


class Sample(Pairs):
    """Windows of embedded photographs."""

    def parts(self) -> dict[str, Sequence[tuple[Picture, Picture]]]:
        """Cut them out."""
        cut = [Picture(photograph(n)[90:114, 80:104]) for n in ("astronaut", "hopper", "coffee", "rocket", "chelsea")]
        pairs = [(one, other.crop(slice(12), slice(10))) for one, other in zip(cut, cut[1:] + cut[:1], strict=True)]
        return {"train": pairs[:4], "val": pairs[4:]}


def write(folder: Path, count: int) -> list[Path]:
    """Write the sample's contents, for examples."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    paths = [folder / f"{i}.png" for i in range(count)]
    for path, (content, _) in zip(paths, Sample().parts()["train"], strict=False):
        content.write(path)
    return paths
