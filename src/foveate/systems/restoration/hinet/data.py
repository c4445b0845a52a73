"""The paper's data sets in their own layouts, any paired folders, and the embedded photographs degraded on the fly."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from foveate.errors import InputError
from foveate.parts import degradations as spoil
from foveate.parts.dihedral import dihedral
from foveate.parts.padding import mirror_to
from foveate.parts.training import Draw, train_loader
from foveate.readers.paired import Moves, Pair, PairedPictures, cut, draw_move, draw_window, same_names
from foveate.readers.pictures import find_pictures, read_picture
from foveate.results import Picture
from foveate.samples.photographs import photographs
from foveate.systems.restoration.hinet.method import prepare

Task = Literal["denoise", "deblur", "derain", "jpeg"]


class Pairs(LightningDataModule):
    """What all sources of pairs share: loaders, crops, moves.

    Args:
        root: Folder of the data set.
        crop: Side of the training windows.
        batch_size: Windows per step and process (the paper: 64 over 8 GPUs).
        moves: ``all``, ``half`` or ``none``; see `foveate.readers.paired.draw_move`.
        crops: Folder where the training pictures are cut into squares of 512 once, as the authors did, for speed.
        seed: Seed of order and augmentation.
        num_workers: Loader processes.
    """

    stride = 256  # between the squares that `crops` holds

    def __init__(
        self,
        root: str = "",
        crop: int = 256,
        batch_size: int = 8,
        moves: Moves = "all",
        crops: str | None = None,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        if crop < 1:
            raise InputError("crop", f"{crop} pixels", "at least one")
        self.root, self.crop, self.batch_size, self.moves = Path(root), crop, batch_size, moves
        self.crops, self.seed, self.num_workers = crops, seed, num_workers

    @abstractmethod
    def parts(self) -> dict[str, Sequence[Any]]:
        """List what each part of the data set holds: ``train``, ``val`` and test sets by name.

        Raises:
            InputError: If the folder is not laid out as expected.
        """

    def pictures(self, pairs: Sequence[Pair]) -> Dataset:
        """Make the data set of some pairs."""
        return PairedPictures(pairs, prepare, self.crop, self.moves)

    def prepare_data(self) -> None:
        """Cut the training pictures into squares, if asked to."""
        if self.crops and "train" in self.parts():
            cut(self.parts()["train"], Path(self.crops), side=512, stride=self.stride)

    def setup(self, stage: str) -> None:
        """Find the files of a stage: ``fit``, ``validate`` or ``test``.

        Raises:
            InputError: If the stage's part of the data set is not there.
        """
        found = self.parts()
        tests = {name: pairs for name, pairs in found.items() if name not in ("train", "val")}
        if not (tests if stage == "test" else found.get("val" if stage == "validate" else "train")):
            raise InputError(self.root, f"has nothing to {stage} on", f"a layout that foveate data shows; found: {list(found)}")
        train = found.get("train", [])
        if self.crops and stage == "fit":
            train = same_names(Path(self.crops) / "degraded", Path(self.crops) / "clean")
        self.train = self.pictures(train)
        self.val = self.pictures(found.get("val", []))
        self.test = {name: self.pictures(pairs) for name, pairs in tests.items()}

    def train_dataloader(self) -> DataLoader:
        """Random crops in batches: ``{"degraded", "clean"}``, each ``(B, 3, crop, crop)``."""
        return train_loader(self, self.train, self.batch_size, self.seed, self.num_workers)

    def val_dataloader(self) -> DataLoader:
        """Whole pictures, one by one."""
        return DataLoader(self.val, 1, num_workers=self.num_workers)

    def test_dataloader(self) -> list[DataLoader]:
        """Whole pictures of each test set, one by one."""
        return [DataLoader(test, 1, num_workers=self.num_workers) for test in self.test.values()]


class Folders(Pairs):
    """Your own pairs: ``<part>/input`` and ``<part>/target`` with pictures of equal names, for train, val and test."""

    def parts(self) -> dict[str, Sequence[Pair]]:
        """List the pairs."""
        return _sides(self.root, {part: (f"{part}/input", f"{part}/target") for part in ("train", "val", "test")})


class SIDD(Pairs):
    """SIDD: ``SIDD_Medium_Srgb/Data/<scene>/*_GT_SRGB_*.PNG`` with ``*_NOISY_SRGB_*.PNG``, and the validation blocks.

    The blocks lie in ``ValidationNoisyBlocksSrgb.mat`` and ``ValidationGtBlocksSrgb.mat``: uint8 (40, 32, 256, 256, 3) under
    the file's stem, 1,280 pairs.
    """

    stride = 384

    def parts(self) -> dict[str, Sequence[Any]]:
        """List the training pairs, and the blocks, on which the paper reports: the test set's clean pictures are not public.

        The blocks validate too, so nothing should be chosen by them; the recipe keeps the last step.
        """
        found: dict[str, Sequence[Any]] = {}
        clean = sorted(p for base in ("SIDD_Medium_Srgb/Data", "Data") for p in (self.root / base).glob("*/*_GT_SRGB_*.PNG"))
        if clean:
            found["train"] = [Pair(p.with_name(p.name.replace("_GT_SRGB_", "_NOISY_SRGB_")), p) for p in clean]
            missing = [p.degraded for p in found["train"] if not p.degraded.exists()]
            if missing:
                count = f"is missing ({len(missing)} noisy pictures are)"
                raise InputError(missing[0], count, "one for each *_GT_SRGB_*.PNG")
        blocks = [self.root / f"Validation{kind}BlocksSrgb.mat" for kind in ("Noisy", "Gt")]
        if all(path.exists() for path in blocks):
            found["val"] = found["test"] = Blocks(*blocks)
        if not found:
            raise InputError(
                self.root, "has neither Data/<scene>/*_GT_SRGB_*.PNG nor the validation blocks", "the SIDD Medium sRGB layout"
            )
        return found

    def pictures(self, pairs: Sequence[Pair] | Blocks) -> Dataset:
        """Blocks are a data set already."""
        return pairs if isinstance(pairs, Blocks) else super().pictures(pairs)


class Blocks(Dataset):
    """SIDD's validation blocks: every 256 x 256 window of every scene."""

    def __init__(self, noisy: Path, clean: Path) -> None:
        self.noisy, self.clean = (_read_blocks(path) for path in (noisy, clean))
        if self.noisy.shape != self.clean.shape:
            raise InputError(noisy, f"has shape {self.noisy.shape}, {clean.name} {self.clean.shape}", "equal shapes")

    def __len__(self) -> int:
        """Count the blocks."""
        return len(self.noisy)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return ``{"degraded", "clean"}``, each ``(3, 256, 256)``."""
        return {"degraded": prepare(Picture(self.noisy[index])), "clean": prepare(Picture(self.clean[index]))}


def _read_blocks(path: Path) -> np.ndarray:
    """Read uint8 ``(blocks, H, W, 3)``."""
    from scipy.io import loadmat

    try:
        array = loadmat(path, variable_names=[path.stem])[path.stem]
    except (OSError, ValueError, KeyError, NotImplementedError, TypeError) as error:
        raise InputError(path, f"has no readable array {path.stem}", "SIDD's validation blocks") from error
    if array.dtype != np.uint8 or array.ndim != 5 or array.shape[-1] != 3:
        raise InputError(path, f"{array.dtype} of shape {array.shape}", "uint8 (scenes, blocks, 256, 256, 3)")
    return array.reshape(-1, *array.shape[2:])


class GoPro(Pairs):
    """GoPro: ``train/input``, ``train/target``, ``test/input``, ``test/target``; every tenth training sequence validates.

    Note:
        The authors train on all sequences and keep the last step.
    """

    def parts(self) -> dict[str, Sequence[Pair]]:
        """List the pairs; a frame's sequence is its name up to the hyphen."""
        found = _sides(self.root, {part: (f"{part}/input", f"{part}/target") for part in ("train", "test")})
        return _hold_out(found, lambda pair: pair.clean.stem.rpartition("-")[0] or pair.clean.stem)


class REDS(Pairs):
    """REDS: ``train/train_blur_jpeg/<seq>/<frame>.jpg`` with ``train/train_sharp/<seq>/<frame>.png``, and ``val`` alike.

    The frames of ``val`` whose number ends in 9, 300 of them, validate and test, as the authors report on them; nothing
    should be chosen by them, and the recipe keeps the last step.
    """

    def parts(self) -> dict[str, Sequence[Pair]]:
        """List the pairs."""
        names = {part: (f"{part}/{part}_blur_jpeg", f"{part}/{part}_sharp") for part in ("train", "val")}
        found = _sides(self.root, names)
        if "val" in found:
            found["val"] = found["test"] = [pair for pair in found["val"] if pair.clean.stem.endswith("9")]
        return found


class Rain13k(Pairs):
    """Rain13k: ``train/input``, ``train/target``, and ``test/<set>/input``, ``test/<set>/target`` for its test sets.

    Note:
        The released code keeps the step that does best on the test sets; here every tenth training scene validates.
    """

    def parts(self) -> dict[str, Sequence[Pair]]:
        """List the pairs; one clean picture stands under several names, once for each rain that was drawn over it."""
        sets = sorted(p.name for p in (self.root / "test").glob("*") if p.is_dir())
        names = {"train": ("train/input", "train/target")} | {n: (f"test/{n}/input", f"test/{n}/target") for n in sets}
        return _hold_out(_sides(self.root, names), lambda pair: hashlib.sha1(pair.clean.read_bytes()).hexdigest())


def _sides(root: Path, names: dict[str, tuple[str, str]]) -> dict[str, Sequence[Pair]]:
    """Pair the folders of every part that is there.

    Raises:
        InputError: If none is.
    """
    here = {part: sides for part, sides in names.items() if any((root / side).is_dir() for side in sides)}
    if not here:
        raise InputError(root, f"has none of {', '.join(f'{a}/' for a, _ in names.values())}", "one of them, with its partner")
    return {part: same_names(root / degraded, root / clean) for part, (degraded, clean) in here.items()}


def _hold_out(found: dict[str, Sequence[Pair]], scene: Callable[[Pair], str]) -> dict[str, Sequence[Pair]]:
    """Let every tenth scene of the training pairs validate."""
    if "train" not in found:
        return found
    scenes = {pair: scene(pair) for pair in found["train"]}
    held = set(list(dict.fromkeys(scenes.values()))[::10])
    train = [pair for pair, name in scenes.items() if name not in held]
    return {**found, "train": train, "val": [pair for pair, name in scenes.items() if name in held]}


# ---------------------------------------------------------------------------------------------------------------------
# clean pictures, degraded on the fly
# ---------------------------------------------------------------------------------------------------------------------


def degrade(clean: np.ndarray, task: Task, rng: np.random.Generator) -> np.ndarray:
    """Spoil a clean picture the way a task expects: float32 ``(H, W, 3)`` in [0, 1].

    Args:
        clean: The picture.
        task: ``denoise``: sensor noise of strength 0.04 to 0.2, half of the time compressed too (JPEG 30 to 90);
            ``deblur``: straight motion blur of 5 to 13 pixels and noise of 0.01; ``derain``: streaks of three densities;
            ``jpeg``: the same blur, then JPEG 10 to 30.
        rng: The draw.
    """
    if task == "denoise":
        noisy = spoil.signal_noise(clean, rng.uniform(0.04, 0.2), rng)
        return spoil.jpeg(noisy, int(rng.integers(30, 91))) if rng.random() < 0.5 else noisy
    if task == "derain":
        return spoil.rain(clean, float(rng.choice([0.002, 0.006, 0.015])), rng.uniform(8, 20), rng.uniform(1.2, 1.9), rng)
    blurred = spoil.motion_blur(clean, rng.uniform(5, 13), rng.uniform(0, np.pi))
    if task == "deblur":
        return spoil.white_noise(blurred, 0.01, rng)
    return spoil.jpeg(blurred, int(rng.integers(10, 31)))


class Degraded(Dataset):
    """Clean pictures and a named degradation: random crops when indexed with a `Draw`, else whole pictures.

    Args:
        pictures: uint8 ``(H, W, 3)`` arrays, or files.
        task: See `degrade`.
        crop: Side of the training windows.
        length: Windows in an epoch; as many as there are pictures if 0.
        seed: Seed of the degradation of whole pictures.
    """

    def __init__(self, pictures: Sequence[np.ndarray | Path], task: Task, crop: int, length: int = 0, seed: int = 0) -> None:
        self.pictures, self.task, self.crop, self.seed = list(pictures), task, crop, seed
        self.length = length or len(self.pictures)

    def __len__(self) -> int:
        """Count the windows of an epoch, or the pictures."""
        return self.length

    def __getitem__(self, key: Draw | int) -> dict[str, Tensor]:
        """Return ``{"degraded", "clean"}``, each ``(3, h, w)``."""
        drawn = isinstance(key, Draw)
        rng = key.generator() if drawn else np.random.default_rng((self.seed, key))
        source = self.pictures[(key.index if drawn else key) % len(self.pictures)]
        clean = read_picture(source) if isinstance(source, Path) else Picture(source)
        if drawn:
            clean = clean.crop(*draw_window(clean.size, self.crop, rng))
        target = prepare(clean)
        if drawn:
            # Besides the paper's moves, the colours change places: there are few photographs, and noise has no favourite.
            target = dihedral(mirror_to(target, self.crop, self.crop), draw_move("all", rng))[
                torch.from_numpy(rng.permutation(3))
            ]
        degraded = Picture.from_unit(degrade(target.permute(1, 2, 0).numpy(), self.task, rng))
        return {"degraded": prepare(degraded), "clean": target.contiguous()}


def _pyramid(pixels: np.ndarray) -> list[np.ndarray]:
    """Return a photograph at full, two thirds and half size."""
    from skimage.transform import rescale

    smaller = (rescale(pixels, scale, anti_aliasing=True, channel_axis=2) for scale in (2 / 3, 1 / 2))
    return [pixels, *(Picture.from_unit(s).pixels for s in smaller)]


def _centre(pixels: np.ndarray, side: int) -> np.ndarray:
    """Cut out the centre; 0 leaves the photograph whole."""
    if not side:
        return pixels
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


class Sample(Pairs):
    """The embedded photographs, degraded on the fly; split by photograph.

    Args:
        task: What is wrong with the pictures; see `degrade`.
        crop: Side of the training windows.
        batch_size: Windows per step and process.
        epoch: Windows in an epoch.
        window: Side of the centre crops that are validated and tested on; 0 takes whole photographs.
        seed: Seed of order, crops and degradation.
        num_workers: Loader processes.
    """

    def __init__(
        self,
        task: Task = "denoise",
        crop: int = 64,
        batch_size: int = 8,
        epoch: int = 800,
        window: int = 0,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__(crop=crop, batch_size=batch_size, seed=seed, num_workers=num_workers)
        self.task, self.epoch, self.window = task, epoch, window

    def parts(self) -> dict[str, Sequence[np.ndarray]]:
        """List the photographs; training ones at three scales, which gives sharper and cleaner windows too."""
        train = [shrunk for p in photographs("train").values() for shrunk in _pyramid(p)]
        cropped = {part: [_centre(p, self.window) for p in photographs(part).values()] for part in ("val", "test")}
        return {"train": train, **cropped}

    def setup(self, stage: str) -> None:
        """Make the data sets. The noise of validation and test does not depend on the seed of training."""
        found = self.parts()
        self.train = Degraded(found["train"], self.task, self.crop, self.epoch)
        self.val = Degraded(found["val"], self.task, self.crop, seed=1)
        self.test = {"test": Degraded(found["test"], self.task, self.crop, seed=2)}


class Clean(Pairs):
    """Your own clean pictures, degraded on the fly: ``train/``, and ``val/`` and ``test/`` if there are any.

    Args:
        root: The folder.
        task: What to do to the pictures; see `degrade`.
        crop: Side of the training windows.
        batch_size: Windows per step and process.
        seed: Seed of order, crops and degradation.
        num_workers: Loader processes.
    """

    def __init__(
        self, root: str = "", task: Task = "denoise", crop: int = 128, batch_size: int = 8, seed: int = 0, num_workers: int = 0
    ) -> None:
        super().__init__(root, crop, batch_size, seed=seed, num_workers=num_workers)
        self.task = task

    def parts(self) -> dict[str, Sequence[Path]]:
        """List the pictures."""
        found = {n: find_pictures(self.root / n) for n in ("train", "val", "test") if (self.root / n).is_dir()}
        if not any(found.values()):
            raise InputError(self.root, "has no pictures under train/, val/ or test/", "clean pictures there")
        return found

    def pictures(self, pairs: Sequence[Path]) -> Dataset:
        """Read and degrade."""
        return Degraded(pairs, self.task, self.crop)
