"""Small camera files for tests: sensor data and a JPEG preview in, the bytes of a DNG out (Adobe's DNG 1.4)."""

import io
import struct

import numpy as np
from PIL import Image

CODES = {"B": 1, "s": 2, "H": 3, "I": 4, "i": 10}  # kinds of values, as `struct` calls them and as TIFF numbers them


def picture(number: int, size: tuple[int, int] = (480, 320)) -> Image.Image:
    """One of its own: patches of colour, and smaller ones on them."""
    chance = np.random.default_rng(number)
    layers = [chance.integers(0, 255, (8 * scale, 12 * scale, 3), dtype=np.uint8) for scale in (1, 6)]
    return Image.blend(*(Image.fromarray(layer).resize(size, Image.Resampling.BICUBIC) for layer in layers), 0.4)


def preview(number: int, size: tuple[int, int] = (480, 320), quality: int = 92) -> bytes:
    """A picture as a JPEG."""
    buffer = io.BytesIO()
    picture(number, size).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def dng(shown: bytes | Image.Image | None, shot: int = 0, flip: int = 1) -> bytes:
    """A DNG of 192 x 128 px.

    shown : its preview, a JPEG or a picture that is not compressed
    shot : makes the sensor data
    flip : EXIF's orientation
    """
    sensor = np.random.default_rng(shot).integers(0, 4000, (128, 192)).astype("<u2").tobytes()
    body, places = sensor, []
    plain = {254: ("I", 0), **_strip(192, 128, 8, len(sensor)), 258: ("H", 16), 262: ("H", 32803), 277: ("H", 1)}
    blocks = [plain | {33421: ("H", 2, 2), 33422: ("B", 0, 1, 1, 2), 50717: ("I", 4000)}]
    if shown:
        is_jpeg = isinstance(shown, bytes)
        size = Image.open(io.BytesIO(shown)).size if is_jpeg else shown.size
        data, compression, colours = (shown, 7, 6) if is_jpeg else (shown.tobytes(), 1, 2)
        strip = _strip(*size, 8 + len(body), len(data), compression)
        blocks.append({254: ("I", 1), **strip, 262: ("H", colours), **_rgb()})
        body += data + bytes(len(data) % 2)
    for block in blocks:
        places.append(8 + len(body))
        body += _directory(block, places[-1])
    matrix = (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1)
    camera = {271: ("s", b"Test\0"), 272: ("s", b"Camera\0"), 274: ("H", flip), 50708: ("s", b"Test Camera\0")}
    small = {254: ("I", 1), **_strip(8, 8, 8, 192), 262: ("H", 2), **_rgb(), 330: ("I", *places)}
    first = small | camera | {50706: ("B", 1, 4, 0, 0), 50707: ("B", 1, 1, 0, 0), 50721: ("i", *matrix)}
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + _directory(first, 8 + len(body))


def _strip(width: int, height: int, start: int, size: int, compression: int = 1) -> dict[int, tuple]:
    """Where a picture lies in the file, in one piece."""
    sides = {256: ("I", width), 257: ("I", height), 278: ("I", height)}
    return sides | {259: ("H", compression), 273: ("I", start), 279: ("I", size)}


def _rgb() -> dict[int, tuple]:
    return {258: ("H", 8, 8, 8), 277: ("H", 3)}


def _directory(entries: dict[int, tuple], place: int) -> bytes:
    """A directory of a TIFF that lies at a place, with what does not fit into its entries behind it."""
    rows, behind, start = b"", b"", place + 2 + 12 * len(entries) + 4
    for tag, (kind, *values) in sorted(entries.items()):
        data = values[0] if kind == "s" else struct.pack(f"<{len(values)}{kind}", *values)
        count = len(data) if kind == "s" else len(values) // (2 if kind == "i" else 1)
        held = struct.pack("<4s", data) if len(data) <= 4 else struct.pack("<I", start + len(behind))
        rows += struct.pack("<HHI", tag, CODES[kind], count) + held
        behind += data + bytes(len(data) % 2) if len(data) > 4 else b""
    return struct.pack("<H", len(entries)) + rows + bytes(4) + behind
