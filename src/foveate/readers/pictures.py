"""Pictures from files: PNG, JPEG, WebP, TIFF and BMP, 8 and 16 bits, upright, with alpha and colour profile."""

from __future__ import annotations

import stat
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from foveate.errors import InputError
from foveate.results import Picture

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
MAX_PIXELS = 2**28  # 268 megapixels: above any camera's, below what would fill the memory
EXPECTED = "a PNG, JPEG, WebP, TIFF or BMP picture"

# What Pillow may try: no decoder that starts another program, and none that hardly anyone has tried to break.
_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")


def read_picture(path: str | Path) -> Picture:
    """Read a picture as it is meant to be seen: EXIF orientation applied, palette resolved.

    The header is judged before anything is decompressed.

    Args:
        path: The file. What it holds counts, not its suffix.

    Raises:
        InputError: If the file is missing, empty, truncated, animated, too large, or no picture.
    """
    path = Path(path)
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise InputError(path, "there is no such file", EXPECTED) from error
    except OSError as error:
        raise InputError(path, f"cannot be read: {error.strerror}", EXPECTED) from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError(path, "is not a file", EXPECTED)
    if status.st_size == 0:
        raise InputError(path, "the file is empty", EXPECTED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damage and size, which are judged here
        try:
            return _read(path)
        except InputError:
            raise
        except PermissionError as error:
            raise InputError(path, f"cannot be read: {error.strerror}", EXPECTED) from error
        except Exception as error:  # decoders raise whatever the damage leads to
            raise InputError(path, f"is damaged or cut off: {error or type(error).__name__}", EXPECTED) from error


def _read(path: Path) -> Picture:
    """Read a picture; what is wrong with it ends in any error."""
    try:
        image = Image.open(path, formats=_FORMATS)
    except UnidentifiedImageError as error:
        return _read_tiff(path) if _is_tiff(path) else _refuse(path, error)
    except Image.DecompressionBombError as error:
        raise InputError(path, "is too large", f"at most {MAX_PIXELS:,} pixels") from error
    with image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise InputError(path, f"is too large: {width} x {height} pixels", f"at most {MAX_PIXELS:,} pixels")
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO":  # a JPEG whose further pictures are a preview or a gain map
            kind = "has several pages" if image.format == "TIFF" else "is animated"
            raise InputError(path, f"{kind}: {frames} frames", "a single picture")
        # TIFFs of 16 bits, which Pillow would cut down to 8, and of kinds that it does not know.
        if image.format == "TIFF" and (
            max(image.tag_v2.get(258, (1,))) > 8 or image.mode not in ("1", "P", "PA", "L", "LA", "RGB", "RGBA", "CMYK")
        ):
            return _read_tiff(path)
        # A profile of the inks would be wrong for the colours that they are turned into.
        profile = None if image.mode == "CMYK" else image.info.get("icc_profile")
        if image.format == "PNG" and _png_depth(path) == 16:
            pixels = _decode_png16(path)
            return Picture(np.ascontiguousarray(_upright(pixels, image.getexif().get(274, 1))), profile)
        image.load()
        upright = ImageOps.exif_transpose(image)
    if upright.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"):
        raise InputError(path, f"has pixels of an unusual kind (mode {upright.mode})", "8 or 16 bits, grey or colour")
    colours = "L" if upright.mode in ("1", "L", "LA") else "RGB"
    alpha = "A" if "transparency" in upright.info or upright.mode in ("LA", "PA", "RGBA") else ""
    return Picture(np.array(upright.convert(colours + alpha)), profile)


def _refuse(path: Path, error: Exception) -> Picture:
    with path.open("rb") as file:
        head = file.read(256)
    text = all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head)
    raise InputError(path, "holds text, not a picture" if text else "is not a picture that can be read", EXPECTED) from error


def _png_depth(path: Path) -> int:
    with path.open("rb") as file:
        return file.read(25)[24]  # signature 8, chunk head 8, width and height 8, then the depth


def _decode_png16(path: Path) -> np.ndarray:
    """Decode 16-bit PNG with Pillow, which would cut colour down to 8 bits: for the upper ones first, then for the lower.

    PNG stores the upper byte first. Told that the lower one came first, Pillow takes the other byte for the upper one. Grey
    and alpha are four bytes to a pixel, as 8-bit RGBA is.
    """
    halves = []
    for order in "BL":
        with Image.open(path, formats=("PNG",)) as image:
            kind = str(image.tile[0].args)
            if kind == "I;16B":
                return np.array(image)
            raw = "RGBA" if kind == "LA;16B" else kind[:-1] + order
            image.tile = [tile._replace(args=raw) for tile in image.tile]
            halves.append(np.array(image).astype(np.uint16))
    if kind == "LA;16B":
        return halves[0][..., 0::2] << 8 | halves[0][..., 1::2]
    return halves[0] << 8 | halves[1]


def _is_tiff(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def _read_tiff(path: Path) -> Picture:
    """Read the TIFFs that Pillow cannot, or would not keep at 16 bits."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            if len(file.pages) != 1:
                raise InputError(path, f"has several pages: {len(file.pages)}", "a single picture")
            page = file.pages[0]
            if page.imagewidth * page.imagelength > MAX_PIXELS:
                size = f"{page.imagewidth} x {page.imagelength}"
                raise InputError(path, f"is too large: {size} pixels", f"at most {MAX_PIXELS:,} pixels")
            kinds = tifffile.PHOTOMETRIC
            if (
                page.dtype not in (np.uint8, np.uint16)
                or page.samplesperpixel > 4
                or page.imagedepth != 1
                or page.photometric not in (kinds.MINISBLACK, kinds.MINISWHITE, kinds.RGB)
            ):
                kind = getattr(page.photometric, "name", page.photometric)
                held = f"{page.dtype} values of shape {page.shape}, {kind}"
                raise InputError(path, f"holds {held}", "8 or 16 bits, grey or RGB")
            pixels = page.asarray()
            planar = pixels.ndim == 3 and page.axes.startswith("S")
            profile = page.tags.valueof("InterColorProfile")
            orientation = int(page.tags.valueof("Orientation", default=1))
    except InputError:
        raise
    except Exception as error:  # tifffile raises whatever the damage leads to
        raise InputError(path, f"cannot be read: {error}", "an undamaged TIFF, uncompressed or deflate") from error
    if planar:
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.size == 0 or pixels.ndim not in (2, 3) or pixels.shape[:2] != (page.imagelength, page.imagewidth):
        raise InputError(path, f"is damaged: {page.imagewidth} x {page.imagelength} pixels of shape {pixels.shape}", EXPECTED)
    if page.photometric == kinds.MINISWHITE:
        pixels = np.iinfo(pixels.dtype).max - pixels
    return Picture(np.ascontiguousarray(_upright(pixels, orientation)), profile)


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation of 1 to 8."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def find_pictures(folder: Path) -> list[Path]:
    """List the picture files under a folder, at any depth, sorted; hidden ones are left out."""
    found = (p for p in Path(folder).rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def write_as(picture: Picture, path: Path) -> Path:
    """Write a picture in the format that the suffix names, for fixtures: results are always PNG.

    JPEG and WebP lose a little; 16 bits need PNG or TIFF.
    """
    if path.suffix.lower() in (".tif", ".tiff"):
        import tifffile

        tifffile.imwrite(path, picture.pixels)
    elif path.suffix.lower() == ".png":
        picture.write(path)
    else:
        Image.fromarray(picture.pixels).save(path, quality=95)
    return path
