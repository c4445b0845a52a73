"""Labelled scans: CT-ICH, INSTANCE 2022, one's own pairs; and made-up heads to try everything on."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from foveate.errors import InputError
from foveate.parts.caching import cached
from foveate.readers.volumes import Volume, read_volume
from foveate.samples.head_ct import SPACING, VERSION, Bleed, HeadCT, head_ct

SCANS = (".nii", ".nii.gz", ".npy")
KINDS = {
    "Intraventricular": "intraventricular", "Intraparenchymal": "intraparenchymal", "Subarachnoid": "subarachnoid",
    "Epidural": "epidural", "Subdural": "subdural",
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A scan with what is known of it.

    Attributes:
        name: Its number or stem.
        scan: File, or folder of a DICOM series.
        mask: File of the labelled haemorrhage; None if there is none.
        kinds: Kinds of bleeds in it, as far as the data set tells.
    """

    name: str
    scan: Path
    mask: Path | None
    kinds: tuple[str, ...] = field(default=())

    def read(self) -> tuple[Volume, np.ndarray | None]:
        """Read the scan, and its mask as bool ``(X, Y, Z)``: what is above 0 is labelled.

        Raises:
            InputError: If one cannot be read, or they do not fit together.
        """
        scan = read_volume(self.scan)
        if self.mask is None:
            return scan, None
        mask = read_volume(self.mask)
        if mask.values.shape != scan.values.shape:
            raise InputError(self.mask, f"has the shape {mask.values.shape}", f"that of {self.scan.name}, {scan.values.shape}")
        return scan, mask.values > 0


class Layout:
    """A folder of scans with masks.

    Args:
        root: The folder.

    Raises:
        InputError: If the folder does not have the layout.
    """

    folders: tuple[str, str]
    suffixes: tuple[str, ...] = SCANS

    def __init__(self, root: str) -> None:
        self.root = Path(root)
        scans, masks = (self.root / name for name in self.folders)
        for folder in (scans, masks):
            if not folder.is_dir():
                raise InputError(folder, "there is no such folder", f"{self.folders[0]}/ and {self.folders[1]}/ in {root}")
        labelled = {stem(p): p for p in _files(masks, self.suffixes)}
        self.cases = [
            Case(stem(p), p, labelled.get(stem(p)), self.kinds().get(stem(p), ())) for p in _files(scans, self.suffixes)
        ]
        if not any(case.mask for case in self.cases):
            wanted = f"{self.folders[0]}/NAME and {self.folders[1]}/NAME, ending in {', '.join(self.suffixes)}"
            raise InputError(self.root, "holds no scan with a mask of the same name", wanted)

    def kinds(self) -> dict[str, tuple[str, ...]]:
        """Tell the kinds of bleeds of each scan by name."""
        return {}

    def parts(self) -> dict[str, list[Case]]:
        """Return the labelled scans: nothing is trained, so that there is one part."""
        return {"test": [case for case in self.cases if case.mask]}


class CTICH(Layout):
    """PhysioNet's CT-ICH, version 1.3.1: ct_scans/049.nii, masks/049.nii, hemorrhage_diagnosis_raw_ct.csv."""

    folders = ("ct_scans", "masks")
    suffixes = (".nii", ".nii.gz")

    def __init__(self, root: str) -> None:
        if (Path(root) / "Patients_CT").is_dir():
            wanted = "version 1.3.1, whose volumes are in HU"
            raise InputError(root, "is version 1.0.0 of CT-ICH, which holds windowed pictures", wanted)
        super().__init__(root)

    def kinds(self) -> dict[str, tuple[str, ...]]:
        """Read the kinds of bleeds from the table of slices; rows without a patient are skipped."""
        path = self.root / "hemorrhage_diagnosis_raw_ct.csv"
        if not path.is_file():
            raise InputError(path, "there is no such file", "the table that comes with CT-ICH")
        found: dict[str, set[str]] = {}
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                for row in csv.DictReader(file):
                    number = re.sub(r"\.0$", "", (row["PatientNumber"] or "").strip())
                    if number.isdigit():
                        seen = {kind for column, kind in KINDS.items() if (row[column] or "0").strip() not in ("0", "0.0", "")}
                        found.setdefault(f"{int(number):03d}", set()).update(seen)
        except (KeyError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(path, f"is not CT-ICH's table: {error}", f"columns PatientNumber, {', '.join(KINDS)}") from error
        return {name: tuple(sorted(kinds)) for name, kinds in found.items()}


class Instance(Layout):
    """INSTANCE 2022: data/NNN.nii.gz and label/NNN.nii.gz."""

    folders = ("data", "label")


class Pairs(Layout):
    """One's own: images/NAME and masks/NAME, as NIfTI or as NumPy arrays with a spacing."""

    folders = ("images", "masks")


def read_layout(root: Path) -> Layout:
    """Read a folder in the first of the layouts that it has.

    Raises:
        InputError: If it has none.
    """
    if not root.is_dir():
        raise InputError(root, "there is no such folder", "the folder of a data set")
    for kind in (CTICH, Instance, Pairs):
        if all((root / name).is_dir() for name in kind.folders) or (kind is CTICH and (root / "Patients_CT").is_dir()):
            return kind(str(root))
    raise InputError(root, "has no layout that is known", "ct_scans/ and masks/, data/ and label/, or images/ and masks/")


def stem(path: Path) -> str:
    """Return a scan's name without its suffixes."""
    return re.sub(r"(\.nii)?(\.gz)?(\.npy)?$", "", path.name)


def _files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_file() and p.name.lower().endswith(tuple(suffixes)) and p.name[0] != ".")


def scans_in(folder: Path) -> Iterator[Path]:
    """List the scans in a folder, at any depth: volumes, and folders with DICOM series.

    Raises:
        InputError: If there is no such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise InputError(folder, "there is no such folder", "a folder of head CT scans")
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name[0] != ".")
    volumes = [p for p in files if p.name.lower().endswith(SCANS)]
    series = []
    for place in sorted({p.parent for p in files}):
        for path in (p for p in files if p.parent == place and p not in volumes):
            with path.open("rb") as file:
                if file.read(132)[128:] == b"DICM":
                    series.append(place)
                    break
    if not volumes and not series:
        raise InputError(folder, "holds no scans", f"files that end in {', '.join(SCANS)}, or folders of DICOM series")
    yield from volumes
    yield from series


def phantom(world: int, case: int, bleeds: Sequence[Bleed] = (), noise: float | None = None) -> HeadCT:
    """Return a made-up head CT, kept on disk once it is made.

    Args:
        world: Cases of different worlds have nothing in common.
        case: Number of the case.
        bleeds: Kinds of bleeds.
        noise: Standard deviation in HU; drawn by default.
    """

    def make() -> dict[str, np.ndarray]:
        made = head_ct([world, case], bleeds, noise)
        return {"values": made.values, "labels": made.labels}

    found = cached("head_ct", [VERSION, world, case, list(bleeds), noise], make)
    return HeadCT(found["values"], found["labels"], SPACING)
