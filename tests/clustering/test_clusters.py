"""Clusters: labels worked out by hand, versions, who is kept, what may go for it and what may not."""

import itertools
import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps
from scipy.sparse import csr_matrix

from dedup.clustering import evidence
from dedup.clustering.clusters import build_clusters, cluster_labels, staying
from dedup.clustering.members import LEVELS, UNSEEN, View, Why, changes_of
from dedup.clustering.quality import Details, lost_in_compression
from dedup.config import REMOVE
from dedup.dataset import samples
from dedup.dataset.folder_rules import NOWHERE, Places
from dedup.encoder.embeddings import Embeddings
from dedup.matching.confirmation import Verifier as RealVerifier
from dedup.matching.kinds import MatchKind
from dedup.workers import Losses
from tests.clustering.test_detail import coloured, photo


def let_go(jobs, workers):
    return ["" for _ in jobs]


def graph_of(count, edges):
    """A symmetric graph with an explicit zero diagonal, and explicit zeros among its edges."""
    both = [(i, i, 0.0) for i in range(count)] + [edge for i, j, d in edges for edge in ((i, j, d), (j, i, d))]
    rows, columns, distances = zip(*both, strict=True)
    return csr_matrix((np.float32(distances), (rows, columns)), shape=(count, count))


@pytest.mark.parametrize(
    ("count", "edges", "epsilon", "labels"),
    [
        (0, [], 0.1, []),
        (1, [], 0.1, [-1]),
        (3, [(0, 2, 0.05)], 0.1, [0, -1, 0]),
        (3, [(0, 2, 0.0)], 0.1, [0, -1, 0]),  # an explicit zero is an edge
        (3, [(0, 2, 0.0)], 0.0, [0, -1, 0]),  # also where epsilon is zero
        (2, [(0, 1, 0.25)], 0.25, [0, 0]),  # epsilon is inclusive
        (2, [(0, 1, 0.26)], 0.25, [-1, -1]),
        (5, [(1, 2, 0.1), (2, 4, 0.1)], 0.1000001, [-1, 0, 0, -1, 0]),  # chained through 2
        (5, [(0, 4, 0.01), (1, 3, 0.02)], 0.1, [0, 1, -1, 1, 0]),
    ],
)
def test_what_is_connected_has_one_label(count, edges, epsilon, labels):
    graph = graph_of(count, edges) if count else csr_matrix((0, 0), dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cluster_labels(graph, epsilon).tolist() == labels


def test_labels_leave_the_graph_as_it_was():
    graph = graph_of(3, [(0, 1, 0.09), (0, 2, 0.0), (1, 2, 0.01)])
    before = graph.copy()
    cluster_labels(graph, 0.1)
    assert (graph.indices == before.indices).all() and (graph.data == before.data).all()


MIRRORED = (-1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Match:
    kind: MatchKind | str = MatchKind.RESAVED
    distance: float = 0.01
    first_coverage: float = 1.0
    second_coverage: float = 1.0
    transform: tuple | None = MIRRORED
    first_resolution: float = 1.0
    second_resolution: float = 1.0
    first_extra: float = 0.0
    second_extra: float = 0.0
    first_chroma: float = 20.0
    second_chroma: float = 20.0


class Verifier:
    """Knows the matches it was given by file names, whatever their order, and counts what it was asked."""

    def __init__(self, names, matches):
        self.known = {}
        for (first, second), match in matches.items():
            i, j = names.index(first), names.index(second)
            assert i < j, "write the pair in the order of the names"
            self.known[i, j] = match
        self.matches, self.asked, self.num_workers, self.losses = {}, 0, 0, Losses()

    def match(self, i, j, distance):
        assert 0 <= distance <= 2
        pair = min(i, j), max(i, j)
        if pair in self.known:
            self.matches[pair] = self.known[pair]
        return self.known.get(pair)

    def match_many(self, pairs):
        self.asked += len(pairs)
        for i, j, distance in pairs:
            self.match(i, j, distance)


class Folder:
    """Pictures of given sizes and angles of their unit vectors; all of one photo unless told otherwise."""

    def __init__(self, path, **files):
        self.path, self.names = path, sorted(files)
        self.sizes = [files[name][0] for name in self.names]
        angles = np.array([files[name][1] for name in self.names])
        for name, size in zip(self.names, self.sizes, strict=True):
            Image.new("RGB", size, "teal").save(path / f"{name}.png")
            os.utime(path / f"{name}.png", (10**9, 10**9))
        paths = [path / f"{name}.png" for name in self.names]
        vectors = np.c_[np.cos(angles), np.sin(angles)].astype(np.float32)
        self.embeddings = Embeddings(paths, vectors, np.array(self.sizes), {})

    def build(self, matches=None, labels=None, epsilon=None, tested=(), remove="copies", closer=let_go):
        labels = np.zeros(len(self.names), int) if labels is None else np.array(labels)
        self.verifier = None if matches is None else Verifier(self.names, matches)
        for first, second in tested:
            self.verifier.match(self.names.index(first), self.names.index(second), 0.1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(evidence, "why_they_stay", closer)
            return build_clusters(self.embeddings, labels, self.verifier, self.path, epsilon, remove=remove)


SIZE = (40, 30)


@pytest.fixture
def pair(tmp_path):
    """`a`, the sharper one and so the keeper, and `b`, with the match that is asked for, at level `edits`."""

    def build(remove="edits", **match):
        folder = Folder(tmp_path, a=((80, 60), 0.0), b=(SIZE, 0.1))
        match = {"second_resolution": 0.5, "first_resolution": 2.0, **match}
        (cluster,) = folder.build({("a", "b"): Match(**match)}, remove=remove)
        (member,) = cluster.members
        assert (cluster.keeper.kind, cluster.keeper.keeper, cluster.keeper.removable) == ("keeper", None, False)
        assert cluster.keeper.path.stem == "a" and member.keeper == cluster.keeper.path
        return member

    return build


# What goes at which level

GOES = {"identical": "exact", "same_pixels": "exact", "resaved": "copies", "edited": "edits", "crop": "edits"}


@pytest.mark.parametrize("remove", REMOVE)
@pytest.mark.parametrize(("kind", "least"), GOES.items())
def test_what_the_keeper_shows_all_of_goes_from_its_level_on(pair, kind, least, remove):
    member = pair(remove, kind=MatchKind(kind), second_coverage=0.97, first_coverage=0.3, second_extra=0.25)
    assert member.removable == (REMOVE.index(remove) >= REMOVE.index(least))
    assert member.removable or (member.reason.code, f"--remove {least}" in member.reason.text) == (Why.LEVEL, True)
    assert (member.kind, member.coverage, member.version) == (kind, 0.97, 1 if kind in LEVELS["copies"] else 2)
    assert member.distance == pytest.approx(1 - np.cos(0.1), abs=1e-6)
    assert (member.width, member.height, member.bytes) == (*SIZE, member.path.stat().st_size)


def test_what_can_not_be_laid_on_its_keeper_stays(tmp_path):
    folder = Folder(tmp_path, a=(SIZE, 0.0), b=(SIZE, 0.1))
    (cluster,) = folder.build({("a", "b"): Match(transform=None)}, closer=evidence.why_they_stay)
    (reason,) = (member.reason for member in cluster.members)
    assert reason == (Why.CLOSER, "can't be looked at in full: ValueError: where it lies on its keeper is not known")


def test_there_are_three_levels_each_with_all_of_the_one_before(tmp_path):
    assert tuple(LEVELS) == REMOVE
    assert all(set(less) < set(more) for less, more in itertools.pairwise(LEVELS.values()))
    with pytest.raises(ValueError, match="exact, copies, edits, got 'all'"):
        Folder(tmp_path, a=(SIZE, 0.0)).build({}, labels=[-1], remove="all")


@pytest.mark.parametrize("remove", REMOVE)
@pytest.mark.parametrize(
    ("match", "code", "text"),
    [
        ({"second_coverage": 0.86}, Why.COVERAGE, "14 % of it is not in the kept file"),
        ({"kind": "crop", "second_coverage": 0.9699}, Why.COVERAGE, "3 % of it is not in the kept file"),
        ({"kind": "crop", "first_resolution": 0.7142}, Why.RESOLUTION, "has 1.4 x the resolution of the kept file"),
        ({"kind": "crop", "first_resolution": 0.9699}, Why.RESOLUTION, "has 1.03 x the resolution of the kept file"),
        ({"kind": "crop", "first_resolution": 0.0}, Why.RESOLUTION, "has 100.0 x the resolution of the kept file"),
        ({"second_extra": 0.31}, Why.MARKS, "has marks of its own over 31 % of it"),
        ({"second_coverage": 0.9, "second_extra": 0.1}, Why.MARKS, "has marks of its own over 10 % of it"),
        ({"second_coverage": 0.7, "second_extra": 0.1}, Why.COVERAGE, "30 % of it is not in the kept file"),
        ({"first_extra": 0.04}, Why.HIDDEN, "the kept file has marks over 4 % of it"),
        ({"first_chroma": 1.0}, Why.COLOURS, "has colours the kept file lacks"),
        ({"kind": "similar"}, Why.SIMILAR, "similar, not confirmed"),
        ({"kind": "another"}, Why.SIMILAR, "similar, not confirmed"),
        ({"kind": "contains", "second_coverage": 0.4}, Why.CONTAINS, "shows the kept file beside other things"),
        ({"kind": "contains", "first_coverage": 0.4}, Why.CONTAINS, "the kept file shows it beside other things"),
    ],
)
def test_what_is_not_covered_stays_at_every_level_and_says_why(pair, match, code, text, remove):
    member = pair(remove, **{"kind": "edited", **match})
    assert (member.removable, member.reason) == (False, (code, text))


def test_a_file_with_something_beside_its_picture_stays(tmp_path):
    folder = Folder(tmp_path, a=((80, 60), 0.0), b=(SIZE, 0.1))
    (tmp_path / "b.png.xmp").write_text("rating 5")
    (cluster,) = folder.build({("a", "b"): Match(first_resolution=2.0, second_resolution=0.5)})
    assert not cluster.members[0].removable and cluster.members[0].reason.code == Why.CONTENTS
    assert "b.png.xmp" in cluster.members[0].reason.text


# Versions


def fates(cluster):
    """By name the version, the name of the keeper and whether it goes."""
    return {m.path.stem: (m.version, m.keeper and m.keeper.stem, m.removable)
            for m in (cluster.keeper, *cluster.members)}  # fmt: skip


@pytest.mark.parametrize("remove", ["copies", "edits"])
def test_a_copy_of_a_copy_is_no_version_of_the_first_and_goes_not_through_it(tmp_path, remove):
    """`c` is a copy of `b`, and of `a` an edit."""
    folder = Folder(tmp_path, a=(SIZE, 0.0), b=(SIZE, 0.0), c=(SIZE, 0.1))
    edited = Match(MatchKind.EDITED)
    (cluster,) = folder.build({("a", "b"): Match(), ("b", "c"): Match(), ("a", "c"): edited}, remove=remove)
    assert fates(cluster) == {"a": (1, None, False), "b": (1, "a", True), "c": (2, "a", remove == "edits")}


def two_versions(tmp_path, **more):
    """`a` with its copy `b`, and an edit of them, `c`, with its own copy `d`."""
    folder = Folder(tmp_path, a=(SIZE, 0.0), b=(SIZE, 0.0), c=(SIZE, 0.3), d=(SIZE, 0.3))
    edited = {pair: Match(MatchKind.EDITED) for pair in itertools.product("ab", "cd")}
    return folder, {("a", "b"): Match(), ("c", "d"): Match(), **edited, **more}


def test_each_version_keeps_its_best_file_and_its_copies_go_for_that(tmp_path):
    folder, matches = two_versions(tmp_path)
    (cluster,) = folder.build(matches)
    assert fates(cluster) == {"a": (1, None, False), "b": (1, "a", True), "c": (2, "a", False), "d": (2, "c", True)}
    assert [member.path.stem for member in cluster.members] == ["b", "c", "d"]
    assert cluster.members[1].reason == (Why.LEVEL, "edited: another version; --remove edits could let it go")
    assert [member.kind for member in cluster.members] == ["resaved", "edited", "resaved"]


def test_with_edits_all_go_for_the_keeper_of_the_cluster(tmp_path):
    folder, matches = two_versions(tmp_path)
    (cluster,) = folder.build(matches, remove="edits")
    assert fates(cluster) == {"a": (1, None, False), "b": (1, "a", True), "c": (2, "a", True), "d": (2, "a", True)}


def test_with_edits_what_the_keeper_does_not_show_all_of_stays_though_its_best_file_goes(tmp_path):
    folder, matches = two_versions(tmp_path)
    matches["a", "d"] = Match(MatchKind.EDITED, second_coverage=0.8)
    (cluster,) = folder.build(matches, remove="edits")
    assert fates(cluster)["c"] == (2, "a", True) and fates(cluster)["d"] == (2, "a", False)


def test_what_neither_the_keeper_nor_the_best_that_stays_lets_go_is_told_of_the_keeper(tmp_path):
    """Of the version of `c`, which goes, `d` and `e` are copies of it and of each other not."""
    folder = Folder(tmp_path, **{name: (SIZE, 0.0) for name in "abcde"})
    matches = {(name, other): Match(MatchKind.EDITED, first_coverage=0.9) for name in "ab" for other in "cde"}
    matches |= {("a", name): Match(MatchKind.EDITED, first_coverage=0.9, second_coverage=0.8) for name in "de"}
    matches |= {("a", "b"): Match(), ("c", "d"): Match(), ("c", "e"): Match()}
    found = fates(folder.build(matches, remove="edits", tested=matches)[0])
    assert found["c"] == (2, "a", True) and found["d"] == (2, "a", False) and found["e"] == (2, "a", False)


def test_with_edits_copies_of_an_edit_that_stays_go_for_that(tmp_path):
    folder, matches = two_versions(tmp_path)
    for name in "cd":
        matches["a", name] = Match(MatchKind.EDITED, second_coverage=0.8)
    (cluster,) = folder.build(matches, remove="edits")
    assert fates(cluster)["c"] == (2, "a", False) and fates(cluster)["d"] == (2, "c", True)


@pytest.mark.parametrize("remove", ["copies", "edits"])
def test_what_a_comparison_at_full_resolution_finds_has_a_file_stay(tmp_path, remove):
    """It is made for each file that would go, and for no other."""
    folder, matches = two_versions(tmp_path)
    looked = []

    def why_they_stay(jobs, workers):
        looked.extend((member.stem, keeper.stem) for member, keeper, *_ in jobs)
        return ["more" if job[0].stem == "c" else "" for job in jobs]

    (cluster,) = folder.build(matches, remove=remove, closer=why_they_stay)
    found = fates(cluster)
    assert found["b"] == (1, "a", True) and found["c"] == (2, "a", False)
    assert found["d"] == (2, "c" if remove == "copies" else "a", True)
    stays = next(member.reason for member in cluster.members if member.path.stem == "c")
    assert stays.code == (Why.LEVEL if remove == "copies" else Why.CLOSER)
    assert set(looked) == {("b", "a"), ("d", "c")} if remove == "copies" else {("b", "a"), ("c", "a"), ("d", "a")}
    assert len(looked) == len(set(looked))


@pytest.mark.parametrize("remove", REMOVE)
def test_a_member_tells_what_becomes_of_it_at_every_level(tmp_path, remove):
    """As a run at that level does, but for what only a comparison at full resolution, of another level, can tell."""
    folder, matches = two_versions(tmp_path)
    runs = {level: folder.build(matches, remove=level)[0] for level in REMOVE}
    for place, member in enumerate(runs[remove].members):
        for level, choice in zip(LEVELS, member.levels, strict=True):
            there = runs[level].members[place]
            assert (choice.keeper, there.path) == (there.keeper, member.path)
            if level == remove or there.reason:
                assert choice.reason == there.reason
            else:
                is_compared = choice.keeper == member.keeper and member.removable
                assert choice.reason == (None if is_compared else UNSEEN)


def test_what_was_lost_has_a_file_stay_at_every_level(tmp_path):
    folder, matches = two_versions(tmp_path)
    clusters = folder.build(matches)
    copy, edit = clusters[0].members[0], clusters[0].members[1]
    kept = staying(clusters, Losses({(copy.path,): "gone", (edit.path,): "gone"}))[0].members
    assert [choice.reason.code for choice in kept[0].levels] == [Why.LEVEL, Why.LOST, Why.LOST]
    assert [choice.reason.code for choice in kept[1].levels] == [Why.LEVEL, Why.LEVEL, Why.LOST]
    assert [choice.reason.code for choice in kept[2].levels] == [
        Why.LEVEL,
        Why.LOST,
        Why.UNSEEN,
    ]


@pytest.mark.parametrize(
    ("place", "more", "changes"),
    [
        ((1, 0, 0, 0, 1, 0, 0, 0, 1), {}, ()),
        ((-1, 0, 1, 0, 1, 0, 0, 0, 1), {}, ("mirrored",)),
        ((1, 0, 0, 0, -1, 1, 0, 0, 1), {}, ("mirrored",)),
        ((0, -1, 1, 1, 0, 0, 0, 0, 1), {}, ("turned",)),
        ((-1, 0, 1, 0, -1, 1, 0, 0, 1), {}, ("turned",)),
        ((0, 1, 0, 1, 0, 0, 0, 0, 1), {"chroma": 0.5, "kept_chroma": 20.0}, ("turned", "mirrored", "grey")),
        ((0.5, 0, 0.2, 0, 0.5, 0.1, 0, 0, 1), {"marks": 0.02}, ("marked",)),
        ((), {"marks": 0.02}, ()),
    ],
)
def test_what_was_done_to_a_version(place, more, changes):
    view = View(MatchKind.EDITED, 1.0, 1.0, 1.0, 0.0, 0.0)._replace(**more)
    assert changes_of(view, place) == changes
    assert changes_of(view._replace(kind=MatchKind.RESAVED), place) == ()


def test_the_keeper_of_the_cluster_is_of_the_version_that_covers_most(tmp_path):
    """The whole picture, though a crop has as many pixels and the middle is elsewhere."""
    folder = Folder(tmp_path, crop=(SIZE, 0.1), deeper=(SIZE, 0.11), whole=(SIZE, 0.4))
    matches = {
        ("crop", "whole"): Match("crop", second_coverage=0.6),
        ("deeper", "whole"): Match("crop", second_coverage=0.3),
        ("crop", "deeper"): Match("crop", first_coverage=0.5),
    }
    (cluster,) = folder.build(matches, tested=[("deeper", "whole"), ("crop", "whole")], remove="edits")
    assert (cluster.keeper.path.stem, cluster.why) == ("whole", "shows all of 2 of 2 others")
    assert [member.path.stem for member in cluster.members] == ["deeper", "crop"]  # the nearest first
    assert all(member.removable for member in cluster.members)


def test_of_versions_that_cover_as_much_the_finer_one_has_the_keeper(tmp_path):
    """`a` shows the others at twice the resolution; in the next folder only its margins are larger."""
    files = {"a": ((80, 60), 0.3), "b": (SIZE, 0.0), "c": (SIZE, 0.05)}
    finer = Match(MatchKind.EDITED, first_resolution=2.0, second_resolution=0.5)
    other = {("b", "c"): Match(MatchKind.EDITED)}
    (cluster,) = Folder(tmp_path, **files).build({("a", "b"): finer, ("a", "c"): finer, **other})
    assert cluster.keeper.path.stem == "a"
    wide = {pair: Match(MatchKind.EDITED) for pair in itertools.combinations("abc", 2)}
    folder = Folder(tmp_path, **files)
    os.utime(tmp_path / "c.png", (10**8, 10**8))
    (cluster,) = folder.build(wide)
    assert cluster.keeper.path.stem == "c"


def test_a_chained_member_stays(tmp_path):
    folder = Folder(tmp_path, a=(SIZE, 0.0), b=(SIZE, 0.1), c=(SIZE, 0.2), d=(SIZE, 0.7), e=(SIZE, 0.1))
    os.utime(tmp_path / "b.png", (10**8, 10**8))
    matches = {("a", "b"): Match(), ("b", "c"): Match(), ("b", "e"): Match(), ("c", "d"): Match()}
    (cluster,) = folder.build(matches, tested=matches)
    assert cluster.keeper.path.stem == "b"
    last = cluster.members[-1]
    assert (last.path.stem, last.kind, last.removable, last.coverage) == ("d", "indirect", False, 0.0)
    assert last.reason == (Why.INDIRECT, "no match of its own to the kept file")


def test_few_pairs_are_asked_for(tmp_path):
    """Linear in the size of the cluster: a few keepers are tried, and the best of each chain."""
    count = 30
    folder = Folder(tmp_path, **{f"{number:02}": (SIZE, number / 100) for number in range(count)})
    matches = {(a, b): Match() for a in folder.names for b in folder.names if a < b}
    (cluster,) = folder.build(matches)
    assert sum(member.removable for member in cluster.members) == count - 1
    assert folder.verifier.asked <= 8 * count


def test_versions_are_found_with_few_pairs(tmp_path):
    """Ten edits, each in three copies: those of one edit are nearest to each other."""
    names = {f"{edit:02}{copy}": (SIZE, edit / 5 + copy / 1000) for edit in range(10) for copy in range(3)}
    folder = Folder(tmp_path, **names)
    matches = {
        (a, b): Match(MatchKind.RESAVED if a[:2] == b[:2] else MatchKind.EDITED)
        for a, b in itertools.combinations(folder.names, 2)
    }
    (cluster,) = folder.build(matches)
    assert {m.path.stem for m in cluster.members if not m.removable} | {cluster.keeper.path.stem} == {
        f"{edit:02}0" for edit in range(10)
    }
    assert {m.path.stem[:2] for m in cluster.members if m.keeper.stem[:2] != m.path.stem[:2]} == {
        m.path.stem[:2] for m in cluster.members if m.version > 1
    }
    assert folder.verifier.asked <= 8 * len(names)


def contains(part_is_first, share=0.4):
    coverages = (1.0, share) if part_is_first else (share, 1.0)
    return Match("contains", 0.2, *coverages)


def names_of(clusters):
    return [[cluster.keeper.path.stem, *(member.path.stem for member in cluster.members)] for cluster in clusters]


def test_a_container_comes_with_the_part_that_makes_up_most_of_it(tmp_path):
    """`z` shows both `a` and `c`; it joins no clusters."""
    folder = Folder(tmp_path, a=(SIZE, 0.0), b=(SIZE, 0.0), c=(SIZE, 1.0), d=(SIZE, 1.0), z=((90, 90), 0.5))
    matches = {
        ("a", "b"): Match("identical"),
        ("c", "d"): Match("identical"),
        ("a", "z"): contains(True, 0.3),
        ("c", "z"): contains(True, 0.4),
    }
    clusters = folder.build(matches, labels=[0, 0, 1, 1, -1], tested=[("a", "z"), ("c", "z")])
    assert sorted(names_of(clusters)) == [["a", "b"], ["c", "d", "z"]]
    container = next(cluster for cluster in clusters if len(cluster.members) == 2).members[-1]
    assert (container.kind, container.removable, container.coverage) == ("contains", False, 0.4)
    assert container.reason.text == "shows the kept file beside other things"


def test_a_container_of_another_member_than_the_keeper(tmp_path):
    folder = Folder(tmp_path, a=((80, 60), 0.0), b=(SIZE, 0.1), z=((90, 90), 0.5))
    matches = {("a", "b"): Match(second_resolution=0.5, first_resolution=2.0), ("b", "z"): contains(True, 0.2)}
    (cluster,) = folder.build(matches, labels=[0, 0, -1], tested=[("b", "z")])
    assert cluster.keeper.path.stem == "a"
    assert cluster.members[-1].reason.text == "shows a member of the cluster beside other things"
    assert (cluster.members[-1].kind, cluster.members[-1].coverage) == ("contains", 0.2)


def test_a_container_never_goes_even_for_a_copy_of_it(tmp_path):
    folder = Folder(tmp_path, a=((80, 60), 0.0), b=(SIZE, 0.1), z=(SIZE, 0.5))
    copy = Match(second_resolution=0.5, first_resolution=2.0)
    matches = {("a", "b"): copy, ("b", "z"): contains(True), ("a", "z"): copy}
    (cluster,) = folder.build(matches, labels=[0, 0, -1], tested=[("b", "z")])
    assert [(member.path.stem, member.removable) for member in cluster.members] == [("b", True), ("z", False)]


def test_a_container_in_a_cluster_of_its_own_stays_there(tmp_path):
    folder = Folder(tmp_path, a=(SIZE, 0.0), b=(SIZE, 0.0), y=((90, 90), 0.5), z=((90, 90), 0.5))
    matches = {("a", "b"): Match("identical"), ("y", "z"): Match("identical"), ("a", "z"): contains(True)}
    clusters = folder.build(matches, labels=[0, 0, 1, 1], tested=[("a", "z")])
    assert sorted(names_of(clusters)) == [["a", "b"], ["y", "z"]]


def test_a_container_of_a_file_without_copies(tmp_path):
    """They make a cluster in which nothing goes; what contains the container comes along."""
    folder = Folder(tmp_path, m=((90, 90), 0.5), n=(SIZE, 0.0), o=((99, 99), 0.7), p=(SIZE, 0.9))
    matches = {("m", "n"): contains(False), ("m", "o"): contains(True)}
    clusters = folder.build(matches, labels=[-1] * 4, tested=matches)
    assert names_of(clusters) == [["n", "m", "o"]]
    assert not any(member.removable for member in clusters[0].members)


def test_files_that_contain_each_other_are_a_cluster(tmp_path):
    folder = Folder(tmp_path, a=(SIZE, 0.0), b=(SIZE, 0.1), c=(SIZE, 0.2))
    circle = {("a", "b"): contains(True), ("b", "c"): contains(True), ("a", "c"): contains(False)}
    assert names_of(folder.build(circle, labels=[-1] * 3, tested=circle)) == [["a", "b", "c"]]


def test_what_frees_most_comes_first(tmp_path):
    folder = Folder(tmp_path, **{name: (SIZE, 0.0) for name in "abcdef"})
    with (tmp_path / "d.png").open("ab") as file:
        file.write(bytes(500))
    os.utime(tmp_path / "c.png", (1, 1))
    matches = {("a", "b"): Match(), ("c", "d"): Match(), ("e", "f"): Match()}
    same = {pair: replace(match, kind="identical") for pair, match in matches.items()}
    clusters = folder.build(same, labels=[0, 0, 1, 1, 2, 2])
    assert names_of(clusters) == [["c", "d"], ["a", "b"], ["e", "f"]]
    assert [cluster.number for cluster in clusters] == [1, 2, 3]
    for name in "ef":
        with (tmp_path / f"{name}.png").open("ab") as file:
            file.write(bytes(600))
    assert names_of(folder.build(same, labels=[0, 0, 1, 1, 2, 2]))[0] == ["e", "f"]


def test_without_a_verifier_what_is_near_the_keeper_may_go(tmp_path):
    folder = Folder(tmp_path, a=((80, 60), 0.0), b=(SIZE, 0.2), c=(SIZE, 0.4), d=(SIZE, 0.1))
    epsilon = 1 - np.cos(0.2)
    (cluster,) = folder.build(None, epsilon=epsilon)
    assert fates(cluster) == {"a": (1, None, False), "b": (1, "a", True), "d": (1, "a", True), "c": (2, "a", False)}
    assert {member.path.stem: member.kind for member in cluster.members} == {"b": "near", "d": "near", "c": "indirect"}
    with pytest.raises(ValueError, match="epsilon"):
        folder.build(None)


def test_without_a_verifier_nothing_is_surely_the_same(tmp_path):
    folder = Folder(tmp_path, a=((80, 60), 0.0), b=(SIZE, 0.0))
    (cluster,) = folder.build(None, epsilon=0.1, remove="exact")
    assert cluster.members[0].reason.code == Why.LEVEL


def test_a_file_that_vanished_neither_goes_nor_is_kept_for_others(tmp_path):
    folder = Folder(tmp_path, a=((80, 60), 0.0), b=(SIZE, 0.0), c=(SIZE, 0.0))
    (tmp_path / "a.png").unlink()
    alike = {pair: Match() for pair in (("a", "b"), ("a", "c"), ("b", "c"))}
    (cluster,) = folder.build(alike)
    assert cluster.keeper.path.stem == "b"
    assert {member.path.stem: member.removable for member in cluster.members} == {"a": False, "c": True}


def test_no_clusters(tmp_path):
    assert Folder(tmp_path, a=(SIZE, 0.0), b=(SIZE, 1.0)).build({}, labels=[-1, -1]) == []
    nothing = Embeddings([], np.empty((0, 2), np.float32), np.empty((0, 2), int), {})
    assert build_clusters(nothing, np.empty(0, int), None, Path(tmp_path), 0.1) == []


# Which file of a version is kept: one test for each field of the key, in its order


def save(path, image=None, age=10**9, **options):
    (image or photo()).save(path, **options)
    os.utime(path, (age, age))
    return path


def kept(cluster):
    return cluster.keeper.path.name, cluster.why


def jpegs(path, **qualities):
    """JPEGs of one photo, each saved from the one before; a PNG where the quality is None."""
    image = photo()
    for name, quality in qualities.items():
        file = path / f"{name}.{'jpg' if quality else 'png'}"
        image.save(file, **({"quality": quality} if quality else {}))
        os.utime(file, (10**9, 10**9))
        image = Image.open(file).convert("RGB")


def cluster_of_files(path, vectors=None, places=NOWHERE, remove="copies"):
    """The one cluster of a folder's files, confirmed by the real verifier."""
    paths = sorted(file for file in path.rglob("*") if file.is_file())
    sizes = np.array([Image.open(file).size for file in paths])
    vectors = np.tile(np.float32([1, 0]), (len(paths), 1)) if vectors is None else vectors
    verifier = RealVerifier(paths, 0, progress=False)
    embeddings, labels = Embeddings(paths, vectors, sizes, {}), np.zeros(len(paths), int)
    (cluster,) = build_clusters(embeddings, labels, verifier, path, places=places, remove=remove)
    return cluster


def test_the_one_with_more_detail_is_kept_however_it_is_compressed(tmp_path):
    large = Image.open(save(tmp_path / "z.jpg", quality=70)).convert("RGB")
    save(tmp_path / "a.png", large.resize((large.width // 2, large.height // 2), Image.Resampling.LANCZOS), age=10**8)
    cluster = cluster_of_files(tmp_path)
    assert kept(cluster) == ("z.jpg", "4.0x the pixels") and cluster.members[0].removable


@pytest.mark.parametrize("times", [2, 4])
@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_more_pixels_without_more_detail_are_nothing(tmp_path, times, name):
    small = Image.open(save(tmp_path / "z.jpg", quality=85)).convert("RGB")
    size = (times * small.width, times * small.height)
    save(tmp_path / name, small.resize(size, Image.Resampling.BICUBIC), age=10**8)
    cluster = cluster_of_files(tmp_path)
    assert kept(cluster) == ("z.jpg", "the larger one is an enlargement")
    assert cluster.members[0].removable


def test_of_files_with_as_much_detail_one_in_a_protected_folder_is_kept(tmp_path):
    (tmp_path / "album").mkdir()
    save(tmp_path / "album" / "a.jpg", quality=85)
    save(tmp_path / "a.jpg", quality=95, age=10**8)
    cluster = cluster_of_files(tmp_path, places=Places.find(tmp_path, protect=[tmp_path / "album"]))
    assert cluster.keeper.path.parent.name == "album" and cluster.why == "lies in a protected folder"
    assert cluster.members[0].removable


PREFERENCES = {
    "oldest": "old.jpg",
    "newest": "z.png",
    "largest": "z.png",
    "smallest": "old.jpg",
    "webp": "new.webp",
    "folder:album": "old.jpg",
    "tif,smallest": "old.jpg",
    "folder:.,webp": "new.webp",
}


def prefer(folder, words):
    return NOWHERE.preferring(folder, [word for word in words.split(",") if word != "folder:."])


@pytest.mark.parametrize("words", PREFERENCES)
def test_the_file_that_is_preferred_is_kept_and_the_why_says_so(tmp_path, words):
    (tmp_path / "album").mkdir()
    source = Image.open(save(tmp_path / "album" / "old.jpg", quality=80, age=10**8)).convert("RGB")
    save(tmp_path / "new.webp", source, age=10**9, quality=85)
    save(tmp_path / "z.png", source, age=10**9 + 86_400)
    cluster = cluster_of_files(tmp_path, places=prefer(tmp_path, words))
    assert kept(cluster) == (PREFERENCES[words], f"preferred: {words.split(',')[-1]}")


def test_capture_times_come_before_times_of_change(tmp_path):
    for name, year in {"a.jpg": 2020, "b.jpg": 2010}.items():
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9003] = f"{year}:01:01 10:00:00"
        save(tmp_path / name, quality=90, age=10**9 - year, exif=exif)
    for word, name in (("oldest", "b.jpg"), ("newest", "a.jpg")):
        cluster = cluster_of_files(tmp_path, places=prefer(tmp_path, word))
        assert kept(cluster) == (name, f"preferred: {word}") and not cluster.members[0].removable  # another time


def test_no_preference_costs_detail_or_contents(tmp_path):
    """The preferred file stays, and beside it what shows or holds more."""
    exif = Image.Exif()
    exif[0x0110] = "Box Brownie"
    image = photo()
    small = image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)
    for name, (made, more) in {
        "small": (small, {}),
        "enlarged": (small.resize(image.size, Image.Resampling.BICUBIC), {}),
        "soft": (image.filter(ImageFilter.GaussianBlur(2)), {}),
        "coarse": (image, {"quality": 20}),
        "without": (image, {}),
    }.items():
        folder = tmp_path / name
        (folder / "Chosen").mkdir(parents=True)
        save(folder / "Chosen" / "a.jpg", made, age=10**8, **({"quality": 90} | more))
        save(folder / "b.jpg", image, age=10**9, quality=95, **({"exif": exif} if name == "without" else {}))
        for words in ("folder:Chosen", "oldest"):
            cluster = cluster_of_files(folder, places=prefer(folder, words), remove="edits")
            (member,) = cluster.members
            assert (cluster.keeper.path.name, member.removable) == ("a.jpg", False), name


@pytest.mark.parametrize(
    ("coarser", "why"), [({"quality": 60}, "compressed 4.0x finer"), ({"quality": 88}, "compressed 1.2x finer")]
)
def test_the_least_compressed_is_kept_though_it_is_younger_and_tells_less(tmp_path, coarser, why):
    exif = Image.Exif()
    exif[0x0110] = "Box Brownie"
    save(tmp_path / "z.jpg", quality=90)
    save(tmp_path / "a.jpg", quality=coarser["quality"], age=10**8, exif=exif)
    assert kept(cluster_of_files(tmp_path)) == ("z.jpg", why)


def test_what_lost_nothing_is_kept(tmp_path):
    save(tmp_path / "z.png")
    save(tmp_path / "a.jpg", quality=97, age=10**8)
    assert kept(cluster_of_files(tmp_path)) == ("z.png", "saved without loss")


@pytest.mark.parametrize("again", [{"quality": 98}, {"quality": 75}, {}])
@pytest.mark.parametrize("first", [60, 70])
def test_what_was_saved_again_finer_goes_for_what_it_was_made_from(tmp_path, first, again):
    """Its steps tell nothing then, and the older one stays."""
    source = Image.open(save(tmp_path / "z.jpg", quality=first)).convert("RGB")
    save(tmp_path / ("a.jpg" if again else "a.png"), source, age=10**9 + 86_400, **again)
    cluster = cluster_of_files(tmp_path)
    assert kept(cluster) == ("z.jpg", "older by 1 day") and cluster.members[0].removable


def test_what_was_saved_again_finer_does_not_stay_for_a_webp_beside_it(tmp_path):
    """A WebP's compression is told by the JPEGs beside it, here by one that must not count by its own steps."""
    source = Image.open(save(tmp_path / "z.jpg", quality=70)).convert("RGB")
    save(tmp_path / "b.jpg", source, age=10**9 + 86_400, quality=85)
    save(tmp_path / "a.webp", source, age=10**9 + 43_200, quality=80)
    cluster = cluster_of_files(tmp_path)
    assert kept(cluster) == ("z.jpg", "older by 12 hours") and all(member.removable for member in cluster.members)


def test_a_lossless_file_with_just_the_pixels_of_a_jpeg_goes_for_it(tmp_path):
    source = Image.open(save(tmp_path / "z.jpg", quality=99)).convert("RGB")
    save(tmp_path / "a.png", source, age=10**9 + 86_400)
    cluster = cluster_of_files(tmp_path)
    assert kept(cluster) == ("z.jpg", "older by 1 day")
    assert cluster.members[0].kind == MatchKind.SAME_PIXELS


@pytest.mark.parametrize(("quality", "name"), [(97, "z.jpg"), (80, "a.webp"), (15, "a.webp")])
def test_how_a_webp_is_compressed_is_told_by_its_bits_where_these_are_clear(tmp_path, quality, name):
    """Else the older one is kept, the WebP here."""
    save(tmp_path / "z.jpg", quality=quality)
    save(tmp_path / "a.webp", quality=85, age=10**8 if quality == 80 else 10**9 + 5)
    assert cluster_of_files(tmp_path).keeper.path.name == name


def test_what_holds_more_beside_its_picture_is_kept_though_it_is_younger(tmp_path):
    exif = Image.Exif()
    exif[0x0110] = "Box Brownie"
    save(tmp_path / "a.jpg", quality=85, age=10**8)
    save(tmp_path / "z.jpg", quality=85, exif=exif)
    assert kept(cluster_of_files(tmp_path)) == ("z.jpg", "has the camera")


def test_the_older_is_kept_then_what_is_not_named_a_copy_then_the_first(tmp_path):
    for name, age in {"a (1)": 10**9, "b": 10**9, "c": 10**8 + 86_400}.items():
        save(tmp_path / f"{name}.png", age=age)
    assert kept(cluster_of_files(tmp_path)) == ("c.png", "older by 10,415 days")
    (tmp_path / "c.png").unlink()
    assert kept(cluster_of_files(tmp_path)) == ("b.png", "the other is named a copy")
    (tmp_path / "a (1).png").rename(tmp_path / "a.png")
    cluster = cluster_of_files(tmp_path)
    assert kept(cluster) == ("a.png", "first by name") and cluster.members[0].removable


def test_why_is_told_against_the_first_that_holds_other_bytes(tmp_path):
    jpegs(tmp_path, b=90, e=40)
    for name, age in {"a": 3, "c": 1, "d": 2}.items():
        (tmp_path / f"{name}.jpg").write_bytes((tmp_path / "b.jpg").read_bytes())
        os.utime(tmp_path / f"{name}.jpg", (10**8 + 86_400 * age,) * 2)
    cluster = cluster_of_files(tmp_path)
    assert kept(cluster) == ("c.jpg", "compressed 6.3x finer")
    assert all(member.removable for member in cluster.members)
    (tmp_path / "e.jpg").unlink()
    assert kept(cluster_of_files(tmp_path)) == ("c.jpg", "older by 1 day")


def test_a_smoother_copy_with_finer_steps_is_another_version(tmp_path):
    save(tmp_path / "z.jpg", quality=85)
    save(tmp_path / "a.jpg", photo().filter(ImageFilter.GaussianBlur(1)), age=10**8, quality=92)
    assert not any(member.removable for member in cluster_of_files(tmp_path).members)


# On real pixels: what may not be lost


@pytest.mark.parametrize("change", ["blurred", "small and large again"])
def test_a_sharp_picture_stays_though_a_soft_copy_is_compressed_finer(tmp_path, change):
    image = photo()
    image.save(tmp_path / "z.jpg", quality=70)
    if change == "blurred":
        soft = image.filter(ImageFilter.GaussianBlur(2))
    else:
        soft = image.resize([side // 3 for side in image.size]).resize(image.size)
    soft.save(tmp_path / "a.jpg", quality=95)
    cluster = cluster_of_files(tmp_path, remove="edits")
    assert [m.path.name for m in cluster.members if m.removable] in ([], ["a.jpg"])


@pytest.mark.parametrize(("quality", "goes"), [(30, False), (75, True)])
@pytest.mark.parametrize("own", [95, None])
@pytest.mark.parametrize("option", ["prefer", "protect"])
def test_no_file_goes_for_a_strongly_compressed_copy_in_a_folder_that_is_kept(tmp_path, quality, own, goes, option):
    (tmp_path / "album").mkdir()
    better = tmp_path / f"better.{'jpg' if own else 'png'}"
    photo().save(better, **({"quality": own} if own else {}))
    Image.open(better).convert("RGB").save(tmp_path / "album" / "coarse.jpg", quality=quality)
    protected = Places.find(tmp_path, protect=[tmp_path / "album"])
    places = protected if option == "protect" else prefer(tmp_path, "folder:album")
    (member,) = (cluster := cluster_of_files(tmp_path, places=places)).members
    assert (cluster.keeper.path.name, member.removable) == ("coarse.jpg", goes)
    assert goes or member.reason.code == Why.COMPRESSION


EDITS = {
    "mirrored": ImageOps.mirror,
    "upside down": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "brighter": lambda image: image.point(lambda level: 1.2 * level + 5),
    "grey": lambda image: image.convert("L").convert("RGB"),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edit_stays_unless_edits_may_go(tmp_path, edit):
    save(tmp_path / "a.jpg", coloured(), quality=95)
    save(tmp_path / "b.jpg", edit(coloured()), quality=80)
    for remove in REMOVE:
        (member,) = cluster_of_files(tmp_path, remove=remove).members
        assert (member.path.name, member.version, member.removable) == ("b.jpg", 2, remove == "edits")


@pytest.mark.parametrize("scale", [1, 1.5])
@pytest.mark.parametrize("quality", [60, 97])
def test_a_picture_with_colours_never_goes_for_one_in_sepia(tmp_path, scale, quality):
    with_colours = coloured()
    with_colours.save(tmp_path / "colours.jpg", quality=75)
    larger = with_colours.resize([round(scale * side) for side in with_colours.size], Image.Resampling.LANCZOS)
    samples._sepia(larger).save(tmp_path / "sepia.jpg", quality=quality)
    cluster = cluster_of_files(tmp_path, remove="edits")
    going = [member.path.name for member in cluster.members if member.removable]
    assert "colours.jpg" not in going


def test_a_file_whose_keeper_is_strongly_compressed_stays_whatever_the_format():
    view = View(MatchKind.RESAVED, 1.0, 1.0, 1.0, 0.0, 0.0)
    whole, fine, web = Details(True, 0.0, 15.0), Details(False, 1.4, 3.5), Details(False, 0.0, 0.4)
    assert lost_in_compression(view, whole, web) and lost_in_compression(view, fine, web)
    assert not lost_in_compression(view, fine, web._replace(bits=2.0)) and not lost_in_compression(view, web, web)
    assert not lost_in_compression(view, web, fine) and not lost_in_compression(view, web, whole)
