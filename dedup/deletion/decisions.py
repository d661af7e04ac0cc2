"""Decisions made on the review page. Input: a file of them. Output: checked records, or BadRecord before any change.

decisions.json:  {"decisions": 1, "remove": [{"keep": {"path", "size", "blake2b"}, "drop": {...}, "level"}, ...],
                  "different": [[{"size", "blake2b"}, {...}], ...]}

A file to keep that lies in an archive has its number there, `archive`, from 1, and its path below that. `level` is how
far removal may go for that pair, one of those of `remove`; without it, the run's own setting counts.

The file says what a user wants, not what is true: `dedup.deletion.applying` looks at the pictures again.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dedup.config import REMOVE
from dedup.deletion.outcome import told
from dedup.deletion.records import BadRecord, parse_object, split_archive, split_path

MOST_BYTES = 2**28  # of a file of decisions; a million removals have about as many
_BEGINNING = re.compile(rb'(\xef\xbb\xbf)?\s*\{\s*"decisions"\s*:')


class Content(NamedTuple):
    """A file's content: its size in bytes, and its digest as 64 hexadecimal digits."""

    size: int
    blake2b: str


Pair = tuple[Content, Content]  # in order


class Named(NamedTuple):
    """A file: `parts` of its path below the images' folder or an archive, what it held when it was decided upon."""

    parts: tuple[str, ...]
    content: Content
    archive: int = 0


class Removal(NamedTuple):
    """`drop` is to go because `keep` shows everything it shows. level : chosen for it on the page, or empty"""

    keep: Named
    drop: Named
    level: str = ""


class Decisions(NamedTuple):
    """removals : what is to go. different : pairs of contents that are not to be put together again"""

    removals: tuple[Removal, ...]
    different: frozenset[Pair]


def is_decisions(path: Path) -> bool:
    """Whether a file says of itself that it holds decisions rather than a plan."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return _BEGINNING.match(file.read(4096)) is not None
    except (OSError, ValueError):
        return False


def write_decisions(path: Path, removals: Sequence[Mapping], different: Sequence[Mapping] = ()) -> None:
    """Save decisions as the page does.

    removals : what is to go, each a mapping with `keep` and `drop`, as in a line of a plan
    different : such pairs that are no duplicates
    """

    def only(each: Mapping, names: Sequence[str]) -> dict[str, dict]:
        return {role: {name: each[role][name] for name in names} for role in ("keep", "drop")}

    remove = [only(each, ("path", *Content._fields)) for each in removals]
    pairs = [list(only(each, Content._fields).values()) for each in different]
    text = json.dumps({"decisions": 1, "remove": remove, "different": pairs}, indent=1, ensure_ascii=False)
    path.write_text(text, encoding="utf-8")


def read_decisions(path: Path, archives: int = 0) -> Decisions:
    """Read decisions, whoever wrote them, of a run against so many archives.

    Raises
    ------
    BadRecord : anything but decisions, a path that leads elsewhere, a file that is dropped twice or both kept and
        dropped, a keeper that lies in none of the archives
    """
    name = ascii(str(path))
    try:
        if not path.is_file():
            raise BadRecord("not a file")
        if path.stat().st_size > MOST_BYTES:
            raise BadRecord(f"larger than {MOST_BYTES:,} bytes")
        return _decisions(parse_object(path.read_bytes().removeprefix(b"\xef\xbb\xbf")), archives)
    except BadRecord as error:
        raise BadRecord(f"{name}: {error}") from None
    except OSError as error:
        raise BadRecord(told(error)) from None


def _decisions(record: dict, archives: int) -> Decisions:
    if set(record) != {"decisions", "remove", "different"} or record["decisions"] is True or record["decisions"] != 1:
        raise BadRecord('not decisions: expected {"decisions": 1, "remove": [...], "different": [...]}')
    if not isinstance(record["remove"], list):
        raise BadRecord("remove must be a list")
    removals = tuple(_removal(each, archives) for each in record["remove"])
    dropped = Counter(removal.drop.parts for removal in removals)
    if twice := [parts for parts, times in dropped.items() if times > 1]:
        raise BadRecord(f"a file is dropped twice: {ascii('/'.join(twice[0]))}")
    if both := sorted(set(dropped) & {removal.keep.parts for removal in removals if not removal.keep.archive}):
        raise BadRecord(f"a file is both kept and dropped: {ascii('/'.join(both[0]))}")
    return Decisions(removals, read_pairs(record["different"]))


def _removal(record: object, archives: int) -> Removal:
    if not isinstance(record, dict) or set(record) - {"level"} != {"keep", "drop"}:
        raise BadRecord(f"a removal has keep and drop, got {ascii(record)[:200]}")
    if "level" in record and record["level"] not in REMOVE:
        raise BadRecord(f"level is one of {', '.join(REMOVE)}, got {ascii(record['level'])[:200]}")
    keep, archive = split_archive(record["keep"], archives)
    return Removal(_named(keep)._replace(archive=archive), _named(record["drop"]), record.get("level", ""))


def _named(record: object) -> Named:
    if not isinstance(record, dict) or not isinstance(record.get("path"), str):
        raise BadRecord(f"a file needs path, size and blake2b, got {ascii(record)[:200]}")
    content = read_content({key: value for key, value in record.items() if key != "path"})
    return Named(split_path(record["path"]), content)


def read_content(record: object) -> Content:
    """A content from a file of decisions; BadRecord if the record is not one."""
    if not isinstance(record, dict) or set(record) != set(Content._fields):
        raise BadRecord(f"a content needs size and blake2b, got {ascii(record)[:200]}")
    content = Content(**record)
    if type(content.size) is not int or content.size < 1:
        raise BadRecord(f"size must be a number of bytes, 1 or more, got {ascii(content.size)[:200]}")
    if not isinstance(content.blake2b, str) or not re.fullmatch("[0-9a-f]{64}", content.blake2b):
        raise BadRecord(f"blake2b must be 64 hexadecimal digits, got {ascii(content.blake2b)[:200]}")
    return content


def read_pairs(records: object) -> frozenset[Pair]:
    """Pairs of different contents; BadRecord if the records are anything else."""
    if not isinstance(records, list):
        raise BadRecord("pairs must be a list")
    return frozenset(map(_pair, records))


def _pair(record: object) -> Pair:
    if not isinstance(record, list) or len(record) != 2:
        raise BadRecord(f"a pair has two contents, got {ascii(record)[:200]}")
    first, second = sorted(map(read_content, record))
    if first == second:
        raise BadRecord(f"a pair has two contents, got one twice: {first.blake2b}")
    return first, second
