"""The fields of the boxes, and of what type each is as a feature: one table for both.

Sources: ISO/IEC 14496-12 (boxes), -14 and -1 (MPEG-4 descriptors), -15 (AVC and HEVC), 3GPP TS 26.244, and Apple's QuickTime
file format specification (atoms, sound descriptions of versions 1 and 2, metadata keys).

A field is written ``name:code:type``. Codes: ``B H h I i Q q`` as in `struct`, ``u24``, ``fcc`` (four characters), ``f16`` and
``f8`` (fixed point), ``mat`` (a transformation matrix, as text), ``lang`` (three letters); ``-:N`` are N bytes that are passed
over. Types:

- ``c`` categorical: what a writer chooses from few values, each a symbol of its own;
- ``n`` continuous: one column, whatever the value;
- ``d`` dropped: what identifies the recording and not the process that wrote it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Any, Literal

FieldType = Literal["c", "n", "d"]

# Version 0 of a FullBox, or both versions where they are alike.
FULL = {
    "mvhd": "created:I:d modified:I:d timescale:I:c duration:I:n rate:f16:c volume:f8:c "
    "-:10 matrix:mat:c -:24 next_track_ID:I:d",
    "mvhd.1": "created:Q:d modified:Q:d timescale:I:c duration:Q:n rate:f16:c volume:f8:c "
    "-:10 matrix:mat:c -:24 next_track_ID:I:d",
    "tkhd": "created:I:d modified:I:d track_ID:I:d -:4 duration:I:n -:8 layer:h:c alternate_group:h:c volume:f8:c -:2 "
    "matrix:mat:c width:f16:n height:f16:n",
    "tkhd.1": "created:Q:d modified:Q:d track_ID:I:d -:4 duration:Q:n -:8 layer:h:c alternate_group:h:c volume:f8:c -:2 "
    "matrix:mat:c width:f16:n height:f16:n",
    "mdhd": "created:I:d modified:I:d timescale:I:c duration:I:n language:lang:c quality:H:c",
    "mdhd.1": "created:Q:d modified:Q:d timescale:I:c duration:Q:n language:lang:c quality:H:c",
    "vmhd": "graphics_mode:H:c -:6",
    "smhd": "balance:f8:c -:2",
    "hmhd": "max_pdu:H:n avg_pdu:H:n max_bitrate:I:n avg_bitrate:I:n -:4",
    "nmhd": "",
    "sthd": "",
    "gmin": "graphics_mode:H:c -:6 balance:f8:c -:2",
    "tcmi": "font:H:c face:H:c size:H:c",
    "stsz": "sample_size:I:n entry_count:I:n",
    "stz2": "-:3 field_size:B:c entry_count:I:n",
    "stts": "entry_count:I:n",
    "ctts": "entry_count:I:n",
    "stss": "entry_count:I:n",
    "stsc": "entry_count:I:n",
    "stco": "entry_count:I:n",
    "co64": "entry_count:I:n",
    "stsh": "entry_count:I:n",
    "stps": "entry_count:I:n",
    "cslg": "shift:i:n least:i:n greatest:i:n start:i:n end:i:n",
    "cslg.1": "shift:q:n least:q:n greatest:q:n start:q:n end:q:n",
    "sdtp": "",
    "sbgp": "grouping:fcc:c entry_count:I:n",
    "sbgp.1": "grouping:fcc:c parameter:fcc:c entry_count:I:n",
    "sgpd": "grouping:fcc:c entry_count:I:c",
    "sgpd.1": "grouping:fcc:c default_length:I:c entry_count:I:c",
    "sgpd.2": "grouping:fcc:c default_description:I:c entry_count:I:c",
    "subs": "entry_count:I:n",
    "saiz": "",
    "saio": "",
    "mehd": "duration:I:n",
    "mehd.1": "duration:Q:n",
    "trex": "track_ID:I:d default_description:I:c default_duration:I:n default_size:I:n default_flags:I:c",
    "mfhd": "sequence:I:d",
    "tfdt": "decode_time:I:d",
    "tfdt.1": "decode_time:Q:d",
    "sidx": "reference_ID:I:d timescale:I:c earliest:I:d first_offset:I:d -:2 reference_count:H:n",
    "sidx.1": "reference_ID:I:d timescale:I:c earliest:Q:d first_offset:Q:d -:2 reference_count:H:n",
    "tfra": "track_ID:I:d -:4 entry_count:I:n",
    "mfro": "size:I:d",
    "prft": "",
    "emsg": "",
    "pssh": "",
    "tenc": "",
    "schm": "scheme:fcc:c scheme_version:I:c",
    "clef": "width:f16:n height:f16:n",
    "prof": "width:f16:n height:f16:n",
    "enof": "width:f16:n height:f16:n",
    "stsd": "entry_count:I:c",
    "dref": "entry_count:I:c",
    "url ": "",
    "urn ": "",
    "alis": "",
    "chpl": "",
    "srat": "rate:I:c",
    "SmDm": "",
    "CoLL": "",
}  # fmt: skip
PLAIN = {
    "btrt": "buffer_size:I:n max_bitrate:I:n avg_bitrate:I:n",
    "pasp": "horizontal:I:c vertical:I:c",
    "clap": "width:I:n width_divisor:I:n height:I:n height_divisor:I:n x:i:n x_divisor:I:n y:i:n y_divisor:I:n",
    "fiel": "fields:B:c order:B:c",
    "gama": "gamma:f16:c",
    "frma": "format:fcc:c",
    "load": "preload_start:i:d preload_duration:i:d preload_flags:I:c hints:I:c",
    "clli": "max_content:H:n max_average:H:n",
    "mdcv": "",
    "av1C": "marker:B:c profile_level:B:c configuration:B:c delay:B:c",
    "chrm": "x:H:c y:H:c",
    "dOps": "version:B:c channels:B:c pre_skip:H:c rate:I:c gain:h:c mapping:B:c",
    "dac3": "bits:u24:c",
    "damr": "vendor:fcc:c decoder_version:B:c mode_set:H:c mode_change:B:c frames:B:c",
    "d263": "vendor:fcc:c decoder_version:B:c level:B:c profile:B:c",
    "enda": "little_endian:H:c",
    "pnot": "modified:I:d version:H:c",
}  # fmt: skip

# What the readers below give, box by box.
TYPES: dict[str, dict[str, FieldType]] = {
    "ftyp": {"major": "c", "minor": "c", "brand": "c"},
    "styp": {"major": "c", "minor": "c", "brand": "c"},
    "hdlr": {
        "version": "c", "flags": "c", "component": "c", "handler": "c", "manufacturer": "c", "name": "c", "name_style": "c",
    },
    "elst": {"version": "c", "flags": "c", "entry_count": "c", "empty": "c", "media_time": "n", "duration": "n", "rate": "c"},
    "tfhd": {
        "version": "c", "flags": "c", "track_ID": "d", "base_offset": "d", "description": "c", "duration": "n", "size": "n",
        "sample_flags": "c",
    },
    "trun": {
        "version": "c", "flags": "c", "entry_count": "n", "data_offset": "d", "first_flags": "c", "durations": "n",
    },
    "avcC": {
        "version": "c", "profile": "c", "compatibility": "c", "level": "c", "length_size": "c", "sps_count": "c",
        "pps_count": "c", "sps_bytes": "n", "pps_bytes": "n", "extension": "c",
    },
    "hvcC": {
        "version": "c", "profile": "c", "tier": "c", "level": "c", "compatibility": "c", "constraints": "c", "chroma": "c",
        "parallelism": "c", "rate": "c", "layers": "c", "arrays": "c",
    },
    "vpcC": {
        "version": "c", "flags": "c", "profile": "c", "level": "c", "format": "c", "primaries": "c", "transfer": "c",
        "matrix": "c",
    },
    "colr": {"kind": "c", "primaries": "c", "transfer": "c", "matrix": "c", "full_range": "c"},
    "esds": {
        "version": "c", "flags": "c", "length_bytes": "c", "object_type": "c", "stream_type": "c", "buffer_size": "n",
        "max_bitrate": "n", "avg_bitrate": "n", "audio_object": "c", "sampling_index": "c", "channel_setup": "c",
        "specific_bytes": "c", "sl_predefined": "c", "es_flags": "c",
    },
    "iods": {"version": "c", "flags": "c", "length_bytes": "c", "profiles": "c"},
    "keys": {"version": "c", "flags": "c", "entry_count": "c", "key": "c"},
    "data": {"value_type": "c", "locale": "c", "writer": "c", "value": "d"},
    "mean": {"version": "c", "flags": "c", "text": "c"},
    "name": {"text": "d"},
    "meta": {"version": "c", "flags": "c", "full_box": "c"},
    "text": {"language": "c", "count": "c", "writer": "c", "value": "d"},
    "uuid": {"toolkit": "c"},
    "visual": {
        "data_reference": "c", "version": "c", "revision": "c", "vendor": "c", "temporal_quality": "c", "spatial_quality": "c",
        "width": "n", "height": "n", "horizontal_dpi": "c", "vertical_dpi": "c", "frames": "c", "compressor": "c", "depth": "c",
        "colour_table": "c",
    },
    "sound": {
        "data_reference": "c", "version": "c", "revision": "c", "vendor": "c", "channels": "c", "bits": "c", "compression": "c",
        "packet_size": "c", "rate": "c", "samples_per_packet": "c", "bytes_per_packet": "n", "bytes_per_frame": "n",
    },
    "entry": {"data_reference": "c"},
    "elng": {"version": "c", "flags": "c", "text": "c"},
}  # fmt: skip
# What every box may have: see `Box.wide` and the symbols of a tree's form.
TYPES["*"] = {"wide": "c"}

# Texts that name the writing software or the camera; all others are about the recording.
WRITERS = frozenset({
    "\xa9too", "\xa9swr", "\xa9enc", "\xa9mak", "\xa9mod", "\xa9fmt", "\xa9req", "com.apple.quicktime.make",
    "com.apple.quicktime.model", "com.apple.quicktime.software", "com.apple.quicktime.encoder", "com.android.version",
    "com.android.capture.fps", "com.android.manufacturer", "com.android.model", "encoder",
})  # fmt: skip

Reader = Callable[[bytes, int], dict[str, Any]]
_FORMATS = {"fcc": "4s", "f16": "i", "f8": "h", "mat": "36s", "lang": "H", "u24": "3s"}


class _Layout:
    """Reads consecutive fields of fixed length."""

    def __init__(self, text: str) -> None:
        self.names: list[str] = []
        self.converters: list[Callable[[Any], Any] | None] = []
        self.types: dict[str, FieldType] = {}
        pattern = ">"
        for item in text.split():
            name, code, *kind = item.split(":")
            if name == "-":
                pattern += f"{code}x"
                continue
            pattern += _FORMATS.get(code, code)
            self.names.append(name)
            self.converters.append(_CONVERTERS.get(code))
            self.types[name] = kind[0]  # type: ignore[assignment]
        self.struct = struct.Struct(pattern)

    def read(self, payload: bytes, offset: int = 0) -> dict[str, Any]:
        """Return name to value; raises `struct.error` if the bytes are too few."""
        values = self.struct.unpack_from(payload, offset)
        return {
            name: value if convert is None else convert(value)
            for name, convert, value in zip(self.names, self.converters, values, strict=True)
        }


def fourcc(code: bytes) -> str:
    r"""Write four bytes as text, what cannot be printed as ``\\xNN``."""
    return "".join(chr(c) if 32 <= c < 127 or c == 0xA9 else f"\\x{c:02x}" for c in code)


def text_of(content: bytes, most: int = 200) -> str:
    """Decode text of unknown encoding, without what cannot be printed."""
    content = content[: 4 * most]
    try:
        said = content.decode("utf-8")
    except UnicodeDecodeError:
        said = content.decode("utf-16-be" if content[:2] == b"\xfe\xff" else "latin-1", errors="replace")
    return "".join(c for c in said if c.isprintable())[:most]


_IDENTITY = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)


def _matrix(content: bytes) -> str:
    """Write a matrix as its nine numbers; the translation, which depends on the picture's size, by its sign only."""
    if content == _IDENTITY:
        return "identity"
    values = struct.unpack(">9i", content)
    said = [f"{v / (1 << (30 if i % 3 == 2 else 16)):g}" for i, v in enumerate(values)]
    said[6:8] = ["+" if v > 0 else "-" if v < 0 else "0" for v in values[6:8]]
    return " ".join(said)


def _language(value: int) -> str:
    """Unpack three letters of five bits; small values are QuickTime's language codes."""
    letters = [(value >> shift & 31) + 0x60 for shift in (10, 5, 0)]
    return "".join(map(chr, letters)) if value >= 0x400 and all(97 <= c <= 122 for c in letters) else str(value)


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "fcc": fourcc,
    "f16": lambda v: v / 65536,
    "f8": lambda v: v / 256,
    "mat": _matrix,
    "lang": _language,
    "u24": lambda v: int.from_bytes(v, "big"),
}
_FULL = {name: _Layout(text) for name, text in FULL.items()}
_PLAIN = {name: _Layout(text) for name, text in PLAIN.items()}
for _name, _layout in (*_FULL.items(), *_PLAIN.items()):
    TYPES.setdefault(_name.partition(".")[0], {}).update(_layout.types)
for _name in FULL:
    TYPES[_name.partition(".")[0]].update({"version": "c", "flags": "c"})


# ---------------------------------------------------------------------------------------------------------------------
# readers of what has no fixed layout
# ---------------------------------------------------------------------------------------------------------------------


def _full(payload: bytes) -> dict[str, Any]:
    """Read version and flags."""
    if len(payload) < 4:
        raise ValueError("version and flags are missing")
    return {"version": payload[0], "flags": int.from_bytes(payload[1:4], "big")}


def _brands(payload: bytes, size: int) -> dict[str, Any]:
    if size < 8:
        raise ValueError("brand and version are missing")
    (minor,) = struct.unpack_from(">I", payload, 4)
    brands = [fourcc(payload[i : i + 4]) for i in range(8, min(len(payload), 8 + 4 * 64) - 3, 4)]
    return {"major": fourcc(payload[:4]), "minor": minor, "brand": brands}


def _handler(payload: bytes, size: int) -> dict[str, Any]:
    found = _full(payload)
    component, handler, manufacturer = struct.unpack_from(">4s4s4s", payload, 4)
    rest = payload[24:]
    # A C string in ISO files, one with its length before it in QuickTime's.
    if rest and rest[0] and rest[0] == len(rest.rstrip(b"\0")) - 1:
        style, name = "pascal", rest[1 : 1 + rest[0]]
    elif rest and rest[0] == 0 and len(rest) == 1:
        style, name = "empty", b""
    else:
        style, name = "C" if rest.endswith(b"\0") else "open", rest.split(b"\0")[0]
    return {
        **found, "component": fourcc(component), "handler": fourcc(handler), "manufacturer": fourcc(manufacturer),
        "name": text_of(name), "name_style": style if name or style == "empty" else "none",
    }  # fmt: skip


def _edits(payload: bytes, size: int) -> dict[str, Any]:
    found = _full(payload)
    (count,) = struct.unpack_from(">I", payload, 4)
    entry = struct.Struct(">Qqi" if found["version"] == 1 else ">Iii")
    if 8 + count * entry.size > size:
        raise ValueError(f"{count} entries")
    read = [entry.unpack_from(payload, 8 + i * entry.size) for i in range(min(count, (len(payload) - 8) // entry.size, 64))]
    return {
        **found, "entry_count": count, "empty": sum(media == -1 for _, media, _ in read),
        "media_time": [media for _, media, _ in read if media != -1], "duration": [length for length, *_ in read],
        "rate": [rate / 65536 for *_, rate in read],
    }  # fmt: skip


def _fragment(payload: bytes, size: int) -> dict[str, Any]:
    found = {**_full(payload), "track_ID": struct.unpack_from(">I", payload, 4)[0]}
    position, flags = 8, found["flags"]
    parts = (
        (1, "base_offset", "Q"),
        (2, "description", "I"),
        (8, "duration", "I"),
        (16, "size", "I"),
        (32, "sample_flags", "I"),
    )
    for bit, name, code in parts:
        if flags & bit:
            (found[name],) = struct.unpack_from(f">{code}", payload, position)
            position += struct.calcsize(code)
    return found


def _run(payload: bytes, size: int) -> dict[str, Any]:
    found = {**_full(payload), "entry_count": struct.unpack_from(">I", payload, 4)[0]}
    position, flags = 8, found["flags"]
    for bit, name, code in ((1, "data_offset", "i"), (4, "first_flags", "I")):
        if flags & bit:
            (found[name],) = struct.unpack_from(f">{code}", payload, position)
            position += 4
    stride = 4 * sum(bool(flags & bit) for bit in (0x100, 0x200, 0x400, 0x800))
    count = found["entry_count"]
    if position + count * stride > size:
        raise ValueError(f"{count:,} samples")
    if flags & 0x100 and position + count * stride <= len(payload):
        entry = struct.Struct(f">I{stride - 4}x")
        found["durations"] = sum(v for (v,) in entry.iter_unpack(payload[position : position + count * stride]))
    return found


def _avc(payload: bytes, size: int) -> dict[str, Any]:
    version, profile, compatibility, level, length, sps = struct.unpack_from(">6B", payload)
    position, lengths = 6, []
    for count in (sps & 31, None):
        if count is None:
            count, position = payload[position], position + 1
        total = 0
        for _ in range(count):
            (bytes_,) = struct.unpack_from(">H", payload, position)
            position, total = position + 2 + bytes_, total + bytes_
        lengths.append((count, total))
    return {
        "version": version, "profile": profile, "compatibility": compatibility, "level": level, "length_size": (length & 3) + 1,
        "sps_count": lengths[0][0], "pps_count": lengths[1][0], "sps_bytes": lengths[0][1], "pps_bytes": lengths[1][1],
        "extension": int(position < size),
    }  # fmt: skip


def _hevc(payload: bytes, size: int) -> dict[str, Any]:
    version, profile, compatibility = struct.unpack_from(">BBI", payload)
    level, parallelism, chroma = payload[12], payload[15], payload[16]
    arrays = payload[22]
    return {
        "version": version, "profile": profile & 31, "tier": profile >> 5 & 1, "level": level, "compatibility": compatibility,
        "constraints": payload[6:12].hex(), "chroma": chroma & 3, "parallelism": parallelism & 3, "rate": payload[21] >> 6,
        "layers": payload[21] >> 3 & 7, "arrays": arrays,
    }  # fmt: skip


def _vp9(payload: bytes, size: int) -> dict[str, Any]:
    found = _full(payload)
    names = ("profile", "level", "format", "primaries", "transfer", "matrix")
    return {**found, **dict(zip(names, struct.unpack_from(">6B", payload, 4), strict=True))}


def _colour(payload: bytes, size: int) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": fourcc(payload[:4])}
    if len(payload) < 4:
        raise ValueError("no colour type")
    if found["kind"] in ("nclx", "nclc"):
        found["primaries"], found["transfer"], found["matrix"] = struct.unpack_from(">3H", payload, 4)
        if found["kind"] == "nclx":
            found["full_range"] = payload[10] >> 7
    return found


def _descriptor(payload: bytes, position: int) -> tuple[int, int, int, int]:
    """Read a descriptor's head (14496-1): tag, length, where its content begins, bytes of the length."""
    tag, position, length, used, more = payload[position], position + 1, 0, 0, True
    while more and used < 4:
        byte, position, used = payload[position], position + 1, used + 1
        length, more = length << 7 | byte & 127, byte >= 128
    return tag, length, position, used


def _elementary(payload: bytes, size: int) -> dict[str, Any]:
    found = _full(payload)
    tag, _, position, used = _descriptor(payload, 4)
    if tag != 3:
        raise ValueError(f"descriptor {tag} where 3 is due")
    flags = payload[position + 2]
    found["length_bytes"], found["es_flags"] = used, flags
    position += 3 + (2 if flags & 0x80 else 0) + (2 if flags & 0x20 else 0)
    if flags & 0x40:
        position += 1 + payload[position]
    tag, length, position, _ = _descriptor(payload, position)
    if tag != 4:
        raise ValueError(f"descriptor {tag} where 4 is due")
    found["object_type"], found["stream_type"] = payload[position], payload[position + 1] >> 2
    found["buffer_size"] = int.from_bytes(payload[position + 2 : position + 5], "big")
    found["max_bitrate"], found["avg_bitrate"] = struct.unpack_from(">II", payload, position + 5)
    if length > 13:
        tag, count, inside, _ = _descriptor(payload, position + 13)
        if tag == 5:
            found["specific_bytes"] = count
            if count >= 2 and found["object_type"] == 0x40:
                bits = int.from_bytes(payload[inside : inside + 2], "big")
                found["audio_object"], found["sampling_index"] = bits >> 11, bits >> 7 & 15
                found["channel_setup"] = bits >> 3 & 15
    position += length
    if position < len(payload):
        tag, count, inside, _ = _descriptor(payload, position)
        if tag == 6 and count:
            found["sl_predefined"] = payload[inside]
    return found


def _object(payload: bytes, size: int) -> dict[str, Any]:
    found = _full(payload)
    _, _, position, used = _descriptor(payload, 4)
    return {**found, "length_bytes": used, "profiles": payload[position + 2 : position + 7].hex()}


def _data(payload: bytes, size: int) -> dict[str, Any]:
    kind, locale = struct.unpack_from(">II", payload)
    value = payload[8:]
    if kind == 1:
        said: str | int = text_of(value)
    elif kind in (21, 22) and len(value) <= 8:
        said = int.from_bytes(value, "big", signed=kind == 21)
    elif kind == 23 and len(value) == 4:
        said = f"{struct.unpack('>f', value)[0]:g}"
    else:
        said = value[:32].hex()
    return {"value_type": kind, "locale": locale, "value": said}


def _mean(payload: bytes, size: int) -> dict[str, Any]:
    return {**_full(payload), "text": text_of(payload[4:])}


def _name(payload: bytes, size: int) -> dict[str, Any]:
    return {"text": text_of(payload[4:] if payload[:4] == b"\0\0\0\0" else payload)}


def _quicktime_text(payload: bytes) -> dict[str, Any]:
    """Read the texts of a user data atom: each with its length and language."""
    texts, languages, position = [], [], 0
    while position + 4 <= len(payload):
        length, language = struct.unpack_from(">HH", payload, position)
        if position + 4 + length > len(payload):
            raise ValueError("a text passes its end")
        texts.append(text_of(payload[position + 4 : position + 4 + length]))
        languages.append(_language(language))
        position += 4 + length
        if not length:
            break
    return {"count": len(texts), "language": languages, "value": texts}


def _toolkit(payload: bytes) -> dict[str, Any]:
    """Read from XMP which software wrote it."""
    found = re.search(rb"xmptk=[\"']([^\"']{1,100})", payload)
    return {"toolkit": text_of(found.group(1))} if found else {}


READERS: dict[str, Reader] = {
    "ftyp": _brands,
    "styp": _brands,
    "hdlr": _handler,
    "elst": _edits,
    "tfhd": _fragment,
    "trun": _run,
    "avcC": _avc,
    "hvcC": _hevc,
    "vpcC": _vp9,
    "colr": _colour,
    "esds": _elementary,
    "iods": _object,
    "data": _data,
    "mean": _mean,
    "name": _name,
    "elng": _mean,
    "keys": lambda payload, size: _keys(payload),
}


def _fixed(layouts: dict[str, _Layout], name: str, full: bool) -> Reader:
    plain = layouts[name]
    later = layouts.get(f"{name}.1"), layouts.get(f"{name}.2")

    def read(payload: bytes, size: int) -> dict[str, Any]:
        if not full:
            return plain.read(payload)
        found = _full(payload)
        chosen = (later[min(found["version"], 2) - 1] or later[0] if found["version"] else None) or plain
        return {**found, **chosen.read(payload, 4)}

    return read


def _keys(payload: bytes) -> dict[str, Any]:
    found = _full(payload)
    (count,) = struct.unpack_from(">I", payload, 4)
    position, keys = 8, []
    for _ in range(min(count, 500)):
        size, _space = struct.unpack_from(">I4s", payload, position)
        if size < 8 or position + size > len(payload):
            raise ValueError(f"{count:,} keys")
        keys.append(text_of(payload[position + 8 : position + size]))
        position += size
    return {**found, "entry_count": count, "key": keys}


READERS |= {name: _fixed(_PLAIN, name, full=False) for name in PLAIN}
READERS |= {name: _fixed(_FULL, name, full=True) for name in FULL if "." not in name}
for _name in ("mean", "elng"):
    TYPES[_name].update({"version": "c", "flags": "c"})


class Context:
    """What a box's meaning depends on besides its bytes.

    Attributes:
        handler: The current track's media: ``vide``, ``soun`` ...; empty before it is known.
    """

    def __init__(self) -> None:
        self.handler = ""

    def read(self, kind: str, payload: bytes, size: int) -> dict[str, Any]:
        """Read the fields of a box that is no sample entry.

        Args:
            kind: Its type.
            payload: What follows its header, or the beginning of it.
            size: Bytes of all that follows its header.

        Raises:
            ValueError, IndexError, struct.error: If they do not fit.
        """
        if kind in READERS:
            found = READERS[kind](payload, size)
            if kind == "hdlr" and not self.handler and found["handler"] not in ("mdir", "mdta", "alis", "url ", "ID32"):
                self.handler = found["handler"]
            return found
        if kind.startswith("uuid["):
            return _toolkit(payload)
        if kind.startswith("\xa9"):
            return _quicktime_text(payload)
        return {}


# ---------------------------------------------------------------------------------------------------------------------
# sample entries
# ---------------------------------------------------------------------------------------------------------------------

VISUAL = frozenset({
    "avc1", "avc2", "avc3", "avc4", "hvc1", "hev1", "hvc2", "mp4v", "s263", "av01", "vp08", "vp09", "jpeg", "mjpa", "mjpb",
    "png ", "rle ", "apcn", "apch", "apcs", "apco", "ap4h", "vvc1", "vvi1", "encv", "dvh1", "dvhe", "h263", "H263", "icod",
    "raw ",
})  # fmt: skip
SOUND = frozenset({
    "mp4a", "samr", "sawb", "sawp", "sevc", "sqcp", "alac", "ac-3", "ec-3", "Opus", "fLaC", "twos", "sowt", "lpcm", "in24",
    "in32", "fl32", "fl64", "ulaw", "alaw", "ima4", ".mp3", "enca", "dtsc", "NONE",
})  # fmt: skip


def read_entry(kind: str, payload: bytes, context: Context) -> tuple[dict[str, Any], int | None]:
    """Read a sample entry's own fields.

    Returns:
        The fields, and how many bytes stand before the boxes in it (None if it holds none that are known).
    """
    (reference,) = struct.unpack_from(">H", payload, 6)
    handler = context.handler or ("vide" if kind in VISUAL else "soun" if kind in SOUND else "")
    if handler == "vide" and len(payload) >= 78:
        values = struct.unpack_from(">HH4sIIHHiiIH32sHh", payload, 8)
        compressor = values[11]
        return {
            "data_reference": reference, "version": values[0], "revision": values[1], "vendor": fourcc(values[2]),
            "temporal_quality": values[3], "spatial_quality": values[4], "width": values[5], "height": values[6],
            "horizontal_dpi": values[7] / 65536, "vertical_dpi": values[8] / 65536, "frames": values[10],
            "compressor": text_of(compressor[1 : 1 + compressor[0]]), "depth": values[12], "colour_table": values[13],
        }, 78  # fmt: skip
    if handler == "soun":
        version, revision, vendor, channels, bits, compression, packet, rate = struct.unpack_from(">HH4sHHhHI", payload, 8)
        found = {
            "data_reference": reference, "version": version, "revision": revision, "vendor": fourcc(vendor),
            "channels": channels, "bits": bits, "compression": compression, "packet_size": packet, "rate": rate / 65536,
        }  # fmt: skip
        if version == 1 and len(payload) >= 44 and not _box_at(payload, 28):
            names = ("samples_per_packet", "bytes_per_packet", "bytes_per_frame")
            samples, packets, frames = struct.unpack_from(">III", payload, 28)
            return {**found, **dict(zip(names, (samples, packets, frames), strict=True))}, 44
        if version == 2:
            if len(payload) < 64:
                raise ValueError("a sound description of version 2 has 64 bytes")
            (found["rate"],) = struct.unpack_from(">d", payload, 32)
            (found["channels"],) = struct.unpack_from(">I", payload, 40)
            if not 0 <= found["rate"] < 1e9:
                raise ValueError(f"a sampling rate of {found['rate']:g}")
            return found, 64
        return found, 28
    return {"data_reference": reference}, None


def _box_at(payload: bytes, position: int) -> bool:
    """Whether a plausible box begins somewhere: ISO files have sound entries of version 1 that are not QuickTime's."""
    size, kind = struct.unpack_from(">I4s", payload, position)
    return 8 <= size <= len(payload) - position and kind in (b"esds", b"wave", b"chan", b"srat", b"btrt", b"dac3", b"dOps")
