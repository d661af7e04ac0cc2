"""Decisions from the review page: read as a stranger's file, applied only as far as the pictures bear them out."""

import copy
import hashlib
import json
import os
import shutil
import sys

import numpy as np
import pytest
from PIL import Image
from scipy.sparse import csr_matrix

from dedup.clustering import evidence
from dedup.dataset import samples
from dedup.deletion import applying, not_duplicates
from dedup.deletion.decisions import Content, is_decisions, read_decisions, write_decisions
from dedup.deletion.not_duplicates import keep_apart, read_not_duplicates, remember
from dedup.deletion.records import BadRecord
from dedup.matching import confirmation
from dedup.matching.classification import Match
from dedup.matching.kinds import MatchKind
from tests.confirmation_pictures import photo
from tests.removal_world import scan
from tests.test_main import call


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """A photo, its exact copy, a smaller one, its lower part, and another photo."""
    folder = tmp_path_factory.mktemp("originals")
    image = photo("chelsea.png")
    image.save(folder / "a.png")
    shutil.copy2(folder / "a.png", folder / "exact.png")
    image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS).save(folder / "small.jpg", quality=90)
    image.crop((0, image.height // 3, image.width, image.height)).save(folder / "part.png")
    photo("coffee.png").save(folder / "other.png")
    return folder


@pytest.fixture
def folder(originals, tmp_path):
    return shutil.copytree(originals, tmp_path / "pictures")


def content(path) -> dict:
    data = path.read_bytes()
    return {"size": len(data), "blake2b": hashlib.blake2b(data, digest_size=32).hexdigest()}


def decided(folder, *removals: tuple[str, str], different=()) -> dict:
    """The record of decisions: pairs (keep, drop), and pairs of files that differ."""
    named = {name: {"path": name, **content(folder / name)} for pair in removals for name in pair}
    return {
        "decisions": 1,
        "remove": [{"keep": named[keep], "drop": named[drop]} for keep, drop in removals],
        "different": [[content(folder / name) for name in pair] for pair in different],
    }


@pytest.fixture
def apply(folder, tmp_path):
    """Applies a record; (names moved, reasons by name, exit code)."""

    def apply(record, remove="edits"):
        path = tmp_path / "decisions.json"
        path.write_text(json.dumps(record))
        outcome, _ = applying.apply_decisions(path, folder, tmp_path / "out", progress=False, remove=remove)
        reasons = {file.as_posix(): reason for file, reason in outcome.refused}
        return sorted(file.as_posix() for file in outcome.done), reasons, outcome.exit_code

    return apply


def left(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def test_what_the_kept_file_shows_goes(folder, apply):
    record = decided(folder, ("a.png", "exact.png"), ("a.png", "small.jpg"), ("a.png", "part.png"))
    assert apply(record) == (["exact.png", "part.png", "small.jpg"], {}, 0)
    assert left(folder) == ["a.png", "other.png"]


def test_what_is_out_of_reach_of_the_level_stays(folder, tmp_path, apply):
    record = decided(folder, ("a.png", "exact.png"), ("a.png", "small.jpg"), ("a.png", "part.png"))
    moved, reasons, code = apply(record, "exact")
    assert (moved, sorted(reasons), code) == (["exact.png"], ["part.png", "small.jpg"], 1)
    assert "goes only with --remove edits" in reasons["part.png"] and "--remove copies" in reasons["small.jpg"]
    (tmp_path / "decisions.json").write_text(json.dumps(decided(folder, ("a.png", "part.png"))))
    apply_it = folder, "--apply", tmp_path / "decisions.json", "--output", tmp_path / "out", "--quiet"
    assert call(*apply_it) == 1 and "part.png" in left(folder)
    assert call(*apply_it, "--remove", "edits") == 0 and "part.png" not in left(folder)


@pytest.mark.parametrize("remove", ["exact", "edits"])
def test_a_decision_is_applied_at_the_level_it_was_made_at(folder, apply, remove):
    """Whatever the level of the run; a decision that has none goes by that."""
    record = decided(folder, ("a.png", "small.jpg"), ("a.png", "part.png"))
    record["remove"][0]["level"], record["remove"][1]["level"] = "exact", "edits"
    moved, reasons, _ = apply(record, remove)
    assert moved == ["part.png"] and "--remove copies" in reasons["small.jpg"]
    del record["remove"][0]["level"]
    assert apply({**record, "remove": record["remove"][:1]}, "edits")[0] == ["small.jpg"]


@pytest.mark.parametrize(
    ("keep", "drop", "reason"),
    [
        ("small.jpg", "a.png", "the resolution of the kept file"),
        ("part.png", "a.png", "is not in the kept file"),
        ("other.png", "a.png", "not confirmed to show the same picture"),
    ],
)
def test_what_the_kept_file_does_not_show_stays(folder, apply, keep, drop, reason):
    before = scan(folder)
    moved, reasons, code = apply(decided(folder, (keep, drop)))
    assert moved == [] and code == 1 and reason in reasons[drop]
    assert scan(folder) == before


def test_what_differs_at_one_small_place_stays(folder, apply):
    image = photo("coffee.png", 640)
    image.save(folder / "a.jpg", quality=95)
    image.resize((480, 480 * image.height // image.width)).save(folder / "same.jpg", quality=90)
    part = image.crop((320, 240, 371, 291))
    image.paste(part, (106, 90))
    image.save(folder / "b.jpg", quality=95)
    moved, reasons, code = apply(decided(folder, ("a.jpg", "b.jpg"), ("a.jpg", "same.jpg")))
    assert (moved, code) == (["same.jpg"], 1)
    assert reasons == {"b.jpg": "shows at one place what the kept file does not"}


def test_a_refused_pair_does_not_stop_the_others(folder, apply):
    moved, reasons, code = apply(decided(folder, ("a.png", "exact.png"), ("part.png", "small.jpg")))
    assert (moved, list(reasons), code) == (["exact.png"], ["small.jpg"], 1)


@pytest.mark.parametrize("name", ["a.png", "exact.png"])
def test_a_file_that_changed_since_stays(folder, apply, name):
    record = decided(folder, ("a.png", "exact.png"))
    photo("coffee.png").save(folder / name)
    moved, reasons, code = apply(record)
    assert moved == [] and code == 1 and "no longer holds what it held" in reasons["exact.png"]


def test_a_file_that_is_gone_is_refused(folder, apply):
    record = decided(folder, ("a.png", "exact.png"))
    (folder / "a.png").unlink()
    assert apply(record)[1].keys() == {"exact.png"} and (folder / "exact.png").exists()


def test_what_its_keeper_has_lost_to_compression_or_toning_stays(folder, apply):
    image = photo("coffee.png", 480)
    image.save(folder / "fine.jpg", quality=95)
    image.save(folder / "coarse.jpg", quality=40)
    samples._sepia(image).save(folder / "sepia.jpg", quality=95)
    moved, reasons, code = apply(decided(folder, ("coarse.jpg", "fine.jpg")))
    assert (moved, code, reasons) == ([], 1, {"fine.jpg": "is far less compressed than the kept file"})
    moved, reasons, code = apply(decided(folder, ("sepia.jpg", "fine.jpg")))
    assert (moved, code, reasons) == ([], 1, {"fine.jpg": "has colours the kept file lacks"})


@pytest.mark.parametrize("earlier", [False, True])
def test_what_somebody_called_no_duplicate_stays(folder, apply, earlier):
    differ = [("small.jpg", "a.png")]
    if earlier:
        assert apply(decided(folder, different=differ))[2] == 0
    record = decided(folder, ("a.png", "small.jpg"), ("a.png", "exact.png"), different=() if earlier else differ)
    moved, reasons, code = apply(record)
    assert (moved, code) == (["exact.png"], 1)
    assert reasons == {"small.jpg": "somebody said that it is no duplicate of its keeper"}


def test_all_pairs_are_looked_at_and_read_at_once(folder, apply, monkeypatch):
    """Each call may start processes."""
    asked = []

    def counted(function):
        return lambda items, *others: asked.append(len(items)) or function(items, *others)

    for name in ("why_they_stay", "read_all_contents"):
        monkeypatch.setattr(evidence, name, counted(getattr(evidence, name)))
    apply(decided(folder, ("a.png", "small.jpg"), ("a.png", "part.png")))
    assert sorted(asked) == [2, 3]  # pairs, files


def test_a_pair_whose_comparison_is_lost_stays_with_the_reason(folder, apply, monkeypatch):
    monkeypatch.setattr(confirmation, "match_whole", lambda *pair: 1 / 0)
    moved, reasons, code = apply(decided(folder, ("a.png", "small.jpg")))
    assert (moved, code) == ([], 1)
    assert reasons == {"small.jpg": "can't be looked at in full: ZeroDivisionError: division by zero"}


def test_a_safeguard_holds_against_a_decision(folder, apply):
    (folder / "exact.xmp").write_bytes(b"edits")
    assert apply(decided(folder, ("a.png", "exact.png")))[1] == {"exact.png": "belongs together with exact.xmp"}


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_nothing_is_reached_through_a_link(folder, apply, tmp_path):
    outside = shutil.copytree(folder, tmp_path / "outside")
    (folder / "deep").symlink_to(outside, target_is_directory=True)
    record = decided(folder, ("a.png", "deep/exact.png"), ("deep/a.png", "exact.png"))
    before = scan(outside)
    moved, reasons, code = apply(record)
    assert moved == [] and code == 1 and len(reasons) == 2
    assert scan(outside) == before and (folder / "exact.png").exists()


def test_nothing_decided_is_nothing_done(folder, apply):
    assert apply(decided(folder)) == ([], {}, 0)
    assert not (folder / ".dedup-trash").exists()


def changed(record, *keys_and_value):
    """A copy of a record with another value somewhere inside; `...` takes a key out."""
    *keys, last, value = keys_and_value
    record = inner = copy.deepcopy(record)
    for key in keys:
        inner = inner[key]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return record


FILE = ("remove", 0, "drop")
HOSTILE = [
    *(("decisions", value) for value in (2, True, "1", None)),
    *((key, value) for key in ("remove", "different") for value in (None, {}, "x", 1, [1], [None], [[]], [{}], ...)),
    ("extra", 1),
    ("remove", 0, "drop", ...),
    ("remove", 0, "kind", "identical"),
    *(("remove", 0, "level", level) for level in ("", "all", "Edits", None, 2, True, ["edits"], {})),
    *((*FILE, "path", path) for path in ("", "/etc/passwd", "../a.png", "deep/../../a.png", "./a.png", "a.png/", "a\0",
                                         ".dedup-trash/1", "\ud800.png", 1, None, ["a.png"], ...)),
    *((*FILE, "size", size) for size in (0, -1, 1.5, True, "9", None, ...)),
    *((*FILE, "blake2b", digest) for digest in ("", "0" * 63, "A" * 64, "0" * 64 + "\n", 1, None, ...)),
    (*FILE, "device", 1),
    ("different", 0, [{"size": 1, "blake2b": "0" * 64}]),
    ("different", 0, [{"size": 1, "blake2b": "0" * 64}] * 2),
    ("different", 0, 0, "blake2b", "no"),
    ("different", 0, 0, "path", "a.png"),
]  # fmt: skip


@pytest.mark.parametrize("change", HOSTILE, ids=str)
def test_hostile_decisions_touch_nothing(folder, apply, tmp_path, change):
    record = decided(folder, ("a.png", "exact.png"), different=[("a.png", "other.png")])
    before = scan(folder)
    assert apply(changed(record, *change))[::2] == ([], 2)
    assert scan(folder) == before and not (tmp_path / "out").exists() and not (folder / ".dedup-trash").exists()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"1",
        b"{" * 100_000,
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"decisions": 1, "remove": [], "different": []} {}',
        b'{"decisions": 1, "remove": [], "remove": [], "different": []}',
        b'{"decisions": NaN, "remove": [], "different": []}',
    ],
    ids=lambda text: text[:20].decode("ascii", "replace"),
)
def test_what_is_no_decisions_is_refused(tmp_path, text):
    (tmp_path / "decisions.json").write_bytes(text)
    with pytest.raises(BadRecord, match="decisions.json"):
        read_decisions(tmp_path / "decisions.json")


def test_a_file_dropped_twice_or_kept_and_dropped_is_refused(folder, apply):
    assert apply(decided(folder, ("a.png", "exact.png"), ("small.jpg", "exact.png")))[2] == 2
    assert apply(decided(folder, ("a.png", "exact.png"), ("exact.png", "small.jpg")))[2] == 2
    assert apply(decided(folder, ("a.png", "a.png")))[2] == 2
    assert "exact.png" in left(folder)


def test_a_file_of_decisions_has_a_largest_size(tmp_path, monkeypatch):
    monkeypatch.setattr("dedup.deletion.decisions.MOST_BYTES", 9)
    (tmp_path / "decisions.json").write_bytes(b" " * 10)
    with pytest.raises(BadRecord, match="larger than 9 bytes"):
        read_decisions(tmp_path / "decisions.json")


def test_decisions_are_told_from_plans(folder, tmp_path):
    path = tmp_path / "given"
    assert not is_decisions(path)
    for text, expected in ((b'{"plan": 1}\n', False), (b'\xef\xbb\xbf {\n "decisions": 1', True), (b"", False)):
        path.write_bytes(text)
        assert is_decisions(path) == expected
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert not is_decisions(tmp_path / "pipe")


def test_decisions_through_the_command_line(folder, tmp_path, capsys):
    path = tmp_path / "decisions.json"
    path.write_text(json.dumps(decided(folder, ("a.png", "exact.png"), different=[("a.png", "other.png")])))
    assert call(folder, "--apply", path, "--output", tmp_path / "out", "--quiet") == 0
    said = capsys.readouterr().out
    assert "1 pair remembered as no duplicates" in said and "1 file moved to the trash" in said
    assert "exact.png" not in left(folder)
    assert len(read_not_duplicates(tmp_path / "out")) == 1
    path.write_text('{"decisions": 2}')
    assert call(folder, "--apply", path, "--output", tmp_path / "out", "--quiet") == 2
    assert "not decisions" in capsys.readouterr().err


A, B, C = (Content(size, f"{size:064x}") for size in (1, 2, 3))


def test_pairs_add_up_and_stay_sorted(tmp_path):
    assert read_not_duplicates(tmp_path / "out") == frozenset()
    remember(tmp_path / "out", [(B, C)])
    remember(tmp_path / "out", [(A, B), (B, C)])
    first = (tmp_path / "out" / not_duplicates.NOT_DUPLICATES).read_bytes()
    remember(tmp_path / "out", [])
    assert read_not_duplicates(tmp_path / "out") == {(A, B), (B, C)}
    assert (tmp_path / "out" / not_duplicates.NOT_DUPLICATES).read_bytes() == first


def test_a_broken_memory_says_where_it_lies(tmp_path):
    (tmp_path / not_duplicates.NOT_DUPLICATES).write_text("{}")
    with pytest.raises(BadRecord, match="remove the file to forget its pairs"):
        read_not_duplicates(tmp_path)


def cut(tmp_path, edges, different, contains=()):
    """Files 0 to 5 joined by edges (i, j, distance): those left after two files of each of `different` are kept apart.

    File 5 is a copy of file 0.
    """
    paths = [tmp_path / str(row) for row in range(6)]
    for row, path in enumerate(paths):
        path.write_bytes(b"x" * (row % 5 + 1))
    graph = np.zeros((6, 6), bool)
    distances = np.zeros((6, 6), np.float32)
    for i, j, distance in edges:
        graph[[i, j], [j, i]] = True
        distances[[i, j], [j, i]] = distance
    np.fill_diagonal(graph, True)
    rows, columns = np.nonzero(graph)
    matches = {(i, j): Match(MatchKind.RESAVED, distance) for i, j, distance in edges}
    matches |= {(i, j): Match("contains", distance) for i, j, distance in contains}
    pairs = [tuple(sorted(Content(**content(paths[row])) for row in pair)) for pair in different]
    sparse = csr_matrix((distances[rows, columns], (rows, columns)), shape=(6, 6))
    left, kept = keep_apart(sparse, matches, paths, pairs)
    assert (left != left.T).nnz == 0 and set(kept) <= set(matches)
    entries = left.tocoo()
    assert sum(entries.row == entries.col) == 6
    joined = sorted((i, j) for i, j in zip(entries.row.tolist(), entries.col.tolist(), strict=True) if i < j)
    return joined, sorted(kept)


def test_nothing_remembered_cuts_nothing(tmp_path):
    assert cut(tmp_path, [(0, 1, 0.0), (1, 2, 0.1)], []) == ([(0, 1), (1, 2)], [(0, 1), (1, 2)])
    assert cut(tmp_path, [(0, 1, 0.0)], [(2, 3)]) == ([(0, 1)], [(0, 1)])


def test_a_direct_edge_is_cut_zero_distances_stay(tmp_path):
    assert cut(tmp_path, [(0, 1, 0.0), (2, 3, 0.0)], [(0, 1)]) == ([(2, 3)], [(2, 3)])


def test_a_third_file_goes_with_the_nearer(tmp_path):
    edges = [(0, 1, 0.05), (0, 2, 0.2), (1, 2, 0.1)]
    assert cut(tmp_path, edges, [(0, 1)]) == ([(1, 2)], [(1, 2)])


def test_a_chain_is_cut_at_its_longest_edge(tmp_path):
    edges = [(0, 1, 0.1), (1, 2, 0.3), (2, 3, 0.2)]
    assert cut(tmp_path, edges, [(0, 3)]) == ([(0, 1), (2, 3)], [(0, 1), (2, 3)])


def test_copies_of_a_file_are_kept_apart_too(tmp_path):
    assert cut(tmp_path, [(0, 5, 0.0), (1, 5, 0.1)], [(0, 1)]) == ([(0, 5)], [(0, 5)])


def test_a_file_that_contains_another_does_not_bring_them_together(tmp_path):
    edges = [(0, 1, 0.1)]
    joined, matches = cut(tmp_path, edges, [(0, 2)], contains=[(0, 2, 0.2), (1, 2, 0.3)])
    assert (joined, matches) == ([(0, 1)], [(0, 1)])
    joined, matches = cut(tmp_path, edges, [(0, 3)], contains=[(0, 2, 0.2), (2, 3, 0.3)])
    assert (joined, matches) == ([(0, 1)], [(0, 1), (0, 2)])


def test_what_is_written_is_what_is_read(folder, tmp_path):
    named = {name: {"path": name, "mtime": 1, **content(folder / name)} for name in ("a.png", "exact.png", "other.png")}
    removal = {"keep": named["a.png"], "drop": named["exact.png"], "kind": "identical"}
    differ = {"keep": named["a.png"], "drop": named["other.png"]}
    write_decisions(tmp_path / "decisions.json", [removal], [differ])
    saved = json.loads((tmp_path / "decisions.json").read_text(encoding="utf-8"))
    assert saved == decided(folder, ("a.png", "exact.png"), different=[("a.png", "other.png")])
    assert is_decisions(tmp_path / "decisions.json") and read_decisions(tmp_path / "decisions.json").removals
