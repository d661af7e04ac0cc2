"""File names as they can be drawn and written: any path in, text that no font, table or terminal trips over out."""

from __future__ import annotations

import os
import re
from pathlib import Path

from dedup.output import relative_path
from dedup.report.fonts import advance, has_glyph


def escape(text: str) -> str:
    r"""A name as valid, one-line UTF-8 that no spreadsheet takes for a formula. `unescape` turns it back.

    These bytes are written `\xNN`, everything else as it is: bytes that are not UTF-8, control characters, a first
    character out of `= + - @` (and their full-width forms), and a backslash that would read as such an escape.
    """
    raw = os.fsencode(text)
    raw = re.sub(rb"\\(?=x[0-9a-f]{2})", rb"\\x5c", raw)
    text = raw.decode("utf-8", "backslashreplace")
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]|^[=+\-@＝＋－＠]", lambda hit: _hex(hit[0]), text)


def name_in(path: Path, images_dir: Path) -> str:
    """A path below images_dir as tables have it."""
    return escape(relative_path(path, images_dir).as_posix())


def unescape(text: str) -> str:
    """The name that `escape` wrote."""
    return os.fsdecode(re.sub(rb"\\x([0-9a-f]{2})", lambda hit: bytes.fromhex(hit[1].decode()), text.encode()))


def _hex(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def drawable(text: str) -> str:
    r"""`text` with every character that has no glyph here, or that would not be seen, written as its code."""
    return "".join(char if has_glyph(char) else _code(char) for char in text)


def text_width(text: str, size: float) -> float:
    """How wide drawable text is when set at `size`, in the unit of `size`, with a little room for hinting."""
    return 1.04 * size * sum(advance(char) for char in text)


def shorten(text: str, size: float, width: float, keep_end: float = 0.5) -> str:
    """`text`, with its middle replaced by an ellipsis until it is at most `width` wide.

    keep_end : share of the room that the end gets; 0 cuts at the end.
    """
    if text_width(text, size) <= width:
        return text
    room = width - text_width("…", size)
    parts = re.findall(r"\\x..|\\u.{4}|\\U.{8}|.", text)  # a code is kept whole
    end = "".join(_longest(parts[::-1], size, room * keep_end)[::-1])
    start = "".join(_longest(parts, size, room - text_width(end, size)))
    return f"{start.rstrip()}…{end.lstrip()}"


def wrap(text: str, size: float, width: float, lines: int) -> list[str]:
    """`text` in at most `lines` lines of `width`; what does not fit ends in an ellipsis."""
    wrapped: list[str] = []
    for word in text.split():
        if wrapped and text_width(f"{wrapped[-1]} {word}", size) <= width:
            wrapped[-1] += f" {word}"
        else:
            wrapped.append(word)
    rest = " ".join(wrapped[lines - 1 :])
    return [shorten(line, size, width, keep_end=0) for line in (*wrapped[: lines - 1], rest) if line]


def _longest(parts: list[str], size: float, width: float) -> list[str]:
    """As many of the first parts as are together at most `width` wide."""
    used = 0.0
    for position, part in enumerate(parts):
        used += text_width(part, size)
        if used > width:
            return parts[:position]
    return parts


def _code(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"  # a byte that is not UTF-8 (PEP 383)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
