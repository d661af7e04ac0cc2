"""The verifier: which pairs it compares, what it remembers, which edges it keeps."""

import itertools
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from dedup.dataset import samples
from dedup.matching import confirmation, scheduling
from dedup.matching.confirmation import Verifier
from dedup.matching.kinds import MatchKind
from tests.confirmation_pictures import collage, cut, photo


def all_pairs(count, seed=0):
    """A graph in which every pair is a candidate, at distances that say nothing."""
    distances = np.random.default_rng(seed).uniform(0.01, 0.5, (count, count)).astype(np.float32)
    distances = np.triu(distances, 1)
    rows, columns = np.indices((count, count)).reshape(2, -1)
    return csr_matrix(((distances + distances.T).ravel(), (rows, columns)), shape=(count, count))


def components(graph):
    labels = connected_components(graph)[1]
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in labels}


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    """Paths: three photos with three copies each, a collage of two of them, a plain and an unreadable file."""
    folder, side = tmp_path_factory.mktemp("album"), 240
    images = {}
    for name in ("chelsea", "coffee", "china"):
        image = photo(f"{name}.jpg" if name == "china" else f"{name}.png", side)
        images |= {f"{name}": image, f"{name}_small": samples._scale(image, 0.6)}
        images |= {f"{name}_crop": cut(image, 0.1, 0.1, 0.9, 0.95), f"{name}_grey": ImageOps.grayscale(image)}
    images["collage"] = collage([images["chelsea"], images["coffee"], images["coffee"], images["chelsea"]], side)
    images["plain"] = Image.new("RGB", (100, 100), "teal")
    paths = []
    for name, image in images.items():
        paths.append(folder / f"{name}.png")
        image.save(paths[-1])
    paths.insert(5, folder / "broken.png")
    paths[5].write_bytes(b"no picture")
    return paths


@pytest.fixture(scope="module")
def verified(album):
    """A verifier that has verified all pairs of the album, and the confirmed graph."""
    verifier = Verifier(album, num_workers=0, progress=False)
    return verifier, verifier.verify(all_pairs(len(album)))


def groups_of(album):
    names = [path.stem.split("_")[0] for path in album]
    return {frozenset(k for k, other in enumerate(names) if other == name) for name in names}


def test_groups_of_an_album_are_found_around_an_unreadable_file(album, verified):
    assert components(verified[1]) == groups_of(album)


def test_the_confirmed_graph_is_symmetric_and_keeps_distances_and_diagonal(album, verified):
    graph, confirmed = all_pairs(len(album)).toarray(), verified[1]
    assert (confirmed != confirmed.T).nnz == 0 and confirmed.has_sorted_indices
    assert confirmed.dtype == np.float32
    rows, columns = confirmed.nonzero()
    assert (confirmed.toarray()[rows, columns] == graph[rows, columns]).all()
    stored = set(zip(*(part.tolist() for part in confirmed.tocoo().coords), strict=True))
    assert {(k, k) for k in range(len(album))} <= stored


def test_leaving_pairs_out_changes_no_group(album, verified):
    exhaustive = Verifier(album, num_workers=0, progress=False)
    exhaustive.match_many([(i, j, 0.1) for i, j in combinations(range(len(album)), 2)])
    edges = [(*pair, 0.1) for pair, found in exhaustive.matches.items() if MatchKind(found.kind).joins]
    edges = scheduling.without_bridges(edges, exhaustive)
    assert components(scheduling.edges_graph(edges, len(album))) == components(verified[1])
    assert len(verified[0].compared) < len(exhaustive.compared)
    for pair, found in verified[0].matches.items():
        assert replace(found, distance=0) == replace(exhaustive.matches[pair], distance=0)


def test_what_contains_two_pictures_joins_neither(album, verified):
    verifier, confirmed = verified
    container = next(k for k, path in enumerate(album) if path.stem == "collage")
    kinds = {found.kind for pair, found in verifier.matches.items() if container in pair}
    assert kinds == {"contains"}
    assert confirmed[container].indices.tolist() == [container]


def lies_in(kind, left, top, right, bottom):
    """The match of a file, the first, that lies in a box of the second."""
    place = (right - left, 0, left, 0, bottom - top, top, 0, 0, 1)
    return confirmation.Match(kind, 0.1, second_coverage=(right - left) * (bottom - top), transform=place)


def around(kind, left, top, right, bottom):
    """The match of a file, the second, that lies in a box of the first."""
    inner = lies_in(kind, left, top, right, bottom)
    place = np.linalg.inv(np.reshape(inner.transform, (3, 3)))
    return replace(inner, first_coverage=inner.second_coverage, second_coverage=1.0, transform=tuple(place.ravel()))


def knowing(matches, n):
    verifier = Verifier([Path(f"{row}.png") for row in range(n)], num_workers=0, progress=False)
    verifier.matches = matches
    return verifier


COPIES = {(0, 2): confirmation.Match("crop", 0.1, 0.5, 1.0, (1.4, 0, -0.2, 0, 1.4, -0.2, 0, 0, 1)),
          (1, 3): confirmation.Match("crop", 0.1, 0.5, 1.0, (1.4, 0, -0.2, 0, 1.4, -0.2, 0, 0, 1))}  # fmt: skip


@pytest.mark.parametrize(
    "shown, groups",
    [
        # photos 0 and 1, crops 2 and 3 of them; 4 is a collage of both
        ({0: ("contains", 0, 0, 0.6, 1), 1: ("contains", 0.6, 0, 1, 1)}, [{0, 2}, {1, 3}, {4}]),
        ({0: ("contains", 0, 0, 0.6, 1), 2: ("crop", 0.1, 0.2, 0.5, 0.8)}, [{0, 2}, {1, 3}, {4}]),
        ({0: ("contains", 0, 0, 0.6, 1), 3: ("crop", 0.7, 0.2, 0.9, 0.8)}, [{0, 2}, {1, 3}, {4}]),
        (
            {0: ("contains", 0, 0, 0.6, 1), 2: ("crop", 0.1, 0.2, 0.5, 0.8), 3: ("crop", 0.7, 0.2, 0.9, 0.8)},
            [{0, 2}, {1, 3}, {4}],
        ),
        # 4 is a screenshot of photo 0; 5 is cut out of the rest of it
        ({0: ("contains", 0, 0, 1, 0.5), 5: ("crop", 0, 0.6, 1, 1)}, [{0, 2}, {1, 3}, {4, 5}]),
        # 4 is photo 0 in a frame, and shows crops of it that nothing else was joined with
        ({0: ("contains", 0.1, 0.1, 0.9, 0.9), 3: ("crop", 0.3, 0.3, 0.7, 0.7)}, [{0, 2}, {1, 3, 4}]),
        # nothing that it contains: then it is a picture like any other
        ({2: ("crop", 0.1, 0.2, 0.5, 0.8), 3: ("crop", 0.7, 0.2, 0.9, 0.8)}, [{0, 1, 2, 3, 4}]),
    ],
)
def test_a_collage_joins_no_two_pictures_by_crops_of_them(shown, groups):
    matches = COPIES | {(part, 4): lies_in(*how) for part, how in shown.items() if part < 4}
    matches |= {(4, part): around(*how) for part, how in shown.items() if part > 4}
    edges = [(*pair, found.distance) for pair, found in matches.items() if MatchKind(found.kind).joins]
    kept = scheduling.without_bridges(edges, knowing(matches, 6))
    assert components(scheduling.edges_graph(kept, 6)) - {frozenset({5})} == set(map(frozenset, groups))


@pytest.mark.parametrize("transform", [None, (0.0,) * 9], ids=["missing", "singular"])
@pytest.mark.parametrize("kind", ["contains", "crop"])
def test_a_match_that_can_not_be_laid_out_costs_its_pair_alone(kind, transform):
    lost = confirmation.Match(kind, 0.1, first_coverage=0.5, transform=transform)
    verifier = knowing(COPIES | {(3, 4): lost}, 5)
    edges = [(*pair, 0.1) for pair, found in verifier.matches.items() if MatchKind(found.kind).joins]
    assert scheduling.without_bridges(edges, verifier) == [(*pair, 0.1) for pair in COPIES]
    assert list(verifier.losses) == [(Path("3.png"), Path("4.png"))]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux compares in forked processes")
def test_forked_processes_find_the_same(album, verified, monkeypatch):
    monkeypatch.setattr(confirmation, "WORTH_FORKING", 1)
    forked = Verifier(album, num_workers=2, progress=False)
    graph = forked.verify(all_pairs(len(album)))
    assert forked.matches == verified[0].matches
    assert (graph != verified[1]).nnz == 0


@pytest.fixture
def twins(tmp_path):
    """Paths: a JPEG, the same bytes, the same pixels as a PNG, one pixel changed in that, another picture."""
    image = photo("coffee.png", 240)
    image.save(tmp_path / "a.jpg", quality=80)
    (tmp_path / "b.jpg").write_bytes((tmp_path / "a.jpg").read_bytes())
    with Image.open(tmp_path / "a.jpg") as opened:
        pixels = opened.convert("RGB")
    pixels.save(tmp_path / "c.png")
    red, green, blue = pixels.getpixel((100, 60))
    pixels.putpixel((100, 60), (red, green, blue ^ 1))
    pixels.save(tmp_path / "d.png")
    photo("china.jpg", 240).save(tmp_path / "e.png")
    return sorted(tmp_path.iterdir())


def test_same_bytes_and_same_pixels_are_told_from_copies(twins):
    verifier = Verifier(twins, num_workers=0, progress=False)
    assert verifier.match(0, 1, 0.0).kind == "identical"
    assert verifier.match(0, 2, 0.0).kind == "same_pixels"
    assert verifier.match(2, 3, 0.0).kind == "resaved"
    assert verifier.match(0, 4, 0.5) is None
    whole = verifier.matches[0, 1]
    assert whole.transform == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    assert (whole.first_coverage, whole.second_coverage, whole.first_resolution) == (1, 1, 1)


def test_blank_twins_are_found_by_their_bytes_alone(tmp_path):
    for name, colour in (("a", "white"), ("b", "white"), ("c", "black"), ("d", "black")):
        Image.new("RGB", (50, 50), colour).save(tmp_path / f"{name}.png")
    Image.new("RGB", (50, 50), "black").save(tmp_path / "d.png", compress_level=0)
    paths = sorted(tmp_path.iterdir())
    verifier = Verifier(paths, num_workers=0, progress=False)
    assert components(verifier.verify(all_pairs(4))) == {frozenset({0, 1}), frozenset({2, 3})}
    assert {pair: found.kind for pair, found in verifier.matches.items()} == {
        (0, 1): "identical",
        (2, 3): "same_pixels",
    }


def two_groups(count, distance):
    """Files 0, 1 and the rest are candidates of each other; the two groups lie beyond the graph, `distance` apart."""
    near = [(0, 1), *itertools.pairwise(range(2, count))]
    rows, columns = np.array(near + [(j, i) for i, j in near]).T
    graph = csr_matrix((np.full(len(rows), 0.2, np.float32), (rows, columns)), shape=(count, count))
    vectors = np.zeros((count, 4), np.float32)
    vectors[:2, 0] = 1
    vectors[2:, :2] = 1 - distance, np.sqrt(1 - (1 - distance) ** 2)
    return graph, vectors


@pytest.mark.parametrize(("count", "distance", "found"), [(5, 0.3, 1), (5, 0.33, 2), (4, 0.3, 2)])
def test_groups_are_tried_with_their_nearest_large_one_beyond_the_graph(tmp_path, count, distance, found):
    paths = [tmp_path / f"{number}.png" for number in range(count)]
    for number, path in enumerate(paths):
        samples._scale(photo("chelsea.png", 200), 1 - number / 10).save(path)
    graph, vectors = two_groups(count, distance)
    verifier = Verifier(paths, num_workers=0, progress=False)
    confirmed = verifier.verify(graph, vectors)
    assert len(components(confirmed)) == found, f"reaches {scheduling.BEYOND} times as far as the graph"
    assert confirmed.max() == np.float32(0.2), "so that DBSCAN takes what was found beyond"
    assert len(components(verifier.verify(graph))) == 2, "with candidates alone"


def test_distance_zero_stays_an_edge(twins):
    zeros = csr_matrix((np.zeros(4, np.float32), ([0, 0, 1, 1], [0, 1, 0, 1])), shape=(2, 2))
    confirmed = Verifier(twins[:2], num_workers=0, progress=False).verify(zeros)
    assert confirmed.nnz == 4 and confirmed.data.tolist() == [0, 0, 0, 0]


def test_no_candidates_no_edges(twins):
    diagonal = csr_matrix((np.zeros(5, np.float32), (range(5), range(5))), shape=(5, 5))
    verifier = Verifier(twins, num_workers=0, progress=False)
    assert verifier.verify(diagonal).nnz == 5 and verifier.compared == set()
    assert not any(number in verifier._pictures for number in range(5)), "nothing was read"


def test_a_match_is_asked_for_in_any_order_and_compared_once(twins, monkeypatch):
    verifier = Verifier(twins, num_workers=0, progress=False)
    found = verifier.match(3, 2, 0.25)
    assert (found.kind, found.distance) == ("resaved", 0.25) and list(verifier.matches) == [(2, 3)]
    monkeypatch.setattr(confirmation, "match_whole", lambda *_: pytest.fail("compared again"))
    assert verifier.match(2, 3, 0.3) is found
    assert verifier.match(2, 2, 0.0) is None


def test_a_file_that_went_missing_matches_nothing(twins):
    twins[1].unlink()
    verifier = Verifier(twins, num_workers=0, progress=False)
    assert components(verifier.verify(all_pairs(5))) == {frozenset({0, 2, 3}), frozenset({1}), frozenset({4})}


def test_two_groups_that_do_not_join_are_left_after_some_tries(tmp_path, monkeypatch):
    monkeypatch.setattr(scheduling, "TRIES", 3)
    compared = []

    def same_letter(first, second, path, other, distance):
        compared.append(path.name + other.name)
        return confirmation.Match(MatchKind.RESAVED, distance) if path.name[0] == other.name[0] else None

    monkeypatch.setattr(confirmation, "_same_data", same_letter)
    monkeypatch.setattr(confirmation, "match_whole", lambda *_: confirmation.Best(None, confirmation.ALL))
    paths = [tmp_path / f"{letter}{number}" for letter in "ab" for number in range(6)]
    for path in paths:
        Image.new("RGB", (8, 8)).save(path, "PNG")
    confirmed = Verifier(paths, num_workers=0, progress=False).verify(all_pairs(12))
    assert components(confirmed) == {frozenset(range(6)), frozenset(range(6, 12))}
    across = [names for names in compared if names[0] != names[2]]
    assert 3 <= len(across) < 18  # of 36; groups grow while they are tried
    assert len(compared) == len(set(compared))


def test_pictures_that_join_nothing_are_compared_with_few_others(tmp_path, monkeypatch):
    monkeypatch.setattr(scheduling, "OTHERS", 3)
    monkeypatch.setattr(confirmation, "match_whole", lambda *_: confirmation.Best(None, confirmation.ALL))
    paths = [tmp_path / f"{number}.png" for number in range(30)]
    for number, path in enumerate(paths):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
    verifier = Verifier(paths, num_workers=0, progress=False)
    verifier.verify(all_pairs(30))
    partners = np.bincount(np.ravel(sorted(verifier.compared)))
    assert partners.min() >= 3 and len(verifier.compared) < 4 * 30, "of 435 pairs"
