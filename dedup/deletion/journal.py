"""Plans and journals. Input: JSON lines. Output: checked records, or BadRecord before anything is touched.

A plan is a header and one line an item:      {"plan": 1}  {"keep": {...}, "drop": {...}, "kind": "crop"}
a journal is a header and one line an event:  {"journal": 1, "created": 1700000000}
                                              {"move": 1, "keep": {...}, "drop": {...}, "kind": "crop"}  {"back": 1}

If the picture has companions, its item lists them: "companions": [{"keep": {...}, "drop": {...}}, ...]. They are moved
with it, all or none, and have the numbers after its own; a "back" puts all of them back.

If something is written into the keeper's XMP file before a move, its item has that too: "merge": {"name": "a.jpg.xmp",
"fields": {"rating": ["5"]}}; in a journal also the new file's blake2b, "new", and the file that was there, "old".

A file is its path, relative to the images' folder and with `/` between components, and its `Snapshot`. Bytes of a
name that are not UTF-8 are written as the lone surrogates that Python reads them as. Where a plan was made against
archives, its header has their number, {"plan": 1, "against": 1}, and a file to keep has the `archive`, from 1, that its
path is relative to. The archive's folder is given by the user who applies the plan, never by the plan.
"""

import json
from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass, replace
from pathlib import Path

from dedup.deletion.folders import Folder
from dedup.deletion.records import AGAINST, BadRecord, Item, is_of, parse_object, read_item
from dedup.output import count_of

JOURNAL = "journal.jsonl"


@dataclass(frozen=True)
class History:
    """A journal: when the run began (seconds since 1970), what it meant to move, what it put back itself."""

    run: str
    created: int
    items: tuple[Item, ...]
    put_back: frozenset[int]


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
    if not is_of(against, int):
        raise BadRecord(f"{name}: against must be a number of archives, got {ascii(against)[:200]}")
    if against != archives:
        was = f"it was made against {count_of(against, 'archive')}, {archives} given"
        way = f"give {AGAINST} for each, in the same order" if against > archives else "give no more than these"
        raise BadRecord(f"{name}: {was}; {way}")
    items = tuple(_checked(read_item, name, *line, archives) for line in lines)
    pairs = [pair for item in items for pair in item.pairs]
    dropped = Counter(pair.drop.parts for pair in pairs)
    if twice := [parts for parts, times in dropped.items() if times > 1]:
        raise BadRecord(f"{name}: a file is dropped twice: {ascii('/'.join(twice[0]))}")
    if both := sorted(set(dropped) & {pair.keep.parts for pair in pairs if not pair.keep.archive}):
        raise BadRecord(f"{name}: a file is both kept and dropped: {ascii('/'.join(both[0]))}")
    return items


def read_journal(box: Folder, run: str) -> History:
    """Read the journal in a run's folder; a last line cut off by a crash is left out: nothing was done after it."""
    name = f"journal of {run}"
    try:
        data = box.read(JOURNAL)
    except OSError as error:
        raise BadRecord(f"{name}: {error.strerror}") from None
    if b"\n" not in data:
        return History(run, 0, (), frozenset())
    lines = _records(data[: data.rfind(b"\n") + 1], name)
    created = _expect_header(lines, name, "journal", {"journal", "created"})["created"]
    if not is_of(created, int):
        raise BadRecord(f"{name}, line 1: created must be a number of seconds, got {ascii(created)}")
    items, put_back = [], set()
    for number, record in lines:
        if "back" in record:
            put_back.add(_checked(_back, name, number, record, {item.sequence for item in items[-1:]}))
        else:
            items.append(_checked(_moved, name, number, record, items[-1].last if items else 0))
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


def _expect_header(
    lines: Iterator[tuple[int, dict]], name: str, word: str, keys: set[str], more: Set[str] = frozenset()
) -> dict:
    _, header = next(lines, (0, {}))
    if set(header) - more != keys or not is_of(header[word], int) or header[word] != 1:
        raise BadRecord(f'{name}: not a {word}: its first line must be {{"{word}": 1, ...}}')
    return header


def _moved(record: dict, last: int) -> Item:
    """The item of a journal's line; their numbers grow, with gaps where items were refused."""
    sequence = record.get("move")
    if not is_of(sequence, int) or sequence <= last:
        raise BadRecord(f"move must be a number above {last}, got {ascii(sequence)}")
    return replace(read_item({key: record[key] for key in record if key != "move"}), sequence=sequence)


def _back(record: dict, moved: set[int]) -> int:
    if set(record) != {"back"} or not is_of(record["back"], int) or record["back"] not in moved:
        raise BadRecord(f"back must name the move right above it, got {ascii(record)}")
    return record["back"]
