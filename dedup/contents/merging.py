"""Merging of metadata. Input: values that a file has and its keeper lacks. Output: an XMP file beside the keeper.

values by name of both files  ->  what to merge: {"keywords": {"sea"}, "rating": {"5"}}
bytes of an XMP file, or none; what to merge  ->  bytes of one that holds all of it, read again and compared

The highest rating is written if it is above 0, and all keywords, the keeper's own too: many programs read an XMP file
in place of what is in the picture. Of the others, such as place and capture time, one value is written if the keeper
has none; if two files have different ones, the file that would go stays.
"""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Collection, Mapping
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

from defusedxml.ElementTree import fromstring

from dedup.contents.companions import xmp_beside
from dedup.contents.metadata import CAPTURED, FRACTION, ZONE, Told, as_told, read_metadata, read_xmp
from dedup.dataset.decoding import open_header
from dedup.workers import step

Values = Mapping[str, Collection[str]]
RATING, KEYWORDS, PLACE = "rating", "keywords", "place"
SINGLE = "caption", "title", "artist", "copyright", PLACE, CAPTURED, FRACTION, ZONE  # of which a picture has one value
_NAMESPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "x": "adobe:ns:meta/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "xml": "http://www.w3.org/XML/1998/namespace",
}
_EMPTY = (
    '<x:xmpmeta xmlns:x="{x}"><rdf:RDF xmlns:rdf="{rdf}"><rdf:Description rdf:about=""/></rdf:RDF></x:xmpmeta>'
).format_map(_NAMESPACES)
_TEXTS = {"caption": "description", "title": "title", "copyright": "rights", "artist": "creator", KEYWORDS: "subject"}
_LISTS = {"artist": "rdf:Seq", KEYWORDS: "rdf:Bag"}  # of the others rdf:Alt (XMP part 1, 8.3)


class Unmergeable(ValueError):
    """What can't be merged; the message is one line."""


def lacking(own: Values, kept: Values) -> dict[str, set[str]]:
    """What a keeper lacks of what is merged: a higher rating, none counting as 0; of others, values that it has not."""
    found = {name: set(own[name]) - set(kept.get(name, ())) for name in (RATING, KEYWORDS, *SINGLE) if name in own}
    if ratings := found.get(RATING):
        best = max(ratings, key=_stars)
        found[RATING] = {best} if _stars(best) > max((0, *map(_stars, kept.get(RATING, ())))) else set()
    return {name: values for name, values in found.items() if values}


def can_be_merged(name: str, own: Values, kept: Values) -> bool:
    """Whether merging can add what a keeper lacks under a name; a single value only if the keeper has none."""
    values, finest = own.get(name, ()), max(own.get(name, ()), key=len, default="")
    if name == RATING:
        return math.inf not in map(_stars, (*values, *kept.get(name, ())))
    if name in (FRACTION, ZONE) and (CAPTURED not in own or CAPTURED in kept):
        return False
    one = len(values) == 1 or (name == CAPTURED and all(map(finest.startswith, values)))
    return name == KEYWORDS or (name in SINGLE and name not in kept and one)


@step
def fields_of(member: Path, keeper: Path) -> dict[str, list[str]] | str:
    """What is to be written into a keeper's XMP file before a duplicate may go for it; or why it can't be, as text."""
    (own, written), (kept, more) = _read(member), _read(keeper)
    fields, written = lacking(own, kept), more | written
    if KEYWORDS in fields:
        fields[KEYWORDS] |= kept.get(KEYWORDS, set())
    found = {name: sorted(written.get(value, value) for value in values) for name, values in fields.items()}
    beside, data = keeper.with_name(xmp_beside(keeper)), None
    if os.path.lexists(beside):
        if not stat.S_ISREG(os.lstat(beside).st_mode):
            return "the XMP file beside its keeper is not a regular file"
        data = beside.read_bytes()
    try:
        is_there = merged(data, found) == data
    except Unmergeable as error:
        return str(error)
    is_able = is_there or os.access(keeper.parent, os.W_OK | os.X_OK)
    return found if is_able else "its keeper's folder can't be written to"


def _read(path: Path) -> tuple[Told, dict[str, str]]:
    """A file's values by name, as compared; the same values as written in the file."""
    written = {}
    with open_header(path) as image:
        return read_metadata(image, path.read_bytes(), written), written


def merged(data: bytes | None, fields: Values) -> bytes | None:
    """The given XMP file with the fields added; unchanged if it lacks none of them.

    Raises
    ------
    Unmergeable : the file is no XMP, or has another single value, or the new file, when it is read again, does not hold
        exactly the old values and the fields
    """
    before, wanted = _told_beside(data), {name: set(map(as_told, values)) for name, values in fields.items()}
    if unknown := sorted(fields.keys() - {RATING, KEYWORDS, *SINGLE}):
        raise Unmergeable(f"{ascii(unknown[0])[:100]} can't be told in an XMP file")
    new = lacking(wanted, before)
    if other := [name for name in SINGLE if name in before and wanted.get(name, before[name]) != before[name]]:
        raise Unmergeable(f"the XMP file beside its keeper has another {other[0]}")
    if not new:
        return data
    try:
        made = _written(data, {name: [value for value in fields[name] if as_told(value) in new[name]] for name in new})
        after = read_xmp(made)
    except Exception as error:  # of the parser, nearly everything
        raise Unmergeable(f"an XMP file can't be written for it: {type(error).__name__}") from None
    words = {KEYWORDS: before.get(KEYWORDS, set()) | new[KEYWORDS]} if KEYWORDS in new else {}
    if after != before | new | words:
        raise Unmergeable("an XMP file does not tell all that it should when it is read again")
    return made


def _told_beside(data: bytes | None) -> Told:
    """The values in an XMP file. Raises Unmergeable if it is none."""
    try:
        return {} if data is None else read_xmp(data)
    except Exception as error:
        raise Unmergeable(f"the XMP file beside its keeper can't be read: {type(error).__name__}") from None


def _written(data: bytes | None, fields: Values) -> bytes:
    text = (data or _EMPTY.encode()).decode("utf-8-sig").replace("\0", "")
    for prefix, space in {**dict(re.findall(r'xmlns:([A-Za-z][\w.-]*)="([^"]+)"', text)), **_NAMESPACES}.items():
        if not re.fullmatch(r"ns\d+", prefix):
            ElementTree.register_namespace(prefix, space)
    root = fromstring(re.sub(r"<\?xpacket.*?\?>", "", text, flags=re.DOTALL).strip())
    tops = root.findall(".//rdf:RDF/*", _NAMESPACES)
    if not tops and root.tag == _full("x:xmpmeta"):  # it is empty so far
        home = root.find("rdf:RDF", _NAMESPACES)
        tops = [_add(_add(root, "rdf:RDF") if home is None else home, "rdf:Description")]
        tops[0].set(_full("rdf:about"), "")
    for name, values in fields.items():
        _write(tops, name, sorted(values))
    if CAPTURED in fields:
        _add(tops[0], "exif:DateTimeOriginal", _moment(fields))
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, "utf-8") + b"\n"


def _write(tops: list, name: str, values: list[str]) -> None:
    """Write a property into an XMP's descriptions."""
    if name == RATING:
        for top in tops:
            top.attrib.pop(_full("xmp:Rating"), None)
            for old in top.findall("xmp:Rating", _NAMESPACES):
                top.remove(old)
        _add(tops[0], "xmp:Rating", values[0])
    elif name in _TEXTS:
        text, kind = f"dc:{_TEXTS[name]}", _LISTS.get(name, "rdf:Alt")
        boxes = [box for top in tops for box in top.findall(f"{text}/*", _NAMESPACES)]
        box = boxes[0] if boxes else _add(_add(tops[0], text), kind)
        for value in values:
            _add(box, "rdf:li", value).attrib.update({_full("xml:lang"): "x-default"} if kind == "rdf:Alt" else {})
    elif name == PLACE:
        for value, key, sides in zip(values[0].split(), ("Latitude", "Longitude"), ("NS", "EW"), strict=True):
            degrees, minutes = divmod(abs(Fraction(value)) * 60, 60)
            _add(tops[0], f"exif:GPS{key}", f"{degrees},{float(minutes):.6f}{sides[value.startswith('-')]}")


def _moment(fields: Values) -> str:
    """A capture time as XMP writes it, 2020-01-31T12:30:59.5+02:00, as precise as it is known."""
    second = max(fields[CAPTURED], key=len).replace(":", "-", 2).replace(" ", "T")
    part = next((f".{digits}" for digits in fields.get(FRACTION, ())), "") if second.count(":") == 2 else ""
    return second + part + next(iter(fields.get(ZONE, ())), "")


def _add(parent, name: str, text: str | None = None):
    child = ElementTree.SubElement(parent, _full(name))
    child.text = text
    return child


def _full(name: str) -> str:
    """The XML module's name of dc:title."""
    prefix, local = name.split(":")
    return f"{{{_NAMESPACES[prefix]}}}{local}"


def _stars(text: str) -> float:
    """A rating as a number; infinity if it is not a number, so that no rating is higher."""
    try:
        return float(text) if math.isfinite(float(text)) else math.inf
    except ValueError:
        return math.inf
