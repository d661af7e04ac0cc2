"""Worker processes for work that may crash or hang: jobs in, results out, in the jobs' order.

A job whose process dies or takes too long costs that job alone: it ends as a `Lost`, and a fresh process goes on.
"""

from __future__ import annotations

import contextlib
import faulthandler
import math
import multiprocessing
import os
import signal
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

TIME_LIMIT = 8.0  # seconds of computing for one job
PATIENCE = 6  # times as long by the clock, as other programs may be at work, or a disk far away
QUEUE = 128  # numbers of jobs sent to a process before it has done them; many more could fill its pipe, and block us
# Forking spares the child all imports. It is safe while jobs use no library whose threads run in the parent.
START_METHOD = "fork" if sys.platform == "linux" else "spawn"
ORPHANED = 2.0  # seconds after which a process with nothing to do looks whether its parent is still there
TIMED = hasattr(signal, "setitimer")  # not on Windows, where the clock alone counts
START_LIMIT = 120.0  # seconds for a process to start; where it can't be forked it imports everything anew


@dataclass(frozen=True)
class Lost:
    """The result of a job that took its process down."""

    reason: str


def run_jobs(
    function: Callable[[Any], Any],
    jobs: Sequence[Any],
    num_workers: int,
    ahead: int = 64,
    time_limit: float = TIME_LIMIT,
    memory_limit: int | None = None,
) -> Iterator[Any]:
    """Give `function(job)` for each job, in order; `Lost` for a job that crashed its process or hung.

    Work begins at once, before the first result is asked for.

    Parameters
    ----------
    function : of one job; it, jobs and results can be pickled. Processes get all jobs when they start
    num_workers : processes; 0 = in this one, where a crash or a hang is not survived
    ahead : how many jobs may be begun before the first of them has been taken
    time_limit : seconds a job may compute; by the clock it may take PATIENCE times as long
    memory_limit : bytes a process may take beyond what it starts with; Linux only

    Raises
    ------
    what `function` raises, and RuntimeError where processes can't start
    """
    if num_workers == 0:
        return (function(job) for job in jobs)
    results = _results(_Pool(function, jobs, min(num_workers, len(jobs)), time_limit, memory_limit), len(jobs), ahead)
    next(results)
    return results


def _results(pool: _Pool, count: int, ahead: int) -> Iterator[Any]:
    """First None, once the first jobs are handed out; then the results."""
    try:
        sent = min(ahead, count)
        pool.send(range(sent))
        yield None
        for number in range(count):
            pool.send(range(sent, min(number + ahead, count)))
            sent = max(sent, min(number + ahead, count))
            pool.collect(patience=0.0)
            while number not in pool.results:
                pool.collect()
            yield pool.results.pop(number)
    finally:
        pool.stop()


def run_apart(function: Callable[[Any], Any], job: Any, time_limit: float = TIME_LIMIT, **options: Any) -> Any:
    """`function(job)`, or `Lost`: as `run_jobs` for one job, in this process where another would have to be spawned."""
    (result,) = run_jobs(function, [job], int(START_METHOD == "fork"), time_limit=time_limit, **options)
    return result


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
    """Keeps every process busy; `results` holds what came back, by number."""

    def __init__(
        self,
        function: Callable,
        jobs: Sequence[Any],
        num_workers: int,
        time_limit: float,
        memory_limit: int | None,
    ):
        self.arguments, self.time_limit = (function, jobs, time_limit, memory_limit), time_limit
        self.workers = [_Worker(self.arguments) for _ in range(num_workers)]
        self.waiting: deque[int] = deque()
        self.results: dict[int, Any] = {}
        self.retried: set[int] = set()

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
            number, result, error = worker.connection.recv()
        except (EOFError, OSError):
            worker.process.join()
            status = worker.process.exitcode
            if TIMED and status == -signal.SIGPROF:
                return self._replace(worker, f"took longer than {self.time_limit:g} s", retry=False)
            return self._replace(worker, f"crashed its process (exit status {status})", retry=True)
        worker.ready, worker.since = True, time.monotonic()
        if error is not None:
            raise error
        if number is not None:
            worker.jobs.popleft()
            self.results[number] = result

    def _replace(self, worker: _Worker, reason: str, retry: bool) -> None:
        """Blame the first unfinished job, after a second try if `retry`; a fresh process takes over the rest."""
        worker.stop()
        if not worker.ready:
            raise RuntimeError("worker processes can't start here: set num_workers to 0")
        numbers = list(worker.jobs)
        first = numbers[0] if numbers else None
        if first is not None and (not retry or first in self.retried):
            self.results[first] = Lost(reason)
            numbers = numbers[1:]
        self.retried.add(first)
        fresh = self.workers[self.workers.index(worker)] = _Worker(self.arguments)
        for number in numbers:
            self._give(fresh, number)


def _serve(connection, function: Callable, jobs: Sequence[Any], time_limit: float, memory_limit: int | None) -> None:
    """What a worker process runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started us stops us
    faulthandler.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # C libraries complain there about every broken file
    if memory_limit is not None and sys.platform == "linux":
        _limit_memory(memory_limit)
    connection.send((None, None, None))
    while True:
        try:
            await_message(connection)
            number = connection.recv()
        except (EOFError, OSError):
            return
        _allow(time_limit)
        try:
            answer = number, function(jobs[number]), None
        except Exception as error:
            answer = number, None, error
        _allow(0)
        connection.send(answer)


def _allow(seconds: float) -> None:
    """Have the system end this process when it has computed for so long; 0 = no limit."""
    if TIMED:
        signal.setitimer(signal.ITIMER_PROF, seconds)


def await_message(connection) -> None:
    """Wait for something to receive; EOFError if whoever started this process has died.

    A forked process holds both ends of its pipe, and would never hear of it.
    """
    while not connection.poll(ORPHANED):
        if START_METHOD == "fork" and os.getppid() != multiprocessing.parent_process().pid:
            raise EOFError


def _limit_memory(limit: int) -> None:
    import resource

    with open("/proc/self/statm", encoding="ascii") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    wanted = taken + limit
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
