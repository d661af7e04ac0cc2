"""Records of plans, journals and decisions. Input: parsed JSON. Output: checked files and items, or BadRecord.

Such a file is not trusted: it may be edited by hand, or made by a stranger.
"""

import json
import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

from dedup.dataset.folder_rules import TRASH
from dedup.deletion.folders import Snapshot

AGAINST, MERGE = "--against DIR", "--merge-metadata"  # what a user has to add
NO_ARCHIVE = f"its keeper lies in an archive: say which with {AGAINST}"
# Kinds of matches that allow a removal; `copy`, in plans and journals of older versions, was resaved or edited.
KINDS = ("identical", "same_pixels", "resaved", "edited", "crop", "near", "copy")
_FIELDS = {"path": str, "device": int, "inode": int, "size": int, "mtime_ns": int, "blake2b": str}
_WINDOWS_PART = re.compile(r'[\\:*?"<>|]|[ .]$|^\.?dedup-~\d', re.IGNORECASE)


class BadRecord(ValueError):
    """A plan or journal that must not be acted on; the message names the line and what is wrong with it."""


@dataclass(frozen=True)
class File:
    """A file of a plan: `parts`, the components of its path below the images' folder, and what it held.

    archive : number, from 1, of the archive that the path is below instead; 0 = none
    """

    parts: tuple[str, ...]
    snapshot: Snapshot
    archive: int = 0

    @property
    def path(self) -> Path:
        return Path(*self.parts)


class Merge(NamedTuple):
    """What is written into the keeper's XMP file before a file goes for it.

    name : of the XMP file, in the keeper's folder
    fields : values by name, as they are written there
    new : blake2b of the new XMP file; empty in plans, and if the file holds the values already
    old : the XMP file that was there before, which undo puts back; None if there was none
    """

    name: str
    fields: dict[str, list[str]]
    new: str = ""
    old: Snapshot | None = None


class Pair(NamedTuple):
    """`drop` may go because `keep` stays; `sequence` numbers it within its run."""

    keep: File
    drop: File
    sequence: int
    is_companion: bool


@dataclass(frozen=True)
class Item:
    """One removal: `drop` may go because `keep` shows everything it shows, and its companions with it, all or none.

    companions : of the picture, each with the same file beside `keep`
    sequence : the picture's number within its run; the next ones are its companions', then that of the old XMP file
    merge : what is written into the keeper's XMP file before; None for nothing
    """

    keep: File
    drop: File
    kind: str
    sequence: int = 0
    companions: tuple[tuple[File, File], ...] = ()
    merge: Merge | None = None

    @property
    def last(self) -> int:
        """The last number that it takes."""
        return self.sequence + len(self.companions) + (self.merge is not None)

    @property
    def before(self) -> Pair:
        """The keeper's old XMP file, as it is moved into the trash; the new one, of the same name, stays for it."""
        place = File((*self.keep.parts[:-1], self.merge.name), self.merge.old or Snapshot(0, 0, 0, 0, ""))
        return Pair(place, place, self.last, True)

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The picture and its companions, as they are moved."""
        files = ((self.keep, self.drop), *self.companions)
        return tuple(Pair(*each, self.sequence + number, number > 0) for number, each in enumerate(files))


def split_path(path: str) -> tuple[str, ...]:
    """Split a relative path; BadRecord unless it names something below the folder, not in the trash."""
    parts = tuple(path.split("/"))
    if not path or "\0" in path or any(part in ("", ".", "..") for part in parts) or os.path.isabs(path):
        raise BadRecord(f"the path must be relative and stay below the folder, got {ascii(path)}")
    if os.name == "nt" and any(_WINDOWS_PART.search(part) for part in parts):
        raise BadRecord(f"the path is none that Windows can hold, got {ascii(path)}")
    if any(_plain(part) == TRASH for part in parts):
        raise BadRecord(f"the path leads into a trash folder, got {ascii(path)}")
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise BadRecord(f"the path is none that this system can hold, got {ascii(path)}") from None
    return parts


def _plain(part: str) -> str:
    """A name as file systems that ignore case, composition and invisible characters compare it."""
    folded = unicodedata.normalize("NFKC", part).casefold()
    return "".join(character for character in folded if unicodedata.category(character) != "Cf")


def item_record(item: Item) -> dict:
    """The part of a line that plans and journals share."""
    record = _pair_record(item.keep, item.drop) | {"kind": item.kind}
    companions = [_pair_record(*pair) for pair in item.companions]
    record |= {"companions": companions} if companions else {}
    return record | ({"merge": _merge_record(item.merge)} if item.merge else {})


def _merge_record(merge: Merge) -> dict:
    record = merge._asdict() | {"old": merge.old and asdict(merge.old)}
    return {key: value for key, value in record.items() if value}


def _pair_record(keep: File, drop: File) -> dict:
    return {
        role: {"path": "/".join(file.parts), **asdict(file.snapshot)}
        | ({"archive": file.archive} if file.archive else {})
        for role, file in (("keep", keep), ("drop", drop))
    }


def parse_object(line: bytes) -> dict:
    """The JSON object in `line`; BadRecord if it is anything else, or has a key twice."""
    try:
        record = json.loads(line.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise error if isinstance(error, BadRecord) else BadRecord("not a line of JSON") from None
    if not isinstance(record, dict):
        raise BadRecord("not a JSON object")
    return record


def _unique(pairs: Iterable[tuple[str, object]]) -> dict:
    """A dict of `pairs`; a repeated key is an error: parsers differ in which value they take."""
    pairs = list(pairs)
    if len(dict(pairs)) < len(pairs):
        raise BadRecord("a name stands twice in one object")
    return dict(pairs)


def read_item(record: dict, archives: int | None = None) -> Item:
    """An item of a plan made against so many archives; None for a journal, which does not hold their number."""
    if set(record) - {"companions", "merge"} != {"keep", "drop", "kind"}:
        raise BadRecord(f"expected keep, drop and kind, got {ascii(sorted(record))}")
    if record["kind"] not in KINDS:
        raise BadRecord(f"kind must be one of {', '.join(KINDS)}, got {ascii(record['kind'])}")
    companions = record.get("companions", [])
    if not isinstance(companions, list) or not all(isinstance(each, dict) for each in companions):
        raise BadRecord(f"companions must be a list of files to keep and drop, got {ascii(companions)[:200]}")
    for each in companions:
        if set(each) != {"keep", "drop"}:
            raise BadRecord(f"a companion has keep and drop, got {ascii(sorted(each))}")
    pairs = [_read_pair(each, archives) for each in (record, *companions)]
    merge = _read_merge(record["merge"], pairs[0][0]) if "merge" in record else None
    return Item(*pairs[0], record["kind"], companions=tuple(pairs[1:]), merge=merge)


def _read_merge(record: object, keep: File) -> Merge:
    """What is written into a keeper's XMP file; BadRecord if the record is malformed or names another file."""
    if keep.archive:
        raise BadRecord("nothing is told in an archive")
    if not isinstance(record, dict) or not {"name", "fields"} <= set(record) <= set(Merge._fields):
        raise BadRecord(f"merge needs name and fields, got {ascii(record)[:200]}")
    merge, names = Merge(**record), {f"{name}.xmp".casefold() for name in (keep.path.name, keep.path.stem)}
    lists = merge.fields.values() if isinstance(merge.fields, dict) else [0]
    is_sound = (
        str(merge.name).casefold() in names
        and all(isinstance(each, list) and all(isinstance(text, str) for text in each) for each in lists)
        and re.fullmatch("([0-9a-f]{64})?", str(merge.new))
        and ("old" not in record or isinstance(merge.old, dict))
    )
    if not is_sound:
        raise BadRecord(f"merge needs the keeper's XMP file, texts, and what is put there, got {ascii(record)[:200]}")
    return merge._replace(old=_file({"path": merge.name} | merge.old).snapshot if "old" in record else None)


def _read_pair(record: dict, archives: int | None) -> tuple[File, File]:
    keep, archive = split_archive(record["keep"], archives)
    return replace(_file(keep), archive=archive), _file(record["drop"])


def split_archive(record: object, archives: int | None = None) -> tuple[object, int]:
    """A keeper's record without its archive, and the archive's number, 0 if it has none.

    Raises
    ------
    BadRecord : the number is not from 1 to `archives` (None: to any), or it is missing though there are archives
    """
    if not isinstance(record, dict) or "archive" not in record:
        number = 0
    elif not is_of(number := record["archive"], int) or number < 1:
        raise BadRecord(f"archive must be a number from 1, got {ascii(number)[:200]}")
    if archives is not None and number > archives:
        raise BadRecord(NO_ARCHIVE)
    if archives and not number:
        raise BadRecord("its keeper does not lie in the archive")
    return ({key: record[key] for key in record if key != "archive"} if number else record), number


def _file(record: object) -> File:
    if not isinstance(record, dict) or set(record) != set(_FIELDS):
        raise BadRecord(f"a file needs {', '.join(_FIELDS)}, got {ascii(record)}")
    for key, kind in _FIELDS.items():
        if not is_of(record[key], kind):
            raise BadRecord(f"{key} must be of type {kind.__name__}, got {ascii(record[key])}")
    if not re.fullmatch("[0-9a-f]{64}", record["blake2b"]):
        raise BadRecord(f"blake2b must be 64 hexadecimal digits, got {ascii(record['blake2b'])}")
    if record["size"] < 1:
        raise BadRecord(f"size must be at least 1 byte, got {record['size']}")
    return File(split_path(record["path"]), Snapshot(**{key: record[key] for key in list(_FIELDS)[1:]}))


def is_of(value: object, kind: type) -> bool:
    """Whether a JSON value has a type; true and false are not numbers."""
    return isinstance(value, kind) and not isinstance(value, bool)
