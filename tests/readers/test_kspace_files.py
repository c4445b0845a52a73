"""K-space, masks and arrays in HDF5, MATLAB and NumPy files."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from scipy.io import loadmat, savemat

from foveate.errors import InputError
from foveate.readers.kspace import (
    Array,
    Hdf5,
    open_array,
    open_kspace,
    read_array,
    read_mask,
    write_as,
    write_matlab73,
)


def kspace(slices: int = 3, coils: int = 2, height: int = 20, width: int = 16, seed: int = 0) -> np.ndarray:
    """Make k-space (slices, coils, H, W) of blobs, DC in the middle."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    centres = rng.uniform(-0.3, 0.3, (slices, coils, 2, 1, 1))
    images = np.exp(-6 * ((y - centres[:, :, 0]) ** 2 + (x - centres[:, :, 1]) ** 2)) * np.exp(1j * x)
    axes = (-2, -1)
    return np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(images, axes=axes), norm="ortho"), axes=axes).astype(np.complex64)


@pytest.mark.parametrize("coils", [1, 4])
@pytest.mark.parametrize("name", ["a.h5", "a.npy", "old.mat", "new.mat"])
def test_every_format_gives_the_same_slices(coils, name, tmp_path):
    made = kspace(coils=coils)
    path = write_as(made, tmp_path / name, matlab73=name == "new.mat")
    file = open_kspace(path)
    assert file.shape == ((3 if name in ("a.h5", "a.npy") else 1), coils, 20, 16)
    assert file.dc == "centre"
    for index in range(len(file)):
        read = file.slice(index)
        assert read.dtype == np.complex64
        np.testing.assert_array_equal(read, made[index])
    with pytest.raises(IndexError):
        file.slice(len(file))


def test_matlab_fixtures_are_what_matlab_means(tmp_path):
    values = (np.arange(24.0) + 1j).reshape(2, 3, 4)
    write_matlab73(tmp_path / "n.mat", "rawdata", values)
    with h5py.File(tmp_path / "n.mat") as file:
        assert file["rawdata"].shape == (4, 3, 2)  # column order
        assert file["rawdata"].dtype.names == ("real", "imag")
    assert read_array(tmp_path / "n.mat").shape == (2, 3, 4)
    made = kspace()
    write_as(made, tmp_path / "o.mat")
    assert loadmat(tmp_path / "o.mat")["rawdata"].shape == (20, 16, 2)  # kx, ky, coils


def test_fastmri_reconstructions_and_attributes(tmp_path):
    made = kspace(coils=1)
    file = open_kspace(write_as(made, tmp_path / "file1000001.h5"))
    axes = (-2, -1)
    images = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(made[:, 0], axes=axes), norm="ortho"), axes=axes)
    np.testing.assert_allclose(file.reconstruction(1), np.abs(images[1]), atol=1e-6)
    assert file.attributes["patient_id"] == "0"
    assert file.attributes["max"] == pytest.approx(np.abs(images).max(), rel=1e-5)
    Hdf5({"kspace": made}).write(tmp_path / "bare.h5")
    assert open_kspace(tmp_path / "bare.h5").reconstruction(0) is None
    Hdf5({"kspace": made, "reconstruction_rss": np.ones((2, 4, 4))}).write(tmp_path / "odd.h5")
    with pytest.raises(
        InputError, match=r"odd.h5: reconstruction_rss: has the shape 2 x 4 x 4 of float64 .expected: .*3 slices"
    ):
        open_kspace(tmp_path / "odd.h5").reconstruction(0)


def test_dc_in_the_corner_is_found_and_moved(tmp_path):
    made = kspace()
    Array(np.fft.ifftshift(made, axes=(-2, -1))).write(tmp_path / "c.npy")
    file = open_kspace(tmp_path / "c.npy")
    assert file.dc == "corner"
    np.testing.assert_array_equal(file.slice(2), made[2])
    np.testing.assert_array_equal(
        open_kspace(tmp_path / "c.npy", dc="centre").slice(2), np.fft.ifftshift(made[2], axes=(-2, -1))
    )


def test_three_axes_are_slices_or_coils(tmp_path):
    Array(kspace()[0]).write(tmp_path / "a.npy")
    assert open_kspace(tmp_path / "a.npy").shape == (2, 1, 20, 16)
    assert open_kspace(tmp_path / "a.npy", third="coils").shape == (1, 2, 20, 16)
    Array(kspace()[0, 0]).write(tmp_path / "b.npy")
    assert open_kspace(tmp_path / "b.npy").shape == (1, 1, 20, 16)


def test_other_arrays_of_the_papers(tmp_path):
    labels = np.random.default_rng(0).random((5, 7), dtype=np.float32)
    savemat(tmp_path / "t.mat", {"labels": labels, "about": "text"})
    write_matlab73(tmp_path / "u.mat", "labels", labels)
    for name in ("t.mat", "u.mat"):
        np.testing.assert_array_equal(read_array(tmp_path / name, "labels"), labels)
    write_matlab73(tmp_path / "m.mat", "mask", np.eye(5, 7) > 0)
    assert read_mask(tmp_path / "m.mat", (5, 7)).sum() == 5


def test_masks(tmp_path):
    mask = np.zeros((20, 16), np.uint8)
    mask[8:12, 6:10] = 1
    savemat(tmp_path / "m.mat", {"mask_matrix": np.fft.ifftshift(mask)})
    np.testing.assert_array_equal(read_mask(tmp_path / "m.mat", (20, 16)), mask)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.mat", (20, 16), out="corner"), np.fft.ifftshift(mask))
    Array(mask[9] * 255).write(tmp_path / "lines.npy")
    assert read_mask(tmp_path / "lines.npy", (20, 16))[:, 7].all()
    with pytest.raises(InputError, match=r"m.mat: mask_matrix: the mask has the size 20 x 16 .expected: 16 x 16, or one line"):
        read_mask(tmp_path / "m.mat", (16, 16))


def h5(path, **arrays):
    Hdf5(arrays).write(path)


GOOD = kspace()
SPOILT = GOOD.copy()
SPOILT[1, 0, 3, 3] = np.nan


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (
            "x.h5",
            {"reconstruction_rss": np.ones((3, 4, 4))},
            r"has no data set 'kspace' or 'rawdata'; it holds 'reconstruction_rss'",
        ),
        ("x.h5", {"kspace": GOOD[0, 0]}, r"kspace: has 2 axes, 20 x 16 .expected: k-space of .slices, H, W. or"),
        ("x.h5", {"kspace": GOOD[None]}, r"kspace: has 5 axes"),
        ("x.h5", {"kspace": np.abs(GOOD)}, r"kspace: holds float32 values of shape 3 x 2 x 20 x 16 .expected: complex"),
        ("x.h5", {"kspace": SPOILT}, r"kspace: slice 1 holds values that are not finite"),
        ("x.h5", {"kspace": GOOD.astype(np.complex128) * 1e300}, r"kspace: slice 1 holds values beyond single precision"),
        ("x.h5", {"kspace": GOOD[:, :, :3]}, r"kspace: has the shape 3 x 2 x 3 x 16 .expected: sides of at least 4"),
        ("x.h5", {"kspace": GOOD[:0]}, r"kspace: has the shape 0 x 2 x 20 x 16"),
        ("x.h5", {}, r"it holds nothing"),
        ("x.mat", {"rawdata": np.abs(GOOD[0, 0])}, r"rawdata: holds real values .expected: complex k-space"),
        ("x.mat", {"rawdata": GOOD}, r"rawdata: has 4 axes"),
        ("x.mat", {"a": GOOD[0], "b": GOOD[0]}, r"has no data set 'kspace' or 'rawdata'; it holds 'a', 'b'"),
        ("x.mat", {"rawdata": "text"}, r"rawdata: holds no array of numbers"),
        ("x.npy", np.abs(GOOD), r"x.npy: holds float32 values of shape"),
        ("x.npy", SPOILT, r"x.npy: slice 1 holds values that are not finite"),
        ("x.npy", GOOD[0, 0, 0], r"x.npy: has 1 axes, 16 "),
        ("x.npy", b"\x93NUMPY cut", r"x.npy: is damaged"),
        ("x.h5", b"no HDF5 at all", r"x.h5: is not HDF5"),
        ("x.mat", b"no MATLAB at all" * 40, r"x.mat: is damaged"),
        ("x.h5", b"", r"x.h5: the file is empty"),
        ("x.png", b"x", r"x.png: has the suffix '.png'"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(name, content, says, tmp_path):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, np.ndarray):
        Array(content).write(path)
    elif name.endswith("mat"):
        savemat(path, content)
    else:
        Hdf5(content).write(path)
    with pytest.raises(InputError, match=says) as caught:
        open_kspace(path).slice(0)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_files_that_are_cut_off_or_missing(tmp_path):
    for name in ("a.h5", "a.npy", "a.mat"):
        path = write_as(kspace(), tmp_path / name)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
        with pytest.raises(InputError, match=f"{name}: .*(damaged|cut off)"):
            open_kspace(path).slice(0)
    with pytest.raises(InputError, match="no such file"):
        open_kspace(tmp_path / "none.h5")
    with pytest.raises(InputError, match="is not a file"):
        open_kspace(tmp_path)


def test_sizes_are_judged_before_anything_is_read(tmp_path):
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        file.create_dataset("kspace", (4, 10**5, 10**5), np.complex64, chunks=(1, 64, 64), compression="gzip")
    with pytest.raises(InputError, match=r"kspace: is too large: 10,000,000,000 values at once .expected: at most 268,435,456"):
        open_kspace(tmp_path / "huge.h5")
    savemat(tmp_path / "a.mat", {"rawdata": kspace()[0].transpose(1, 2, 0)})
    with pytest.raises(InputError, match="too large: 640 values"):
        open_kspace(tmp_path / "a.mat", max_values=600)
    # Of files that can be read in parts only a part counts.
    Array(kspace()).write(tmp_path / "a.npy")
    assert open_kspace(tmp_path / "a.npy", max_values=640).slice(2).shape == (2, 20, 16)


def test_files_cannot_point_at_other_files(tmp_path):
    Hdf5({"kspace": kspace()}).write(tmp_path / "secret.h5")
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["kspace"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "kspace")
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout((3, 2, 20, 16), np.complex64)
        layout[:] = h5py.VirtualSource(tmp_path / "secret.h5", "kspace", (3, 2, 20, 16))
        file.create_virtual_dataset("kspace", layout)
    (tmp_path / "raw").write_bytes(bytes(3 * 20 * 16 * 8))
    with h5py.File(tmp_path / "outside.h5", "w") as file:
        outside = [(str(tmp_path / "raw"), 0, h5py.h5f.UNLIMITED)]
        file.create_dataset("kspace", (3, 20, 16), np.complex64, external=outside)
    for name in ("link.h5", "virtual.h5", "outside.h5"):
        with pytest.raises(InputError, match=f"{name}: kspace: holds no array of numbers"):
            open_kspace(tmp_path / name)


def test_no_pickle_is_run(tmp_path):
    np.save(tmp_path / "p.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"p.npy: is damaged"):
        open_array(tmp_path / "p.npy")


def test_equal_results_are_equal_files(tmp_path):
    for name in ("a.h5", "b.h5"):
        Hdf5({"reconstruction": np.ones((2, 3), np.float32)}, {"acceleration": 4.0}).write(tmp_path / name)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    np.testing.assert_array_equal(read_array(tmp_path / "a.h5", "reconstruction"), 1)
