"""Decoding. Input: the path of an untrusted file. Output: an upright RGB picture, or one line that says why not.

path  ->  PIL image, mode RGB, upright

Formats are recognised by content and taken from a short list; what a picture needs in memory is known from its header
and limited before anything is decoded; a file that ends early is unreadable, never filled up.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import re
import stat
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, JpegImagePlugin
from pillow_heif import HeifImageFile

from dedup.dataset.folder_rules import DIGEST

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "BMP", "TIFF", "JPEG2000", "PPM", "QOI", "JXL")  # and HEIF
# No bytes at its start identify it: known by the file's ending.
NAMED = dict.fromkeys((".tga", ".icb", ".vda", ".vst"), "TGA")
# Of cameras' own files, many of which begin as a TIFF does: their preview is read.
RAW = frozenset(
    ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .gpr .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .rw2 .rwl"
    " .sr2 .srf .srw .x3f".split()
)
PLUGINS = {  # module, name for pip, endings of the files that need it
    "rawpy": ("rawpy", RAW),
    "pillow_jxl": ("pillow-jxl-plugin", frozenset({".jxl"})),
}
MAX_BYTES = 2**29  # of one picture in memory, 4 a pixel (134 megapixels), and of one file
RARE_BYTES = {"TGA": 2**26, "QOI": 2**24}  # small files may claim huge sizes; QOI takes 1 s a megapixel
BYTES_PER_PIXEL = 4  # what Pillow needs for RGB
NEARLY_WHITE = 240
DEPTH_UNKNOWN = ("AVIF", "HEIF", "JPEG2000", "JXL")  # Pillow does not say whether a channel has more than 8 bits
STRIP = 512  # rows flattened at a time
ORIENTATION = 0x0112
FLIPS = {3: 3, 5: 8, 6: 6}  # LibRaw's numbers for how a camera was held, as EXIF's
JXL_START = b"\xff\x0a"
JXL_BOX = b"\0\0\0\x0cJXL \r\n\x87\n"  # what a JPEG XL in boxes begins with (ISO 18181-2)
JXL_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # width to height (ISO 18181-1, SizeHeader)
THUMBNAIL = 400  # long side in px; a phone's screenshot still shows a small picture with enough keypoints
TRANSPOSED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImage(ValueError):
    """A file without a picture that can or may be read; `str(error)` is the reason, one line."""


def load_image(path: Path, short_side: int | None = None) -> Image.Image:
    """Decode a picture, turn it upright and make it RGB.

    Transparent parts turn white, but black around a picture that is white itself. 16-bit greys are scaled to 8 bits,
    an animation gives its first frame.

    Parameters
    ----------
    short_side : in px; the picture may come smaller than it is, by a power of two, never below this on its short
        side. Much faster for large JPEGs, which may then have any size. None = full size

    Raises
    ------
    UnreadableImage : not a regular file, an unknown format, damaged, cut short, or more than MAX_BYTES once decoded
    """
    return load_with_size(path, short_side)[0]


def load_with_size(path: Path, short_side: int | None = None) -> tuple[Image.Image, tuple[int, int]]:
    """`load_image`, and the upright (width, height) in px that the file has at full size."""
    with open_picture(path) as file:
        return decode(file, Path(path).suffix.lower(), short_side)


@contextmanager
def open_picture(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file for `decode`; whatever is raised meanwhile becomes UnreadableImage."""
    try:
        with warnings.catch_warnings(), _open_regular(path) as file:
            warnings.simplefilter("ignore")
            yield file
    except UnreadableImage:
        raise
    except Exception as error:  # decoders raise nearly everything on broken files
        raise UnreadableImage(one_line(error)) from error


def decode(
    file: BinaryIO, ending: str, short_side: int | None, background: str | None = None
) -> tuple[Image.Image, tuple[int, int]]:
    """`load_with_size` of an open file.

    ending : of its name, lower case, with the dot
    background : colour behind transparent parts; None = white, or black where that would show nothing
    """
    image = identify(file, ending)
    size = image.size
    if short_side and isinstance(image, JpegImagePlugin.JpegImageFile):
        image.draft("RGB", (short_side, short_side))
    _check_size(image, size)
    image.load()
    orientation = orientation_of(image)
    image = _to_rgb(image, background)
    if short_side and (factor := min(image.size) // short_side) >= 2:
        image = image.reduce(1 << factor.bit_length() - 1)  # a power of two, as in a JPEG's draft
    if orientation in TRANSPOSED:
        image = image.transpose(TRANSPOSED[orientation])
    # Its pixels alone: a decoder's own threads would not survive a fork, and whoever frees it would wait for them.
    return image._new(image.im), size[::-1] if orientation >= 5 else size


def read_on_black(path: Path, short_side: int) -> Image.Image | None:
    """A transparent picture on black, on which white shows; None where it is not transparent."""
    with open_picture(path) as file:
        if not identify(file, Path(path).suffix.lower()).has_transparency_data:
            return None
        file.seek(0)
        return decode(file, Path(path).suffix.lower(), short_side, "black")[0]


def read_values(path: Path) -> tuple[np.ndarray, bytes]:
    """Everything in a picture's pixels: their values at full depth, upright, with transparency, and the colour profile.

    Returns values : (height, width) or (height, width, channels), in the type that holds the depth
    profile : ICC, empty where there is none
    Raises UnreadableImage : also where the depth is unknown and Pillow might cut it
    """
    with open_picture(path) as file:
        image = identify(file, Path(path).suffix.lower())
        _check_size(image, image.size)
        profile, is_deep = image.info.get("icc_profile") or b"", ";16" in str(image.tile)
        if image.format in DEPTH_UNKNOWN:
            raise UnreadableImage(f"its depth is not known, {image.format}")
        if is_deep and image.mode[0] not in "IF":  # Pillow would give 8 bits of 16
            file.seek(0)
            values = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
            if values is None or values.dtype == np.uint8 or orientation_of(image) != 1:
                raise UnreadableImage("its depth can't be read")
            return values, profile
        image.load()
        turn = TRANSPOSED.get(orientation_of(image))
        image = image if image.mode[0] in "IF" else image.convert("RGBA")
        return np.asarray(image.transpose(turn) if turn else image), profile


def read_small(file: BinaryIO, ending: str) -> tuple[np.ndarray, tuple[int, int]]:
    """An open file's picture, (height, width, 3) uint8 RGB, long side THUMBNAIL px or less, and the file's own size.

    ending : of its name, lower case, with the dot
    """
    image, size = decode(file, ending, THUMBNAIL)
    return shrink(image, THUMBNAIL), size


def shrink(image, side: int) -> np.ndarray:
    """A picture with a long side of `side` px or less."""
    image = np.asarray(image)
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _open_regular(path: Path) -> BinaryIO:
    """Open without ever waiting for a pipe or a device."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    if not stat.S_ISREG(os.stat(path).st_mode):  # before opening: to open a device can already do something
        raise UnreadableImage("not a regular file")
    descriptor = os.open(path, flags)
    status = os.fstat(descriptor)
    reason = None
    if not stat.S_ISREG(status.st_mode):
        reason = "not a regular file"
    elif status.st_size == 0:
        reason = "empty file"
    elif status.st_size > MAX_BYTES:
        reason = f"a file of {status.st_size:,} bytes, the limit is {MAX_BYTES:,}"
    if reason:
        os.close(descriptor)
        raise UnreadableImage(reason)
    return os.fdopen(descriptor, "rb")


def identify(file: BinaryIO, ending: str) -> Image.Image:
    """Image.open for our formats only, and without its size limit, which would refuse JPEGs that `draft` can shrink.

    ending : of the file's name, with its dot, in lower case; some formats are known by nothing else
    """
    if ending in RAW:
        return identify(_preview(file), "")
    Image.preinit()
    prefix, failure = file.read(16), UnreadableImage("not a picture in a format we read")
    if is_jpeg_xl(prefix):
        return _open_jpeg_xl(file)
    for name in (*FORMATS, NAMED.get(ending)):
        if name is None:
            continue
        if name not in Image.OPEN:
            Image.init()
        if name not in Image.OPEN:  # a plugin that is not needed for this file
            continue
        factory, accepts = Image.OPEN[name]
        if name in FORMATS and accepts(prefix) is not True:
            continue
        try:
            file.seek(0)
            return factory(file, "")
        except Exception as error:
            failure = error
    if prefix[4:8] == b"ftyp":
        file.seek(0)
        return HeifImageFile(file, "")
    raise failure


def _preview(file: BinaryIO) -> BinaryIO:
    """The largest picture that a camera put into its RAW file; LibRaw says how the camera was held."""
    import rawpy

    with rawpy.imread(file) as raw:
        found = raw.extract_thumb()
        if found.format == rawpy.ThumbFormat.JPEG:
            return io.BytesIO(found.data)
        image, turn = Image.fromarray(found.data), TRANSPOSED.get(FLIPS.get(raw.sizes.flip))
    upright = io.BytesIO()
    (image.transpose(turn) if turn else image).save(upright, "BMP")
    upright.seek(0)
    return upright


def is_jpeg_xl(start: bytes) -> bool:
    """Whether a file that begins so is a JPEG XL."""
    return start.startswith((JXL_START, JXL_BOX))


def _open_jpeg_xl(file: BinaryIO) -> Image.Image:
    """The plugin decodes it at once, and turns it upright unless it was made from a JPEG."""
    from pillow_jxl import JpegXLImagePlugin

    file.seek(0)
    width, height = _size_of_jpeg_xl(file.read())
    if width * height * BYTES_PER_PIXEL > MAX_BYTES:
        raise UnreadableImage(f"{width} x {height} px need more memory than the limit, {MAX_BYTES:,}")
    file.seek(0)
    JpegXLImagePlugin.DECODE_THREADS = 0  # none of its own would survive a fork
    image = JpegXLImagePlugin.JXLImageFile(file, "")
    if not image.jpeg:
        with broken_tells_nothing():
            image.getexif()[ORIENTATION] = 1
    return image


def _size_of_jpeg_xl(data: bytes) -> tuple[int, int]:
    """Width and height from the SizeHeader (ISO 18181-1), the bits of which begin with the lowest of each byte."""
    boxed = re.search(rb"jxlc|jxlp.{4}", data, re.DOTALL) if data.startswith(JXL_BOX) else None
    start = (boxed.end() if boxed else 0) + len(JXL_START)
    bits = int.from_bytes(data[start : start + 10], "little")

    def take(count: int) -> int:
        nonlocal bits
        value, bits = bits & (1 << count) - 1, bits >> count
        return value

    is_small = take(1)

    def side() -> int:
        return 8 * (1 + take(5)) if is_small else 1 + take((9, 13, 18, 30)[take(2)])

    height, ratio = side(), take(3)
    if not ratio:
        return side(), height
    across, down = JXL_RATIOS[ratio - 1]
    return height * across // down, height


def missing_plugins(extensions: Iterable[str]) -> dict[str, frozenset[str]]:
    """Endings of files that can't be read here, by the package that they need."""
    return {
        package: endings.intersection(extensions)
        for module, (package, endings) in PLUGINS.items()
        if importlib.util.find_spec(module) is None
    }


@contextmanager
def open_header(path: Path) -> Iterator[Image.Image]:
    with warnings.catch_warnings(), path.open("rb") as file:
        warnings.simplefilter("ignore")
        yield identify(file, path.suffix.lower())


def _check_size(image: Image.Image, size: tuple[int, int]) -> None:
    """Refuse what would take more than MAX_BYTES, from the header alone. size: of the picture before any draft."""
    pixels, needed = image.width * image.height, image.width * image.height * BYTES_PER_PIXEL
    if isinstance(image, JpegImagePlugin.JpegImageFile) and "progressive" in image.info:
        largest = max(h * v for _, h, v, _ in image.layer)  # all coefficients, 2 bytes each, are held at full size
        needed = max(needed, 2 * size[0] * size[1] * sum(h * v for _, h, v, _ in image.layer) // largest)
    limit = RARE_BYTES.get(image.format, MAX_BYTES)
    if needed > limit:
        text = f"{size[0]} x {size[1]} px need {needed:,} bytes in memory, the limit is {limit:,}"
        raise UnreadableImage(text)
    if pixels < 1:
        raise UnreadableImage(f"{size[0]} x {size[1]} px: no pixels")


def orientation_of(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; a broken one counts as upright."""
    with broken_tells_nothing():
        if isinstance(found := image.getexif().get(ORIENTATION), int):
            return int(found)
    return 1


@contextmanager
def broken_tells_nothing() -> Iterator[None]:
    """Skip a broken part of a file, on which decoders raise nearly everything; a MemoryError is still raised."""
    try:
        yield
    except MemoryError:
        raise
    except Exception:
        pass


def _to_rgb(image: Image.Image, background: str | None = None) -> Image.Image:
    if image.mode[0] in "IF":
        image = _to_eight_bits(image)
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    if background:
        return _flatten(image, background)
    flat = _flatten(image, "white")
    if min(low for low, _ in flat.getextrema()) > NEARLY_WHITE:  # white on nothing would show nothing
        return _flatten(image, "black")
    return flat


def _flatten(image: Image.Image, background: str) -> Image.Image:
    flat = Image.new("RGB", image.size, background)
    for top in range(0, image.height, STRIP):
        strip = image.crop((0, top, image.width, min(top + STRIP, image.height))).convert("RGBA")
        flat.paste(strip, (0, top), strip)
    return flat


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits or floats, from black to the white that its values are meant for.

    If no value is negative and the largest lies in the upper half of a range (floats up to 1, 8 bits, 16 bits), that
    range is black to white. Other values (numbers of objects, depths in mm) are scaled from lowest to highest.
    """
    values = np.nan_to_num(np.asarray(image).astype(np.float32), posinf=0, neginf=0)  # (height, width)
    low, high = float(values.min()), float(values.max())
    whites = {"F": (1, 255, 65535), "I": (255, 65535)}.get(image.mode, (65535,))
    white = next((white for white in whites if white / 2 < high <= white), None)
    low, high = (0, white) if white and low >= 0 else (low, high)
    return Image.fromarray(((values - low) * (255 / max(high - low, 1e-6))).clip(0, 255).astype(np.uint8))


def digest_of(file: BinaryIO) -> bytes:
    """BLAKE2b digest, 32 bytes, of an open file from its position on; plans and decisions identify content by it."""
    return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=DIGEST)).digest()


def one_line(error: Exception) -> str:
    """An error's text, safe to print and without the file's path, which is printed beside it."""
    said = getattr(error, "strerror", None) or str(error)
    if error.args and isinstance(error.args[0], bytes):  # as LibRaw's
        said = error.args[0].decode(errors="replace")
    text = " ".join(said.split()) or type(error).__name__
    return "".join(c if c.isprintable() else "?" for c in text)[:200]
