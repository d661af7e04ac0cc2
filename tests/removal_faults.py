"""A system that fails or kills at its N-th call, inside the test's own process: fast, and for every kind of call."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

CHANGING = ("write", "fsync", "mkdir", "rename", "link", "unlink", "rmdir")
READING = ("read", "fstat", "stat", "dup", "listdir", "open")


class Killed(BaseException):
    """Stands for SIGKILL: no handler of ours catches it, and nothing is changed after it."""


class Calls:
    """Counts the calls from `os`, and fails one of them."""

    def __init__(self, fail_at: int, error: str):
        self.count, self.changes, self.dead = 0, 0, False
        self._fail_at, self._error = fail_at, error

    def meet(self, name: str, changes: bool) -> None:
        """Raise if this call is the one that fails, or comes after a kill."""
        if self._error != "KILL":
            self.count += 1
            if self.count == self._fail_at:
                raise OSError(getattr(errno, self._error), os.strerror(getattr(errno, self._error)), name)
        elif changes:
            self.count += 1
            self.dead = self.dead or self.count == self._fail_at
            if self.dead:
                raise Killed


@contextmanager
def failing(fail_at: int, error: str) -> Iterator[Calls]:
    """Let the `fail_at`-th call to the system fail with `error`, or die there and then ("KILL"); 0 = never.

    A kill is counted in calls that change something, an error in all calls.
    """
    calls, originals = Calls(fail_at, error), {}

    def wrapped(name: str, original):
        def call(*args, **options):
            flags = args[1] if name == "open" and len(args) > 1 else 0
            calls.meet(name, name in CHANGING or bool(flags & os.O_CREAT))
            return original(*args, **options)

        return call

    try:
        for name in CHANGING + READING:
            originals[name] = getattr(os, name)
            setattr(os, name, wrapped(name, originals[name]))
        yield calls
    finally:
        for name, original in originals.items():
            setattr(os, name, original)
