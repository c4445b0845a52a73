"""What the contract feeds it: emptied files of real tools, and tables of some."""

from __future__ import annotations

from pathlib import Path

from foveate.systems.forensics.mp4_forensics.data import Hollow, hollows

# Of which tool and with which options a file of each format is.
WRITTEN = {
    "mov": ("gstreamer", "qtmux"),
    "m4v": ("ffmpeg", "-c copy -f ipod"),
    "m4a": ("mp4box.js", "short"),
    "3gp": ("vlc", "mux=mp4"),
}


def example(action: str, name: str, suffix: str, folder: Path) -> Path:
    """Write a file of a tool, or a table of two dozen files."""
    if name == "manifest":
        layout("manifest", folder)
        return folder / "manifest.csv"
    tool, options = WRITTEN.get(suffix, ("ffmpeg", "-c copy"))
    if name == "second":
        tool, options = "handbrake", "-e x264 -q 34"
    path = folder / f"clip.{suffix}"
    path.write_bytes(_of(tool, options).content())
    return path


def _of(tool: str, options: str) -> Hollow:
    return next(file for row, file in hollows() if (row["tool"], row["options"]) == (tool, options) and not row["network"])


def layout(name: str, folder: Path) -> Path:
    """Write a data set in miniature; return the first file that validates."""
    if name == "vision":
        return _vision(folder)
    lines = ["path,brand,device,tool,network,source_id"]
    chosen: list[tuple[dict[str, str], Hollow]] = []
    for tool in ("native", "handbrake", "gstreamer"):
        chosen += [(r, f) for r, f in hollows() if r["tool"] == tool and not r["network"] and r["source_id"] < "020"]
    for row, file in chosen:
        (folder / row["name"]).write_bytes(file.content())
        lines.append(",".join(row[c] for c in ("name", "brand", "device", "tool", "network", "source_id")))
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    second = sorted({row["source_id"] for row, _ in chosen})[1]
    return next(folder / row["name"] for row, _ in chosen if row["source_id"] == second)


def _vision(folder: Path) -> Path:
    native = [(row, file) for row, file in hollows() if row["tool"] == "native" and not row["network"]]
    first = None
    for number, device in enumerate(("A1", "B1", "C1", "D1", "A2", "B2"), 1):
        files = [(row, file) for row, file in native if row["device"] == device][:2]
        for turn, (row, file) in enumerate(files, 1):
            where = "flat" if turn == 1 else "indoorWA"
            path = (
                folder
                / f"D{number:02d}_{row['brand']}_{device}"
                / "videos"
                / where
                / f"D{number:02d}_V_{where}_still_{turn:04d}.mp4"
            )
            path.parent.mkdir(parents=True)
            path.write_bytes(file.content())
            # The second device is what validates; of it, what was not sent to a network has a brand's label.
            first = path if number == 2 and turn == 1 else first
    assert first is not None
    return first
