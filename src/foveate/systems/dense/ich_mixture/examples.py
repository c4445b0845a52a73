"""What the contract feeds it: a small made-up head in every format, and the data sets' layouts in miniature."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from foveate.errors import MissingExtra
from foveate.readers.volumes import Nifti
from foveate.samples.head_ct import Bleed, HeadCT
from foveate.systems.dense.ich_mixture.data import phantom


def example(action: str, name: str, suffix: str, folder: Path) -> Path:
    """Write a head CT in a format, a folder of scans, or labelled ones."""
    made = phantom(2, 0, ("intraparenchymal",))
    path = folder / f"head.{suffix}"
    if action == "series":
        write_dicom(made, folder)
        return folder
    if action == "evaluate":
        layout("pairs", folder)
        return folder
    if action == "fit_prior":
        nifti(made).write(folder / "one.nii.gz")
        nifti(phantom(2, 1)).write(folder / "two.nii.gz")
        return folder
    if suffix == "npy":
        np.save(path, made.values)
        path.with_suffix(".json").write_text(json.dumps({"spacing": made.spacing}), encoding="utf-8")
    elif suffix == "nii":
        path.write_bytes(nifti(made).encoded())
    else:
        nifti(made).write(path)
    return path


def nifti(made: HeadCT, labels: bool = False) -> Nifti:
    """Return a scan, or its labels, as NIfTI."""
    values = (made.labels > 0).astype(np.uint8) * 255 if labels else made.values
    return Nifti(values, np.diag([*made.spacing, 1.0]))


def write_dicom(made: HeadCT, folder: Path) -> None:
    """Write a head CT as a DICOM series, a file for each slice, in the order of none."""
    try:
        from pydicom.dataset import FileDataset, FileMetaDataset
        from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
    except ModuleNotFoundError as error:
        raise MissingExtra("pydicom", "medical") from error
    x, y, z = made.values.shape
    for number in range(z):
        uid = f"1.2.826.0.1.3680043.8.498.1.{number + 1}"
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, uid
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        header.SOPClassUID, header.SOPInstanceUID = CTImageStorage, uid
        header.Modality, header.PatientName, header.PatientID = "CT", "Made^Up", "0"
        header.SeriesInstanceUID, header.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.2", "1.2.826.0.1.3680043.8.498.3"
        # DICOM's x and y run to the patient's left and back.
        header.ImageOrientationPatient = [-1, 0, 0, 0, -1, 0]
        header.ImagePositionPatient = [0, 0, number * made.spacing[2]]
        header.PixelSpacing, header.SliceThickness = [made.spacing[1], made.spacing[0]], made.spacing[2]
        header.Rows, header.Columns, header.InstanceNumber = y, x, number + 1
        header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
        header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 0
        header.RescaleIntercept, header.RescaleSlope = -1024, 1
        header.PixelData = (made.values[:, :, number].T + 1024).astype("<u2").tobytes()
        header.save_as(folder / f"{(7 * number) % z:03d}.dcm", enforce_file_format=True)


_LAYOUTS = {
    "ctich": ("ct_scans", "masks", "nii"),
    "instance": ("data", "label", "nii.gz"),
    "pairs": ("images", "masks", "nii.gz"),
}


def layout(name: str, folder: Path) -> None:
    """Write a data set of two scans in its real layout."""
    scans, masks, suffix = _LAYOUTS[name]
    cases: dict[str, tuple[Bleed, ...]] = {"049": ("intraparenchymal",), "050": ()}
    for place in (scans, masks):
        (folder / place).mkdir()
    for number, (case, bleeds) in enumerate(cases.items()):
        made = phantom(2, number, bleeds)
        for place, labels in ((scans, False), (masks, True)):
            part = nifti(made, labels)
            if suffix == "nii":
                (folder / place / f"{case}.nii").write_bytes(part.encoded())
            else:
                part.write(folder / place / f"{case}.{suffix}")
    if name == "ctich":
        kinds = "Intraventricular,Intraparenchymal,Subarachnoid,Epidural,Subdural"
        rows = [f"PatientNumber,SliceNumber,{kinds},No_Hemorrhage,Fracture_Yes_No"]
        rows += ["49,1,0,0,0,0,0,1,0", "49,2,0,1,0,0,0,0,0", ",3,0,1,1,0,0,0,0", "50,1,0,0,0,0,0,1,0"]
        (folder / "hemorrhage_diagnosis_raw_ct.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
