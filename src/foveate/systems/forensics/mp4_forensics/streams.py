"""What the tracks of a movie are: media, codec, size, time scale and length."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from foveate.systems.forensics.mp4_forensics.boxes import Box, Tree
from foveate.systems.forensics.mp4_forensics.symbols import handler_of


class Stream(NamedTuple):
    """A track.

    Attributes:
        media: ``vide``, ``soun`` ...
        codec: Type of its (first) sample entry.
        width: Coded width in pixels, 0 for sound.
        height: Coded height in pixels, 0 for sound.
        rate: Samples per second of sound, else 0.
        timescale: Units per second.
        duration: Length in those units; of fragmented files the sum over the runs.
    """

    media: str
    codec: str
    width: int
    height: int
    rate: float
    timescale: int
    duration: int

    def __str__(self) -> str:
        """One clause."""
        size = f" {self.width}x{self.height}" if self.width else f" {self.rate:g} Hz" if self.rate else ""
        return f"{self.media} {self.codec}{size} {self.duration / self.timescale if self.timescale else 0:.2f} s"


def streams(tree: Tree) -> list[Stream]:
    """Describe the tracks of a movie, in the order of the file."""
    movie = tree.first("moov")
    if movie is None:
        return []
    runs = _fragments(tree, movie)
    found = []
    for track in movie.all("trak"):
        header, media = track.first("tkhd"), track.first("mdia/mdhd")
        table = track.first("mdia/minf/stbl/stsd")
        entry = table.children[0] if table and table.children else None
        said = entry.fields if entry else {}
        identity = header.fields.get("track_ID", 0) if header else 0
        clock = media.fields if media else {}
        found.append(
            Stream(
                handler_of(track), entry.type if entry else "", said.get("width", 0), said.get("height", 0),
                said.get("rate", 0.0), clock.get("timescale", 0), clock.get("duration", 0) + runs[identity],
            )
        )  # fmt: skip
    return found


CODECS = {"avc1": "h264", "hvc1": "hevc", "hev1": "hevc", "mp4v": "mpeg4", "mp4a": "aac"}


def agrees(tree: Tree, probe: str) -> bool:
    """Whether the tracks are what ffprobe said: ``h264 160x120 12800 1.600000; aac 44100 44100 1.601995``."""
    said = [track.split(" ") for track in probe.split("; ")]
    found = [stream for stream in streams(tree) if stream.media in ("vide", "soun")]
    if len(said) != len(found):
        return False
    for (codec, size, scale, seconds), stream in zip(said, found, strict=True):
        own = f"{stream.width}x{stream.height}" if stream.media == "vide" else f"{stream.rate:g}"
        if (CODECS.get(stream.codec, stream.codec), own, str(stream.timescale)) != (codec, size, scale):
            return False
        # ffprobe tells microseconds; of some files it tells no length, or rounds it to the movie's milliseconds.
        if seconds and abs(stream.duration / stream.timescale - float(seconds)) > 0.0011:
            return False
    return True


def _fragments(tree: Tree, movie: Box) -> Counter[int]:
    """Sum the sample durations of all fragments by track: each run's own, else the fragment's, else the movie's default."""
    extends = movie.first("mvex")
    defaults = {b.fields.get("track_ID"): b.fields.get("default_duration", 0) for b in (extends.all("trex") if extends else ())}
    total: Counter[int] = Counter()
    for fragment in (piece for top in tree.boxes if top.type == "moof" for piece in top.all("traf")):
        header = fragment.first("tfhd")
        if header is None or "track_ID" not in header.fields:
            continue
        identity = header.fields["track_ID"]
        each = header.fields.get("duration", defaults.get(identity, 0))
        for run in fragment.all("trun"):
            total[identity] += run.fields.get("durations", each * run.fields.get("entry_count", 0))
    return total
