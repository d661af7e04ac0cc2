"""Jobs: work on one file or pair that may raise, crash or hang. Input: jobs. Output: their results, in the same order.

If a job raises anything, takes too long, or its process dies, only this job is lost: its result is a `Lost` with the
reason in one line, and a new process goes on. The caller notes it in `Losses` and keeps that file or pair.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import logging
import math
import multiprocessing
import operator
import os
import pickle
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, TypeVar

MEMORY_LIMIT = 2**31  # bytes that a process may take: a picture of up to 2**29, and its decoder's own buffers
TIME_LIMIT = 8.0  # seconds of computing for one job
PATIENCE = 6  # times TIME_LIMIT by the clock: other programs may be running, or the disk is slow
QUEUE = 128  # numbers of jobs sent to a process before it has done them; many more could fill its pipe, and block us
# Forking spares the child all imports. It is safe while jobs use no library whose threads run in the parent.
START_METHOD = "fork" if sys.platform == "linux" else "spawn"
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux's prctl(2)
TIMED = hasattr(signal, "setitimer")  # not on Windows, where the clock alone counts
REASON_LENGTH = 200  # characters of a reason
DYING = 5.0  # seconds for a process that closed its pipe to end, before it is killed
STARTS = 3  # failed ones in a row, after which no process can start here
RECENT = 64  # objects of a spool that also stay unpickled, as they are often asked for again
START_LIMIT = 120.0  # seconds for a process to start; if it can't be forked, it imports everything again


_IS_JOB = "is_job"
_Function = TypeVar("_Function", bound=Callable)


@dataclass(frozen=True)
class Lost:
    """The result of a job that raised, crashed or hung; the reason is one line."""

    reason: str


class Losses(dict[tuple[Path, ...], str]):
    """Why jobs were lost, by file, or by pair in the order of paths."""

    def note(self, found: Any, *paths: Path) -> Any:
        """What a job on these files found; None, and noted, if it was lost."""
        if not isinstance(found, Lost):
            return found
        self.setdefault(tuple(sorted(paths)), found.reason)
        return None

    def about(self, *paths: Path) -> str:
        """Why a job on one of these files, or on the pair, was lost; empty if none was."""
        return next((self[each] for each in (*((path,) for path in paths), tuple(sorted(paths))) if each in self), "")


def job(function: _Function) -> _Function:
    """Declare that a function is a job on a file or a pair, which may be lost; `run_jobs` takes no other."""
    setattr(function, _IS_JOB, True)
    return function


def step(function: _Function) -> _Function:
    """Declare that a function works on a file or a pair in this process; `attempt` takes it."""
    return function


def attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)` in this process, `Lost` if it raises anything; a crash or a hang is not survived here."""
    try:
        return function(*arguments)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # decoders raise nearly everything, some of it beyond Exception
        text = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
        return Lost("".join(char if char.isprintable() else "?" for char in text)[:REASON_LENGTH])


def run_jobs(
    function: Callable[[Any], Any],
    jobs: Sequence[Any],
    num_workers: int,
    ahead: int = 64,
    time_limit: float | None = None,
    memory_limit: int = MEMORY_LIMIT,
    few: int = 0,
    inherits: bool = False,
) -> Iterator[Any]:
    """Yield `function(job)` for each job, in order; `Lost` for a job that raised, crashed its process or hung.

    No work is done, and no process started, before the first result is asked for.

    function : of one job, declared by `job`; it, jobs and results can be pickled. Processes get all jobs at their start
    num_workers : processes; 0 = in this one, where a crash or a hang is not survived
    ahead : how many jobs may be begun before the first of them has been taken
    time_limit : seconds a job may compute, TIME_LIMIT by default; by the clock it may take PATIENCE times as long
    memory_limit : bytes that a process may take beyond what it starts with; Linux only
    few : number of jobs, below which one process does them all
    inherits : whether the function needs objects in this process's memory that can't be sent: if processes can't be
        forked, this one does the work
    Raises TypeError : `function` is not declared; ChildProcessError : processes can't start
    """
    _check_is_job(function)
    if num_workers == 0 or not jobs or (inherits and START_METHOD != "fork"):
        return (attempt(function, each) for each in jobs)
    count = 1 if len(jobs) < few else min(num_workers, len(jobs))
    limits = TIME_LIMIT if time_limit is None else time_limit, memory_limit
    return _results(lambda: _Pool(function, jobs, count, *limits), len(jobs), ahead)


def _check_is_job(function: Callable) -> None:
    declared = function
    while isinstance(declared, partial):
        declared = declared.func
    if not hasattr(declared, _IS_JOB):
        raise TypeError(f"{function!r} is no job: decorate it with dedup.workers.job")


def _results(start: Callable[[], _Pool], count: int, ahead: int) -> Iterator[Any]:
    pool, sent = start(), 0
    try:
        for number in range(count):
            wanted = min(number + max(ahead, 1), count)
            pool.send(range(sent, wanted))
            sent = wanted
            pool.collect(patience=0.0)
            while number not in pool.results:
                pool.collect()
            yield pool.results.pop(number)
    finally:
        pool.stop()


def run_apart(function: Callable[[Any], Any], job: Any, **options: Any) -> Any:
    """`function(job)`, or `Lost`: as `run_jobs` for one job, in this process if another would have to be spawned."""
    is_worker = multiprocessing.current_process().daemon  # which may start no other
    (result,) = run_jobs(function, [job], int(not is_worker), inherits=True, **options)
    return result


class Helper:
    """A process that does jobs one by one as they come up, and keeps its caches; started when needed.

    has_process : False = jobs are done in this process, where a crash or a hang is not survived
    """

    def __init__(self, has_process: bool):
        self._has_process, self._pool = has_process, None

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """`function(*arguments)`, or `Lost`; the function is declared by `job`, and all of it can be pickled."""
        _check_is_job(function)
        if not self._has_process:
            return attempt(function, *arguments)
        self._pool = self._pool or _Pool(operator.call, None, 1, TIME_LIMIT, MEMORY_LIMIT)
        return self._pool.run(partial(function, *arguments))

    def close(self) -> None:
        if self._pool:
            self._pool.stop()
        self._pool = None


class _Worker:
    """One process, our end of its pipe, and what it still has to do, in order."""

    def __init__(self, arguments: tuple):
        context = multiprocessing.get_context(START_METHOD)
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, *arguments), daemon=True)
        with warnings.catch_warnings():  # Python 3.12 and later warn of forks beside any thread
            warnings.simplefilter("ignore", DeprecationWarning)
            self.process.start()
        theirs.close()
        self.jobs: deque[int] = deque()
        self.ready, self.since = False, time.monotonic()

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


class _Pool:
    """Keeps every process busy; `results` holds the results by number.

    jobs : None = they are not known yet: each job is sent itself, in place of its number
    """

    def __init__(
        self, function: Callable, jobs: Sequence[Any] | None, num_workers: int, time_limit: float, memory_limit: int
    ):
        self.arguments, self.time_limit = (function, jobs, time_limit, memory_limit), time_limit
        self.waiting: deque[int] = deque()
        self.results: dict[int, Any] = {}
        self.retried: set[int] = set()
        self.failed_starts = 0  # in a row
        self.workers: list[_Worker] = []
        try:
            for _ in range(num_workers):
                self.workers.append(_Worker(self.arguments))
        except BaseException:
            self.stop()
            raise

    def send(self, numbers: Iterable[int]) -> None:
        self.waiting.extend(numbers)
        self._hand_out()

    def collect(self, patience: float = math.inf) -> None:
        """Wait for a result, a death or the end of someone's time, `patience` seconds at most."""
        busy = {worker.connection: worker for worker in self.workers if worker.jobs or not worker.ready}
        if not busy:
            return
        end = min(worker.since + self._limit(worker) for worker in busy.values())
        heard = wait(busy, max(0.0, min(patience, end - time.monotonic())))
        for connection in heard:
            self._hear(busy[connection])
        for connection, worker in busy.items():
            if connection not in heard and time.monotonic() > worker.since + self._limit(worker):
                self._replace(worker, f"took longer than {PATIENCE * self.time_limit:g} s", retry=False)
        self._hand_out()

    def run(self, number: Any) -> Any:
        """One job, and wait for its result."""
        self.send([number])
        while number not in self.results:
            self.collect()
        return self.results.pop(number)

    def stop(self) -> None:
        for worker in self.workers:
            worker.stop()

    def _limit(self, worker: _Worker) -> float:
        return PATIENCE * self.time_limit if worker.ready else START_LIMIT

    def _hand_out(self) -> None:
        while self.waiting:
            worker = min(self.workers, key=lambda worker: len(worker.jobs))
            if len(worker.jobs) >= QUEUE:
                return
            self._give(worker, self.waiting.popleft())

    def _give(self, worker: _Worker, number: int) -> None:
        if not worker.jobs and worker.ready:
            worker.since = time.monotonic()
        worker.jobs.append(number)
        with contextlib.suppress(OSError):  # it is dead; `collect` will hear of it
            worker.connection.send(number)

    def _hear(self, worker: _Worker) -> None:
        try:
            is_done, result = worker.connection.recv()
        except (EOFError, OSError):
            worker.process.join(DYING)
            status = worker.process.exitcode
            if TIMED and status == -signal.SIGPROF:
                return self._replace(worker, f"took longer than {self.time_limit:g} s", retry=False)
            return self._replace(worker, f"crashed its process (exit status {status})", retry=True)
        worker.ready, worker.since, self.failed_starts = True, time.monotonic(), 0
        if is_done:
            self.results[worker.jobs.popleft()] = result

    def _replace(self, worker: _Worker, reason: str, retry: bool) -> None:
        """Count the first unfinished job as lost, after a second try if `retry`; a new process takes over the rest."""
        worker.stop()
        self.failed_starts += not worker.ready
        if self.failed_starts >= STARTS:
            raise ChildProcessError("worker processes can't start here: set num_workers to 0")
        numbers = list(worker.jobs)
        first = numbers[0] if numbers and worker.ready else None  # before that, none was begun
        if first is not None and (not retry or first in self.retried):
            self.results[first] = Lost(reason)
            numbers = numbers[1:]
        self.retried.add(first)
        fresh = self.workers[self.workers.index(worker)] = _Worker(self.arguments)
        for number in numbers:
            self._give(fresh, number)


def _serve(connection, function: Callable, jobs: Sequence[Any] | None, time_limit: float, memory_limit: int) -> None:
    """What a worker process runs."""
    serve_parent()
    faulthandler.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # C libraries write warnings there about every broken file
    if sys.platform == "linux":
        _limit_memory(memory_limit)
    connection.send((False, None))
    while True:
        try:
            number = connection.recv()
        except (EOFError, OSError):
            return
        _allow(time_limit)
        found = attempt(function, number if jobs is None else jobs[number])
        _allow(0)
        sent = attempt(connection.send, (True, found))
        if isinstance(sent, Lost):  # the result can't be pickled, or nobody listens
            connection.send((True, sent))


def serve_parent() -> None:
    """Make this process end with the one that started it, however that ends; only that one reacts to Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()  # what was garbage before a fork is not this process's to free: its threads are not here
    parent = multiprocessing.parent_process()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
        if START_METHOD == "fork" and os.getppid() != parent.pid:  # it ended before that
            os._exit(1)
    else:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    wait([parent.sentinel])
    os._exit(1)


def _allow(seconds: float) -> None:
    """Let the system end this process when it has computed for so long; 0 = no limit."""
    if TIMED:
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _limit_memory(limit: int) -> None:
    import resource

    with open("/proc/self/statm", encoding="ascii") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    wanted = taken + limit
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


class Spool:
    """Pickled objects by number, in a temporary file that no other program sees, to save memory.

    A forked process can read those that were there when it was forked.

    folder : where the file is made once it is needed; None = where the system has such files
    """

    def __init__(self, folder: Path | None = None):
        self._folder = folder
        self.clear()

    def clear(self) -> None:
        """Delete all objects, and free memory and disk."""
        self._in_memory: dict[int, bytes] = {}  # what could not be written
        self._on_disk: dict[int, tuple[int, int]] = {}  # offset, bytes
        self._recent: OrderedDict[int, Any] = OrderedDict()
        self._end, self._file = 0, None  # it vanishes with its last user

    def __contains__(self, number: int) -> bool:
        return number in self._in_memory or number in self._on_disk

    def put(self, number: int, pickled: bytes) -> None:
        """Keep a pickled object; once the file can't be written, this and all later ones in memory."""
        self._recent.pop(number, None)
        if not self._in_memory:
            try:
                return self._write(number, pickled)
            except OSError as error:
                logging.getLogger(__name__).warning("pictures stay in memory, a temporary file fails: %s", error)
        self._in_memory[number] = pickled

    def get(self, number: int) -> Any:
        """The object, unpickled. Raises KeyError if there is none."""
        if number not in self._recent:
            pickled = self._in_memory[number] if number in self._in_memory else self._read(*self._on_disk[number])
            self._recent[number] = pickle.loads(pickled)
            if len(self._recent) > RECENT:
                self._recent.popitem(last=False)
        self._recent.move_to_end(number)
        return self._recent[number]

    def _write(self, number: int, pickled: bytes) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 - open until cleared
        self._file.seek(self._end)
        rest = memoryview(pickled)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._on_disk[number] = self._end, len(pickled)
        self._end += len(pickled)

    def _read(self, offset: int, size: int) -> bytes:
        if hasattr(os, "pread"):  # forked processes share the file's position: leave it alone
            return os.pread(self._file.fileno(), size, offset)
        self._file.seek(offset)
        return self._file.read(size)
