"""A file's metadata. Input: EXIF, XMP, IPTC and texts. Output: values by plain names.

image as opened, bytes of the file  ->  {"keywords": {"Lisbon", "sea"}, "capture time": {...}, ...}

A property has the same name wherever it is written. All count but technical ones: how the file was written, the size of
its picture, the program. Broken metadata are skipped.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any

from defusedxml.ElementTree import fromstring
from PIL import Image
from PIL.ExifTags import GPSTAGS, TAGS

from dedup.dataset.decoding import broken_tells_nothing

Told = dict[str, set[str]]
CAPTURED, FRACTION, ZONE = "capture time", "fraction of the second", "time zone"
FILM, GAIN_MAP, DEPTH, SECOND, SOUND = "film", "gain map", "depth map", "second picture", "sound"
LONG = 64  # characters; of a longer value its digest is compared
EXIF_IFD, GPS_IFD = 0x8769, 0x8825  # EXIF 2.32, 4.6.3
_IPTC_IN_JPEG, _IPTC_IN_TIFF = 0x0404, 0x83BB
# Below this number EXIF's tags say how pixels lie in the file (TIFF 6.0), but for these: names, texts, the camera.
_STRUCTURE, _TELLING = 0x0400, {0x010D, 0x010E, 0x010F, 0x0110, 0x011D, 0x013B}
_TECHNICAL = re.compile(
    r"""
    .*(version|versionid|width|height|dimension|dimensions|pixels|pixel[xy]dimension|resolution|resolutionunit
      |orientation|thumbnails?|software|tool|toolkit|digest|documentid|instanceid|uniqueid)
    |imagelength|imageresources|photoshop(settings)?|iptcnaa|iccprofile|intercolorprofile|xmlpacket|applicationnotes
    |bitspersample|samplesperpixel|photometric.*|planarconfiguration|compress.*|colorspace|colormode|components?configuration|ycbcr.*|format|gamma|producer|hostcomputer|padding
    |(modify|metadata)date|(preview)?datetime|(offset|subsec)time(digitized)?|.*timestamp|.*datestamp|about|parsetype|lang
    |exifoffset|gpsinfo|exifinteroperabilityoffset|interoperability.*|makernote|printimagematching|offsetschema
    |transmissionreference|documentancestors|hasextendedxmp|identifier|sidecarforextension|textlayers|nativedigest
    |exposureprogram|exposuremode|metering.*|lightsource|flash.*|whitebalance|digitalzoomratio|focallengthin35.*
    |scene(capture)?type|filesource|sensingmethod|customrendered|contrast|saturation|sharpness|gaincontrol
    |subject(area|location|distance.*)|cfapattern|sensitivitytype|recommendedexposureindex|standardoutputsensitivity
    |(shutterspeed|aperture|brightness|maxaperture)value|exposureindex|devicesetting.*|compositeimage|source.*composite.*
    |gps(?!latitude$|longitude$|altitude$|imgdirection$).*
    |[a-z]+:.*|raw\ profile\ type.*|xml:com\.adobe\.xmp
    """,
    re.VERBOSE,
)
_SPACES = {  # name of what a whole namespace of XMP stands for; "" = skipped, another part of the file holds it
    "xap/1.0/mm/": "",
    "exif/1.0/aux/": "",  # the lens and serial number, that cameras write elsewhere
    "/container/": "",
    "apple.com/": "",
    "hdr-gain-map": GAIN_MAP,
    "photos/1.0/camera": "",
    "photos/1.0/depthmap": DEPTH,
    "photos/1.0/image": SECOND,
    "photos/1.0/audio": SOUND,
}
_RAW_NAMES = {
    "keywords": ("subject", "xpkeywords", "hierarchicalsubject", "tagslist", "lastkeywordxmp", "lastkeywordiptc"),
    "caption": ("description", "imagedescription"),
    "title": ("xptitle", "documentname", "objectname"),
    "comment": ("usercomment", "xpcomment"),
    "artist": ("creator", "author", "xpauthor"),
    "copyright": ("rights",),
    "rating": ("ratingpercent",),
    "faces": ("regions", "regioninfo", "personinimage"),
    CAPTURED: ("datetimeoriginal", "datecreated", "creation time"),
    "digitized": ("datetimedigitized", "createdate"),
    FRACTION: ("subsectimeoriginal",),
    ZONE: ("offsettimeoriginal",),
    "exposure time": ("exposuretime",),
    "exposure bias": ("exposurebiasvalue",),
    "f-number": ("fnumber",),
    "ISO": ("isospeedratings", "photographicsensitivity"),
    "camera": ("make", "model"),
    "altitude": ("gpsaltitude",),
    "direction": ("gpsimgdirection",),
    "generation prompt": (
        *("parameters", "prompt", "workflow", "dream", "sd-metadata", "negative_prompt", "generation_data"),
        *("invokeai_metadata", "invokeai_graph"),
    ),
}
_PLAIN_NAMES = {raw: name for name, raws in _RAW_NAMES.items() for raw in raws}
_IPTC = {  # IPTC-IIM 4.2, record 2: the name of the same property in XMP
    **{5: "title", 10: "urgency", 15: "category", 20: "SupplementalCategories", 25: "keywords", 40: "instructions"},
    **{80: "creator", 85: "AuthorsPosition", 90: "city", 92: "location", 95: "state", 100: "CountryCode"},
    **{101: "country", 105: "headline", 110: "credit", 115: "source", 116: "rights"},
    **{118: "contact", 120: "description", 122: "CaptionWriter"},
}
_IPTC_DATES = ((55, 60, "datecreated"), (62, 63, "createdate"))  # date, time
_NOTE = re.compile(  # what programs and networks leave as a comment or instructions: their name, their settings
    r"^FBMD|creat|compress|encod|optimi[sz]|software|generat|quality|lavc|gimp|photoshop|paint|jpeg|adobe|intel|convert"
    r"|processed|resized|export|https?://|\d+\.\d+",
    re.IGNORECASE,
)
_SAVED = {"saved", "created", "converted", "derived", "copied", "opened"}  # in a history of edits: no edit
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_TIME = re.compile(
    r"(\d{4})[-:./]?(\d\d)[-:./]?(\d\d)(?:[T ]?(\d\d):?(\d\d)(?::?(\d\d)(?:[.,](\d+))?)?)?\s*(Z|[+-]\d\d:?\d\d)?"
)
_NUMBER = re.compile(r"([+-]?\d+(?:\.\d+)?)(?:/(\d+))?")


def read_metadata(image: Image.Image, data: bytes, written: dict[str, str] | None = None) -> Told:
    """All properties by name, each with its values; a name without values: it is there, its value does not matter.

    written : if given, is filled with the values as written in the file, by the values as compared
    """
    held: Told = {}
    for source in (_exif, _iptc, _texts, _xmp):
        with broken_tells_nothing():  # what was read before counts
            for name, value in source(image, data):
                _add(held, name, value, written)
    digitized = held.pop("digitized", None)
    if digitized and CAPTURED not in held:
        held[CAPTURED] = digitized
    return held


def read_xmp(packet: bytes) -> Told:
    """All properties of an XMP file; errors in its XML are raised."""
    held: Told = {}
    for name, value in _of_roots([_parsed(packet)]):
        _add(held, name, value)
    return held


def as_told(text: str) -> str:
    """A value as it is compared, however it was written."""
    plain = _text(text)
    return plain if len(plain) <= LONG else digest(plain.encode())


def digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _add(held: Told, raw: str, value: Any, written: dict[str, str] | None = None) -> None:
    if value is None:  # a name without values
        held.setdefault(raw, set())
        return
    folded = raw.casefold()
    if _TECHNICAL.fullmatch(folded):
        return
    name = _PLAIN_NAMES.get(folded) or _spaced(raw)
    values = value if isinstance(value, list) else [value]
    texts = {text for each in values if (text := _text(each))}
    if written is not None:
        written |= {as_told(text): text for text in map(_as_text, values) if text}
    if name in (CAPTURED, "digitized"):
        for text in texts:
            _add_time(held, name, text)
        return
    if name == FRACTION:
        texts = {_fraction(text) for text in map(str, values) if text.strip()}
    elif name == ZONE:
        texts = set(map(_zone, texts))
    elif name == "rating":
        texts = {_stars(text) if "percent" in folded else text for text in texts} - {"0"}
    elif name in ("comment", "instructions"):
        texts = {text for text in texts if folded == "usercomment" or not _NOTE.search(text)}
    if texts:
        held.setdefault(name, set()).update(text if len(text) <= LONG else digest(text.encode()) for text in texts)


def _spaced(raw: str) -> str:
    """BodySerialNumber -> body serial number"""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", raw).lower()


def _stars(percent: str) -> str:
    """Windows' percents as the stars that XMP has: 1, 25, 50, 75, 99 are 1 to 5."""
    number = float(percent)
    return str(round(number / 25) + 1) if number else "0"


def _fraction(digits: str) -> str:
    return re.sub(r"\D", "", digits).rstrip("0") or "0"


def _zone(text: str) -> str:
    return "+00:00" if text == "Z" else re.sub(r"^([+-]\d\d):?(\d\d)$", r"\1:\2", text)


def _add_time(held: Told, name: str, text: str) -> None:
    """Add a time as its day, minute and second, so that a precise time includes a less precise one."""
    found = _TIME.match(text)
    if not found and name == CAPTURED:
        with suppress(ValueError):
            found = _TIME.match(parsedate_to_datetime(text).isoformat())
    if not found or not re.search("[1-9]", "".join(found.groups("")[:3])):
        return
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    values = held.setdefault(name, set())
    values.add(f"{year}:{month}:{day}")
    if hour:
        values.add(f"{year}:{month}:{day} {hour}:{minute}")
    if second:
        values.add(f"{year}:{month}:{day} {hour}:{minute}:{second}")
    if name == CAPTURED and fraction:
        held.setdefault(FRACTION, set()).add(_fraction(fraction))
    if name == CAPTURED and zone:
        held.setdefault(ZONE, set()).add(_zone(zone))


def _text(value: Any) -> str:
    """A value as text that is the same wherever it was written: numbers, fractions, encodings, blanks."""
    value = unicodedata.normalize("NFC", " ".join(_as_text(value).split()))
    found = _NUMBER.fullmatch(value)
    if found and float(found[2] or 1):
        return str(int(found[1])) if found[1].lstrip("+-").isdigit() and not found[2] else _number(found)
    return value if re.search(r"\w|[^\x00-\x7f]", value) else ""


def _as_text(value: Any) -> str:
    """A value as it was written."""
    if isinstance(value, bytes):
        value = _decoded(value)
    if isinstance(value, (tuple, list)):
        return " ".join(map(_text, value))
    if not isinstance(value, str):
        number = float(value)
        return f"{number:.6g}" if number == number else ""
    with suppress(UnicodeError):
        value = value.encode("latin-1").decode("utf-8")  # Pillow reads EXIF's texts as Latin-1
    return value.replace("\0", " ").strip()


def _number(found: re.Match) -> str:
    return f"{float(found[1]) / float(found[2] or 1):.6g}"


def _decoded(value: bytes) -> str:
    for mark, encoding in ((b"ASCII\0\0\0", "latin-1"), (b"UNICODE\0", "utf-16"), (b"JIS\0\0\0\0\0", "iso2022_jp")):
        if value.startswith(mark):
            value = value[8:]
            if encoding == "utf-16" and not value.startswith((b"\xff\xfe", b"\xfe\xff")):
                encoding = "utf-16-be" if value[:1] == b"\0" else "utf-16-le"
            return value.decode(encoding, "replace")
    value = value.removeprefix(bytes(8))
    try:
        return value.decode("utf-8")
    except UnicodeError:
        return value.decode("latin-1")


def _exif(image: Image.Image, _: bytes) -> Iterator[tuple[str, Any]]:
    exif = image.getexif()
    for tag, value in (*exif.items(), *exif.get_ifd(EXIF_IFD).items()):
        if tag in (EXIF_IFD, GPS_IFD, _IPTC_IN_TIFF) or (tag < _STRUCTURE and tag not in _TELLING):
            continue
        name = TAGS.get(tag, f"tag {tag:#06x}")
        if name.startswith("XP") and isinstance(value, (bytes, tuple)):
            value = bytes(value).decode("utf-16-le", "replace")
            value = value.split(";") if name == "XPKeywords" else value
        with broken_tells_nothing():
            yield name, digest(value) if isinstance(value, bytes) and len(value) > 1 << 16 else value
    gps = {GPSTAGS.get(tag, "GPS"): value for tag, value in exif.get_ifd(GPS_IFD).items()}
    if {"GPSLatitude", "GPSLongitude"} <= set(gps):
        sides = [(gps[name], gps.get(f"{name}Ref", "")) for name in ("GPSLatitude", "GPSLongitude")]
        yield from _place(*(_degrees([float(part) for part in value], str(side)) for value, side in sides))
    yield from ((name, value) for name, value in gps.items() if name in ("GPSAltitude", "GPSImgDirection"))


def _place(latitude: float, longitude: float) -> Iterator[tuple[str, str]]:
    if (latitude or longitude) and latitude == latitude and longitude == longitude:
        yield "place", f"{latitude:.4f} {longitude:.4f}"  # degrees, to 11 m


def _degrees(parts: Iterable[float], side: str) -> float:
    sign = -1 if side.strip("\0 ").upper() in ("S", "W") else 1
    return sign * sum(part / 60**power for power, part in enumerate(parts)) + 0.0


def _iptc(image: Image.Image, _: bytes) -> Iterator[tuple[str, Any]]:
    found: dict[int, list[bytes]] = {}
    for block in _iptc_blocks(image):
        for number, value in _datasets(block):
            found.setdefault(number, []).append(value)
    for number, values in found.items():
        if number in _IPTC:
            yield _IPTC[number], values
    for day, hour, name in _IPTC_DATES:
        if day in found:
            yield name, b" ".join(value[0] for value in (found[day], found.get(hour)) if value)


def _iptc_blocks(image: Image.Image) -> Iterator[bytes]:
    if image.format == "TIFF":
        yield bytes(image.tag_v2._tagdata.get(_IPTC_IN_TIFF, b""))
    photoshop = image.info.get("photoshop")
    if isinstance(photoshop, dict):
        yield photoshop.get(_IPTC_IN_JPEG, b"")
    yield from (_profile(image, kind) for kind in ("iptc", "8bim"))


def _datasets(block: bytes) -> Iterator[tuple[int, bytes]]:
    """Numbers and values of record 2 (IPTC-IIM 4.2, 1.6)."""
    at = max(0, min((found for mark in (b"\x1c\x01", b"\x1c\x02") if (found := block.find(mark)) >= 0), default=0))
    while block[at : at + 1] == b"\x1c":
        size = int.from_bytes(block[at + 3 : at + 5], "big")
        if block[at + 1] == 2:
            yield block[at + 2], block[at + 5 : at + 5 + size]
        at += 5 + size


def _profile(image: Image.Image, kind: str) -> bytes:
    """A profile as ImageMagick writes it into a PNG: hexadecimal digits below three lines."""
    text = image.info.get(f"Raw profile type {kind}", "")
    return bytes.fromhex("".join(text.split("\n")[3:])) if text else b""


def _texts(image: Image.Image, _: bytes) -> Iterator[tuple[str, Any]]:
    comment = image.info.get("comment")
    if comment and image.format != "PNG":
        yield "comment", comment
    for name, text in (getattr(image, "text", {}) if image.format == "PNG" else {}).items():
        yield name, str(text)


def _xmp(image: Image.Image, data: bytes) -> Iterator[tuple[str, Any]]:
    roots = []
    for packet in _packets(image, data):
        with broken_tells_nothing():
            roots.append(_parsed(packet))
    return _of_roots(roots)


def _of_roots(roots: Iterable) -> Iterator[tuple[str, Any]]:
    """Properties of parsed packets; a place is put together from all: one may hold the latitude, one the longitude."""
    latitude, longitude = [], []
    for root in roots:
        with broken_tells_nothing():
            tops = [child for rdf in root.iter(f"{_RDF}RDF") for child in rdf] or [root]
            for name, values in (each for top in tops for each in _properties(top)):
                space, _, local = name.rpartition("}")
                where = {"GPSLatitude": latitude, "GPSLongitude": longitude}.get(local)
                if where is not None:
                    where += values
                else:
                    yield from _of_space(space, local, values)
    for first, second in zip(latitude, longitude, strict=False):
        yield from _place(*(_degrees(map(float, each[:-1].split(",")), each[-1]) for each in (first, second)))


def _packets(image: Image.Image, data: bytes) -> list[bytes]:
    """The packets of XMP in a file; that of a JPEG may go on in later segments (XMP part 3, 1.1.3.1)."""
    head = b"http://ns.adobe.com/xmp/extension/\0"
    more = sorted(
        (part[len(head) : len(head) + 32], int.from_bytes(part[len(head) + 36 : len(head) + 40], "big"), part)
        for _, part in getattr(image, "applist", ())
        if part.startswith(head)
    )
    whole: dict[bytes, bytes] = {}
    for key, _, part in more:
        whole[key] = whole.get(key, b"") + part[len(head) + 40 :]
    first = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or _profile(image, "xmp")
    first = first.encode() if isinstance(first, str) else first
    if not first and image.format not in ("JPEG", "MPO", "PNG"):  # Pillow does not look for it in every format
        first = b"".join(re.findall(rb"<x:xmpmeta.*?</x:xmpmeta>", data, re.DOTALL)[:1])
    return [packet for packet in (first, *whole.values()) if packet]


def _parsed(packet: bytes):
    """The root of a packet; prefixes that were never declared get a namespace of their name."""
    text = packet.strip(b"\0 \r\n\t").decode("utf-8", "replace")
    text = re.sub(r"<\?xpacket.*?\?>", "", text, flags=re.DOTALL).strip()
    missing = {prefix for prefix in re.findall(r"[<\s/]([A-Za-z][\w.-]*):[A-Za-z]", text)} - {"xmlns", "xml"}
    missing = [prefix for prefix in sorted(missing) if f"xmlns:{prefix}=" not in text]
    declared = "".join(f' xmlns:{prefix}="{_RDF[1:-1] if prefix == "rdf" else prefix}"' for prefix in missing)
    return fromstring(re.sub(r"<([A-Za-z][\w:.-]*)", rf"<\1{declared}", text, count=1))


def _properties(top) -> Iterator[tuple[str, list[str]]]:
    for name, value in top.attrib.items():
        yield name, [value]
    for child in top:
        boxes = [box for box in child if box.tag in (f"{_RDF}Bag", f"{_RDF}Seq", f"{_RDF}Alt")]
        yield child.tag, [_written(item) for box in boxes for item in box] if boxes else [_written(child)]


def _written(element) -> str:
    """An element as text; a structure as its fields, in order."""
    fields = [
        (name.rpartition("}")[2], _text(value))
        for name, value in element.attrib.items()
        if not name.startswith((_RDF, "{http://www.w3.org/XML"))
    ]
    for child in element:
        fields.append(("" if child.tag.startswith(_RDF) else child.tag.rpartition("}")[2], _written(child)))
    found = [(name, text) for name, text in fields if text and not _TECHNICAL.fullmatch(name.casefold())]
    if not found:
        return (element.text or "").strip() or element.attrib.get(f"{_RDF}resource", "")
    return "; ".join(f"{name}={text}" if name else text for name, text in sorted(found))


def _of_space(space: str, local: str, values: list[str]) -> Iterator[tuple[str, Any]]:
    """A property of XMP; if its namespace is one of _SPACES, that counts instead."""
    if local in ("MotionPhoto", "MicroVideo") and any(_text(value) not in ("", "0") for value in values):
        yield FILM, None
    elif local == "History" and "/mm/" in space:
        edits = [value for value in values if not any(f"action={word}" in value for word in _SAVED)]
        yield "edit history", edits
    elif "camera-raw-settings" in space:
        if local == "HasSettings" and values == ["True"]:
            yield "edits of Camera Raw", None
    elif (mark := next((mark for part, mark in _SPACES.items() if part in space), local)) == local:
        yield local, values
    elif mark:
        yield mark, None
        if local == "Data":
            yield mark, values
