"""Pictures from files: PNG, JPEG, WebP, TIFF and BMP, 8 and 16 bits, upright, with alpha and colour profile."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from foveate.errors import InputError
from foveate.results import Picture

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
MAX_PIXELS = 2**28  # 268 megapixels: above any camera's, below what would fill the memory
EXPECTED = "a PNG, JPEG, WebP, TIFF or BMP picture"


def read_picture(path: str | Path) -> Picture:
    """Read a picture as it is meant to be seen: EXIF orientation applied, palette resolved.

    The header is judged before anything is decompressed.

    Args:
        path: The file. What it holds counts, not its suffix.

    Raises:
        InputError: If the file is missing, empty, truncated, animated, too large, or no picture.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    path = Path(path)
    if not path.exists():
        raise InputError(path, "there is no such file", EXPECTED)
    if not path.is_file():
        raise InputError(path, "is not a file", EXPECTED)
    if path.stat().st_size == 0:
        raise InputError(path, "the file is empty", EXPECTED)
    try:
        with warnings.catch_warnings():
            # Our own limit below says it better than Pillow's warning.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path)
    except UnidentifiedImageError as error:
        return _read_tiff(path) if _is_tiff(path) else _refuse(path, error)
    except Image.DecompressionBombError as error:
        raise InputError(path, f"is too large: {error}", f"at most {MAX_PIXELS:,} pixels") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(path, f"cannot be read: {error}", EXPECTED) from error
    with image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise InputError(path, f"is too large: {width} x {height} pixels", f"at most {MAX_PIXELS:,} pixels")
        if getattr(image, "n_frames", 1) > 1:
            kind = "is animated" if image.format in ("GIF", "WEBP", "PNG") else "has several pages"
            raise InputError(path, f"{kind}: {image.n_frames} frames", "a single picture")
        profile = image.info.get("icc_profile")
        try:
            if image.format == "TIFF" and image.mode not in ("1", "P", "PA", "L", "LA", "RGB", "RGBA", "CMYK"):
                return _read_tiff(path)
            if image.format == "PNG" and _png_depth(path) == 16:
                return Picture(_decode_png16(path), profile)
            image.load()
            upright = ImageOps.exif_transpose(image)
        except InputError:
            raise
        except (OSError, SyntaxError, ValueError, MemoryError) as error:
            raise InputError(path, f"is damaged or cut off: {error}", EXPECTED) from error
    if upright.mode in ("P", "PA", "1", "CMYK", "YCbCr", "LAB", "HSV"):
        transparent = "transparency" in upright.info or upright.mode == "PA"
        upright = upright.convert("RGBA" if transparent else "L" if upright.mode == "1" else "RGB")
    if upright.mode not in ("L", "LA", "RGB", "RGBA"):
        raise InputError(path, f"has pixels of an unusual kind (mode {upright.mode})", "8 or 16 bits, grey or colour")
    return Picture(np.array(upright), profile)


def _refuse(path: Path, error: Exception) -> Picture:
    with path.open("rb") as file:
        head = file.read(256)
    text = all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head)
    raise InputError(path, "holds text, not a picture" if text else "is not a picture that can be read", EXPECTED) from error


def _png_depth(path: Path) -> int:
    with path.open("rb") as file:
        return file.read(25)[24]  # signature 8, chunk head 8, width and height 8, then the depth


def _decode_png16(path: Path) -> np.ndarray:
    """Decode with torchvision: Pillow would cut 16-bit colour down to 8 bits."""
    import torch
    from torchvision.io import ImageReadMode, decode_png

    with path.open("rb") as file:
        data = torch.frombuffer(bytearray(file.read()), dtype=torch.uint8)
    try:
        pixels = decode_png(data, mode=ImageReadMode.UNCHANGED).numpy()
    except RuntimeError as error:
        raise InputError(path, "is damaged or cut off", EXPECTED) from error
    return np.ascontiguousarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))


def _is_tiff(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def _read_tiff(path: Path) -> Picture:
    """Read the TIFFs that Pillow cannot (16-bit colour), or would not keep at 16 bits."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            if len(file.pages) != 1:
                raise InputError(path, f"has several pages: {len(file.pages)}", "a single picture")
            page = file.pages[0]
            if page.imagewidth * page.imagelength > MAX_PIXELS:
                size = f"{page.imagewidth} x {page.imagelength}"
                raise InputError(path, f"is too large: {size} pixels", f"at most {MAX_PIXELS:,} pixels")
            pixels = page.asarray()
            planar = page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and pixels.ndim == 3
            inverted = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
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
    if pixels.dtype not in (np.uint8, np.uint16) or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (2,), (3,), (4,)):
        raise InputError(path, f"holds {pixels.dtype} values of shape {pixels.shape}", "8 or 16 bits, grey or colour")
    if inverted:
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
