"""Pictures from files: good ones of every kind, and bad ones of every kind."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import kornia_rs
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from foveate.errors import InputError
from foveate.readers.pictures import SUFFIXES, find_pictures, read_picture, write_as
from foveate.results import Picture, png_chunk

CHANNELS = [None, 2, 3, 4]  # grey, grey and alpha, RGB, RGBA
LOSSLESS = (".png", ".tif", ".tiff", ".bmp")


def pixels(channels: int | None, bits: int = 8, height: int = 21, width: int = 34) -> np.ndarray:
    """Make pixels that use every byte, and no symmetry."""
    shape = (height, width) if channels is None else (height, width, channels)
    return np.random.default_rng(height).integers(0, 2**bits, shape).astype(f"uint{bits}")


def smooth(height: int = 40, width: int = 64) -> np.ndarray:
    """Make RGB pixels that lossy formats keep well, darkest in the upper left and without symmetry."""
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return np.stack([200 * columns, 120 * rows + 80 * columns, 220 * rows], axis=2).astype(np.uint8)


def profile() -> bytes:
    """Make an ICC profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


# What comes back
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("size", [(21, 34), (1, 1), (1, 50), (50, 1)])
def test_what_we_write_is_what_we_read(channels, bits, size, tmp_path):
    written = Picture(pixels(channels, bits, *size), profile())
    written.write(tmp_path / "a.png")
    read = read_picture(tmp_path / "a.png")
    assert read.pixels.dtype == written.pixels.dtype
    assert np.array_equal(read.pixels, written.pixels)
    assert read.profile == written.profile
    assert (read.bits, read.size, read.grey) == (bits, size, channels in (None, 2))


@pytest.mark.parametrize(("channels", "mode"), [(None, "mono"), (3, "rgb"), (4, "rgba")])
def test_another_decoder_reads_our_16_bits(channels, mode, tmp_path):
    written = Picture(pixels(channels, 16))
    written.write(tmp_path / "a.png")
    read = kornia_rs.io.read_image_png_u16(str(tmp_path / "a.png"), mode)
    assert np.array_equal(np.squeeze(np.asarray(read)), written.pixels)


def test_pillow_takes_our_16_bits_for_flawless(tmp_path):
    """It checks every chunk's sum, and the profile."""
    Picture(pixels(3, 16), profile()).write(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        image.verify()
    with Image.open(tmp_path / "a.png") as image:
        assert image.info["icc_profile"] == profile()
        assert np.array_equal(np.asarray(image), pixels(3, 16) >> 8)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("capital", [False, True])
def test_every_format(suffix, capital, tmp_path):
    path = write_as(Picture(smooth()), tmp_path / f"a{suffix.upper() if capital else suffix}")
    read = read_picture(path)
    assert read.pixels.dtype == np.uint8
    assert read.pixels.shape == (40, 64, 3)
    assert np.abs(read.pixels.astype(int) - smooth()).max() <= (0 if suffix in LOSSLESS else 25)
    assert find_pictures(tmp_path) == [path]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"byteorder": ">"}, {"bigtiff": True}, {"tile": (16, 16)}])
def test_tiff(channels, bits, options, tmp_path):
    kind = "minisblack" if channels in (None, 2) else "rgb"
    extra = {"extrasamples": ["unassalpha"]} if channels in (2, 4) else {}
    stored = pixels(channels, bits)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric=kind, **extra, **options)
    assert np.array_equal(read_picture(tmp_path / "a.tif").pixels, stored)


@pytest.mark.parametrize("bits", [8, 16])
def test_tiff_of_unusual_layout(bits, tmp_path):
    """One plane per colour; white as zero."""
    stored = pixels(3, bits)
    tifffile.imwrite(tmp_path / "planes.tif", stored.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    assert np.array_equal(read_picture(tmp_path / "planes.tif").pixels, stored)
    tifffile.imwrite(tmp_path / "white.tif", stored[..., 0], photometric="miniswhite")
    assert np.array_equal(read_picture(tmp_path / "white.tif").pixels, np.iinfo(stored.dtype).max - stored[..., 0])


@pytest.mark.parametrize("bits", [8, 16])
def test_tiff_profile(bits, tmp_path):
    tag = (34675, "B", len(profile()), profile(), True)
    tifffile.imwrite(tmp_path / "a.tif", pixels(3, bits), photometric="rgb", extratags=[tag])
    assert read_picture(tmp_path / "a.tif").profile == profile()


@pytest.mark.parametrize("kind", ["cielab", "separated"])
def test_16_bit_tiff_of_other_colours_is_refused(kind, tmp_path):
    """Rather than taken for RGB or RGBA."""
    stored = pixels(3 if kind == "cielab" else 4, 16)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric=kind)
    with pytest.raises(InputError, match=r"a\.tif"):
        read_picture(tmp_path / "a.tif")


def oriented(suffix: str, orientation: int, folder: Path) -> Path:
    """Write `smooth` turned away, and the tag that turns it back."""
    path = folder / f"{orientation}{suffix}"
    turned = {
        1: lambda x: x, 2: np.fliplr, 3: lambda x: np.rot90(x, 2), 4: np.flipud, 5: lambda x: x.swapaxes(0, 1),
        6: np.rot90, 7: lambda x: np.rot90(x.swapaxes(0, 1), 2), 8: lambda x: np.rot90(x, -1),
    }[orientation](smooth())  # fmt: skip
    if suffix in (".tif16", ".png16"):
        deep = np.ascontiguousarray(turned.astype(np.uint16) * 257)
        path = path.with_suffix(suffix[:4])
        if suffix == ".tif16":
            tifffile.imwrite(path, deep, photometric="rgb", extratags=[(274, "H", 1, orientation, True)])
        else:
            Picture(deep).write(path)
            whole = path.read_bytes()
            tag = png_chunk(b"eXIf", b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 274, 3, 1, orientation, 0, 0))
            path.write_bytes(whole[:33] + tag + whole[33:])
        return path
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(np.ascontiguousarray(turned)).save(path, exif=exif, quality=95)
    return path


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".tif16", ".png16"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_upright(suffix, orientation, tmp_path):
    read = read_picture(oriented(suffix, orientation, tmp_path))
    assert read.bits == (16 if "16" in suffix else 8)
    assert read.size == (40, 64)
    error = read.pixels.astype(int) // (257 if read.bits == 16 else 1) - smooth()
    assert np.abs(error).max() <= (25 if suffix in (".jpg", ".webp") else 0)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_the_profile_is_kept(suffix, tmp_path):
    Image.fromarray(smooth()).save(tmp_path / f"a{suffix}", icc_profile=profile())
    read = read_picture(tmp_path / f"a{suffix}")
    assert read.profile == profile()
    read.write(tmp_path / "b.png")
    assert read_picture(tmp_path / "b.png").profile == profile()


def test_palettes(tmp_path):
    """With a transparent colour, with several, and without."""
    image = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4), mode=None).convert("P")
    colours = np.random.default_rng(0).integers(0, 256, (256, 3)).astype(np.uint8)
    image.putpalette(colours.tobytes())
    image.save(tmp_path / "opaque.png")
    image.save(tmp_path / "one.png", transparency=5)
    image.save(tmp_path / "several.png", transparency=bytes(range(0, 240, 20)))
    index = np.asarray(image)
    assert np.array_equal(read_picture(tmp_path / "opaque.png").pixels, colours[index])
    for name, alpha in {"one": np.where(index == 5, 0, 255), "several": index * 20}.items():
        read = read_picture(tmp_path / f"{name}.png").pixels
        assert np.array_equal(read[..., :3], colours[index])
        assert np.array_equal(read[..., 3], alpha)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_transparent_colour_without_a_palette(mode, tmp_path):
    image = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4)).convert(mode)
    image.save(tmp_path / "a.png", transparency=5 if mode == "L" else (5, 5, 5))
    read = read_picture(tmp_path / "a.png")
    assert read.alpha is not None
    assert np.argwhere(read.alpha == 0).tolist() == [[1, 1]]


def test_black_and_white(tmp_path):
    stored = pixels(None) > 127
    for suffix in (".png", ".tif", ".bmp"):
        Image.fromarray(stored).save(tmp_path / f"a{suffix}")
        assert np.array_equal(read_picture(tmp_path / f"a{suffix}").pixels, stored * np.uint8(255))


def test_cmyk_becomes_rgb_and_loses_its_profile(tmp_path):
    """A profile for four inks would be wrong in the RGB file that is written."""
    image = Image.fromarray(smooth()).convert("CMYK")
    for suffix in (".jpg", ".tif"):
        image.save(tmp_path / f"a{suffix}", icc_profile=profile(), **({"quality": 95} if suffix == ".jpg" else {}))
        read = read_picture(tmp_path / f"a{suffix}")
        assert read.profile is None
        assert np.abs(read.pixels.astype(int) - smooth()).max() <= 25


def test_a_still_gif(tmp_path):
    """What a file holds counts, not its suffix."""
    Image.fromarray(pixels(None)).save(tmp_path / "a.png", format="GIF")
    assert np.array_equal(read_picture(tmp_path / "a.png").pixels[..., 0], pixels(None))


def test_a_photo_of_a_telephone_that_holds_a_second_picture(tmp_path):
    """Gain maps and previews come as further pictures of a JPEG; the first one is the photo."""
    Image.fromarray(smooth()).save(
        tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[Image.fromarray(smooth(10, 16))], quality=95
    )
    read = read_picture(tmp_path / "a.jpg")
    assert np.abs(read.pixels.astype(int) - smooth()).max() <= 25


def test_find_pictures(tmp_path):
    names = ["b.PNG", "a.jpg", "sub/c.TIFF", "sub/deep/d.webp"]
    others = [".hidden.png", ".git/e.png", "notes.txt", "sub/f.png.part", "sub/.thumbs/g.jpg"]
    for name in names + others:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert find_pictures(tmp_path) == sorted(tmp_path / name for name in names)
    hidden = tmp_path / ".git"
    assert find_pictures(hidden) == [hidden / "e.png"], "a folder that is asked for is not hidden"


# What is refused
# ---------------------------------------------------------------------------------------------------------------------


def encoded(kind: str, source: np.ndarray | None = None, **options) -> bytes:
    """Encode a picture with Pillow."""
    buffer = io.BytesIO()
    Image.fromarray(smooth() if source is None else source).save(buffer, kind, **options)
    return buffer.getvalue()


def encoded16(suffix: str) -> bytes:
    """Encode a 16-bit picture."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels(3, 16), photometric="rgb")
    from foveate.results import encode_png16

    return buffer.getvalue() if suffix == ".tif" else encode_png16(Picture(pixels(3, 16)))


def animated(kind: str) -> bytes:
    """Encode two frames."""
    frames = [Image.fromarray(pixels(3, 8, 10, 10)), Image.fromarray(smooth(10, 10))]
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def huge_png(depth: int, side: int = 100_000) -> bytes:
    """Promise very many pixels, in few bytes."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, depth, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(b"\0" * 10**6)) + png_chunk(b"IEND", b"")


def huge_tiff(bits: int, samples: int, side: int) -> bytes:
    """Promise very many pixels, or colours."""
    entries = [(256, 4, side), (257, 4, side), (258, 3, bits), (259, 3, 8), (262, 3, 1), (273, 4, 8), (277, 3, samples),
               (278, 4, side), (279, 4, 100)]  # fmt: skip
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", t, k, 1, v) for t, k, v in entries)
    return b"II*\0" + struct.pack("<I", 8) + body + bytes(4) + zlib.compress(bytes(1000))


BAD = {
    "empty.png": lambda: b"",
    "text.png": lambda: b"hello, this is not a picture\n" * 20,
    "random.png": lambda: np.random.default_rng(0).bytes(5000),
    "random.jpg": lambda: b"\xff\xd8\xff\xe0" + np.random.default_rng(1).bytes(5000),
    "rubbish.tif": lambda: b"II*\0" + np.random.default_rng(2).bytes(3000),
    "rubbish_big.tif": lambda: b"MM\0+\0\x08\0\0" + np.random.default_rng(3).bytes(3000),
    "header_only.tif": lambda: b"II*\0\x08\0\0\0",
    "signature_only.png": lambda: b"\x89PNG\r\n\x1a\n",
    "truncated.jpg": lambda: encoded("JPEG")[:-300],
    "truncated.png": lambda: encoded("PNG")[:-200],
    "truncated16.png": lambda: encoded16(".png")[:-200],
    "header16.png": lambda: encoded16(".png")[:40],
    "truncated.tif": lambda: encoded("TIFF")[:-500],
    "truncated16.tif": lambda: encoded16(".tif")[:-500],
    "truncated.webp": lambda: encoded("WEBP")[:-50],
    "truncated.bmp": lambda: encoded("BMP")[:-200],
    "animated.gif": lambda: animated("GIF"),
    "animated.webp": lambda: animated("WEBP"),
    "animated.png": lambda: animated("PNG"),
    "pages.tif": lambda: animated("TIFF"),
    "huge8.png": lambda: huge_png(8),
    "huge16.png": lambda: huge_png(16),
    "rather_huge.png": lambda: huge_png(8, 17_000),
    "huge.tif": lambda: huge_tiff(8, 1, 100_000),
    "huge16.tif": lambda: huge_tiff(16, 1, 100_000),
    "many_colours.tif": lambda: huge_tiff(16, 60_000, 16_000),
    "floats.tif": lambda: huge_tiff(32, 1, 4),
    "postscript.png": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n",
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_at_once(name, tmp_path):
    """In one line that names it, and before anything large is allocated."""
    path = tmp_path / name
    path.write_bytes(BAD[name]())
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as caught:
            read_picture(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert caught.value.expected
    assert peak < 50e6


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("empty.png", "the file is empty"),
        ("text.png", "holds text"),
        ("animated.gif", "is animated: 2 frames"),
        ("animated.webp", "is animated: 2 frames"),
        ("pages.tif", "has several pages: 2"),
        ("truncated.jpg", "damaged or cut off"),
        ("truncated16.png", "damaged or cut off"),
        ("huge8.png", "too large"),
        ("huge16.png", "too large"),
        ("huge.tif", "too large"),
    ],
)
def test_it_says_what_is_wrong(name, says, tmp_path):
    (tmp_path / name).write_bytes(BAD[name]())
    with pytest.raises(InputError, match=says):
        read_picture(tmp_path / name)


def test_no_file(tmp_path):
    with pytest.raises(InputError, match=r"a\.png: there is no such file"):
        read_picture(tmp_path / "a.png")
    with pytest.raises(InputError, match="is not a file"):
        read_picture(tmp_path)
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "a.png", tmp_path / ("a" * 300), "a\0b.png"):
        with pytest.raises(InputError):
            read_picture(path)


SOURCES = {
    "png": lambda: encoded("PNG", smooth(9, 12)),
    "palette": lambda: encoded("PNG", pixels(None, 8, 9, 12)),
    "png16": lambda: encoded16(".png"),
    "jpeg": lambda: encoded("JPEG", smooth(9, 12), exif=b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"),
    "webp": lambda: encoded("WEBP", smooth(9, 12)),
    "bmp": lambda: encoded("BMP", smooth(9, 12)),
    "tiff": lambda: encoded("TIFF", smooth(9, 12)),
    "deflate": lambda: encoded("TIFF", smooth(9, 12), compression="tiff_adobe_deflate"),
    "lzw": lambda: encoded("TIFF", smooth(9, 12), compression="tiff_lzw"),
    "tiff16": lambda: encoded16(".tif"),
    "gif": lambda: encoded("GIF", pixels(None, 8, 9, 12)),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_a_damaged_file_is_read_or_refused(kind, tmp_path):
    """Whatever the damage is: never another error, never a warning."""
    whole = SOURCES[kind]()
    path = tmp_path / "a.png"
    # The first bytes decide most.
    places = st.integers(0, len(whole) - 1) | st.integers(0, min(len(whole) - 1, 200))

    @settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=4), st.none() | places)
    def damage(changes: list[tuple[int, int]], end: int | None) -> None:
        data = bytearray(whole)
        for place, value in changes:
            data[place] = value
        path.write_bytes(data[:end])
        try:
            assert isinstance(read_picture(path), Picture)
        except InputError as error:
            assert str(error).startswith(f"{path}: ")

    damage()
