"""Restore photographs from the command line or from Python."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from foveate.errors import InputError
from foveate.parts import weights as files
from foveate.parts.inference import Precision
from foveate.parts.progress import bar
from foveate.parts.quality import noise_level, psnr, ssim
from foveate.readers.pictures import read_picture
from foveate.results import Picture, Record, Result
from foveate.systems.restoration.hinet import method

SHIPPED = Path(__file__).with_name("weights.safetensors")
DEMO = "demo weights: a small network trained on a few embedded photographs (sensor noise, JPEG)"
CLEAN = 1 / 255  # noise under one step of an 8-bit picture


def restore(
    photos: list[Path],
    task: Literal["denoise", "deblur", "derain", "jpeg"] = "denoise",
    weights: Path | None = None,
    tile: int = 256,
    overlap: int = 32,
    tta: Literal[1, 8] = 1,
    batch: int = 4,
    precision: Precision = "auto",
    reference: Path | None = None,
    stage1: bool = False,
    compare: bool = False,
    force: bool = False,
) -> Iterator[Result | InputError]:
    """Restore photographs of any size: noise, blur, rain or compression out.

    Args:
        photos: PNG, JPEG, WebP, TIFF or BMP, 8 or 16 bits, grey or colour.
        task: What is wrong with the photographs. Weights for `denoise` are shipped; for the others give your own.
        weights: Weights to use: what `foveate import hinet` or `foveate train hinet` wrote.
        tile: Side of the windows in pixels; 0 runs whole photographs at once.
        overlap: Pixels over which neighbouring windows are faded into each other.
        tta: 8 averages over all flips and quarter turns, for a little quality at eight times the work.
        batch: Windows per forward pass.
        precision: Arithmetic; `auto` takes bfloat16 where the machine computes in it.
        reference: The clean photograph, or a folder of them with the same names: PSNR and SSIM go into the report.
        stage1: Write what the first of the two stages made, too.
        compare: Write before and after side by side, too.
        force: Restore photographs that look clean already.

    Returns:
        For each photograph the restored one, of its size, bit depth and kind, and a report.
    """
    if weights is None and task != "denoise":
        raise InputError(
            "task", f"no weights for {task} are shipped", "--weights FILE, from foveate train hinet or foveate import hinet"
        )
    if tile < 0 or 0 < tile < 32 or batch < 1 or not 0 <= overlap < (tile or overlap + 1):
        raise InputError("tile, overlap, batch", f"{tile}, {overlap}, {batch}", "a tile of 0 or 32 and more, a smaller overlap")
    network = files.load(method.HINet, weights or SHIPPED)
    notes = () if weights else (DEMO,)
    opened: list[Job | InputError] = []

    def pictures() -> Iterator[Picture]:
        for photo in photos:
            try:
                job = _open(photo, reference, denoise=task == "denoise" and not force)
            except InputError as error:
                opened.append(error)
                continue
            opened.append(job)
            yield job.before

    with bar("restoring") as tick:
        for restored, *first in method.restore(network, pictures(), tile, overlap, batch, tta, precision, stage1, tick):
            while isinstance(opened[0], InputError):
                yield opened.pop(0)
            job = opened.pop(0)
            parts = {"restored": restored}
            if first:
                parts["stage1"] = first[0]
            if compare:
                parts["compare"] = replace(restored, pixels=np.concatenate([job.before.pixels, restored.pixels], axis=1))
            yield Result({**parts, "report": Record({"task": task, **job.report(restored)})}, notes)
    yield from opened


@dataclass(frozen=True)
class Job:
    """One photograph on its way: what was read, the noise in it, and the clean one if there is a reference."""

    before: Picture
    noise: float
    clean: Picture | None

    def report(self, restored: Picture) -> dict[str, float]:
        """Measure what was reached."""
        height, width = self.before.size
        found = {"height": height, "width": width, "noise_before": self.noise, "noise_after": _noise(restored)}
        if self.clean is not None:
            target = method.prepare(self.clean)[None]
            for name, picture in (("before", self.before), ("after", restored)):
                found[f"psnr_{name}"] = float(psnr(method.prepare(picture)[None], target, rounded=False))
                found[f"ssim_{name}"] = ssim(picture.colour(), self.clean.colour())
        return found


def _open(photo: Path, reference: Path | None, denoise: bool) -> Job:
    """Read a photograph and its reference, and see whether there is anything to do."""
    before = read_picture(photo)
    noise = _noise(before)
    if denoise and noise < CLEAN:
        raise InputError(photo, f"looks clean already (noise {noise * 255:.2f} of 255)", "--force true restores it anyway")
    clean = None
    if reference is not None:
        clean = read_picture(reference / photo.name if reference.is_dir() else reference)
        if clean.size != before.size:
            raise InputError(photo, f"is {before.size} but its reference {clean.size}", "two pictures of one size")
    return Job(before, noise, clean)


def _noise(picture: Picture) -> float:
    """Estimate the noise of the middle of a picture, in [0, 1]: a megapixel says enough."""
    rows, columns = (slice(max(0, length // 2 - 512), length // 2 + 512) for length in picture.size)
    return noise_level(picture.crop(rows, columns).colour())
