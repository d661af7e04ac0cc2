"""Spool: what went into the file, or into memory, comes back, also in forked processes."""

import os
import pickle
from unittest.mock import Mock

import numpy as np
import pytest

from dedup.workers import RECENT, START_METHOD, Spool, job, run_jobs


@pytest.fixture
def spool(tmp_path):
    """A spool of more objects than it keeps unpickled."""
    spool = Spool(tmp_path)
    for number in range(2 * RECENT):
        spool.put(number, pickle.dumps(np.full(600, number, np.uint8)))
    return spool


def test_all_come_back_in_any_order(spool, tmp_path):
    assert 0 in spool and 2 * RECENT - 1 in spool and 2 * RECENT not in spool
    for number in (5, 0, 2 * RECENT - 1, 5, *range(2 * RECENT)):
        assert spool.get(number).tolist() == [number] * 600
    assert not spool._in_memory and len(spool._recent) == RECENT
    assert list(tmp_path.iterdir()) == [] or os.name == "nt", "nobody else sees the file"


@pytest.mark.skipif(START_METHOD != "fork", reason="processes are not forked here")
def test_forked_processes_read_at_once(spool):
    numbers = list(range(2 * RECENT)) * 5
    found = run_jobs(job(lambda number: int(spool.get(number).mean())), numbers, num_workers=3)
    assert list(found) == numbers


def test_where_the_disk_is_full_all_stays_in_memory(tmp_path, monkeypatch, caplog):
    spool = Spool(tmp_path)
    for number in range(4):
        spool.put(number, pickle.dumps(np.full(600, number, np.uint8)))
    spool._file = Mock(wraps=spool._file)
    spool._file.write.side_effect = [100, OSError(28, "No space left on device")]
    for number in range(2, 2 * RECENT):
        spool.put(number, pickle.dumps(np.full(600, number + 1, np.uint8)))
    for number in range(2 * RECENT):
        assert spool.get(number).tolist() == [number + (number > 1)] * 600
    assert len(caplog.records) == 1


def test_cleared_it_is_empty(spool):
    spool.clear()
    assert 0 not in spool and 5 not in spool
    with pytest.raises(KeyError):
        spool.get(5)
    spool.put(5, pickle.dumps("new"))
    assert spool.get(5) == "new"
