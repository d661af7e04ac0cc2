"""Clusters: labels worked out by hand, who is kept, what may go for it and what may not, each beside its contrary."""

import io
import itertools
import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps
from scipy.sparse import csr_matrix

from dedup.clustering import keeper
from dedup.clustering import pairs as pairs_module
from dedup.clustering.clusters import build_clusters, cluster_labels
from dedup.clustering.criteria import SOURCE, Verdict
from dedup.clustering.pairs import Pairs
from dedup.dataset import samples
from dedup.dataset.folder_rules import NOWHERE, Places
from dedup.encoder.embeddings import Embeddings
from dedup.matching.confirmation import Verifier as RealVerifier
from dedup.matching.kinds import MatchKind
from tests.clustering.test_provenance import WHOLE, coloured, photo


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


@dataclass(frozen=True)
class Match:
    kind: str = "resaved"
    distance: float = 0.01
    first_coverage: float = 1.0
    second_coverage: float = 1.0
    transform: tuple | None = None
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
        self.matches, self.asked, self.num_workers = {}, 0, 0

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

    def build(self, matches=None, labels=None, epsilon=None, tested=()):
        labels = np.zeros(len(self.names), int) if labels is None else np.array(labels)
        self.verifier = None if matches is None else Verifier(self.names, matches)
        for first, second in tested:
            self.verifier.match(self.names.index(first), self.names.index(second), 0.1)
        return build_clusters(self.embeddings, labels, self.verifier, self.path, epsilon)


SIZE = (40, 30)


@pytest.fixture
def pair(tmp_path):
    """`a`, the sharper and older one and so the keeper, and `b`, with the match that is asked for."""

    def build(**match):
        folder = Folder(tmp_path, a=((80, 60), 0.0), b=(SIZE, 0.1))
        with (tmp_path / "a.png").open("ab") as file:
            file.write(bytes(10_000))
        os.utime(tmp_path / "a.png", (10**8, 10**8))
        match = {"second_resolution": 0.5, "first_resolution": 2.0, **match}
        (cluster,) = folder.build({("a", "b"): Match(**match)})
        (member,) = cluster.members
        assert cluster.keeper.path.stem == "a"
        assert (cluster.keeper.kind, cluster.keeper.distance, cluster.keeper.removable) == ("keeper", 0.0, False)
        return member

    return build


@pytest.mark.parametrize("kind", [kind for kind in MatchKind if kind.joins])
def test_a_covered_member_may_go(pair, kind):
    member = pair(kind=kind, second_coverage=0.97, first_coverage=0.3, second_extra=0.25)
    assert (member.removable, member.reason, member.kind, member.coverage) == (True, "", kind, 0.97)
    assert member.distance == pytest.approx(1 - np.cos(0.1), abs=1e-6)
    assert (member.width, member.height, member.bytes) == (*SIZE, member.path.stat().st_size)


@pytest.mark.parametrize(
    ("match", "reason"),
    [
        ({"second_coverage": 0.86}, "14 % of it is not in the kept file"),
        ({"kind": "crop", "second_coverage": 0.9699}, "3 % of it is not in the kept file"),
        ({"first_resolution": 0.7142}, "has 1.4 x the resolution of the kept file"),
        ({"first_resolution": 0.9699}, "has 1.03 x the resolution of the kept file"),
        ({"first_resolution": 0.0}, "has 100.0 x the resolution of the kept file"),
        ({"second_extra": 0.31}, "has marks of its own over 31 % of it"),
        ({"second_coverage": 0.9, "second_extra": 0.1}, "has marks of its own over 10 % of it"),
        ({"second_coverage": 0.7, "second_extra": 0.1}, "30 % of it is not in the kept file"),
        ({"first_extra": 0.04}, "the kept file has marks over 4 % of it"),
        ({"first_chroma": 1.0}, "has colours the kept file lacks"),
        ({"kind": "similar"}, "similar, not confirmed"),
        ({"kind": "another"}, "similar, not confirmed"),
        ({"kind": "contains", "second_coverage": 0.4}, "shows the kept file beside other things"),
        ({"kind": "contains", "first_coverage": 0.4}, "the kept file shows it beside other things"),
    ],
)
def test_what_is_not_covered_stays_and_says_why(pair, match, reason):
    member = pair(**match)
    assert (member.removable, member.reason) == (False, reason)


def test_a_file_with_something_inside_stays(tmp_path):
    folder = Folder(tmp_path, a=((80, 60), 0.0), b=(SIZE, 0.1))
    (tmp_path / "b.png.xmp").write_text("rating 5")
    (cluster,) = folder.build({("a", "b"): Match(first_resolution=2.0, second_resolution=0.5)})
    assert not cluster.members[0].removable
    assert "b.png.xmp" in cluster.members[0].reason


def test_what_a_closer_look_found_outlives_a_look_for_enlargements(tmp_path, monkeypatch):
    folder = Folder(tmp_path, a=(SIZE, 0.0), b=((80, 60), 0.1))
    match = Match(first_resolution=0.5, second_resolution=2.0, transform=tuple(np.eye(3).ravel()))
    verifier = Verifier(folder.names, {("a", "b"): match})
    verifier.match(0, 1, 0.1)
    looked = []
    monkeypatch.setattr(pairs_module, "why_they_stay", lambda jobs, _: looked.extend(jobs) or ["more"] * len(jobs))
    pairs = Pairs(folder.embeddings, verifier, tmp_path, None)
    for _ in range(2):
        pairs.look_closer([(0, 1)])
    pairs.is_enlarged(0, 1)  # what follows from it is found anew
    assert len(looked) == 1 and (pairs.member(0, 1).removable, pairs.member(0, 1).reason) == (False, "more")


def test_the_keeper_covers_the_others(tmp_path):
    """The whole picture is kept, though a crop has as many pixels and the middle is elsewhere."""
    folder = Folder(tmp_path, crop=(SIZE, 0.1), deeper=(SIZE, 0.11), whole=(SIZE, 0.4))
    matches = {
        ("crop", "whole"): Match("crop", second_coverage=0.6),
        ("deeper", "whole"): Match("crop", second_coverage=0.3),
        ("crop", "deeper"): Match("crop", first_coverage=0.5),
    }
    (cluster,) = folder.build(matches, tested=[("deeper", "whole"), ("crop", "whole")])
    assert cluster.keeper.path.stem == "whole"
    assert [member.path.stem for member in cluster.members] == ["deeper", "crop"]  # the nearest first
    assert all(member.removable for member in cluster.members)


def test_more_pixels_are_kept_where_they_show_more(tmp_path):
    """`large` has twice the resolution; in the next folder only its margins are larger."""
    files = {"a": ((80, 60), 0.3), "b": (SIZE, 0.0), "c": (SIZE, 0.05)}
    tall = Match(first_resolution=2.0, second_resolution=0.5)
    (cluster,) = Folder(tmp_path, **files).build({("a", "b"): tall, ("a", "c"): tall, ("b", "c"): Match()})
    assert cluster.keeper.path.stem == "a"
    wide = Match()
    (cluster,) = Folder(tmp_path, **files).build({("a", "b"): wide, ("a", "c"): wide, ("b", "c"): Match()})
    assert cluster.keeper.path.stem in "bc"


def test_what_has_no_marks_is_kept(tmp_path):
    """Neither covers the other in full; the marked one is the less compressed."""
    folder = Folder(tmp_path, a=(SIZE, 0.0), b=(SIZE, 0.1))
    with (tmp_path / "a.png").open("ab") as file:
        file.write(bytes(1000))
    (cluster,) = folder.build({("a", "b"): Match(first_coverage=0.9, first_extra=0.1)})
    assert cluster.keeper.path.stem == "b"
    assert cluster.members[0].reason == "has marks of its own over 10 % of it"


def test_the_middle_is_kept_then_the_older_then_the_first(tmp_path):
    files = {name: (SIZE, angle) for name, angle in {"a": -0.4, "b": 0.0, "c": 0.4}.items()}
    alike = {pair: Match() for pair in (("a", "b"), ("a", "c"), ("b", "c"))}
    assert Folder(tmp_path, **files).build(alike)[0].keeper.path.stem == "b"

    twins = Folder(tmp_path, a=(SIZE, 0.0), b=(SIZE, 0.0))
    two = {("a", "b"): Match()}
    assert twins.build(two)[0].keeper.path.stem == "a"
    os.utime(tmp_path / "b.png", (10**8, 10**8))
    assert (twins.build(two)[0].keeper.path.stem, twins.build(two)[0].why) == ("b", "older by 10,416 days")
    with (tmp_path / "a.png").open("ab") as file:
        file.write(bytes(1000))  # more bytes are no less compression where nothing was lost
    assert twins.build(two)[0].keeper.path.stem == "b"


@pytest.mark.parametrize(
    ("names", "kept", "going"), [("ab", "b", ["a"]), ("abc", "a", ["c"]), ("abcd", "a", ["c", "d"])]
)
def test_a_stretched_copy_is_kept_only_where_nothing_else_would_go(tmp_path, names, kept, going):
    """`b` has more pixels along one side; the others are alike."""
    sizes = {name: (50, 30) if name == "b" else SIZE for name in names}
    stretched = {"a": Match(first_resolution=0.8), "c": Match(second_resolution=0.8), "d": Match(second_resolution=0.8)}
    matches = {pair: Match() for pair in itertools.combinations(names, 2)}
    matches |= {tuple(sorted((name, "b"))): stretched[name] for name in names if name != "b"}
    (cluster,) = Folder(tmp_path, **{name: (size, 0.0) for name, size in sizes.items()}).build(matches)
    assert cluster.keeper.path.stem == kept
    assert sorted(member.path.stem for member in cluster.members if member.removable) == list(going)


def test_what_is_better_than_the_keeper_shows_all_of_it(tmp_path):
    """`b` is older than `a`, and `c` has fewer marks than `b`, but does not show all of it."""
    folder = Folder(tmp_path, a=(SIZE, 0.0), b=(SIZE, 0.0), c=(SIZE, 0.0))
    for name, age in {"a": 3, "b": 1, "c": 2}.items():
        os.utime(tmp_path / f"{name}.png", (10**8 + age,) * 2)
    marked = Match(first_coverage=0.96, first_extra=0.03, second_coverage=0.98)
    (cluster,) = folder.build({("a", "b"): Match(), ("a", "c"): Match(), ("b", "c"): marked})
    assert (cluster.keeper.path.stem, cluster.why) == ("b", "older by 2 seconds")


@pytest.mark.parametrize(("known", "kept"), [((), 1), ((1, 2), 3)])
def test_of_files_that_are_each_better_than_the_next_the_one_that_is_better_than_most_is_kept(monkeypatch, known, kept):
    """2 is better than 1, 3 than 2, 1 than 3 and than all others; whoever asks in turn ends at 3 each time.

    known : of which two the one is known to be saved from the other, and so is not kept
    """
    better = dict(zip(itertools.combinations(range(5), 2), (1, 2, 3, 4, 2, 1, 1, 3, 4, 3), strict=True))

    def compare(_, *two_and_rows):
        two = tuple(sorted(two_and_rows[:2]))
        return Verdict(0, better[two], SOURCE if two == known else "")

    monkeypatch.setattr(keeper, "compare", compare)
    monkeypatch.setattr(keeper, "_equals", lambda pairs, rows, keeper: iter(row for row in rows if row != keeper))
    monkeypatch.setattr(keeper, "_shows_all", lambda pairs, row, other: True)
    search = keeper.better_equal(SimpleNamespace(is_enlarged=lambda *rows: False), range(5), 0)
    with pytest.raises(StopIteration) as end:
        while pair := next(search):
            assert pair
    assert end.value.value == kept


def test_a_chained_member_stays(tmp_path):
    folder = Folder(tmp_path, a=(SIZE, 0.0), b=(SIZE, 0.1), c=(SIZE, 0.2), d=(SIZE, 0.7), e=(SIZE, 0.1))
    matches = {("a", "b"): Match(), ("b", "c"): Match(), ("b", "e"): Match(), ("c", "d"): Match()}
    (cluster,) = folder.build(matches)
    assert cluster.keeper.path.stem == "b"
    last = cluster.members[-1]
    assert (last.path.stem, last.kind, last.removable, last.coverage) == ("d", "indirect", False, 0.0)
    assert last.reason == "no match of its own to the kept file"


def test_few_pairs_are_asked_for(tmp_path):
    """Linear in the size of the cluster: at most five keepers are tried, some pairs with each that is better."""
    count = 30
    folder = Folder(tmp_path, **{f"{number:02}": (SIZE, number / 100) for number in range(count)})
    matches = {(a, b): Match() for a in folder.names for b in folder.names if a < b}
    (cluster,) = folder.build(matches)
    assert sum(member.removable for member in cluster.members) == count - 1
    assert folder.verifier.asked <= 8 * count


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
    assert container.reason == "shows the kept file beside other things"


def test_a_container_of_another_member_than_the_keeper(tmp_path):
    folder = Folder(tmp_path, a=((80, 60), 0.0), b=(SIZE, 0.1), z=((90, 90), 0.5))
    matches = {("a", "b"): Match(second_resolution=0.5, first_resolution=2.0), ("b", "z"): contains(True, 0.2)}
    (cluster,) = folder.build(matches, labels=[0, 0, -1], tested=[("b", "z")])
    assert cluster.keeper.path.stem == "a"
    assert cluster.members[-1].reason == "shows a member of the cluster beside other things"
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
    found = {member.path.stem: (member.kind, member.removable) for member in cluster.members}
    assert cluster.keeper.path.stem == "a"
    assert found == {"d": ("near", True), "b": ("near", True), "c": ("indirect", False)}
    with pytest.raises(ValueError, match="epsilon"):
        folder.build(None)


def test_without_a_verifier_what_is_larger_stays(tmp_path):
    folder = Folder(tmp_path, a=((80, 60), 0.3), b=(SIZE, 0.1), c=(SIZE, 0.0), d=(SIZE, -0.1))
    (cluster,) = folder.build(None, epsilon=1 - np.cos(0.25))
    assert cluster.keeper.path.stem == "b"
    larger = cluster.members[-1]
    assert (larger.path.stem, larger.kind, larger.removable) == ("a", "near", False)
    assert larger.reason == "has 2.0 x the resolution of the kept file"


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


def jpegs(path, **qualities):
    """JPEGs of one photo, each saved from the one before; a PNG where the quality is None."""
    image = photo()
    for name, quality in qualities.items():
        file = path / f"{name}.{'jpg' if quality else 'png'}"
        image.save(file, **({"quality": quality} if quality else {}))
        os.utime(file, (10**9, 10**9))
        image = Image.open(file).convert("RGB")


def cluster_of_files(path, vectors=None, places=NOWHERE):
    """The one cluster of a folder's files, confirmed by the real verifier."""
    paths = sorted(file for file in path.rglob("*") if file.is_file())
    sizes = np.array([Image.open(file).size for file in paths])
    vectors = np.tile(np.float32([1, 0]), (len(paths), 1)) if vectors is None else vectors
    verifier = RealVerifier(paths, 0, progress=False)
    embeddings, labels = Embeddings(paths, vectors, sizes, {}), np.zeros(len(paths), int)
    (cluster,) = build_clusters(embeddings, labels, verifier, path, places=places)
    return cluster


@pytest.mark.parametrize("change", ["blurred", "small and large again"])
def test_a_sharp_picture_stays_though_a_soft_copy_is_compressed_finer(tmp_path, change):
    image = photo()
    image.save(tmp_path / "z.jpg", quality=70)
    if change == "blurred":
        soft = image.filter(ImageFilter.GaussianBlur(2))
    else:
        soft = image.resize([side // 3 for side in image.size]).resize(image.size)
    soft.save(tmp_path / "a.jpg", quality=95)
    cluster = cluster_of_files(tmp_path)
    (member,) = cluster.members
    assert cluster.keeper.path.name == "z.jpg" and member.removable


EDITS = {
    "mirrored": ImageOps.mirror,
    "turned": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "upside down": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "brighter": lambda image: image.point(lambda level: 1.1 * level + 5),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.8),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
@pytest.mark.parametrize("quality", [95, None])
def test_an_edit_saved_finer_than_what_it_was_made_from_goes(tmp_path, edit, quality):
    """By the steps that are still in it, not by its age or name."""
    photo().save(tmp_path / "z.jpg", quality=75)
    name = "a.jpg" if quality else "a.png"
    edit(Image.open(tmp_path / "z.jpg").convert("RGB")).save(
        tmp_path / name, **({"quality": quality} if quality else {})
    )
    os.utime(tmp_path / name, (10**9, 10**9))
    cluster = cluster_of_files(tmp_path)
    assert (cluster.keeper.path.name, cluster.why) == ("z.jpg", "the other was saved again from it")


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edit_saved_more_coarsely_than_what_it_was_made_from_goes(tmp_path, edit):
    photo().save(tmp_path / "z.jpg", quality=95)
    edit(Image.open(tmp_path / "z.jpg").convert("RGB")).save(tmp_path / "a.jpg", quality=75)
    os.utime(tmp_path / "a.jpg", (10**9, 10**9))
    assert cluster_of_files(tmp_path).keeper.path.name == "z.jpg"


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
@pytest.mark.parametrize(("quality", "coarser"), [(95, 85), (90, 80), (85, 70), (80, 60)])
def test_an_edit_that_seems_older_goes_for_the_finer_file_it_was_made_from(tmp_path, edit, quality, coarser):
    photo().save(tmp_path / "z.jpg", quality=quality)
    edit(Image.open(tmp_path / "z.jpg").convert("RGB")).save(tmp_path / "a.jpg", quality=coarser)
    os.utime(tmp_path / "a.jpg", (10**9, 10**9))
    assert cluster_of_files(tmp_path).keeper.path.name == "z.jpg"


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
@pytest.mark.parametrize("quality", [97, None])
def test_of_an_edit_and_a_file_as_fine_as_hides_its_traces_the_older_one_stays(tmp_path, edit, quality):
    photo().save(tmp_path / "z.jpg", quality=94)
    os.utime(tmp_path / "z.jpg", (10**9, 10**9))
    edited = edit(Image.open(tmp_path / "z.jpg").convert("RGB"))
    edited.save(tmp_path / ("a.jpg" if quality else "a.png"), **({"quality": quality} if quality else {}))
    assert cluster_of_files(tmp_path).keeper.path.name == "z.jpg"


@pytest.mark.parametrize(
    ("tone", "quality"),
    [(lambda chart: chart.point(lambda level: min(level + 20, 240)), 30), (EDITS["less contrast"], 50)],
)
def test_a_chart_without_loss_is_not_taken_for_made_from_its_toned_copy(tmp_path, tone, quality):
    """Of few levels, a tone is found that fits what compression left."""
    chart = Image.new("RGB", (512, 384), "white")
    for k in range(16):
        ImageDraw.Draw(chart).rectangle((20 + 30 * k, 380 - 20 * k, 40 + 30 * k, 380), (30 + 10 * k, 90, 200 - 8 * k))
    chart.save(tmp_path / "z.png")
    tone(chart).save(tmp_path / "a.jpg", quality=quality)
    assert cluster_of_files(tmp_path).keeper.path.name == "z.png"


@pytest.mark.parametrize(("quality", "goes"), [(30, False), (75, True)])
@pytest.mark.parametrize("own", [95, None])
@pytest.mark.parametrize("option", ["keep_in", "protect"])
@pytest.mark.parametrize("edit", [lambda image: image, *EDITS.values()], ids=["as it is", *EDITS])
def test_no_file_goes_for_a_strongly_compressed_copy_in_a_folder_that_is_kept(
    tmp_path, quality, own, goes, option, edit
):
    (tmp_path / "album").mkdir()
    better = tmp_path / f"better.{'jpg' if own else 'png'}"
    photo().save(better, **({"quality": own} if own else {}))
    edit(Image.open(better).convert("RGB")).save(tmp_path / "album" / "coarse.jpg", quality=quality)
    cluster = cluster_of_files(tmp_path, places=Places.find(tmp_path, **{option: [tmp_path / "album"]}))
    (member,) = cluster.members
    if goes:
        assert (cluster.keeper.path.name, member.removable) == ("coarse.jpg", True)
    else:  # then, of files that may go, the coarse one
        assert (member.path.name, member.removable) in (("coarse.jpg", option == "keep_in"), (better.name, False))


def test_what_was_saved_again_from_a_strongly_compressed_file_goes_for_it(tmp_path):
    jpegs(tmp_path, z=30, a=95)
    cluster = cluster_of_files(tmp_path)
    (member,) = cluster.members
    assert cluster.keeper.path.name == "z.jpg" and member.removable


@pytest.mark.parametrize("second", [98, None])
def test_what_was_saved_again_in_more_bytes_goes(tmp_path, second):
    jpegs(tmp_path, z=60, a=second)
    cluster = cluster_of_files(tmp_path)
    (member,) = cluster.members
    assert (cluster.keeper.path.name, cluster.why) == ("z.jpg", "the other was saved again from it")
    assert member.removable and member.bytes > 1.5 * cluster.keeper.bytes


@pytest.mark.parametrize(("quality", "why"), [(80, "1.8x the bits per pixel"), (95, "older by 3 hours")])
def test_how_a_webp_is_compressed_is_not_known_beside_steps_as_fine_as_these(tmp_path, quality, why):
    """Neither its own steps, which no header tells, nor a few more bits: formats differ in what they make of them."""
    photo().save(tmp_path / "z.jpg", quality=94)
    photo().save(tmp_path / "a.webp", quality=quality)
    os.utime(tmp_path / "z.jpg", (10**9, 10**9))
    os.utime(tmp_path / "a.webp", (10**9 + 3 * 3600,) * 2)
    cluster = cluster_of_files(tmp_path)
    assert (cluster.keeper.path.name, cluster.why) == ("z.jpg", why)


def test_of_two_compressions_the_finer_is_kept(tmp_path):
    jpegs(tmp_path, z=92, a=60)
    cluster = cluster_of_files(tmp_path)
    assert (cluster.keeper.path.name, cluster.why) == ("z.jpg", "compressed 4.8x finer")


def test_what_went_back_to_its_earlier_steps_goes_for_its_source(tmp_path):
    """`m` is as compressed as `z` once was; `z` looks as if saved again from it."""
    file = io.BytesIO()
    coloured().save(file, "JPEG", quality=80)
    Image.open(file).save(tmp_path / "z.jpg", quality=96)
    Image.open(tmp_path / "z.jpg").save(tmp_path / "m.jpg", quality=80)
    cluster = cluster_of_files(tmp_path)
    assert (cluster.keeper.path.name, cluster.why) == ("z.jpg", "compressed 5.3x finer")


def test_a_tone_is_no_colours_where_most_are_grey(tmp_path):
    """Of two files alone the toned one is kept."""
    grey = photo().convert("L")
    for name, quality in {"a": 90, "b": 60}.items():
        grey.save(tmp_path / f"{name}.jpg", quality=quality)
    ImageOps.colorize(grey, (30, 15, 0), (255, 240, 205)).save(tmp_path / "c.jpg", quality=95)
    angles = np.array([0, 0.01, 0.5])
    cluster = cluster_of_files(tmp_path, np.c_[np.cos(angles), np.sin(angles)].astype(np.float32))
    assert cluster.keeper.path.name == "a.jpg"
    (reason,) = (member.reason for member in cluster.members if member.path.name == "c.jpg")
    assert reason == "has colours the kept file lacks"
    (tmp_path / "b.jpg").unlink()
    cluster = cluster_of_files(tmp_path)
    assert (cluster.keeper.path.name, cluster.why) == ("c.jpg", "has colours")


def test_in_a_file_of_one_size_what_is_larger_was_cut(tmp_path):
    """`c` shows the others larger, in as many px; with more px, it is kept."""
    matches = {("a", "b"): Match()} | {(name, "c"): Match(first_resolution=0.9, second_resolution=1.1) for name in "ab"}
    for size, kept in ((SIZE, "a"), (SIZE[::-1], "a"), ((44, 33), "c")):
        folder = Folder(tmp_path, a=(SIZE, 0.0), b=(SIZE, 0.0), c=(size, 0.3))
        assert folder.build(matches)[0].keeper.path.stem == kept


@pytest.mark.parametrize(("quality", "kept"), [(40, "a.jpg"), (98, "c.jpg")])
def test_what_shows_more_is_kept_unless_the_rest_was_not_cut_from_it(tmp_path, quality, kept):
    """`c` shows all that the others show and a strip below; most are like `a`."""
    whole = photo(0, (256, 232))
    whole.save(tmp_path / "c.jpg", quality=quality)
    part = Image.open(tmp_path / "c.jpg") if kept == "c.jpg" else whole
    for name, finer in {"a": 96, "b": 60}.items():
        part.crop((0, 0, 256, 192)).save(tmp_path / f"{name}.jpg", quality=finer)
    angles = np.array([0, 0.01, 0.5])
    cluster = cluster_of_files(tmp_path, np.c_[np.cos(angles), np.sin(angles)].astype(np.float32))
    assert cluster.keeper.path.name == kept


@pytest.mark.parametrize(("first", "second"), [("z.webp", "a.jpg"), ("z.jpg", "a.webp")])
def test_a_resave_in_another_format_loses_however_large_it_is(tmp_path, first, second):
    photo().save(tmp_path / first, quality=60)
    again = Image.open(tmp_path / first).convert("RGB")
    again.save(tmp_path / second, quality=97)
    assert (tmp_path / second).stat().st_size > 1.5 * (tmp_path / first).stat().st_size
    cluster = cluster_of_files(tmp_path)
    assert (cluster.keeper.path.name, cluster.why) == (first, "the other was saved again from it")
    assert cluster.members[0].removable


@pytest.mark.parametrize("scale", [1, 1.5])
@pytest.mark.parametrize("quality", [60, 97])
def test_a_picture_with_colours_never_goes_for_one_in_sepia(tmp_path, scale, quality):
    with_colours = coloured()
    with_colours.save(tmp_path / "colours.jpg", quality=75)
    larger = with_colours.resize([round(scale * side) for side in with_colours.size], Image.Resampling.LANCZOS)
    samples._sepia(larger).save(tmp_path / "sepia.jpg", quality=quality)
    cluster = cluster_of_files(tmp_path)
    going = [member.path.name for member in cluster.members if member.removable]
    assert "colours.jpg" not in going
    assert going == (["sepia.jpg"] if scale == 1 else [])


def test_what_shows_more_in_other_colours_was_made_from_the_rest(tmp_path):
    """Of luminance it changes nothing, and so it might be the whole that they were cut from."""
    hues = Image.merge("RGB", [photo(seed, (256, 232)).convert("L") for seed in (0, 1, 2)])
    for strength, kept in ((1.0, "c.jpg"), (2.0, "a.jpg")):
        ImageEnhance.Color(hues).enhance(strength).save(tmp_path / "c.jpg", quality=98)
        for name, quality in {"a": 80, "b": 60}.items():
            hues.crop((0, 0, 256, 192)).save(tmp_path / f"{name}.jpg", quality=quality)
        angles = np.array([0, 0.01, 0.5])
        cluster = cluster_of_files(tmp_path, np.c_[np.cos(angles), np.sin(angles)].astype(np.float32))
        assert cluster.keeper.path.name == kept


def test_of_two_with_as_many_near_them_the_one_nearer_to_all_is_no_edit(tmp_path):
    """`b`, a little brighter than `a`, is compressed less; `c` is nearest to `a`, `d` to `b`."""
    plain = photo()
    plain.save(tmp_path / "a.jpg", quality=75)
    plain.point(lambda level: 1.3 * level).save(tmp_path / "b.jpg", quality=95)
    small = plain.resize((128, 96))
    for name in "cd":
        small.save(tmp_path / f"{name}.jpg", quality=60)
    for angles, kept in (((0, 0.1, -0.01, 0.06), "a.jpg"), ((0, 0.1, 0.04, 0.11), "b.jpg")):
        angles = np.array(angles)
        cluster = cluster_of_files(tmp_path, np.c_[np.cos(angles), np.sin(angles)].astype(np.float32))
        assert (cluster.keeper.path.name, cluster.why) == (kept, "nearest to the others")


def test_a_keeper_that_a_closer_look_leaves_alone_gives_way(tmp_path, monkeypatch):
    """`a` seems to show all of the others, and more."""
    matches = {pair: Match() for pair in itertools.combinations("bcd", 2)}
    matches |= {("a", name): Match("crop", first_coverage=0.8, transform=WHOLE) for name in "bcd"}
    folder = Folder(tmp_path, a=(SIZE, 0.0), b=(SIZE, 0.0), c=(SIZE, 0.1), d=(SIZE, 0.2))
    for found, kept, going in (("", "a", 3), ("more", "b", 2)):
        monkeypatch.setattr(pairs_module, "why_they_stay", lambda jobs, workers, found=found: [found] * len(jobs))
        (cluster,) = folder.build(matches)
        assert cluster.keeper.path.stem == kept
        assert sum(member.removable for member in cluster.members) == going


@pytest.mark.parametrize("times", [2, 4])
def test_an_enlarged_picture_goes_for_what_it_was_made_from(tmp_path, times):
    jpegs(tmp_path, z=85)
    small = Image.open(tmp_path / "z.jpg").convert("RGB")
    small.resize((times * small.width, times * small.height), Image.Resampling.BICUBIC).save(tmp_path / "a.jpg")
    cluster = cluster_of_files(tmp_path)
    assert (cluster.keeper.path.name, cluster.why) == ("z.jpg", "the larger one is an enlargement")
    assert cluster.members[0].removable


def test_what_was_made_small_goes_for_the_larger(tmp_path):
    jpegs(tmp_path, z=85)
    large = Image.open(tmp_path / "z.jpg").convert("RGB")
    large.resize((large.width // 2, large.height // 2), Image.Resampling.LANCZOS).save(tmp_path / "a.jpg", quality=95)
    cluster = cluster_of_files(tmp_path)
    assert (cluster.keeper.path.name, cluster.why) == ("z.jpg", "4.0x the pixels")
    assert cluster.members[0].removable


def test_what_tells_more_is_kept_though_it_is_younger(tmp_path):
    exif = Image.Exif()
    exif[0x0110] = "Box Brownie"
    jpegs(tmp_path, a=85)
    photo().save(tmp_path / "z.jpg", quality=85, exif=exif)
    cluster = cluster_of_files(tmp_path)
    assert (cluster.keeper.path.name, cluster.why) == ("z.jpg", "has the camera")


def test_the_older_of_twins_is_kept_whatever_else_is_in_the_cluster(tmp_path):
    """Their vectors may differ in the last digits, as those of files in different batches do."""
    jpegs(tmp_path, b=90, e=40)
    for name, age in {"a": 3, "c": 1, "d": 2}.items():
        (tmp_path / f"{name}.jpg").write_bytes((tmp_path / "b.jpg").read_bytes())
        os.utime(tmp_path / f"{name}.jpg", (10**8 + 86_400 * age,) * 2)
    angles = np.array([0, 1e-7, 2e-7, 1e-7, 1e-3])
    cluster = cluster_of_files(tmp_path, np.c_[np.cos(angles), np.sin(angles)].astype(np.float32))
    assert (cluster.keeper.path.name, cluster.why) == ("c.jpg", "compressed 6.3x finer")
    assert all(member.removable for member in cluster.members)
    (tmp_path / "e.jpg").unlink()
    assert cluster_of_files(tmp_path).why == "older by 2 days"
