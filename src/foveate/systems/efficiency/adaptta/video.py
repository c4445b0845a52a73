"""Frames of a video, one after the other, by PyAV."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from foveate.errors import InputError, MissingExtra
from foveate.results import Picture

EXPECTED = "a video that FFmpeg reads: MP4, MOV, AVI, MKV or WebM"
MAX_PIXELS = 2**26  # of a frame: eight times 4K


def _av() -> Any:
    try:
        import av
    except ModuleNotFoundError as error:
        raise MissingExtra("av", "video") from error
    av.logging.set_level(av.logging.PANIC)  # what FFmpeg says of damage is said here
    return av


def frames(path: Path) -> Iterator[Picture]:
    """Decode a video frame by frame, upright; no more than one frame is held.

    Raises:
        InputError: If it is missing, no video, or damaged.
    """
    av = _av()
    if not path.is_file():
        raise InputError(path, "is not a file" if path.exists() else "there is no such file", EXPECTED)
    count = 0
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InputError(path, "has no pictures in it", EXPECTED)
            stream = container.streams.video[0]
            if stream.width * stream.height > MAX_PIXELS:
                raise InputError(path, f"is too large: {stream.width} x {stream.height}", f"at most {MAX_PIXELS:,} pixels")
            for frame in container.decode(stream):
                pixels = frame.to_ndarray(format="rgb24")
                # FFmpeg tells by how much to turn anticlockwise.
                yield Picture(np.ascontiguousarray(np.rot90(pixels, round(getattr(frame, "rotation", 0) / 90))))
                count += 1
    except (av.error.FFmpegError, ValueError, OSError, EOFError) as error:
        if isinstance(error, InputError):
            raise
        said = textwrap.shorten(str(error), 120)
        raise InputError(path, f"is damaged after {count} frames: {said}", EXPECTED) from error
    if not count:
        raise InputError(path, "has no frame that can be decoded", EXPECTED)


def write_video(pictures: Iterable[np.ndarray], path: Path, rate: int = 25) -> Path:
    """Write frames uint8 ``(H, W, 3)`` of one even size as MPEG-4, for fixtures and experiments."""
    av = _av()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.bit_rate, stream.pix_fmt = 4_000_000, "yuv420p"
        for i, pixels in enumerate(pictures):
            if i == 0:
                stream.height, stream.width = pixels.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path
