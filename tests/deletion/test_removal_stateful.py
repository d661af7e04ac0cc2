"""Hypothesis plays a user and a removal in one folder: edits, moves, links, scans, old plans, kills, undo, purge.

A picture's first words name its cluster; all pictures of a cluster show the same. What must hold after every step:
nothing that the user did not destroy is gone, but what a purge took while the very keeper it was compared with stood.
"""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from dedup.deletion import removal
from dedup.deletion.folders import Folder
from tests.removal_faults import Killed, failing
from tests.removal_world import TRASH, cluster, decodes, no_waiting, scan

__all__ = ["no_waiting"]
pytestmark = pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="the links of these tests need a POSIX system")
NAMES = st.sampled_from([f"{folder}{name}.jpg" for folder in ("", "a/", "a/b/") for name in "xyz"])
CLUSTERS = st.integers(0, 2)
PICKS = st.integers(0, 50)
KILLS = st.sampled_from([0] * 12 + list(range(1, 25)))  # the number of the change it dies at; 0 = never
STEPS = Counter()


class Removals(RuleBasedStateMachine):
    """A folder of pictures, the plans made so far, and what of the user's contents must still be somewhere."""

    @initialize()
    def begin(self):
        self.folder = Path(tempfile.mkdtemp(prefix="removals-"))
        self.root = self.folder / "images"
        (self.root / "a" / "b").mkdir(parents=True)
        (self.folder / "outside").mkdir()
        (self.folder / "outside" / "x.jpg").write_bytes(b"picture outside")
        self.alive: set[bytes] = set()
        self.compared: dict[bytes, set[bytes]] = {}  # a content that a plan dropped -> the keepers it named
        self.plans: list[Path] = []
        self.version = 0
        for name in ("x.jpg", "y.jpg", "a/x.jpg", "a/b/x.jpg"):
            self.write(name, self.version % 2)
        for name in ("x.mov", "a/x.mov"):  # of two pictures that show the same
            self.write_film(self.root / name, 0)

    def teardown(self):
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    # helpers

    def at_home(self) -> dict[str, bytes]:
        return {path: facts[0] for path, facts in scan(self.root).items() if TRASH not in path}

    def pick(self, number: int) -> Path | None:
        paths = sorted(self.at_home())
        return self.root / paths[number % len(paths)] if paths else None

    def is_free(self, name: str) -> bool:
        path = self.root / name
        return not os.path.lexists(path) and not any(folder.is_symlink() for folder in path.parents)

    def write(self, name: str, number: int) -> None:
        self.version += 1
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = b"picture %d version %d" % (number, self.version)
        path.write_bytes(content)
        self.alive.add(content)

    def write_film(self, path: Path, number: int) -> None:
        path.write_bytes(b"film %04d of a cluster" % number)
        self.alive.add(path.read_bytes())

    def user_destroys(self, content: bytes) -> None:
        self.alive.discard(content)
        self.forget_nothing()

    def forget_nothing(self) -> None:
        """What the user overwrote may still lie elsewhere, by a link or in the trash: then it is alive."""
        self.alive |= {
            facts[0] for path, facts in scan(self.root).items() if Path(path).suffix in (".jpg", ".mov", "")
        } - {b""}

    def call(self, kill: int, work) -> removal.Outcome | None:
        """Call what may be killed; None if it was."""
        try:
            with failing(kill, "KILL"):
                outcome = work()
        except Killed:
            STEPS["killed"] += 1
            return None
        assert outcome.exit_code in (0, 1, 2), outcome
        return outcome

    # the user

    @rule(name=NAMES, number=CLUSTERS)
    def add(self, name, number):
        if self.is_free(name):
            self.write(name, number)

    @rule(pick=PICKS, number=CLUSTERS)
    def add_a_film(self, pick, number):
        path = self.pick(pick)
        name = path and path.with_suffix(".mov").relative_to(self.root).as_posix()
        if name and self.is_free(name):
            self.write_film(self.root / name, number)

    @rule(pick=PICKS, number=CLUSTERS)
    def edit(self, pick, number):
        if path := self.pick(pick):
            old = path.read_bytes()
            self.write(path.relative_to(self.root).as_posix(), number)
            self.user_destroys(old)

    @rule(pick=PICKS)
    def edit_what_lies_in_the_trash(self, pick):
        paths = sorted(path for path in (self.root / TRASH).glob("*/[0-9]*") if path.is_file() and path.stat().st_size)
        if paths:
            path = paths[pick % len(paths)]
            old = path.read_bytes()
            path.write_bytes(old + b" edited")
            self.user_destroys(old)

    @rule(pick=PICKS, name=NAMES)
    def move(self, pick, name):
        path = self.pick(pick)
        if path and self.is_free(name):
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            path.rename(self.root / name)

    @rule(pick=PICKS, name=NAMES, hard=st.booleans())
    def link(self, pick, name, hard):
        path = self.pick(pick)
        if path and self.is_free(name):
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(path, self.root / name) if hard else os.symlink(path, self.root / name)

    @rule(pick=PICKS)
    def delete(self, pick):
        if path := self.pick(pick):
            old = path.read_bytes()
            path.unlink()
            self.user_destroys(old)

    @rule()
    def lead_a_folder_elsewhere(self):
        folder = self.root / "a"
        if folder.is_symlink():
            folder.unlink()
            if (self.root / "was a").exists():
                (self.root / "was a").rename(folder)
        elif folder.exists() and not (self.root / "was a").exists():
            folder.rename(self.root / "was a")
            folder.symlink_to(self.folder / "outside")

    # the removal

    @rule(reverse=st.booleans())
    def scan_and_plan(self, reverse):
        found: dict[bytes, list[str]] = {}
        for path, content in sorted(self.at_home().items(), reverse=reverse):
            if content.startswith(b"picture"):
                found.setdefault(content[:9], []).append(path)
        plan = self.folder / f"plan {len(self.plans)}.jsonl"
        removal.make_plan([cluster(self.root, *paths) for paths in found.values()], self.root, plan)
        self.plans.append(plan)

    @rule(reverse=st.booleans(), kill=KILLS)
    def scan_and_apply(self, reverse, kill):
        self.scan_and_plan(reverse)
        self.apply(len(self.plans) - 1, kill)

    @rule(pick=PICKS, kill=KILLS)
    def apply(self, pick, kill):
        if not self.plans:
            return
        plan = self.plans[pick % len(self.plans)]
        before = self.at_home()
        outcome = self.call(kill, lambda: removal.apply_plan(plan, self.root, decodes=decodes))
        after = self.at_home()
        assert after.items() <= before.items()  # nothing at home is changed or made
        assert {content[:9] for content in after.values()} == {content[:9] for content in before.values()}
        if outcome:
            assert {path for path in before if path not in after} == {path.as_posix() for path in outcome.done}
            STEPS["moved"] += len(outcome.done)

    @rule(kill=KILLS, hard_links=st.booleans())
    def undo(self, kill, hard_links):
        before, link = self.at_home(), Folder.link

        def no_links(*_):
            raise OSError(errno.EPERM, "no hard links here")

        Folder.link = link if hard_links else no_links
        try:
            self.call(kill, lambda: removal.undo(self.root))
        finally:
            Folder.link = link
        after = self.at_home()
        STEPS["put back"] += len(after.keys() - before.keys())
        kept = {path: content for path, content in before.items() if content}  # a placeholder of ours is empty
        assert kept.items() <= after.items()  # nothing at home is replaced

    @rule(kill=KILLS)
    def purge(self, kill):
        self.forget_nothing()
        before = self.at_home()
        for path in (self.root / TRASH).glob("*/journal.jsonl"):
            for line in map(json.loads, path.read_text().split("\n")[1:-1]):
                for pair in (line, *line.get("companions", ())) if "move" in line else ():
                    self.compared.setdefault(pair["drop"]["blake2b"], set()).add(pair["keep"]["blake2b"])
                    STEPS["with a film"] += pair is not line
        self.call(kill, lambda: removal.purge(self.root, older_than=timedelta(0), decodes=decodes))
        assert self.at_home() == before
        standing = {digest(content) for content in before.values()}
        for content in self.alive - self.somewhere():
            assert self.compared[digest(content)] & standing
            self.alive.discard(content)
            STEPS["purged"] += 1

    # what holds

    def somewhere(self) -> set[bytes]:
        return {facts[0] for facts in scan(self.folder).values()}

    @invariant()
    def nothing_is_lost(self):
        if hasattr(self, "folder"):
            STEPS["steps"] += 1
            assert self.alive <= self.somewhere()

    @invariant()
    def nothing_outside_is_touched(self):
        if hasattr(self, "folder"):
            assert scan(self.folder / "outside").keys() == {"x.jpg"}
            assert (self.folder / "outside" / "x.jpg").read_bytes() == b"picture outside"


def digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=32).hexdigest()


@pytest.mark.parametrize(
    ("examples", "steps", "least"), [(20, 40, 510), pytest.param(300, 60, 10_200, marks=pytest.mark.slow)]
)
def test_whatever_the_order_nothing_is_lost(examples, steps, least):
    STEPS.clear()
    options = settings(
        max_examples=examples,
        stateful_step_count=steps,
        derandomize=examples < 100,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Removals, settings=options)
    print(dict(STEPS))
    assert STEPS["steps"] >= least
    if examples > 100:
        assert (
            min(STEPS[what] for what in ("moved", "put back", "purged", "killed", "with a film")) > 10
        )  # of 24 to 1,000, by chance
