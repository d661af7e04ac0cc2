"""What is told beside a keeper before a file goes for it: the XMP file, other files in its place, and the way back."""

import io
import json
import os
from datetime import timedelta
from pathlib import Path

import pytest

from dedup.contents.companions import xmp_beside
from dedup.contents.merging import Unmergeable, can_be_merged, fields_of, lacking, merged
from dedup.contents.metadata import read_xmp
from dedup.deletion import removal
from dedup.deletion.journal import read_plan
from dedup.deletion.records import BadRecord
from tests.camera_files import picture
from tests.removal_world import World, decodes, no_waiting  # noqa: F401

HERE, THERE = {"place": ["-33.8568 151.2153"]}, {"place": ["48.8584 2.2945"]}
ALL = {
    **{"rating": ["5"], "keywords": ["007", "sea\nside", "ä<&>"], "caption": ["one line\nand another " * 9]},
    **{
        "title": ["12345678.5"],
        "artist": ["Me"],
        "copyright": ["© me"],
        "place": ["-33.8568 151.2153"],
        "time zone": ["+01:00"],
    },
    **{"capture time": ["2020:01:02", "2020:01:02 10:20", "2020:01:02 10:20:30"], "fraction of the second": ["12"]},
}
OLD = b"""<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xap="http://ns.adobe.com/xap/1.0/" xmlns:dt="http://darktable.sf.net/"
 xap:Rating="3" dt:history_end="7"><dc:subject xmlns:dc="http://purl.org/dc/elements/1.1/"><rdf:Bag>
<rdf:li>old</rdf:li></rdf:Bag></dc:subject></rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""


def jpeg(number: int, quality: int, fields: dict[str, list[str]] | None = None, **more) -> bytes:
    """A picture that tells something in XMP."""
    buffer = io.BytesIO()
    told = {"xmp": merged(None, fields)} if fields else {}
    picture(number).save(buffer, "JPEG", quality=quality, **told, **more)
    return buffer.getvalue()


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for number, (name, data) in enumerate(files.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        os.utime(folder / name, (10**9 + number, 10**9 + number))
    return folder


def test_an_xmp_file_holds_all_fields_as_they_were_written():
    made = merged(None, ALL)
    assert b"007" in made and b"12345678.5" in made and b"one line\nand another" in made
    assert set(read_xmp(made)) == set(ALL)
    assert merged(made, ALL) == made and merged(made, {"rating": ["4"]}) == made


def test_an_xmp_file_that_is_there_keeps_all_that_it_tells():
    made = merged(OLD, ALL)
    assert b'history_end="7"' in made
    assert read_xmp(made) == read_xmp(OLD) | read_xmp(merged(None, ALL)) | {"keywords": read_xmp(made)["keywords"]}
    assert read_xmp(made)["rating"] == {"5"} and read_xmp(made)["keywords"] > {"old", "7"}
    ordered = merged(OLD.replace(b"rdf:Bag", b"rdf:Seq"), ALL)
    assert ordered.count(b"<dc:subject>") == 1 and read_xmp(ordered) == read_xmp(made)


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        *((data, ALL) for data in (b"x", b"<rdf:RDF>", OLD[:-90], OLD * 2, OLD.decode().encode("utf-16"))),
        (merged(None, HERE), THERE),
        (merged(None, {"caption": ["one"]}), {"caption": ["another"]}),
        (None, {"title": ["\x01"]}),
        *((None, {"place": [place]}) for place in ("nowhere", "1.00000 2.00000", "1.0000 2.0000 3.0000")),
        (None, {"unknown": ["name"]}),
    ],
)
def test_what_can_not_be_told_is_refused(data, fields):
    with pytest.raises(Unmergeable):
        merged(data, fields)


def test_the_name_of_the_file_is_one_of_that_picture_alone(tmp_path):
    folder = write(tmp_path, dict.fromkeys(("a.jpg", "b.jpg", "b.xmp", "c.jpg", "c.xmp", "c.jpg.xmp"), OLD))
    assert [xmp_beside(folder / name) for name in ("a.jpg", "b.jpg", "c.jpg")] == ["a.jpg.xmp", "b.xmp", "c.jpg.xmp"]
    write(tmp_path, {"b.dng": b"raw"})
    assert xmp_beside(folder / "b.jpg") == "b.jpg.xmp"


def test_only_what_the_keeper_lacks_is_to_be_told(tmp_path):
    kept = {"keywords": ["a"], "rating": ["4"], "title": ["T"]}
    folder = write(
        tmp_path, {"k.jpg": jpeg(1, 95, kept), "d.jpg": jpeg(1, 85, {**kept, "keywords": ["a", "b", "007"]} | HERE)}
    )
    assert fields_of(folder / "d.jpg", folder / "k.jpg") == {"keywords": ["007", "a", "b"], **HERE}


@pytest.mark.parametrize(
    ("own", "kept", "told"),
    [("-1", {}, {}), ("-1", {"0"}, {}), ("0", {"-1"}, {}), ("1", {"-1"}, {"1"}), ("1", {}, {"1"}), ("4", {"5"}, {})],
)
def test_no_rating_counts_as_0_and_only_a_higher_one_is_told(own, kept, told):
    """-1 is "rejected": a picture is not rejected because its copy was."""
    found = lacking({"rating": {own}}, {"rating": kept} if kept else {})
    assert found == ({"rating": told} if told else {}) and merged(None, {"rating": ["-1"]}) is None


@pytest.mark.parametrize(
    ("name", "one", "other"), [("place", HERE, THERE), ("caption", *({"caption": [x]} for x in "ab"))]
)
def test_what_an_xmp_file_contradicts_is_named(name, one, other):
    with pytest.raises(Unmergeable, match=f"the XMP file beside its keeper has another {name}"):
        merged(merged(None, one), other)


TIME = {"capture time": {"2020:01:02", "2020:01:02 10:20"}, "time zone": {"+01:00"}}


@pytest.mark.parametrize(
    ("name", "own", "kept", "can"),
    [
        *(("title", {"title": {"a"}}, kept, not kept) for kept in ({}, {"title": {"b"}})),
        *(("title", {"title": titles}, {}, False) for titles in ({"a", "b"}, {"a", "ab"}, set())),
        *(("keywords", {"keywords": {"a", "b"}}, kept, True) for kept in ({}, {"keywords": {"c"}})),
        *(("rating", {"rating": {text}}, {}, text == "2") for text in ("2", "good", "nan")),
        *(("rating", {"rating": {"2"}}, {"rating": {text}}, text == "3") for text in ("3", "good")),
        *((name, TIME, kept, not kept) for name in TIME for kept in ({}, {"capture time": {"2020:01:02"}})),
        ("capture time", {"capture time": {"2020:01:02", "2020:01:03"}}, {}, False),
        ("time zone", {"time zone": {"+01:00"}}, {}, False),
        ("film", {"film": {"x"}}, {}, False),
    ],
)
def test_of_single_values_only_what_the_keeper_has_none_of_can_be_told(name, own, kept, can):
    assert can_be_merged(name, own, kept) == can


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path, 2, merges=True)


BESIDE = "keeper 0.jpg.xmp"


def test_what_somebody_writes_there_meanwhile_stays(world):
    assert world.apply().exit_code == 0 and world.told("keeper 0.jpg") == {"before", *world.dropped}
    (world.root / BESIDE).write_bytes(b"mine")
    undone = removal.undo(world.root)
    assert undone.exit_code == 1 and len(undone.done) == 2
    assert "to get the one before, move it away and undo again" in undone.refused[0][1]
    assert (world.root / BESIDE).read_bytes() == b"mine" and not world.lost()  # the one before lies in the trash
    (world.root / BESIDE).unlink()
    assert removal.undo(world.root).exit_code == 0 and world.files() == world.before


def test_a_file_that_appears_when_one_is_put_there_is_not_replaced(world, monkeypatch):
    from dedup.deletion import trash

    (world.root / BESIDE).unlink()
    place = trash._place

    def appear(box, stored, home, name):
        if name == BESIDE:
            (world.root / BESIDE).write_bytes(b"mine")
        place(box, stored, home, name)

    monkeypatch.setattr(trash, "_place", appear)
    applied = world.apply()
    assert applied.done == () and len(applied.refused) == 2
    assert (world.root / BESIDE).read_bytes() == b"mine"
    assert all((world.root / name).exists() for name in world.dropped)


def test_a_keepers_folder_that_can_not_be_written_to_is_the_reason(world, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode, **more: Path(path) != world.root)
    applied = world.apply()
    assert {reason for _, reason in applied.refused} == {"its keeper's folder can't be written to"}
    assert applied.done == () and world.files() == world.before
    assert removal.undo(world.root).exit_code == 0 and world.files() == world.before


def test_a_change_between_reading_and_moving_is_seen(world, monkeypatch):
    from dedup.deletion.trash import Run

    intend = Run.intend

    def edit(run, item):
        intend(run, item)
        if item.sequence == 1:
            (world.root / BESIDE).write_bytes(OLD)

    monkeypatch.setattr(Run, "intend", edit)
    applied = world.apply()
    assert applied.refused == ((Path(world.dropped[0]), "the XMP file beside its keeper was changed meanwhile"),)
    assert (world.root / world.dropped[0]).exists() and world.told("keeper 0.jpg") == {"old", world.dropped[1]}
    assert removal.undo(world.root).exit_code == 0 and (world.root / BESIDE).read_bytes() == OLD


def test_nothing_goes_where_the_file_can_not_be_read(world):
    (world.root / BESIDE).write_bytes(b"no XMP")
    applied = world.apply()
    assert applied.done == () and len(applied.refused) == 2
    assert (world.root / BESIDE).read_bytes() == b"no XMP"


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs links")
def test_a_link_in_its_place_is_not_followed(world):
    (world.root / BESIDE).unlink()
    target = world.folder / "elsewhere.xmp"
    target.write_bytes(OLD)
    os.symlink(target, world.root / BESIDE)
    assert world.apply().done == ()
    assert target.read_bytes() == OLD and (world.root / BESIDE).is_symlink()


@pytest.mark.parametrize(
    "merge",
    [
        *({"name": name, "fields": {}} for name in ("keeper 1.xmp", "../keeper 0.jpg.xmp", "keeper 0.jpg", 3, "")),
        *({"name": BESIDE, "fields": fields} for fields in (1, [], {"rating": "5"}, {"rating": [5]})),
        *({"name": BESIDE, "fields": {}, **more} for more in ({"new": 1}, {"new": "0"}, {"old": 1}, {"x": 1})),
        {"name": BESIDE, "fields": {}, "old": {}},
        {"fields": {}},
        [],
    ],
)
def test_a_crafted_plan_is_refused_whole(world, merge):
    header, *lines = world.plan.read_text().splitlines()
    crafted = [json.dumps(json.loads(lines[0]) | {"merge": merge}), *lines[1:]]
    world.plan.write_text("\n".join([header, *crafted]))
    with pytest.raises(BadRecord):
        read_plan(world.plan)
    before = world.files()
    assert world.apply().exit_code == 2 and world.files() == before


def test_a_file_that_the_plan_keeps_or_moves_is_not_replaced(tmp_path):
    """As the XMP file of a keeper whose twin goes with the duplicate."""
    world = World(tmp_path, 1, merges=True)
    for name in ("copy 0.jpg.xmp", BESIDE):
        (world.root / name).write_bytes(OLD)
    assert removal.make_plan(world.clusters(), world.root, world.plan).exit_code == 0
    world._add_merges()
    applied = world.apply()
    assert applied.done == () and "what the plan keeps or moves" in applied.refused[0][1]


def test_a_file_is_destroyed_only_while_its_keeper_tells_what_it_told(world):
    assert world.apply().exit_code == 0
    there = (world.root / BESIDE).read_bytes()
    (world.root / BESIDE).write_bytes(merged(None, {"keywords": ["before", world.dropped[0]], "rating": ["5"]}))
    purged = removal.purge(world.root, older_than=timedelta(0), decodes=decodes)
    assert purged.done == (Path(world.dropped[0]),)
    assert purged.refused == ((Path(world.dropped[1]), "the XMP file beside its keeper no longer tells what it told"),)
    (world.root / BESIDE).write_bytes(there)
    undone = removal.undo(world.root)  # the second one comes home, and what was told for it goes
    assert undone.done == (Path(world.dropped[1]),) and len(undone.refused) == 1
    assert world.told("keeper 0.jpg") == {"before", world.dropped[0]}  # what the first one told stays


def test_what_was_destroyed_is_told_for_good(world):
    """Of two files that go for a keeper without an XMP file the first is destroyed, the second comes back."""
    (world.root / BESIDE).unlink()
    assert world.apply().exit_code == 0
    there = (world.root / BESIDE).read_bytes()
    (world.root / BESIDE).write_bytes(merged(None, {"keywords": [world.dropped[0]], "rating": ["5"]}))
    assert removal.purge(world.root, older_than=timedelta(0), decodes=decodes).done == (Path(world.dropped[0]),)
    (world.root / BESIDE).write_bytes(there)
    for _ in range(2):
        removal.undo(world.root)
        assert world.told("keeper 0.jpg") == {world.dropped[0]} and (world.root / world.dropped[1]).exists()


def test_what_was_made_from_a_file_that_could_not_come_back_waits_for_it(world, monkeypatch):
    from dedup.deletion import trash

    assert world.apply().exit_code == 0
    home, failed = trash.go_home, []

    def fail_once(root, box, *pairs):
        if not failed and pairs[0].drop.parts[-1] == BESIDE:
            failed.append(pairs)
            raise PermissionError(13, "not now")
        home(root, box, *pairs)

    monkeypatch.setattr(trash, "go_home", fail_once)
    assert removal.undo(world.root).exit_code == 1 and failed
    assert removal.undo(world.root).exit_code == 0 and world.files() == world.before


@pytest.mark.parametrize("inside", ["", '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>'])
def test_an_xmp_file_that_tells_nothing_is_extended(inside):
    told = merged(f'<x:xmpmeta xmlns:x="adobe:ns:meta/">{inside}</x:xmpmeta>'.encode(), {"keywords": ["boat"]})
    assert merged(told, {"keywords": ["boat"]}) == told and b"boat" in told
    with pytest.raises(Unmergeable, match="can't be written"):
        merged(b"<page/>", {"keywords": ["boat"]})
