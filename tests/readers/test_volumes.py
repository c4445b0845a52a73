"""NIfTI, DICOM series and NumPy arrays: what is read, what is refused, what is written."""

import gzip
import itertools
import json

import nibabel
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveate.errors import InputError
from foveate.readers.volumes import Nifti, Volume, read_volume
from foveate.samples.head_ct import HeadCT
from foveate.systems.dense.ich_mixture.examples import write_dicom

VALUES = np.random.default_rng(0).integers(-1000, 1500, (7, 6, 5)).astype(np.int16)
AFFINE = np.array([[0, -0.5, 0, 3], [0.5, 0, 0, -2], [0, 0.1, 4, 7], [0, 0, 0, 1]], float)


def series(folder, change=lambda number, header: None, only=None):
    """Write a small series; ``change`` may spoil a slice's header."""
    folder.mkdir(exist_ok=True)
    write_dicom(HeadCT(VALUES, np.zeros_like(VALUES, np.uint8), (0.5, 0.7, 4.0)), folder)
    for file in sorted(folder.iterdir()):
        header = pydicom.dcmread(file)
        number = int(header.InstanceNumber) - 1
        if only is not None and number not in only:
            file.unlink()
            continue
        change(number, header)
        header.save_as(file)
    return folder


def refused(path, **options):
    with pytest.raises(InputError) as caught:
        read_volume(path, **options)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_comes_back_as_it_was(tmp_path, suffix):
    path = tmp_path / f"scan{suffix}"
    image = nibabel.Nifti1Image(VALUES[..., None], AFFINE)
    image.header.set_xyzt_units("mm", "sec")
    image.set_qform(AFFINE, 1)
    image.set_sform(AFFINE, 4)
    image.to_filename(path)
    volume = read_volume(path)
    assert (volume.values == VALUES).all()
    assert volume.values.dtype == np.float32
    assert np.allclose(volume.affine, AFFINE)
    assert volume.voxel_ml == pytest.approx(0.001)
    part = volume.like((volume.values > 0).astype(np.uint8))
    part.write(tmp_path / "mask.nii.gz")
    written = nibabel.load(tmp_path / "mask.nii.gz")
    assert written.shape == image.shape
    assert (written.affine == nibabel.load(path).affine).all()
    assert (int(written.header["sform_code"]), written.header.get_xyzt_units()[0]) == (4, "mm")
    assert written.get_data_dtype() == np.uint8
    assert (np.asarray(written.dataobj)[..., 0] == (VALUES > 0)).all()
    before = (tmp_path / "mask.nii.gz").read_bytes()
    part.write(tmp_path / "mask.nii.gz")
    assert (tmp_path / "mask.nii.gz").read_bytes() == before


def test_rescaled_nifti_is_read_in_its_units(tmp_path):
    image = nibabel.Nifti1Image(VALUES, AFFINE)
    image.header.set_slope_inter(2, -1024)
    image.to_filename(tmp_path / "scaled.nii")
    stored = nibabel.load(tmp_path / "scaled.nii")
    assert np.allclose(read_volume(tmp_path / "scaled.nii").values, stored.get_fdata(), atol=1e-3)
    written = read_volume(tmp_path / "scaled.nii").like(np.ones(VALUES.shape, np.uint8)).encoded()
    assert (np.asarray(nibabel.Nifti1Image.from_bytes(written).dataobj) == 1).all()


def test_nifti_that_is_wrong_is_refused_in_one_line(tmp_path):
    path = tmp_path / "a.nii"
    content = Nifti(VALUES, AFFINE).encoded()
    for damaged in (content[:200], content[:-100], b"text " * 100, b""):
        path.write_bytes(damaged)
        assert "a.nii" in refused(path)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(content)[:-40])
    assert "damaged, cut off or no NIfTI" in refused(tmp_path / "a.nii.gz")
    nibabel.Nifti1Image(np.zeros((4, 4, 4, 3), np.int16), AFFINE).to_filename(path)
    assert "shape 4 x 4 x 4 x 3" in refused(path)
    nibabel.Nifti1Image(np.full((4, 4, 4), np.nan, np.float32), AFFINE).to_filename(path)
    assert "not finite" in refused(path)
    path.write_bytes(content)
    assert "too large" in refused(path, max_voxels=100)
    assert "spacing of its own" in refused(path, spacing=[1, 1, 1])
    assert "is a picture" in refused_picture(tmp_path)


def refused_picture(folder):
    (folder / "slice.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return refused(folder / "slice.png")


def test_arrays_need_a_spacing(tmp_path):
    path = tmp_path / "scan.npy"
    np.save(path, VALUES)
    assert "has no spacing" in refused(path)
    assert read_volume(path, [0.5, 0.5, 4]).spacing == (0.5, 0.5, 4)
    assert "each from 0.01 to 100" in refused(path, spacing=[0.5, 0.5, 0])
    path.with_suffix(".json").write_text(json.dumps({"spacing": [1, 2, 3]}))
    assert read_volume(path).spacing == (1, 2, 3)
    path.with_suffix(".json").write_text("{}")
    assert "tells no spacing" in refused(path)
    path.write_bytes(path.read_bytes()[:100])
    assert "scan.npy" in refused(path, spacing=[1, 1, 1])
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert "scan.npy" in refused(path, spacing=[1, 1, 1])


def test_a_series_is_sorted_rescaled_and_placed(tmp_path):
    folder = series(tmp_path / "series")
    (folder / "notes.txt").write_text("not a slice")
    volume = read_volume(folder)
    assert (volume.values == VALUES).all()
    assert volume.modality == "CT"
    # Rows and columns that run to the right and the front, in DICOM's axes, are NIfTI's own.
    assert np.allclose(volume.affine, np.diag([0.5, 0.7, 4.0, 1.0]))
    assert "single DICOM file" in refused(next(folder.glob("*.dcm")))


def test_a_tilted_gantry_shears_the_affine(tmp_path):
    def tilt(number, header):
        header.ImagePositionPatient = [0, number * 4 * np.tan(np.radians(15)), number * 4.0]

    volume = read_volume(series(tmp_path / "s", tilt))
    assert "15 degrees" in volume.notes[0]
    assert volume.voxel_ml == pytest.approx(0.5 * 0.7 * 4 / 1000)
    assert volume.spacing[2] > 4


@pytest.mark.parametrize(
    ("change", "only", "words"),
    [
        (lambda n, h: None, (0, 1, 3, 4), "1 slice missing between"),
        (lambda n, h: setattr(h, "ImagePositionPatient", [0, 0, 4 * max(n, 1)]), None, "lie in one place"),
        (lambda n, h: setattr(h, "ImagePositionPatient", [0, 0, 4 * n + (n > 2)]), None, "not evenly spaced"),
        (lambda n, h: setattr(h, "SeriesInstanceUID", "1.2.4" if n > 2 else "1.2.3"), None, "2 series"),
        (lambda n, h: setattr(h, "PixelSpacing", [1, 1 + n]), None, "another PixelSpacing"),
        (lambda n, h: h.__delitem__("ImagePositionPatient"), None, "lacks ImagePositionPatient"),
        (lambda n, h: setattr(h, "NumberOfFrames", 3), None, "several frames"),
        (lambda n, h: setattr(h, "PixelData", h.PixelData[:-20]), None, "damaged or cut off"),
        (lambda n, h: None, (2,), "single slice"),
    ],
)  # fmt: skip
def test_a_series_that_is_wrong_is_refused_in_one_line(tmp_path, change, only, words):
    said = refused(series(tmp_path / "series", change, only))
    assert words in said
    assert "\n" not in said
    assert "series" in said


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(3)), st.tuples(*[st.sampled_from([-1, 1])] * 3))
def test_any_orientation_is_turned_upright_and_back(order, signs):
    affine = np.eye(4)
    affine[:3, :3] = np.diag([0.5, 0.7, 4.0])[:, order] * signs
    values = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    volume = Volume(values, affine, values.shape)
    upright = volume.upright()
    assert np.allclose(upright.spacing, (0.5, 0.7, 4.0))
    assert (np.diag(upright.affine)[:3] > 0).all()
    assert (volume.turned_back(upright.values) == values).all()
    # The same value is at the same place in the world.
    for index in itertools.islice(np.ndindex(values.shape), 0, None, 13):
        there = np.linalg.solve(upright.affine, affine @ [*index, 1.0])[:3].round().astype(int)
        assert upright.values[tuple(there)] == values[index]
