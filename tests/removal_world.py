"""A folder of small files with a plan, and what must hold of it whatever happens."""

import json
import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from dedup.contents.merging import merged
from dedup.contents.metadata import read_xmp
from dedup.deletion import removal

TRASH = ".dedup-trash"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch) -> None:
    """No waiting for the disk, in the test files that import this: nothing that dies there is more than a process."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def decodes(path: Path) -> None:
    """Stand-in for a decoder: pictures begin with the word."""
    if not path.read_bytes().startswith(b"picture"):
        raise ValueError("not a picture")


class World:
    """`count` duplicates in two folders, two to a keeper, and a plan that drops them all.

    films : whether each picture has a film beside it, that of a duplicate its keeper's byte for byte
    merges : whether keywords of each duplicate are merged into an XMP file beside its keeper; every other one has that

    beside : paths of these files
    """

    def __init__(self, folder: Path, count: int = 2, films: bool = False, merges: bool = False):
        self.folder, self.root, self.plan = folder, folder / "images", folder / "plan.jsonl"
        self.keepers = [f"keeper {number}.jpg" for number in range((count + 1) // 2)]
        self.dropped = [f"{'deep/er/' * (number % 2)}copy {number}.jpg" for number in range(count)]
        (self.root / "deep" / "er").mkdir(parents=True)
        for number, name in enumerate(self.keepers + self.dropped):
            (self.root / name).write_bytes(b"picture %d %s" % (number, name.encode()))
            os.utime(self.root / name, ns=(10**18 + number, 10**18 + number))
        if films:
            self._add_films()
        self.beside = [f"{keeper}.xmp" for keeper in self.keepers if merges and keeper.endswith(".jpg")]
        for number, name in enumerate(self.beside[::2]):
            (self.root / name).write_bytes(merged(None, {"keywords": ["before"], "rating": ["3"]}))
            os.utime(self.root / name, ns=(10**18 + 99 + number, 10**18 + 99 + number))
        self.before = self.files()
        outcome = removal.make_plan(self.clusters(), self.root, self.plan)
        assert (len(outcome.done), outcome.exit_code) == (len(self.dropped), 0), outcome
        if merges:
            self._add_merges()

    def _add_merges(self) -> None:
        """Have each line of the plan tell something beside the keeper."""
        header, *lines = self.plan.read_bytes().splitlines()
        items = [json.loads(line) for line in lines]
        for item in items:
            fields = {"keywords": [item["drop"]["path"]], "rating": ["5"]}
            item["merge"] = {"name": Path(item["keep"]["path"]).name + ".xmp", "fields": fields}
        self.plan.write_bytes(b"\n".join([header, *(json.dumps(item).encode() for item in items)]))

    def told(self, keeper: str) -> set[str]:
        """Keywords that stand beside a keeper."""
        path = self.root / f"{keeper}.xmp"
        return read_xmp(path.read_bytes()).get("keywords", set()) if path.exists() else set()

    def _add_films(self) -> None:
        kept, dropped = ([f"{name[:-4]}.mov" for name in names] for names in (self.keepers, self.dropped))
        for name, film in zip(self.keepers + self.dropped, kept + dropped, strict=True):
            keeper = name if name in self.keepers else self.keeper_of(name)
            (self.root / film).write_bytes(b"film of %s" % keeper.encode())
        self.keepers, self.dropped = self.keepers + kept, self.dropped + dropped

    def keeper_of(self, name: str) -> str:
        return self.keepers[self.dropped.index(name) // 2]

    def units(self) -> list[set[str]]:
        """What goes together, or none of it."""
        return [{name for name in self.dropped if name[:-4] == stem} for stem in {name[:-4] for name in self.dropped}]

    def destroyed(self) -> dict[str, tuple[bytes, int, int]]:
        """Files of the beginning that lie neither where they lay nor in the trash, by path."""
        left = {inode for _, _, inode in scan(self.root).values()}
        return {path: facts for path, facts in self.before.items() if facts[2] not in left}

    def clusters(self) -> list[SimpleNamespace]:
        return [
            cluster(self.root, keeper, *(name for name in self._pictures() if self.keeper_of(name) == keeper))
            for keeper in self.keepers
            if keeper.endswith(".jpg")
        ]

    def _pictures(self) -> list[str]:
        return [name for name in self.dropped if name.endswith(".jpg")]

    def files(self) -> dict[str, tuple[bytes, int, int]]:
        """Content, modification time and inode of each file outside the trash, by path."""
        return {path: facts for path, facts in scan(self.root).items() if not path.startswith(TRASH)}

    def contents(self) -> set[bytes]:
        return {content for content, _, _ in scan(self.root).values()}

    def trashed(self) -> int:
        return sum(Path(path).name.isdigit() for path in scan(self.root) if path.startswith(TRASH))

    def lost(self) -> set[bytes]:
        return {content for content, _, _ in self.before.values()} - self.contents()

    def apply(self, **options) -> removal.Outcome:
        return removal.apply_plan(self.plan, self.root, **{"decodes": decodes, **options})


def cluster(root: Path, keeper: str, *dropped: str, kind: str = "resaved", removable: bool = True) -> SimpleNamespace:
    members = tuple(member(root / name, kind, removable, root / keeper) for name in dropped)
    return SimpleNamespace(keeper=member(root / keeper, "keeper", False), members=members)


def member(path: Path, kind: str, removable: bool, keeper: Path | None = None) -> SimpleNamespace:
    return SimpleNamespace(
        path=path, kind=kind, removable=removable, keeper=keeper, bytes=os.lstat(path).st_size, merge={}
    )


def scan(root: Path) -> dict[str, tuple[bytes, int, int]]:
    """Content, modification time (ns) and inode of each regular file below a folder, by path."""
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                found[path.relative_to(root).as_posix()] = (path.read_bytes(), status.st_mtime_ns, status.st_ino)
    return found
