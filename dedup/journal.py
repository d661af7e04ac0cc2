"""Plans and journals as text: JSON lines in, checked records out, or BadRecord before anything is touched.

A plan is a header and one line an item:      {"plan": 1}  {"keep": {...}, "drop": {...}, "kind": "copy"}
a journal is a header and one line an event:  {"journal": 1, "created": 1700000000}
                                              {"move": 1, "keep": {...}, "drop": {...}, "kind": "copy"}  {"back": 1}

A file is its path, relative to the images' folder and with `/` between components, and its `Snapshot`. Bytes of a
name that are not UTF-8 are written as the lone surrogates that Python reads them as. Where a plan was made against
archives, its header has their number, {"plan": 1, "against": 1}, and a file to keep has the `archive`, from 1, that its
path is relative to. Where that archive lies is told by who applies the plan, never by the plan.
"""

import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Set
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dedup.folders import Folder, Snapshot
from dedup.lettering import count_of

TRASH = ".dedup-trash"
JOURNAL = "journal.jsonl"
AGAINST = "--against DIR"  # what a user has to add
NO_ARCHIVE = f"its keeper lies in an archive: say which with {AGAINST}"
KINDS = ("identical", "same_pixels", "copy", "crop", "near")  # of a match that allows a removal
_FIELDS = {"path": str, "device": int, "inode": int, "size": int, "mtime_ns": int, "blake2b": str}
_WINDOWS_PART = re.compile(r'[\\:*?"<>|]|[ .]$|^\.?dedup-~\d', re.IGNORECASE)


class BadRecord(ValueError):
    """A plan or journal that must not be acted on; the message names the line and what is wrong with it."""


@dataclass(frozen=True)
class File:
    """A file of a plan: `parts`, the components of its path below the images' folder, and what it was.

    archive : number of the archive, from 1, whose folder it is instead; 0 = none
    """

    parts: tuple[str, ...]
    snapshot: Snapshot
    archive: int = 0

    @property
    def path(self) -> Path:
        return Path(*self.parts)


@dataclass(frozen=True)
class Item:
    """One removal: `drop` may go because `keep` shows everything it shows; `sequence` numbers it within its run."""

    keep: File
    drop: File
    kind: str
    sequence: int = 0


@dataclass(frozen=True)
class History:
    """What a journal tells: when the run began (seconds since 1970), what it meant to move, what it put back itself."""

    run: str
    created: int
    items: tuple[Item, ...]
    put_back: frozenset[int]


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
    files = {"keep": item.keep, "drop": item.drop}
    record = {
        role: {"path": "/".join(file.parts), **asdict(file.snapshot)}
        | ({"archive": file.archive} if file.archive else {})
        for role, file in files.items()
    }
    return record | {"kind": item.kind}


def plan_header(archives: int) -> dict:
    """The first line of a plan made against so many archives."""
    return {"plan": 1} | ({"against": archives} if archives else {})


def encode(record: dict) -> bytes:
    return json.dumps(record).encode("ascii") + b"\n"


def read_plan(path: Path, archives: int = 0) -> tuple[Item, ...]:
    """Read a plan, also one that was edited by hand, that was made against so many archives.

    Raises
    ------
    BadRecord : anything but a plan, or one made against fewer or more archives; a path that leads elsewhere, a file
        that is dropped twice or both kept and dropped, a keeper in none of the archives
    """
    name = ascii(str(path))
    if not path.is_file():
        raise BadRecord(f"{name} is not a file")
    lines = _records(path.read_bytes().removeprefix(b"\xef\xbb\xbf"), name)
    against = _expect_header(lines, name, "plan", {"plan"}, {"against"}).get("against", 0)
    if not _is(against, int):
        raise BadRecord(f"{name}: against must be a number of archives, got {ascii(against)[:200]}")
    if against != archives:
        was = f"it was made against {count_of(against, 'archive')}, {archives} given"
        way = f"give {AGAINST} for each, in the same order" if against > archives else "give no more than these"
        raise BadRecord(f"{name}: {was}; {way}")
    items = tuple(_checked(_item, name, *line, archives) for line in lines)
    dropped = Counter(item.drop.parts for item in items)
    if twice := [parts for parts, times in dropped.items() if times > 1]:
        raise BadRecord(f"{name}: a file is dropped twice: {ascii('/'.join(twice[0]))}")
    if both := sorted(set(dropped) & {item.keep.parts for item in items if not item.keep.archive}):
        raise BadRecord(f"{name}: a file is both kept and dropped: {ascii('/'.join(both[0]))}")
    return items


def read_journal(box: Folder, run: str) -> History:
    """Read the journal in a run's folder; an end that was cut off by a crash is left out, since nothing followed it."""
    name = f"journal of {run}"
    try:
        data = box.read(JOURNAL)
    except OSError as error:
        raise BadRecord(f"{name}: {error.strerror}") from None
    if b"\n" not in data:
        return History(run, 0, (), frozenset())
    lines = _records(data[: data.rfind(b"\n") + 1], name)
    created = _expect_header(lines, name, "journal", {"journal", "created"})["created"]
    if not _is(created, int):
        raise BadRecord(f"{name}, line 1: created must be a number of seconds, got {ascii(created)}")
    items, put_back = [], set()
    for number, record in lines:
        if "back" in record:
            put_back.add(_checked(_back, name, number, record, {item.sequence for item in items[-1:]}))
        else:
            items.append(_checked(_moved, name, number, record, items[-1].sequence if items else 0))
    return History(run, created, tuple(items), frozenset(put_back))


def _records(data: bytes, name: str) -> Iterator[tuple[int, dict]]:
    """Number and content of each line that holds something."""
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            yield number, _checked(parse_object, name, number, line)


def _checked(check, name: str, number: int, *arguments):
    """Call `check`, and say in its errors which line they are about."""
    try:
        return check(*arguments)
    except BadRecord as error:
        raise BadRecord(f"{name}, line {number}: {error}") from None


def parse_object(line: bytes) -> dict:
    """The JSON object that stands in `line`; BadRecord if anything else does, or a name stands twice in it."""
    try:
        record = json.loads(line.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise error if isinstance(error, BadRecord) else BadRecord("not a line of JSON") from None
    if not isinstance(record, dict):
        raise BadRecord("not a JSON object")
    return record


def _unique(pairs: Iterable[tuple[str, object]]) -> dict:
    """A dict of `pairs`; a key that stands twice reads one way here and another way elsewhere."""
    pairs = list(pairs)
    if len(dict(pairs)) < len(pairs):
        raise BadRecord("a name stands twice in one object")
    return dict(pairs)


def _expect_header(
    lines: Iterator[tuple[int, dict]], name: str, word: str, keys: set[str], more: Set[str] = frozenset()
) -> dict:
    _, header = next(lines, (0, {}))
    if set(header) - more != keys or not _is(header[word], int) or header[word] != 1:
        raise BadRecord(f'{name}: not a {word}: its first line must be {{"{word}": 1, ...}}')
    return header


def _moved(record: dict, last: int) -> Item:
    """The item of a journal's line; their numbers grow, with gaps where items were refused."""
    sequence = record.get("move")
    if not _is(sequence, int) or sequence <= last:
        raise BadRecord(f"move must be a number above {last}, got {ascii(sequence)}")
    return replace(_item({key: record[key] for key in record if key != "move"}), sequence=sequence)


def _item(record: dict, archives: int | None = None) -> Item:
    """An item of a plan made against so many archives, or of a journal, which does not tell of how many."""
    if set(record) != {"keep", "drop", "kind"}:
        raise BadRecord(f"expected keep, drop and kind, got {ascii(sorted(record))}")
    if record["kind"] not in KINDS:
        raise BadRecord(f"kind must be one of {', '.join(KINDS)}, got {ascii(record['kind'])}")
    keep, archive = split_archive(record["keep"], archives)
    return Item(replace(_file(keep), archive=archive), _file(record["drop"]), record["kind"])


def split_archive(record: object, archives: int | None = None) -> tuple[object, int]:
    """A keeper's record without its archive, and the number of that, 0 if it has none.

    Raises
    ------
    BadRecord : it is no number of an archive, from 1, at most `archives` unless that is None; it is 0 though there are
    """
    if not isinstance(record, dict) or "archive" not in record:
        number = 0
    elif not _is(number := record["archive"], int) or number < 1:
        raise BadRecord(f"archive must be a number from 1, got {ascii(number)[:200]}")
    if archives is not None and number > archives:
        raise BadRecord(NO_ARCHIVE)
    if archives and not number:
        raise BadRecord("its keeper does not lie in the archive")
    return ({key: record[key] for key in record if key != "archive"} if number else record), number


def _back(record: dict, moved: set[int]) -> int:
    if set(record) != {"back"} or not _is(record["back"], int) or record["back"] not in moved:
        raise BadRecord(f"back must name the move right above it, got {ascii(record)}")
    return record["back"]


def _file(record: object) -> File:
    if not isinstance(record, dict) or set(record) != set(_FIELDS):
        raise BadRecord(f"a file needs {', '.join(_FIELDS)}, got {ascii(record)}")
    for key, kind in _FIELDS.items():
        if not _is(record[key], kind):
            raise BadRecord(f"{key} must be of type {kind.__name__}, got {ascii(record[key])}")
    if not re.fullmatch("[0-9a-f]{64}", record["blake2b"]):
        raise BadRecord(f"blake2b must be 64 hexadecimal digits, got {ascii(record['blake2b'])}")
    if record["size"] < 1:
        raise BadRecord(f"size must be at least 1 byte, got {record['size']}")
    return File(split_path(record["path"]), Snapshot(**{key: record[key] for key in list(_FIELDS)[1:]}))


def _is(value: object, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
