"""The report: pages of pictures, the table, names that survive, figures that say what they should."""

import csv
import io
import os
import sys
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dedup.clustering.members import Reason, Why
from dedup.clustering.versions import KeeperKey
from dedup.output import escape, format_bytes, relative_path
from dedup.report import lettering, tables
from dedup.report.canvas import Canvas
from dedup.report.grid import GAP, HEADER, HIGHEST, MARGIN, SIDE, insets, layout, plot_cluster_grid
from dedup.report.lettering import drawable, shorten, text_width, wrap
from dedup.report.plots import plot_distance_histogram, plot_k_distances
from dedup.report.tables import CRITERIA, clusters_table, describe_report, keeper_table, paginate, write_report
from dedup.workers import START_METHOD, job, run_jobs
from tests.report.test_names import unescape


@dataclass(frozen=True)
class Member:
    path: Path
    width: int = 40
    height: int = 30
    bytes: int = 1000
    distance: float = 0.01
    kind: str = "resaved"
    coverage: float = 1.0
    version: int = 1
    keeper: Path | None = None
    reason: Reason | None = None
    place: tuple[float, ...] = ()
    changes: tuple[str, ...] = ()

    @property
    def removable(self) -> bool:
        return self.keeper is not None and self.reason is None


@dataclass(frozen=True)
class Cluster:
    number: int
    keeper: Member
    members: tuple[Member, ...]
    why: str = ""


def cluster_of(names, images_dir, number=1, **settings):
    keeper, *others = [images_dir / name for name in names]
    members = tuple(Member(path, **{"keeper": keeper, **settings}) for path in others)
    return Cluster(number, Member(keeper, distance=0.0, kind="keeper"), members)


def save(path, size=(40, 30), color="red"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path, "PNG")
    return path


def pixels(figure):
    return np.asarray(Image.open(io.BytesIO(figure.png())).convert("RGB")).astype(int)


def words(drawn):
    return drawn.words if isinstance(drawn, Canvas) else [text.get_text() for text in drawn.axes[0].texts]


def has_color(image, color):
    return bool((np.abs(image - color).max(axis=-1) <= 2).any())


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (9_949, "9.9 kB"), (9_960, "10 kB"), (999_499, "999 kB")]
    + [(999_500, "1.0 MB"), (1_500_000, "1.5 MB"), (12_345_678_901, "12 GB"), (10**18, "1.0 EB")],
)
def test_bytes_are_rounded_for_people(count, text):
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("name", "written"),
    [("a b/ö 写真 '😀.jpg", "a b/ö 写真 '😀.jpg"), ("=1+1.jpg", "\\x3d1+1.jpg"), ("+x", "\\x2bx"), ("-x", "\\x2dx")]
    + [("@x", "\\x40x"), ("\tx", "\\x09x"), ("\rx", "\\x0dx"), ("a\nb", "a\\x0ab"), ("＝x", "\\xef\\xbc\\x9dx")]
    + [("a=b", "a=b"), ("a\\b", "a\\b"), ("a\\x41", "a\\x5cx41"), ("a\\\\x41", "a\\\\x5cx41")],
)
def test_a_name_in_the_table_is_plain_and_comes_back(name, written):
    assert escape(name) == written
    assert unescape(written) == name


@pytest.mark.skipif(sys.platform == "win32", reason="names are not bytes there")
@given(st.binary(max_size=12) | st.text(alphabet="\\x41f=\n\xff", max_size=8).map(os.fsencode))
def test_any_name_comes_back_from_the_table(raw):
    text = escape(os.fsdecode(raw))
    assert os.fsencode(unescape(text)) == raw
    assert len(text.encode("utf-8").splitlines()) <= 1
    assert not text.startswith(tuple("=+-@\t\r"))


def test_what_has_no_glyph_is_drawn_as_its_code():
    assert drawable("añ.jpg") == "añ.jpg"
    assert drawable("a\nb\u202e\udce9\ue000") == "a\\x0ab\\u202e\\xe9\\ue000"
    assert drawable("\U000e0001") == "\\U000e0001"


@pytest.mark.parametrize("name", ["写真", "休み", "사진"])
def test_a_name_that_the_font_lacks_is_drawn_with_the_glyphs_of_opencv(tmp_path, name):
    save(tmp_path / f"{name}.png"), save(tmp_path / "a.png")
    assert drawable(f"{name}.png") == f"{name}.png"
    assert list(lettering.pieces(f"a {name}.png")) == [("a ", True), (name, False), (".png", True)]
    assert 1.8 * 12 < text_width(name, 12) < 2.2 * 12
    figure = plot_cluster_grid([cluster_of([f"{name}.png", "a.png"], tmp_path)], tmp_path)
    assert f"{name}.png" in words(figure)
    line = pixels(figure)[HEADER + SIDE + 8 : HEADER + SIDE + 24, MARGIN : MARGIN + 24]
    assert (line < 128).all(axis=-1).sum() > 20


def test_without_those_glyphs_a_name_is_written_in_codes(monkeypatch):
    assert drawable("\u0e20") == "\\u0e20"  # OpenCV has no Thai
    monkeypatch.setattr(lettering, "_in_opencv", lambda char: False)
    assert drawable("写真.png") == "\\u5199\\u771f.png"


def test_a_long_name_loses_its_middle_and_keeps_its_ending():
    name = "holiday_" * 8 + "final.jpeg"
    short = shorten(name, 12, 150)
    assert text_width(short, 12) <= 150 < text_width(name, 12)
    assert short.startswith("holiday") and short.endswith("final.jpeg") and "…" in short
    assert shorten("short.jpg", 12, 150) == "short.jpg"
    assert "\\u202e" in shorten("\\u202e" * 30, 12, 150)
    assert set(shorten("\\u202e" * 30, 12, 150).split("\\u202e")) <= {"", "…"}  # no code is cut in two


def test_a_reason_fills_two_lines_at_most():
    assert wrap("", 12, 100, 2) == []
    assert wrap("one two", 12, 100, 2) == ["one two"]
    lines = wrap("the keeper shows only a part of what this picture shows", 12, 100, 2)
    assert len(lines) == 2 and lines[1].endswith("…") and all(text_width(line, 12) <= 100 for line in lines)
    assert wrap("x" * 100, 12, 100, 2)[0].endswith("…")


def test_paths_are_relative_to_the_folder(tmp_path):
    assert relative_path(tmp_path / "a" / "b.jpg", tmp_path) == Path("a/b.jpg")
    assert relative_path(Path("/elsewhere/b.jpg"), tmp_path) == Path("/elsewhere/b.jpg")


def test_the_table_has_the_keeper_first_and_a_row_a_file(tmp_path):
    keeper = Member(tmp_path / "a.jpg", 800, 600, 9000, 0.0, "keeper", 1.0)
    goes = Member(tmp_path / "sub" / "b.jpg", 400, 300, 3000, -1e-9, "crop", 0.99951, 2, keeper.path)
    more = Reason(Why.CONTAINS, "it shows, more")
    stays = Member(tmp_path / "=c.jpg", 900, 300, 5000, 0.25, "contains", 0.5, 0, keeper.path, more)
    table = clusters_table([Cluster(7, keeper, (goes, stays), "4.0x the pixels")], tmp_path)
    assert table == (
        "path,cluster,keep,kind,distance,coverage,width,height,bytes,reason,why,version,keeper\n"
        "a.jpg,7,1,keeper,0.0000,1.000,800,600,9000,,4.0x the pixels,1,\n"
        "sub/b.jpg,7,0,crop,0.0000,1.000,400,300,3000,,,2,a.jpg\n"
        '\\x3dc.jpg,7,1,contains,0.2500,0.500,900,300,5000,"it shows, more",,,a.jpg\n'
    )


def test_the_grid_says_what_a_person_needs(tmp_path):
    save(tmp_path / "a.png"), save(tmp_path / "b" / "$x$.png")
    stays = Member(
        tmp_path / "b" / "$x$.png", 40, 30, 70, 0.3, "same_pixels", 0.52, reason=Reason(Why.CLOSER, "not plain")
    )
    figure = plot_cluster_grid(
        [cluster_of(["a.png", "gone.png"], tmp_path), cluster_of(["a.png"], tmp_path, 2)], tmp_path
    )
    assert {"Cluster 1", "2 files   1 can go, 1.0 kB freed", "no longer there", "a.png", "gone.png"} <= set(
        words(figure)
    )
    assert {"keeper", "goes", "resaved", "40 × 30   1.0 kB", "distance 0.010", "Cluster 2"} <= set(words(figure))
    cluster = Cluster(3, Member(tmp_path / "a.png", kind="keeper"), (stays,))
    texts = words(plot_cluster_grid([cluster], tmp_path))
    assert {"2 files   all stay", "$x$.png", "b/", "stays", "same pixels", "distance 0.300   52 % shown"} <= set(texts)
    assert "not plain" in texts


@pytest.mark.parametrize(("kind", "told"), [("edited", "turned, grey"), ("crop", "crop, turned, grey")])
def test_the_grid_says_what_was_done_to_a_version(tmp_path, kind, told):
    edit = cluster_of(["a.png", "b.png"], tmp_path, kind=kind, version=2, changes=("turned", "grey"))
    assert told in words(plot_cluster_grid([edit], tmp_path))


def test_the_keeper_is_framed_and_colors_tell_what_goes(tmp_path):
    save(tmp_path / "a.png"), save(tmp_path / "b.png")
    image = pixels(plot_cluster_grid([cluster_of(["a.png", "b.png"], tmp_path)], tmp_path))
    first, second = image[:, :216], image[:, 216:]
    assert has_color(first, (0x00, 0x68, 0xA8)) and not has_color(second, (0x00, 0x68, 0xA8))
    assert has_color(second, (0xB9, 0x4A, 0x00)) and not has_color(first, (0xB9, 0x4A, 0x00))


def test_the_best_of_each_other_version_has_a_lighter_frame(tmp_path):
    for name in "abcd":
        save(tmp_path / f"{name}.png")
    kept, other = tmp_path / "a.png", Member(tmp_path / "b.png", version=2, keeper=tmp_path / "a.png")
    members = (other, Member(tmp_path / "c.png", version=2, keeper=other.path), Member(tmp_path / "d.png", version=0))
    figure = plot_cluster_grid([Cluster(1, Member(kept, kind="keeper"), members)], tmp_path)
    image, column = pixels(figure), SIDE + GAP
    lighter = (np.abs(image - (0x7F, 0xB8, 0xDC)).max(axis=-1) <= 2).sum(axis=0)
    framed = [lighter[MARGIN // 2 + column * k :][:column].sum() > SIDE for k in range(4)]
    assert framed == [False, True, False, False]
    assert "4 files in 2 versions   2 can go, 2.0 kB freed" in words(figure)


@pytest.mark.parametrize("size", [(40, 30), (1, 500), (500, 1), (3, 3), (600, 200)])
def test_every_picture_fills_its_square_in_one_direction(tmp_path, size):
    save(tmp_path / "a.png", size)
    image = pixels(plot_cluster_grid([cluster_of(["a.png", "gone.png"], tmp_path)], tmp_path))
    rows, columns = np.where((np.abs(image - (255, 0, 0)) <= 2).all(axis=-1))
    extent = (columns.max() - columns.min() + 1, rows.max() - rows.min() + 1)
    scale = SIDE / max(size)
    assert max(extent) >= SIDE - 2  # the frame covers a little of its border
    assert extent == pytest.approx([max(1, side * scale) for side in size], abs=2)


@pytest.mark.parametrize(
    ("files", "rows", "width"), [(2, [2], 832), (8, [8], 1632), (9, [8, 1], 1632), (40, [8] * 5, 1632)]
)
def test_a_large_cluster_wraps(tmp_path, files, rows, width):
    cluster = cluster_of([f"{i}.jpg" for i in range(files)], tmp_path)
    assert [len(strip.members) for strip in layout(cluster, tmp_path)] == rows
    figure = plot_cluster_grid([cluster], tmp_path)
    assert pixels(figure).shape[1] == width
    assert words(figure).count("no longer there") == files


def test_what_is_not_drawn_of_a_cluster_is_told(tmp_path):
    cluster = cluster_of([f"{i}.jpg" for i in range(50)], tmp_path)
    texts = words(plot_cluster_grid([cluster], tmp_path, max_members=3))
    assert texts.count("no longer there") == 3
    assert "50 files   49 can go, 49 kB freed   47 more not shown" in texts
    with pytest.raises(ValueError, match="at least 1, got 0"):
        plot_cluster_grid([cluster], tmp_path, max_members=0)


def test_no_clusters_and_too_many(tmp_path):
    assert words(plot_cluster_grid([], tmp_path)) == ["No clusters"]
    many = [cluster_of(["a.jpg", "b.jpg"], tmp_path)] * (HIGHEST // SIDE)
    with pytest.raises(ValueError, match="326 clusters do not fit into one picture"):
        plot_cluster_grid(many, tmp_path)


def test_odd_names_and_damaged_files_are_drawn_without_a_warning(tmp_path):
    names = ["写真 😀.jpg", "a\nb.jpg", "$\\frac{$.jpg", "\u202egpj.exe", "مرحبا.jpg", "e\u0301.jpg", "%s{}.jpg", "_^"]
    names += [] if sys.platform in ("win32", "darwin") else [os.fsdecode(b"\xe9\xff.jpg")]
    (tmp_path / "damaged.jpg").write_bytes(b"\xff\xd8\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = plot_cluster_grid([cluster_of(["damaged.jpg", *names], tmp_path, reason="\n")], tmp_path)
        figure.png()
    assert words(figure).count("can't be read") == 1


def test_a_notebook_shows_a_figure_by_itself(tmp_path):
    figure = plot_cluster_grid([cluster_of(["a.jpg", "b.jpg"], tmp_path)], tmp_path)
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_the_report_is_the_same_byte_for_byte(tmp_path):
    save(tmp_path / "in" / "a.png"), save(tmp_path / "in" / "b.png", color="blue")
    clusters = [cluster_of(["a.png", "b.png"], tmp_path / "in")]
    first = write_report(clusters, tmp_path / "in", tmp_path / "one", progress=False)
    second = write_report(clusters, tmp_path / "in", tmp_path / "two", progress=False)
    assert [path.name for path in first] == ["clusters_001.png", "clusters.csv"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert Image.open(first[0]).info == {}  # no date, no name of a program


def test_a_new_report_takes_the_place_of_the_old_one_and_of_nothing_else(tmp_path):
    out = tmp_path / "out"
    many = [cluster_of([f"{i}.jpg" for i in range(30)], tmp_path, number) for number in (1, 2, 3)]
    assert len(write_report(many, tmp_path, out, progress=False)) == 4
    (out / "clusters_notes.png").write_text("mine")
    (out / "clusters_9.png").write_text("mine")
    (out / "clusters_099.png").mkdir()
    written = write_report(many[:1], tmp_path, out, progress=False)
    left = sorted(path.name for path in out.iterdir())
    assert left == ["clusters.csv", "clusters_001.png", "clusters_099.png", "clusters_9.png", "clusters_notes.png"]
    assert written == [out / "clusters_001.png", out / "clusters.csv"]
    assert write_report([], tmp_path, out, progress=False) == [out / "clusters.csv"]
    assert not (out / "clusters_001.png").exists()
    assert len((out / "clusters.csv").read_text().splitlines()) == 1


def test_a_page_is_drawn_again_only_if_it_would_show_something_else(tmp_path, monkeypatch):
    names, drawn = ("a.png", "b.png", "c.png", "d.png"), []
    pages = [cluster_of(names[:2], tmp_path, 1), cluster_of(names[2:], tmp_path, 2)]
    held = {save(tmp_path / name): name.encode() for name in names}
    plain = tables.plot_cluster_grid
    monkeypatch.setattr(tables, "PAGE_PICTURES", 2)
    monkeypatch.setattr(tables, "plot_cluster_grid", lambda page, *a, **k: drawn.append(page) or plain(page, *a, **k))

    def redrawn(clusters, contents):
        drawn.clear()
        written = write_report(clusters, tmp_path, tmp_path / "out", progress=False, contents=contents)
        return [cluster.number for page in drawn for cluster in page], [path.read_bytes() for path in written]

    first, files = redrawn(pages, held)
    assert first == [1, 2] and redrawn(pages, held) == ([], files)
    assert redrawn(pages, held | {tmp_path / "c.png": b"changed"})[0] == [2]
    assert redrawn([pages[0], replace(pages[1], why="other")], held)[0] == [2]
    assert redrawn(pages, {tmp_path / "a.png": b"a"})[0] == [1, 2]  # what is not known is drawn
    redrawn(pages, held)
    (tmp_path / "out" / "clusters_001.png").write_bytes(b"no picture")
    assert redrawn(pages, held) == ([1], files)


@pytest.mark.skipif(START_METHOD != "fork", reason="what is drawn is replaced in this process")
def test_pages_are_drawn_by_several_processes_and_one_that_dies_costs_its_page(tmp_path, monkeypatch):
    for name in "abcdef":
        save(tmp_path / f"{name}.png")
    pairs = ("a.png", "b.png"), ("c.png", "d.png"), ("e.png", "f.png")
    clusters = [cluster_of(names, tmp_path, number) for number, names in enumerate(pairs, start=1)]
    plain = tables.plot_cluster_grid
    monkeypatch.setattr(tables, "PAGE_PICTURES", 2)
    alone, several = (
        write_report(clusters, tmp_path, tmp_path / f"by{workers}", progress=False, num_workers=workers)
        for workers in (0, 2)
    )
    assert [path.read_bytes() for path in alone] == [path.read_bytes() for path in several] and len(alone) == 4

    def crash(page, *arguments, **options):
        return os._exit(1) if page[0].number == 2 else plain(page, *arguments, **options)

    monkeypatch.setattr(tables, "plot_cluster_grid", crash)
    left = write_report(clusters, tmp_path, tmp_path / "by2", progress=False, num_workers=2)
    assert [path.name for path in left] == ["clusters_001.png", "clusters_003.png", "clusters.csv"]
    assert sorted((tmp_path / "by2").glob("*.png")) == left[:2]


@job
def widths_of_letters(first):
    return [text_width(chr(code), 10) for code in range(0x100 + first, 0x900, 7)]


def test_processes_that_measure_text_at_once_do_not_share_a_place_in_the_font():
    text_width("a", 10)  # the font is open
    firsts = [number % 7 for number in range(14)]
    assert list(run_jobs(widths_of_letters, firsts, 2)) == [widths_of_letters(first) for first in firsts]


def test_an_interrupted_write_leaves_the_old_file_whole(tmp_path, monkeypatch):
    write_report([], tmp_path, tmp_path / "out", progress=False)
    before = (tmp_path / "out" / "clusters.csv").read_bytes()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_report([cluster_of(["a", "b"], tmp_path)], tmp_path, tmp_path / "out", progress=False)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["clusters.csv"]
    assert (tmp_path / "out" / "clusters.csv").read_bytes() == before


def test_many_clusters_are_listed_but_not_all_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MAX_PAGES", 1)
    clusters = [cluster_of(["a.jpg", "b.jpg"], tmp_path, number) for number in range(1, 16)]
    pages = list(paginate(clusters, tmp_path))
    assert [cluster.number for page in pages for cluster in page] == list(range(1, 16))
    written = write_report(clusters, tmp_path, tmp_path / "out", progress=False)
    assert [path.name for path in written] == ["clusters_001.png", "clusters.csv"]
    told = f"The first {len(pages[0])} of 15 clusters are drawn; clusters.csv lists them all."
    assert list(describe_report(clusters, tmp_path, written))[1] == told
    rows = list(csv.DictReader((tmp_path / "out" / "clusters.csv").open(newline="", encoding="utf-8")))
    assert len(rows) == 30
    monkeypatch.setattr(tables, "MAX_PAGES", 20)
    complete = write_report(clusters, tmp_path, tmp_path / "out", progress=False)
    (line,) = describe_report(clusters, tmp_path, complete)
    assert line == f"{len(pages)} pages of pictures and clusters.csv in {tmp_path / 'out'}"


def test_the_curve_counts_what_lies_within_epsilon():
    vectors = np.array([[1, 0], [1, 0], [0.6, 0.8], [-1, 0]], np.float32)
    axes = plot_k_distances(vectors, 0.1).axes[0]
    assert axes.get_title(loc="left") == "2 of 4 pictures have a neighbour within epsilon 0.1"
    assert plot_k_distances(np.zeros((0, 2), np.float32), 0.1).png()
    edge = float(1 - vectors[1] @ vectors[2])
    assert plot_k_distances(vectors, edge + 1e-6).axes[0].get_title(loc="left").startswith("3 of 4")


def test_the_histogram_compares_shares_and_tells_what_lies_within():
    figure = plot_distance_histogram([0.0, 0.1, 0.2, 0.5], [0.9] * 1000 + [0.2] * 1000, epsilon=0.2)
    (text,) = words(figure)
    assert text == "within epsilon 0.2:\n75 % of copies,\n50 % of different pictures"
    labels = [entry.get_text() for entry in figure.axes[0].get_legend().get_texts()]
    assert labels == ["4 pairs of copies", "2,000 pairs of different pictures"]
    assert plot_distance_histogram([0.0], []).png()
    with pytest.raises(ValueError, match="both empty"):
        plot_distance_histogram([], [])


HALF = (0.5, 0.0, 0.25, 0.0, 0.5, 0.25, 0.0, 0.0, 1.0)  # the middle of the other picture


@pytest.mark.parametrize(
    ("kind", "drawn_on", "corners"),
    [("crop", 0, [[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]]), ("edited", None, None)],
)
def test_a_crop_is_framed_on_the_keeper(tmp_path, kind, drawn_on, corners):
    cluster = cluster_of(["a.jpg", "b.jpg"], tmp_path, kind=kind, place=HALF)
    found = [insets(cluster, member) for member in (cluster.keeper, *cluster.members)]
    assert [len(each) for each in found] == [int(place == drawn_on) for place in range(2)]
    if corners:
        np.testing.assert_allclose(found[0][0], corners)


def test_the_keeper_is_framed_on_what_contains_it(tmp_path):
    """It is twice as wide as the part of it that the other shows: the frame ends at the edge."""
    doubled = (2.0, 0.0, -0.5, 0.0, 2.0, -0.5, 0.0, 0.0, 1.0)
    cluster = cluster_of(["a.jpg", "b.jpg"], tmp_path, kind="contains", coverage=0.25, place=doubled)
    assert insets(cluster, cluster.keeper) == []
    np.testing.assert_allclose(insets(cluster, cluster.members[0])[0].min(axis=0), 0.25)
    np.testing.assert_allclose(insets(cluster, cluster.members[0])[0].max(axis=0), 0.75)
    outside = cluster_of(
        ["a.jpg", "b.jpg"], tmp_path, kind="contains", coverage=0.25, place=(0.5, 0, 0, 0, 1, 0, 0, 0, 1.0)
    )
    np.testing.assert_allclose(insets(outside, outside.members[0])[0].max(axis=0), 1)


def test_frames_and_what_decided_are_drawn(tmp_path):
    for name in "ab":
        save(tmp_path / f"{name}.jpg", color="white")
    cluster = replace(cluster_of(["a.jpg", "b.jpg"], tmp_path, kind="crop", place=HALF), why="4.0x the pixels")
    figure = plot_cluster_grid([cluster], tmp_path)
    assert "4.0x the pixels" in words(figure)
    assert has_color(pixels(figure)[40:220, 40:200], (0xB9, 0x4A, 0x00))
    plain = plot_cluster_grid([replace(cluster, members=(replace(cluster.members[0], place=()),))], tmp_path)
    assert not has_color(pixels(plain)[40:220, 40:200], (0xB9, 0x4A, 0x00))


def test_a_page_is_drawn_from_thumbnails_and_from_the_files_where_they_can_not_be_read(tmp_path):
    save(tmp_path / "a.png", color="red"), save(tmp_path / "b.png", color="red")
    small = {tmp_path / "a.png": save(tmp_path / "small.jpg", color="lime"), tmp_path / "b.png": tmp_path / "gone.jpg"}
    cluster = cluster_of(["a.png", "b.png"], tmp_path)
    first, second = np.split(pixels(plot_cluster_grid([cluster], tmp_path, thumbnails=small)), [216], axis=1)
    assert has_color(first, (0, 255, 0)) and not has_color(first, (255, 0, 0))
    assert has_color(second, (255, 0, 0)) and not has_color(second, (0, 255, 0))
    held = {path: path.name.encode() for path in small}
    page, _ = write_report([cluster], tmp_path, tmp_path / "out", False, contents=held, thumbnails=small)
    before = page.read_bytes()
    write_report([cluster], tmp_path, tmp_path / "out", False, contents=held)
    assert page.read_bytes() != before  # it is not taken for the same page


def test_the_keeper_table_marks_what_puts_a_file_behind_the_first():
    best = KeeperKey((), 0.0, 0, 1, 0, -2, 10.0, 0, 1)
    keys = {
        Path("pictures/a.png"): best,
        Path("pictures/older name|.png"): best._replace(row=2),
        Path("pictures/b.jpg"): best._replace(compression=3, contents=0, age=20.0),
        Path("pictures/c.jpg"): best._replace(detail=0.4, compression=1),
    }
    head, _, first, *others = keeper_table(keys, Path("pictures")).split("\n")
    assert len(CRITERIA) == len(KeeperKey._fields)
    assert head == "| file | detail | enlarged | folder | compression | holds | age | name | path |"
    assert first == "| a.png | all | no | any | finest | 2 things | 1. of 2 | any | 1. of 2 |"
    assert others == [
        "| older name\\|.png | all | no | any | finest | 2 things | 1. of 2 | any | **2. of 2** |",
        "| b.jpg | all | no | any | **3 steps coarser** | 0 things | 2. of 2 | any | 1. of 2 |",
        "| c.jpg | **40% less** | no | any | 1 step coarser | 2 things | 1. of 2 | any | 1. of 2 |",
    ]
    keys = {path: key._replace(preference=(float(key.detail == 0), 0.0)) for path, key in reversed(keys.items())}
    head, _, first, *others = keeper_table(keys, Path("pictures")).split("\n")
    assert head.startswith("| file | preference | detail |") and first.startswith("| c.jpg | 1. of 2 | 40% less |")
    assert all(line.split(" | ")[1] == "**2. of 2**" for line in others)
