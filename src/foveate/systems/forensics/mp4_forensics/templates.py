"""Cameras that do not exist: a writer of MP4 and MOV files, and templates for it.

Real cameras' files cannot be shipped, so the task of telling brands apart is played with four made-up brands of two models
each. What varies between them is what varies between real ones: brands and their order, the order of boxes, names of handlers,
time scales, edit lists, chunking, descriptors' lengths, vendor boxes. Two models share a chip, and with it the writer, and
every model has two firmwares. The title, the date and the place of a recording vary independently of all that.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

IDENTITY = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
QUARTER = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)  # turned by 90 degrees


@dataclass(frozen=True)
class Media:
    """One coded track.

    Attributes:
        samples: Content of each, in decoding order.
        durations: Of each, in units of ``timescale``.
        timescale: Units per second.
        configuration: avcC of H.264, AudioSpecificConfig of AAC.
        size: Width and height; (0, 0) for sound.
        channels: Of sound.
        keys: Indices of the samples that decode by themselves.
    """

    samples: Sequence[bytes]
    durations: Sequence[int]
    timescale: int
    configuration: bytes
    size: tuple[int, int] = (0, 0)
    channels: int = 0
    keys: Sequence[int] = ()

    @property
    def is_video(self) -> bool:
        """Whether it is pictures."""
        return self.size != (0, 0)


@dataclass(frozen=True)
class Template:
    """How a camera writes.

    Attributes:
        brand: Its maker.
        device: Its model.
        firmware: Version of what runs on it.
        quicktime: Writes MOV.
        major: Main brand.
        minor: Its version.
        compatible: The other brands.
        order: Top-level boxes, mdat among them.
        movie_timescale: Units per second of the movie.
        video_timescale: Units per second of the pictures.
        handlers: Names of the handlers of pictures and of sound.
        language: Of the tracks.
        compressor: Name in the sample entry.
        track_flags: Of tkhd.
        edit_list: Whether tracks have one.
        wide_offsets: Chunk offsets in 64 bits.
        wide_media: mdat's size in 64 bits.
        per_chunk: Samples in a chunk.
        long_descriptors: Lengths of descriptors in four bytes.
        entry_boxes: Boxes in the video sample entry, besides avcC.
        sound_first: The sound track stands first.
        initial_object: The movie has an iods.
        dependencies: Video has an sdtp.
        maker: Make and model are written, as ``udta`` or ``keys``, or not.
        software: What the maker's box says of the firmware.
        vendor: Boxes of the maker in udta: type and length.
        padding: Bytes of the free box.
    """

    brand: str
    device: str
    firmware: str = "1"
    quicktime: bool = False
    major: bytes = b"mp42"
    minor: int = 0
    compatible: tuple[bytes, ...] = (b"mp42", b"isom")
    order: tuple[str, ...] = ("ftyp", "mdat", "moov")
    movie_timescale: int = 1000
    video_timescale: int = 90000
    handlers: tuple[str, str] = ("VideoHandle", "SoundHandle")
    language: str = "eng"
    compressor: str = ""
    track_flags: int = 7
    edit_list: bool = False
    wide_offsets: bool = False
    wide_media: bool = False
    per_chunk: int = 5
    long_descriptors: bool = False
    entry_boxes: tuple[str, ...] = ("pasp",)
    sound_first: bool = False
    initial_object: bool = False
    dependencies: bool = False
    maker: str = ""
    software: str = ""
    vendor: tuple[tuple[bytes, int], ...] = ()
    padding: int = 0


_CHIP = Template("", "", handlers=("VideoHandle", "SoundHandle"), wide_offsets=True, padding=400, per_chunk=8)
_MODELS = [
    Template(
        "Asteria", "A1", major=b"mp42", compatible=(b"isom", b"mp42"), vendor=((b"smrd", 40), (b"smta", 16)), software="A1-2.0",
        maker="udta", edit_list=True, padding=40, order=("ftyp", "mdat", "moov", "free"),
    ),
    replace(_CHIP, brand="Asteria", device="A2", vendor=((b"smta", 16),), maker="udta", software="A2-1.4"),
    replace(_CHIP, brand="Borealis", device="B1", order=("ftyp", "free", "mdat", "moov"), maker="keys", software="13"),
    Template(
        "Borealis", "B2", compatible=(b"mp42", b"3gp4", b"isom"), movie_timescale=90000, handlers=("Video Media Handler",
        "Audio Media Handler"), maker="keys", software="12", language="und", sound_first=True, initial_object=True,
    ),
    Template(
        "Cygnus", "C1", quicktime=True, major=b"qt  ", compatible=(b"qt  ",), order=("ftyp", "wide", "mdat", "moov"),
        movie_timescale=600, video_timescale=600, handlers=("Core Media Video", "Core Media Audio"), compressor="H.264",
        track_flags=15, edit_list=True, maker="keys", software="15.1", entry_boxes=("colr nclc", "pasp"), language="und",
        long_descriptors=True, per_chunk=12, wide_media=True,
    ),
    Template(
        "Cygnus", "C2", quicktime=True, major=b"qt  ", minor=0x20050300, compatible=(b"qt  ",), order=("ftyp", "mdat", "moov"),
        movie_timescale=600, video_timescale=600, handlers=("Core Media Video", "Core Media Audio"), compressor="H.264",
        track_flags=15, edit_list=True, maker="udta", software="9.3", entry_boxes=("colr nclc",), language="eng", per_chunk=12,
        long_descriptors=True, dependencies=True,
    ),
    Template(
        "Draco", "D1", major=b"MSNV", minor=0x01290046, compatible=(b"MSNV", b"mp42", b"isom"), order=("ftyp", "moov", "mdat"),
        movie_timescale=90000, handlers=("Vide", "Soun"), vendor=((b"MVTG", 120),), track_flags=1, compressor="AVC Coding",
        entry_boxes=("colr nclx", "btrt"), per_chunk=15, edit_list=True,
    ),
    Template(
        "Draco", "D2", major=b"avc1", minor=0x20120000, compatible=(b"avc1", b"isom"), order=("ftyp", "free", "moov", "mdat"),
        movie_timescale=30000, video_timescale=30000, handlers=("DD.eng", "DD.eng"), vendor=((b"FIRM", 12), (b"LENS", 32)),
        compressor="Draco AVC encoder", padding=3000, track_flags=3, per_chunk=1,
    ),
]  # fmt: skip
DEVICES = [
    variant
    for model in _MODELS
    for variant in (
        model,
        replace(model, firmware="2", software=model.software + ".1", minor=model.minor + 1, padding=2 * model.padding),
    )
]


# ---------------------------------------------------------------------------------------------------------------------
# boxes
# ---------------------------------------------------------------------------------------------------------------------


def box(kind: str | bytes, *content: bytes, wide: bool = False) -> bytes:
    """Write a box."""
    code = kind if isinstance(kind, bytes) else kind.encode("latin-1")
    body = b"".join(content)
    if wide:
        return struct.pack(">I4sQ", 1, code, 16 + len(body)) + body
    return struct.pack(">I4s", 8 + len(body), code) + body


def full(kind: str, version: int, flags: int, *content: bytes) -> bytes:
    """Write a FullBox."""
    return box(kind, struct.pack(">I", version << 24 | flags), *content)


def _handler(template: Template, media: str, name: str, component: bytes = b"mhlr") -> bytes:
    style = bytes([len(name)]) + name.encode() if template.quicktime else name.encode() + b"\0"
    head = component + media.encode() + (b"appl" if template.quicktime else b"\0\0\0\0")
    return full("hdlr", 0, 0, head if template.quicktime else b"\0\0\0\0" + head[4:], bytes(8), style)


def _descriptor(template: Template, tag: int, content: bytes) -> bytes:
    length = b"\x80\x80\x80" if template.long_descriptors else b""
    return bytes([tag]) + length + bytes([len(content)]) + content


def _entry(template: Template, media: Media, bitrate: int) -> bytes:
    if media.is_video:
        name = template.compressor.encode()[:31]
        head = struct.pack(
            ">6xHHHIIIHHIIIH32sHh", 1, 0, 0, 0, 0, 0, *media.size, 72 << 16, 72 << 16, 0, 1,
            bytes([len(name)]) + name if name else b"", 24, -1,
        )  # fmt: skip
        extras = {
            "pasp": box("pasp", struct.pack(">II", 1, 1)),
            "colr nclc": box("colr", b"nclc", struct.pack(">3H", 1, 1, 1)),
            "colr nclx": box("colr", b"nclx", struct.pack(">3HB", 1, 1, 1, 0)),
            "btrt": box("btrt", struct.pack(">III", bitrate // 4, 2 * bitrate, bitrate)),
        }
        return box("avc1", head, box("avcC", media.configuration), *(extras[name] for name in template.entry_boxes))
    specific = _descriptor(template, 5, media.configuration)
    decoder = struct.pack(">BB3sII", 0x40, 0x15, b"\0\x18\0", 2 * bitrate, bitrate) + specific
    stream = struct.pack(">HB", 0, 0) + _descriptor(template, 4, decoder) + _descriptor(template, 6, b"\x02")
    esds = full("esds", 0, 0, _descriptor(template, 3, stream))
    head = struct.pack(">6xHHHIHHhHI", 1, 0, 0, 0, media.channels, 16, 0, 0, media.timescale << 16)
    return box("mp4a", head, esds)


def _table(kind: str, rows: Sequence[Sequence[int]], code: str) -> bytes:
    return full(kind, 0, 0, struct.pack(">I", len(rows)), *(struct.pack(">" + code, *row) for row in rows))


def _runs(values: Sequence[int]) -> list[tuple[int, int]]:
    """Write a sequence as counts and values."""
    found: list[tuple[int, int]] = []
    for value in values:
        count = found.pop()[0] if found and found[-1][1] == value else 0
        found.append((count + 1, value))
    return found


@dataclass(frozen=True)
class Recording:
    """What is about the recording, and not about the camera.

    Attributes:
        created: Seconds since 1904.
        title: Its title.
        place: ISO 6709.
        turned: Whether the camera was held upright.
    """

    created: int = 3_700_000_000
    title: str = ""
    place: str = ""
    turned: bool = False


@dataclass
class _Track:
    media: Media
    offsets: list[int] = field(default_factory=list)


def write(template: Template, tracks: Sequence[Media], recording: Recording) -> bytes:
    """Write a file as a camera would.

    Args:
        template: The camera.
        tracks: Pictures, and perhaps sound.
        recording: What was filmed when.
    """
    chosen = [_Track(media) for media in tracks]
    chosen.sort(key=lambda track: track.media.is_video == template.sound_first)
    payload, spots = _interleaved(template, chosen)
    begins = 0
    for _ in range(2):  # the offsets in moov depend on its length, which does not depend on them
        for track, relative in zip(chosen, spots, strict=True):
            track.offsets = [begins + offset for offset in relative]
        made = {
            "ftyp": box("ftyp", template.major, struct.pack(">I", template.minor), *template.compatible),
            "wide": box("wide"),
            "free": box("free", bytes(template.padding)),
            "mdat": box("mdat", payload, wide=template.wide_media),
            "moov": _movie(template, chosen, recording),
        }
        before = template.order[: template.order.index("mdat")]
        begins = sum(len(made[name]) for name in before) + (16 if template.wide_media else 8)
    return b"".join(made[name] for name in template.order)


def _interleaved(template: Template, tracks: Sequence[_Track]) -> tuple[bytes, list[list[int]]]:
    """Lay out chunks of the tracks in turns: the payload, and where each track's chunks begin in it."""
    payload, spots = bytearray(), [[] for _ in tracks]
    most = max(-(-len(track.media.samples) // template.per_chunk) for track in tracks)
    for turn in range(most):
        for track, found in zip(tracks, spots, strict=True):
            chunk = track.media.samples[turn * template.per_chunk : (turn + 1) * template.per_chunk]
            if chunk:
                found.append(len(payload))
                payload += b"".join(chunk)
    return bytes(payload), spots


def _movie(template: Template, tracks: Sequence[_Track], recording: Recording) -> bytes:
    scale = template.movie_timescale
    lengths = [sum(t.media.durations) * scale // t.media.timescale for t in tracks]
    header = struct.pack(">IIIIIH10x", recording.created, recording.created, scale, max(lengths), 1 << 16, 256)
    parts = [full("mvhd", 0, 0, header, IDENTITY, bytes(24), struct.pack(">I", len(tracks) + 1))]
    if template.initial_object:
        parts.append(full("iods", 0, 0, _descriptor(template, 0x10, b"\0\x4f\xff\xff\x29\x7f\xff")))
    for number, (track, length) in enumerate(zip(tracks, lengths, strict=True), 1):
        parts.append(_track(template, track, number, length, recording))
    return box("moov", *parts, *_about(template, recording))


def _track(template: Template, track: _Track, number: int, length: int, recording: Recording) -> bytes:
    media = track.media
    header = struct.pack(
        ">IIIIIQhhhH", recording.created, recording.created, number, 0, length, 0, 0, 0 if media.is_video else 1,
        0 if media.is_video else 256, 0,
    )  # fmt: skip
    matrix = QUARTER if recording.turned and media.is_video else IDENTITY
    parts = [
        full("tkhd", 0, template.track_flags, header, matrix, struct.pack(">II", media.size[0] << 16, media.size[1] << 16))
    ]
    if template.edit_list:
        parts.append(box("edts", full("elst", 0, 0, struct.pack(">IIii", 1, length, 0, 1 << 16))))
    factor = template.video_timescale / media.timescale if media.is_video else 1.0
    durations = [round(d * factor) for d in media.durations]
    scale = template.video_timescale if media.is_video else media.timescale
    letters = 0
    for letter in template.language:
        letters = letters << 5 | ord(letter) - 0x60
    head = struct.pack(">IIIIHH", recording.created, recording.created, scale, sum(durations), letters, 0)
    bitrate = int(8 * sum(map(len, media.samples)) * scale / max(1, sum(durations)))
    count = -(-len(media.samples) // template.per_chunk)
    rest = len(media.samples) - (count - 1) * template.per_chunk
    chunks = (
        [(1, template.per_chunk, 1)]
        if rest == template.per_chunk or count == 1
        else [(1, template.per_chunk, 1), (count, rest, 1)]
    )
    if count == 1:
        chunks = [(1, rest, 1)]
    table = [
        full("stsd", 0, 0, struct.pack(">I", 1), _entry(template, media, bitrate)),
        _table("stts", _runs(durations), "II"),
        _table("stsc", chunks, "III"),
        full("stsz", 0, 0, struct.pack(">II", 0, len(media.samples)), *(struct.pack(">I", len(s)) for s in media.samples)),
        _table(
            "co64" if template.wide_offsets else "stco", [(o,) for o in track.offsets], "Q" if template.wide_offsets else "I"
        ),
    ]
    if media.is_video:
        table.insert(2, _table("stss", [(k + 1,) for k in media.keys], "I"))
        if template.dependencies:
            table.append(full("sdtp", 0, 0, bytes(len(media.samples))))
    sort = "vide" if media.is_video else "soun"
    name = template.handlers[0 if media.is_video else 1]
    minf = [full("vmhd", 0, 1, bytes(8)) if media.is_video else full("smhd", 0, 0, bytes(4))]
    if template.quicktime:
        minf.append(_handler(template, "url ", "Core Media Data Handler", b"dhlr"))
    minf.append(box("dinf", full("dref", 0, 0, struct.pack(">I", 1), full("url ", 0, 1))))
    mdia = box("mdia", full("mdhd", 0, 0, head), _handler(template, sort, name), box("minf", *minf, box("stbl", *table)))
    return box("trak", *parts, mdia)


def _about(template: Template, recording: Recording) -> list[bytes]:
    """Write what is said about the camera and the recording."""
    said = {"mak": template.brand, "mod": template.device, "swr": template.software} if template.maker else {}
    texts = {**(said if template.maker == "udta" else {}), "nam": recording.title, "xyz": recording.place}
    udta = [
        box(b"\xa9" + key.encode(), struct.pack(">HH", len(text.encode()), 0x15C7), text.encode())
        for key, text in texts.items()
        if text
    ]
    udta += [box(kind, bytes(range(length))) for kind, length in template.vendor]
    parts = [box("udta", *udta, bytes(4) if template.quicktime else b"")] if udta else []
    if template.maker == "keys":
        names = {"make": "mak", "model": "mod", "software": "swr"}
        keys = [f"com.apple.quicktime.{name}".encode() for name in names]
        table = full("keys", 0, 0, struct.pack(">I", len(keys)), *(struct.pack(">I4s", 8 + len(k), b"mdta") + k for k in keys))
        items = [
            box(struct.pack(">I", i), box("data", struct.pack(">II", 1, 0), said[short].encode()))
            for i, short in enumerate(names.values(), 1)
        ]
        handler = full("hdlr", 0, 0, bytes(4), b"mdta", bytes(12), b"" if template.quicktime else b"\0")
        content = (handler, table, box("ilst", *items))
        # Right below moov it is QuickTime's atom, without version and flags, in MP4 files too.
        parts.append(box("meta", *content))
    return parts
