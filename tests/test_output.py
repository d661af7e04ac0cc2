"""Output: what is left of a run, where its time went, the line that says so; files are written whole or not at all."""

import os
import pty
import re
import select
import subprocess
import sys

import pytest

from dedup import output
from dedup.output import OTHER, Phases, progress_bar, write_table, write_whole
from tests.conftest import PROJECT


@pytest.fixture
def clock(monkeypatch):
    """Seconds by the clock and of computing, which pass when they are told to."""
    now = [0.0, 0.0]
    monkeypatch.setattr(output, "_now", lambda: tuple(now))

    def wait(seconds, computing=0.0):
        now[:] = now[0] + seconds, now[1] + computing

    return wait


def test_the_line_goes_on_by_the_usual_shares_of_the_phases(monkeypatch, clock):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Phases({"a": 0.5, "b": 0.3, "c": 0.2}) as phase:
        with phase("a"):
            bar = progress_bar(phase, 100, "a", "images")
            clock(4)
            bar.update(20)
            assert phase._line.n == pytest.approx(0.1) and phase._line.postfix == "20 of 100, 5 images/s"
            progress_bar(phase, 100, "a", "images")  # more to do came up
            bar.update(30)
            assert phase._line.n == pytest.approx(0.125)
        with phase("c"), progress_bar(phase, 0, "c", "pairs") as bar:
            bar.update()
            assert phase._line.n == pytest.approx(0.7)  # no phase has more than its share


def test_the_table_has_the_phases_in_order_and_what_is_beside_them(clock):
    clock(1, 1)
    phase = Phases({"b": 0.5, "a": 0.5})
    clock(1)
    with phase("b"):
        clock(2, 4)
    with pytest.raises(OSError, match="no"), phase("a"):
        clock(3, 1)
        raise OSError("no")
    with phase("b"):  # again
        clock(1, 1)
    clock(0.5, 1)
    assert phase.table()[2:] == [
        "| b | 3.0 s | 5.0 s |",
        "| a | 3.0 s | 1.0 s |",
        f"| {OTHER} | 1.5 s | 1.0 s |",
        "| in all | 7.5 s | 7.0 s |",
    ]
    with pytest.raises(ValueError, match="no phase 'd', the phases are b, a"), phase("d"):
        pass


@pytest.mark.parametrize("is_shown", [True, False])
def test_without_a_terminal_nothing_is_drawn(is_shown, capfd):
    with Phases(is_shown=is_shown) as phase, phase("Reading"), progress_bar(phase, 1, "Reading", "images") as bar:
        bar.update()
    with progress_bar(is_shown, 1, "Reading", "images") as bar:
        bar.update()
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(sys.platform != "linux", reason="opens a terminal as Linux does")
@pytest.mark.parametrize("quiet", [True, False])
def test_in_a_terminal_one_line_of_80_columns_tells_phase_count_and_what_is_left(quiet, samples_dir, tmp_path):
    ours, theirs = pty.openpty()
    subprocess.run(["stty", "rows", "24", "cols", "80"], stdin=theirs, check=True)
    command = [sys.executable, "main.py", samples_dir, "--output", tmp_path, *["--quiet"] * quiet]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=theirs) as run:
        os.close(theirs)
        drawn = b""
        while run.poll() is None or select.select([ours], [], [], 0)[0]:
            try:
                drawn += os.read(ours, 1 << 16)
            except OSError:  # the other end was closed
                break
    os.close(ours)
    assert run.returncode == 0
    if quiet:
        assert drawn == b""
        return
    assert b"\n" not in drawn and b"\x1b" not in drawn
    lines = [line.rstrip() for line in drawn.decode().split("\r")]
    assert max(map(len, lines)) == 80 and lines[-1] == ""  # it takes itself away
    told = [
        re.fullmatch(r"(\w+) +(\d+)%\|.*\| ([\d:?]+) left(, (\d+ of \d+, \d+ \w+/s))?", line) for line in lines if line
    ]
    assert all(told), lines
    assert {"Reading", "Confirming", "Checking"} <= {line[1] for line in told}
    assert any("images" in (line[5] or "") for line in told) and any(":" in line[3] for line in told)
    assert 90 <= int(told[-1][2]) <= 100


def test_timing_is_told_by_phase_on_stderr(samples_dir, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted(samples_dir.rglob("*.jpg"))[:3]:
        (few / path.name).write_bytes(path.read_bytes())
    command = [sys.executable, "main.py", few, "--output", tmp_path / "out"]
    plain, timed = (
        subprocess.run([*command, *more], cwd=PROJECT, capture_output=True, text=True, check=True)
        for more in ((), ("--timing",))
    )
    assert plain.stderr == "" and timed.stdout == plain.stdout
    rows = re.findall(r"^\| (.+?) \| ([\d.]+) s \| ([\d.]+) s \|$", timed.stderr, re.MULTILINE)
    assert [row[0] for row in rows] == [*output.RUN, OTHER, "in all"]
    assert sum(float(row[1]) for row in rows[:-1]) == pytest.approx(float(rows[-1][1]), abs=0.5)


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "some.txt"
    write_whole(path, b"first")
    write_whole(path, b"second", sync=True)
    assert path.read_bytes() == b"second" and os.listdir(tmp_path) == ["some.txt"]


@pytest.mark.parametrize("fails", ["replace", "fsync"])
def test_what_can_not_be_written_leaves_the_old_file_and_nothing_else(fails, tmp_path, monkeypatch):
    path = tmp_path / "some.txt"
    write_whole(path, b"first")

    def fail(*_):
        raise OSError("full")

    monkeypatch.setattr(output.os, fails, fail)
    with pytest.raises(OSError, match="full"):
        write_whole(path, b"second", sync=True)
    assert path.read_bytes() == b"first" and os.listdir(tmp_path) == ["some.txt"]
    if fails == "fsync":
        write_whole(path, b"second")  # is not asked for
        assert path.read_bytes() == b"second"


def test_a_table_has_its_header_and_unix_line_ends(tmp_path):
    write_table(tmp_path / "table.csv", ("path", "reason"), [("a,b.png", 'says "no"'), ("ü.png", "")])
    assert (tmp_path / "table.csv").read_bytes() == 'path,reason\n"a,b.png","says ""no"""\nü.png,\n'.encode()
