"""Other data in a picture's file. Input: the parts of the file. Output: films, pictures and other data by name.

image as opened, bytes of the file  ->  {"film": {digest}, "gain map": {digest}, "data in APP4": {digest}, ...}

JPEG, PNG, WebP and the formats made of ISO boxes (HEIC, AVIF) are read part by part. A part that no rule knows is data
of a program or a camera, and counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from PIL import Image

from dedup.contents.metadata import DEPTH, FILM, GAIN_MAP, SECOND, Told, digest
from dedup.dataset.decoding import broken_tells_nothing

BEHIND_THE_END, AUXILIARY, NOT_SRGB = "data behind the end", "auxiliary pictures", "colours beyond sRGB"
Parts = Iterator[tuple[str, bytes | str | None]]  # name, and bytes to digest, a text, or None
_SOI, _MARKER = b"\xff\xd8\xff", re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")  # not stuffed bytes, not restarts
_END, _BARE = 0xD9, {0x01, 0xD8}
_KNOWN_SEGMENTS = {  # starts of segments whose content is read elsewhere, or is only technical
    **{"APP0": b"", "APP1": (b"Exif\0", b"http://ns.adobe.com/"), "APP2": (b"ICC_PROFILE\0", b"MPF\0", b"FPXR\0")},
    **{"APP12": b"", "APP13": b"Photoshop", "APP14": b"Adobe", "COM": b""},
}
_ISO_GAIN_MAP = b"urn:iso:std:iso:ts:21496"
_KNOWN_CHUNKS = set(  # PNG 3, and registered extensions
    "IHDR PLTE IDAT IEND tRNS cHRM gAMA iCCP sBIT sRGB cICP mDCV cLLI mDCv cLLi tEXt zTXt iTXt bKGD hIST pHYs sPLT eXIf"
    " tIME acTL fcTL fdAT iDOT oFFs sCAL pCAL sTER vpAg caNv orNT zxIf".split()
)
_KNOWN_BOXES = {"ftyp", "styp", "meta", "mdat", "free", "skip", "wide", "moov", "idat", "pdin"}
_AUX = re.compile(rb"auxC\0{4}([\x20-\x7e]+)\0")
_SRGB_PRIMARIES, _SRGB_TRANSFERS = {1, 2, 5, 6}, {1, 2, 6, 13, 14, 15}  # ITU-T H.273; 2 = unspecified


def read_parts(image: Image.Image, data: bytes) -> Told:
    """The parts of a file, each by its name with a digest of what it holds."""
    held: Told = {}
    for name, value in _parts(image, data):
        values = held.setdefault(name, set())
        if value is not None:
            values.add(digest(value) if isinstance(value, bytes) else value)
    return held


def bits_in_boxes(data: bytes) -> int:
    """Bits per channel of a HEIC or AVIF file, the most of any picture in it."""
    found = [8]
    for kind, start, end in _boxes(data):
        if kind == "meta":
            meta = data[start:end]
            for match in re.finditer(rb"pixi\0{4}([\1-\5])", meta):
                found += meta[match.end() : match.end() + match[1][0]]
            found += [
                8 + 2 * (each[2] >> 6 & 1) + 2 * (each[2] >> 5 & 1) for each in re.findall(rb"av1C(...)", meta, re.S)
            ]
    return max(found)


def _parts(image: Image.Image, data: bytes) -> Parts:
    if data.startswith(_SOI):
        yield from _of_jpeg(image, data)
    elif data.startswith(b"\x89PNG"):
        yield from _of_chunks(data)
    elif data.startswith(b"RIFF"):
        yield from _behind(data[8 + int.from_bytes(data[4:8], "little") :])
    elif data[4:8] == b"ftyp":
        yield from _of_boxes(data)


def _of_jpeg(image: Image.Image, data: bytes) -> Parts:
    for segment, content in getattr(image, "applist", ()):
        known = _KNOWN_SEGMENTS.get(segment)
        if content.startswith(_ISO_GAIN_MAP):
            yield GAIN_MAP, None
        elif (known is None or not content.startswith(known)) and content.strip(b"\0 "):
            yield f"data in {segment}", content
    at, thumbnails = _end_of_jpeg(data, 0), _thumbnails(image, data)
    while (start := data.find(_SOI, at)) >= 0 and b"ftyp" not in data[at:start]:
        yield from _behind(data[at:start])
        at = _end_of_jpeg(data, start)
        if start not in thumbnails:
            yield _kind_of_picture(data[start:at]), data[start:at]
    yield from _behind(data[at:])


def _end_of_jpeg(data: bytes, start: int) -> int:
    """Where the JPEG that begins at `start` ends."""
    at = start + 2
    while marker := _MARKER.search(data, at):
        at, code = marker.end(), marker[1][0]
        if code == _END:
            return at
        if code not in _BARE:
            at += int.from_bytes(data[at : at + 2], "big")
    return len(data)


def _thumbnails(image: Image.Image, data: bytes) -> set[int]:
    """Offsets of the smaller versions that a camera wrote behind the picture (CIPA DC-007)."""
    with broken_tells_nothing():  # no index, or a broken one
        entries, base = image._getmp()[0xB002], data.index(b"MPF\0") + 4
        return {base + entry["DataOffset"] for entry in entries if "Thumbnail" in str(entry["Attribute"]["MPType"])}
    return set()


def _kind_of_picture(picture: bytes) -> str:
    head = picture[: 1 << 16].lower()
    if b"hdrgm" in head or b"hdrgainmap" in head or _ISO_GAIN_MAP in head:
        return GAIN_MAP
    return DEPTH if b"depth" in head or b"disparity" in head else SECOND


def _behind(data: bytes) -> Parts:
    """The parts behind the end of a picture, without padding."""
    if data.strip(b"\0 \r\n\t\xff"):
        yield FILM if b"ftyp" in data or b"MotionPhoto_Data" in data else BEHIND_THE_END, data


def _of_chunks(data: bytes) -> Parts:
    at = 8
    while at + 8 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8].decode("latin-1")
        content = data[at + 8 : at + 8 + size]
        if kind not in _KNOWN_CHUNKS:
            yield f"data in {kind}", content
        elif kind == "cICP":
            yield from _beyond_srgb(*content[:2])
        at += 12 + size
        if kind == "IEND":
            break
    yield from _behind(data[at:])


def _of_boxes(data: bytes) -> Parts:
    for kind, start, end in _boxes(data):
        if kind == "ftyp" and start > 8:  # another file behind this one
            yield from _behind(data[start - 8 :])
            return
        if kind == "mpvd" or (kind == "moov" and data[8:12] != b"avis"):
            yield FILM, data[start:end]
        elif kind == "meta":
            yield from _of_meta(data[start:end])
        elif not kind:
            yield from _behind(data[start:end])
        elif kind not in _KNOWN_BOXES:
            yield f"data in {kind}", data[start:end]


def _boxes(data: bytes) -> Iterator[tuple[str, int, int]]:
    """Kind, start and end of the content of each box (ISO 14496-12, 4.2); kind "" for data that is no box."""
    at = 0
    while at < len(data):
        size, kind, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        end = at + size if size else len(data)
        if end < at + head or end > len(data) or not re.fullmatch(rb"[ -~]{4}", kind):
            yield "", at, len(data)
            return
        yield kind.decode("ascii"), at + head, end
        at = end


def _of_meta(meta: bytes) -> Parts:
    """Other pictures that the index of a HEIC or AVIF file lists (ISO 23008-12, ISO 21496-1)."""
    if b"tmap" in meta:
        yield GAIN_MAP, "tmap"
    if b"grpl" in meta and b"ster" in meta:
        yield SECOND, None
    for found in _AUX.findall(meta):
        urn = found.decode("ascii")
        if "gainmap" in urn.lower():
            yield GAIN_MAP, urn
        elif "depth" in urn or "disparity" in urn or urn.endswith("auxid:2"):
            yield DEPTH, urn
        elif "alpha" not in urn and not urn.endswith("auxid:1"):  # transparency is seen in the pixels
            yield AUXILIARY, urn
    for found in re.findall(rb"colrnclx(....)", meta, re.DOTALL):
        yield from _beyond_srgb(int.from_bytes(found[:2], "big"), int.from_bytes(found[2:], "big"))


def _beyond_srgb(primaries: int, transfer: int) -> Parts:
    if primaries not in _SRGB_PRIMARIES or transfer not in _SRGB_TRANSFERS:
        yield NOT_SRGB, f"{primaries}/{transfer}"
