"""Makes the embedded files anew: ``python -m foveate.systems.forensics.mp4_forensics.prepare WORK [--modules NODE_MODULES]``.

Procedural clips are encoded, written as files of the made-up cameras (`templates`), and given to every tool that is installed;
what the tools make, and what four made-up social networks make of that, is emptied (media and padding taken out, sizes kept)
and packed. Tools that are missing are named and left out. Needs PyAV, and of the tools what there is: Debian's ffmpeg,
handbrake-cli, libimage-exiftool-perl, atomicparsley, melt, kid3-cli, vlc-bin with vlc-plugin-base, gstreamer1.0-tools with its
base, good, bad and ugly plugins; PyPI's imageio-ffmpeg, opencv-python-headless, mutagen; npm's mediabunny, mp4-muxer, mp4box.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foveate.parts.progress import bar
from foveate.systems.forensics.mp4_forensics.boxes import read_tree
from foveate.systems.forensics.mp4_forensics.data import COLUMNS, digest, hollow, pack
from foveate.systems.forensics.mp4_forensics.templates import DEVICES, Media, Recording, Template, write

CLIPS = 4  # of each camera and firmware
FILES = 40  # of each tool and network
SIZES = ((96, 64), (128, 96), (160, 120), (176, 144), (192, 108), (256, 144))
Act = Callable[[Path, Path], None]


@dataclass(frozen=True)
class Variant:
    """One way to use a tool.

    Attributes:
        options: What the manifest says of it.
        action: ``copy``, ``reencode`` or ``edit``.
        act: Makes a file of another.
        suffix: Of what it makes.
    """

    options: str
    action: str
    act: Act
    suffix: str = ".mp4"


@dataclass(frozen=True)
class Tool:
    """A tool as it is installed.

    Attributes:
        version: As it says itself.
        library: What writes its boxes.
        variants: The ways in which it is used, taken in turns.
    """

    version: str
    library: str
    variants: list[Variant]


# ---------------------------------------------------------------------------------------------------------------------
# clips and cameras
# ---------------------------------------------------------------------------------------------------------------------


def clip(number: int, path: Path) -> None:
    """Encode a short procedural clip of a size, rate and length of its own, with sound or without."""
    import av

    rng = np.random.default_rng(number)
    width, height = SIZES[rng.integers(len(SIZES))]
    rate = int(rng.choice([10, 15, 24, 25, 30]))
    frames = int(rate * rng.uniform(0.7, 3.0))
    sampling, channels = int(rng.choice([22050, 44100, 48000])), int(rng.integers(1, 3))
    with av.open(str(path), "w", format="mp4") as out:
        video = out.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "crf": "38", "threads": "1", "bf": "0"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        audio = None
        if rng.random() < 0.8:
            audio = out.add_stream("aac", rate=sampling, layout="mono" if channels == 1 else "stereo")
            audio.bit_rate = 32000
        y, x = np.mgrid[:height, :width]
        waves = rng.uniform(0.02, 0.2, (3, 2))
        for i in range(frames):
            planes = [127 + 120 * np.sin(a * x + b * y + 0.3 * i * (a + b) * 10) for a, b in waves]
            frame = av.VideoFrame.from_ndarray(np.stack(planes, -1).astype(np.uint8), format="rgb24")
            out.mux(video.encode(frame))
        out.mux(video.encode())
        if audio:
            time = np.arange(int(sampling * frames / rate)) / sampling
            wave = (0.3 * np.sin(2 * np.pi * rng.uniform(200, 900) * time)).astype(np.float32)
            for start in range(0, len(wave) - 1023, 1024):
                block = np.repeat(wave[None, start : start + 1024], channels, axis=0)
                sound = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono" if channels == 1 else "stereo")
                sound.sample_rate = sampling
                out.mux(audio.encode(sound))
            out.mux(audio.encode())


def media_of(path: Path) -> list[Media]:
    """Read the coded tracks of a file."""
    import av

    found = []
    with av.open(str(path)) as file:
        for stream in file.streams:
            if stream.type not in ("video", "audio"):
                continue
            file.seek(0)
            packets = [p for p in file.demux(stream) if p.size]
            scale = stream.time_base.denominator // stream.time_base.numerator if stream.time_base else 1
            context = stream.codec_context
            found.append(
                Media(
                    [bytes(p) for p in packets],
                    [int(p.duration or 1) for p in packets],
                    scale,
                    bytes(context.extradata or b""),
                    (context.width, context.height) if stream.type == "video" else (0, 0),
                    0 if stream.type == "video" else context.channels,
                    [i for i, p in enumerate(packets) if p.is_keyframe],
                )
            )
    return found


def recording(number: int) -> Recording:
    """Draw what is about a recording, independently of the camera."""
    rng = np.random.default_rng([number, 1])
    place = f"{rng.uniform(-60, 60):+.4f}{rng.uniform(-170, 170):+09.4f}/" if rng.random() < 0.5 else ""
    title = "".join(rng.choice(list("abcdefgh "), rng.integers(4, 20))) if rng.random() < 0.3 else ""
    return Recording(int(rng.integers(3_600_000_000, 3_800_000_000)), title, place, bool(rng.random() < 0.4))


# ---------------------------------------------------------------------------------------------------------------------
# tools
# ---------------------------------------------------------------------------------------------------------------------


def call(*command: str | Path, user: str | None = None, **variables: str) -> str:
    """Run a command; what it says is returned."""
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        user=user,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **variables},
        errors="replace",
    )
    return done.stdout + done.stderr


def command(*parts: str) -> Act:
    """Make an act of a command in which IN and OUT stand for the files."""

    def act(source: Path, target: Path) -> None:
        call(*(str(source) if p == "IN" else re.sub(r"(^|:)OUT$", rf"\g<1>{target}", p) for p in parts))

    return act


def edit(*parts: str) -> Act:
    """Make an act of a command that changes a file in place: FILE stands for it."""

    def act(source: Path, target: Path) -> None:
        shutil.copyfile(source, target)
        call(*(str(target) if p == "FILE" else p for p in parts))

    return act


def _ffmpeg(program: str) -> list[Variant]:
    def one(options: str, action: str, suffix: str = ".mp4") -> Variant:
        return Variant(options, action, command(program, "-v", "error", "-y", "-i", "IN", *options.split(), "OUT"), suffix)

    x264 = "-c:v libx264 -preset ultrafast -crf 38 -threads 1 -c:a aac -b:a 32k"
    return [
        one("-c copy", "copy"),
        one(x264, "reencode"),
        one("-c copy -movflags +faststart", "copy"),
        one(f"{x264} -movflags +faststart -vf scale=iw/2*2:ih/2*2", "reencode"),
        one("-c copy -movflags frag_keyframe+empty_moov", "copy"),
        one("-c:v mpeg4 -q:v 9 -c:a aac -b:a 32k", "reencode"),
        one("-c copy", "copy", ".mov"),
        one("-c copy -map_metadata -1 -fflags +bitexact -flags:v +bitexact -flags:a +bitexact", "copy"),
        one("-c copy -metadata title=holiday", "copy"),
        one(f"{x264} -bf 2 -fflags +bitexact -flags:v +bitexact -flags:a +bitexact", "reencode"),
        one("-c copy -f ipod", "copy", ".m4v"),
        one("-c:v libx265 -preset ultrafast -x265-params log-level=none:pools=1 -crf 38 -tag:v hvc1 -c:a aac", "reencode"),
    ]


def _pyav_copy(options: dict[str, str], kind: str = "mp4") -> Act:
    def act(source: Path, target: Path) -> None:
        import av

        with av.open(str(source)) as given, av.open(str(target), "w", format=kind, options=options) as out:
            made = {s.index: out.add_stream_from_template(s) for s in given.streams if s.type in ("video", "audio")}
            for packet in given.demux():
                if packet.dts is not None and packet.stream.index in made:
                    packet.stream = made[packet.stream.index]
                    out.mux(packet)

    return act


def _pyav_encode(codec: str) -> Act:
    def act(source: Path, target: Path) -> None:
        import av

        with av.open(str(source)) as given, av.open(str(target), "w") as out:
            seen = given.streams.video[0]
            made = out.add_stream(codec, rate=seen.average_rate)
            made.width, made.height, made.pix_fmt = seen.width // 2 * 2, seen.height // 2 * 2, "yuv420p"
            for frame in given.decode(seen):
                frame.pts = None
                out.mux(made.encode(frame))
            out.mux(made.encode())

    return act


def _opencv(codec: str, scale: float) -> Act:
    def act(source: Path, target: Path) -> None:
        import cv2

        given = cv2.VideoCapture(str(source))
        size = [int(given.get(p) * scale) // 2 * 2 for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)]
        out = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*codec), given.get(cv2.CAP_PROP_FPS), tuple(size))
        while True:
            more, frame = given.read()
            if not more:
                break
            out.write(cv2.resize(frame, tuple(size)))
        out.release()

    return act


def _mutagen(tags: dict[str, str]) -> Act:
    def act(source: Path, target: Path) -> None:
        from mutagen.mp4 import MP4

        shutil.copyfile(source, target)
        file = MP4(str(target))
        for name, value in tags.items():
            file[name] = [value]
        file.save()

    return act


def _gstreamer(muxer: str, encode: bool) -> Act:
    def act(source: Path, target: Path) -> None:
        sound = any(not media.is_video for media in media_of(source))
        video = "h264parse"
        if encode:
            video = "h264parse ! openh264dec ! videoconvert ! x264enc speed-preset=ultrafast threads=1 ! h264parse"
        text = f"filesrc location={source} ! qtdemux name=d {muxer} name=m ! filesink location={target}"
        text += f" d.video_0 ! queue ! {video} ! m."
        if sound:
            text += " d.audio_0 ! queue ! aacparse ! m."
        call("gst-launch-1.0", "-q", *text.split())

    return act


def _vlc(mux: str) -> Act:
    def act(source: Path, target: Path) -> None:
        # VLC does not run for the superuser.
        user = "nobody" if os.geteuid() == 0 else None
        place = Path(tempfile.mkdtemp(prefix="foveate-vlc-"))
        place.chmod(0o777)
        given, made = place / f"in{source.suffix}", place / "out.mp4"
        shutil.copyfile(source, given)
        given.chmod(0o644)
        out = f"#std{{access=file,mux={mux},dst={made}}}"
        call("cvlc", "-q", "-I", "dummy", given, "--sout", out, "vlc://quit", user=user, HOME=str(place))
        shutil.copyfile(made, target)
        shutil.rmtree(place, ignore_errors=True)

    return act


def _node(script: Path, modules: Path, writer: str, variant: str) -> Act:
    def act(source: Path, target: Path) -> None:
        call("node", script, writer, source, target, variant, PREPARE_MODULES=str(modules))

    return act


def tools(modules: Path | None) -> dict[str, Tool]:
    """Find the tools that are installed."""
    found: dict[str, Tool] = {}

    def version(pattern: str, *asked: str | Path) -> str:
        try:
            match = re.search(pattern, call(*asked))
        except (OSError, subprocess.SubprocessError):
            return ""
        return match.group(1) if match else ""

    def add(name: str, said: str, library: str, make: Callable[[], list[Variant]]) -> None:
        if said:
            found[name] = Tool(said, library, make())
        else:
            print(f"not installed, left out: {name}", file=sys.stderr)

    def debian(name: str) -> str:
        return version(r"(\d\S*)", "dpkg-query", "-W", "-f", "${Version}", name)

    add("ffmpeg", version(r"ffmpeg version (\S+)", "ffmpeg", "-version"), "libavformat", lambda: _ffmpeg("ffmpeg"))
    add(
        "handbrake",
        version(r"HandBrake (\d\S+)", "HandBrakeCLI", "--version"),
        "libavformat",
        lambda: [
            Variant(
                options,
                "reencode",
                command("HandBrakeCLI", "-i", "IN", "-o", "OUT", "--encoder-preset", "ultrafast", *options.split()),
                suffix,
            )
            for options, suffix in (
                ("-e x264 -q 34", ".mp4"),
                ("-e x264 -q 34 --optimize", ".mp4"),
                ("-e mpeg4 -q 9", ".m4v"),
                ("-e x264 -q 38 --crop 0:0:0:0 --align-av", ".mp4"),
            )
        ],
    )
    add(
        "exiftool",
        version(r"^(\d\S+)", "exiftool", "-ver"),
        "exiftool",
        lambda: [
            Variant(options, "edit", edit("exiftool", "-q", "-overwrite_original", *options.split(), "FILE"))
            for options in (
                "-ItemList:Title=holiday",
                "-XMP:Creator=somebody",
                "-Keys:Comment=sunny",
                "-UserData:Title=holiday -XMP:Title=holiday",
                "-Keys:GPSCoordinates=47.3,8.5",
                "-QuickTime:CreateDate=2020:01:02_03:04:05",
            )
        ],
    )
    add(
        "atomicparsley",
        debian("atomicparsley"),
        "atomicparsley",
        lambda: [
            Variant(options, "edit", command("AtomicParsley", "IN", *options.split(), "--output", "OUT"))
            for options in (
                "--title holiday",
                "--artist somebody --year 2019",
                "--comment sunny --genre Pop",
                "--encodingTool editor",
            )
        ],
    )
    add(
        "kid3",
        debian("kid3-cli"),
        "taglib",
        lambda: [
            Variant(what, "edit", edit("kid3-cli", "-c", what, "FILE"))
            for what in ("set title holiday", "set artist somebody", "set comment sunny")
        ],
    )
    add(
        "melt",
        version(r"melt (\d\S+)", "melt", "--version"),
        "libavformat",
        lambda: [
            Variant(options, "reencode", command("melt", "-silent", "IN", "-consumer", "avformat:OUT", *options.split()))
            for options in (
                "vcodec=libx264 preset=ultrafast acodec=aac ab=32k threads=1",
                "vcodec=mpeg4 acodec=aac threads=1",
                "vcodec=libx264 preset=ultrafast acodec=aac movflags=+faststart threads=1",
            )
        ],
    )
    add(
        "gstreamer",
        version(r"version (\S+)", "gst-launch-1.0", "--version"),
        "gstreamer",
        lambda: [
            Variant("mp4mux", "copy", _gstreamer("mp4mux", False)),
            Variant("mp4mux, x264enc", "reencode", _gstreamer("mp4mux", True)),
            Variant("qtmux", "copy", _gstreamer("qtmux", False), ".mov"),
            Variant("mp4mux faststart", "copy", _gstreamer("mp4mux faststart=true", False)),
            Variant("mp4mux fragmented", "copy", _gstreamer("mp4mux fragment-duration=500", False)),
        ],
    )
    add(
        "vlc",
        version(
            r"VLC (?:version|media player) (\d\S+)",
            *(("setpriv", "--reuid=nobody", "cvlc") if os.geteuid() == 0 else ("cvlc",)),
            "--version",
        ),
        "vlc",
        lambda: [Variant("mux=mp4", "copy", _vlc("mp4")), Variant("mux=mov", "copy", _vlc("mov"))],
    )

    def package(name: str) -> str:
        from importlib import metadata

        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return ""

    add("imageio-ffmpeg", package("imageio-ffmpeg"), "libavformat", lambda: _ffmpeg(_bundled()))
    add(
        "pyav",
        package("av"),
        "libavformat",
        lambda: [
            Variant("copy", "copy", _pyav_copy({})),
            Variant("libx264", "reencode", _pyav_encode("libx264")),
            Variant("copy, faststart", "copy", _pyav_copy({"movflags": "faststart"})),
            Variant("copy, fragmented", "copy", _pyav_copy({"movflags": "frag_keyframe+empty_moov+default_base_moof"})),
            Variant("copy, mov", "copy", _pyav_copy({}, "mov"), ".mov"),
            Variant("mpeg4", "reencode", _pyav_encode("mpeg4")),
        ],
    )
    add(
        "opencv",
        package("opencv-python-headless"),
        "libavformat",
        lambda: [
            Variant("mp4v", "reencode", _opencv("mp4v", 1)),
            Variant("mp4v, half size", "reencode", _opencv("mp4v", 0.5)),
            Variant("mp4v, mov", "reencode", _opencv("mp4v", 1), ".mov"),
        ],
    )
    add(
        "mutagen",
        package("mutagen"),
        "mutagen",
        lambda: [
            Variant(str(tags), "edit", _mutagen(tags))
            for tags in (
                {"\xa9nam": "holiday"},
                {"\xa9ART": "somebody", "\xa9day": "2019"},
                {"\xa9cmt": "sunny"},
                {"\xa9too": "editor"},
            )
        ],
    )
    script = Path(__file__).with_name("prepare.js")
    for name, variants in (
        ("mediabunny", ("start", "plain", "fragmented")),
        ("mp4-muxer", ("start", "plain", "fragmented")),
        ("mp4box.js", ("short", "long")),
    ):
        place = modules / "node_modules" / name.removesuffix(".js") / "package.json" if modules else None
        said = re.search(r'"version": "(\S+)"', place.read_text()) if place and place.is_file() else None
        add(
            name,
            said.group(1) if said else "",
            name,
            lambda name=name, variants=variants: [
                Variant(v, "copy", _node(script, modules or Path(), name, v)) for v in variants
            ],
        )
    return found


def _bundled() -> str:
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()


def networks() -> dict[str, Act]:
    """Return what four made-up social networks do to what is sent to them."""
    x264 = "-c:v libx264 -preset ultrafast -crf 40 -threads 1 -c:a aac -b:a 32k"
    plain = "-map_metadata -1 -fflags +bitexact -flags:v +bitexact -flags:a +bitexact"

    def ffmpeg(options: str, *more: str) -> Act:
        return command("ffmpeg", "-v", "error", "-y", "-i", "IN", *options.split(), *more, "OUT")

    def rewritten(template: Template) -> Act:
        def act(source: Path, target: Path) -> None:
            target.write_bytes(write(template, [m for m in media_of(source) if m.configuration], Recording(0)))

        return act

    orbit = Template(
        "Orbit",
        "",
        major=b"isom",
        minor=1,
        compatible=(b"isom", b"avc1"),
        order=("ftyp", "moov", "mdat"),
        handlers=("Orbit pictures", "Orbit sound"),
        language="und",
        track_flags=1,
        initial_object=True,
    )
    names = (
        "-metadata:s:v",
        "handler_name=Media file made by Nimbus",
        "-metadata:s:a",
        "handler_name=Media file made by Nimbus",
    )
    return {
        "Nimbus": ffmpeg(f"{x264} {plain} -movflags +faststart -brand mp42 -r 24", *names),
        "Orbit": rewritten(orbit),
        "Pulsar": ffmpeg(f"-c copy {plain} -movflags +faststart"),
        "Quill": ffmpeg(f"{x264} {plain} -g 10 -movflags cmaf+frag_keyframe+empty_moov"),
    }


# ---------------------------------------------------------------------------------------------------------------------
# all of it
# ---------------------------------------------------------------------------------------------------------------------


def make(work: Path, modules: Path | None, files: int) -> list[tuple[dict[str, str], Path]]:
    """Run everything; return a row of the manifest and the file for each that came out whole. What lies there is kept."""
    for name in ("clips", "native", "tools", "networks"):
        (work / name).mkdir(parents=True, exist_ok=True)
    native: list[tuple[dict[str, str], Path]] = []
    number = 0
    for device in DEVICES:
        for _ in range(CLIPS):
            source = work / "clips" / f"{number:03d}.mp4"
            if not source.is_file():
                clip(number, source)
            target = work / "native" / f"{device.device}-{number:03d}{'.mov' if device.quicktime else '.mp4'}"
            if not target.is_file():
                target.write_bytes(write(device, media_of(source), recording(number)))
            row = dict.fromkeys(COLUMNS, "") | {
                "name": target.name,
                "brand": device.brand,
                "device": device.device,
                "firmware": device.firmware,
                "tool": "native",
                "library": "template",
                "source_id": f"{number:03d}",
                "action": "native",
            }
            native.append((row, target))
            number += 1
    found = list(native)
    installed = tools(modules)
    with bar("running the tools") as tick:
        tick(0, (len(installed) + len(networks())) * files)
        for index, (name, tool) in enumerate(installed.items()):
            order = np.random.default_rng(index).permutation(len(native))[:files]
            for turn, chosen in enumerate(order):
                row, source = native[chosen]
                variant = tool.variants[turn % len(tool.variants)]
                target = work / "tools" / f"{name}-{row['source_id']}{variant.suffix}"
                changed = {"tool": name, "version": tool.version, "library": tool.library, "action": variant.action}
                found += _one(row | changed | {"options": variant.options, "name": target.name}, variant.act, source, target)
                tick(1)
        # Half of what is sent to a network was edited before.
        edited = [
            (row, path) for row, path in found if row["action"] == "reencode" and row["tool"] in ("ffmpeg", "handbrake", "melt")
        ]
        for index, (name, act) in enumerate(networks().items()):
            rng = np.random.default_rng([index, 7])
            for turn in range(files):
                pool = edited if turn % 2 else native
                row, source = pool[rng.integers(len(pool))]
                target = work / "networks" / f"{name}-{source.stem}.mp4"
                if not any(path == target for _, path in found):
                    found += _one(row | {"network": name, "name": target.name}, act, source, target)
                tick(1)
    return found


def _one(row: dict[str, str], act: Act, source: Path, target: Path) -> list[tuple[dict[str, str], Path]]:
    """Make one file, unless it lies there; what fails is told and left out."""
    if not target.is_file():
        part = target.with_name("part-" + target.name)
        try:
            act(source, part)
            read_tree(part)
            part.rename(target)
        except Exception as error:  # a tool may refuse a file; the set is made of what it does not
            said = getattr(error, "stderr", "") or str(error)
            print(
                f"{target.name} ({row['options']}): {said.strip().splitlines()[-1:] or type(error).__name__}", file=sys.stderr
            )
            part.unlink(missing_ok=True)
            return []
    return [(row, target)]


def probe(path: Path) -> str:
    """Let ffprobe say of each track: codec, size, time scale, length (edit lists aside). Our parser is compared with it."""
    wanted = "stream=codec_type,codec_name,width,height,sample_rate,time_base,duration"
    said = json.loads(call("ffprobe", "-v", "quiet", "-ignore_editlist", "1", "-of", "json", "-show_entries", wanted, path))
    tracks = []
    for stream in said["streams"]:
        size = f"{stream['width']}x{stream['height']}" if stream["codec_type"] == "video" else stream["sample_rate"]
        tracks.append(f"{stream['codec_name']} {size} {stream['time_base'].partition('/')[2]} {stream.get('duration', '')}")
    return "; ".join(tracks)


def main() -> None:
    """Make the files, pack them, and print the digest that data.py is to know them by."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--modules", type=Path, help="folder in which npm installed its packages")
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    made = make(options.work, options.modules, options.files)
    rows = [row | {"probe": probe(path)} for row, path in made]
    pack([hollow(path) for _, path in made], options.out / "headers.xz")
    with (options.out / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    headers = options.out / "headers.xz"
    print(f'{len(rows)} files, {headers.stat().st_size:,} bytes; DIGEST = "{digest(headers, options.out / "manifest.csv")}"')


if __name__ == "__main__":
    main()
