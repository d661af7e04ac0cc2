"""A folder of small files with a plan, and what must hold of it whatever happens."""

import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

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
    """`count` duplicates in two folders, two to a keeper, and a plan that drops them all."""

    def __init__(self, folder: Path, count: int = 2):
        self.folder, self.root, self.plan = folder, folder / "images", folder / "plan.jsonl"
        self.keepers = [f"keeper {number}.jpg" for number in range((count + 1) // 2)]
        self.dropped = [f"{'deep/er/' * (number % 2)}copy {number}.jpg" for number in range(count)]
        (self.root / "deep" / "er").mkdir(parents=True)
        for number, name in enumerate(self.keepers + self.dropped):
            (self.root / name).write_bytes(b"picture %d %s" % (number, name.encode()))
            os.utime(self.root / name, ns=(10**18 + number, 10**18 + number))
        self.before = self.files()
        outcome = removal.make_plan(self.clusters(), self.root, self.plan)
        assert (len(outcome.done), outcome.exit_code) == (count, 0), outcome

    def keeper_of(self, name: str) -> str:
        return self.keepers[self.dropped.index(name) // 2]

    def clusters(self) -> list[SimpleNamespace]:
        return [
            cluster(self.root, keeper, *(name for name in self.dropped if self.keeper_of(name) == keeper))
            for keeper in self.keepers
        ]

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
    return SimpleNamespace(path=path, kind=kind, removable=removable, keeper=keeper, bytes=os.lstat(path).st_size)


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
