"""Files that lie beside a picture and belong to it: what counts as one, and when they may go together."""

import os
from pathlib import Path

import pytest

from dedup.contents import companions
from dedup.contents.companions import companions_of, matched_companions


def touch(path: Path, content: bytes = b"content") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


LONG = "IMG_20190101_120000_BURST001_COVER_TOP_more"  # 43 characters


@pytest.mark.parametrize(
    ("picture", "other"),
    [
        *(("a.jpg", name) for name in ("a.CR2", "A.mov", "a.xmp", "a.jpg.xmp", "a.AAE", "a.json", "a.txt", "a.wav")),
        *(
            ("a.jpg", name)
            for name in ("a.caption", "a.npz", "a.psd", "a.jpg.on1", "a_01.jpg.xmp", "a-notes.txt", "a.")
        ),
        *(("a.jpg", name) for name in ("a.jpg_original", "a.jpg~", "a (1).txt", "NKSC_PARAM/a.jpg.nksc", "x/y/a.cos")),
        *(("a.dng", name) for name in ("a.jpg", "a.xmp")),
        ("p.jpg", "p.jpg.supplemental-metadata.json"),
        ("p.jpg", "p.jpg.suppleme.json"),
        ("p(1).jpg", "p.jpg(1).json"),
        ("p(1).jpg", "p(1).jpg.json"),
        ("p(12).jpg", "p.jpg.supplemental-metadata(12).json"),
        ("p-edited.jpg", "p.jpg.json"),
        ("p-bearbeitet(2).jpg", "p.jpg.supplemental-metadata(2).json"),
        (f"{LONG}.jpg", f"{LONG}.jp.json"),
        (f"{LONG}_and_so_on.jpg", f"{LONG}_an.json"),
        (f"{LONG}_and(1).jpg", f"{LONG}_an(1).json"),
        ("ä" * 24 + ".jpg", "ä" * 23 + ".json"),
        *(("IMG_E0008.JPG", name) for name in ("IMG_0008.AAE", "IMG_O0008.AAE", "IMG_0008.MOV", "IMG_E0008.AAE")),
        ("IMG_0008.HEIC", "IMG_O0008.AAE"),
    ],
)
def test_companions(tmp_path, picture, other):
    path, beside = touch(tmp_path / picture), touch(tmp_path / other)
    assert companions_of(path) == [beside]
    assert matched_companions(path, touch(tmp_path / "keeper" / "k.jpg")).reason == f"belongs together with {other}"


@pytest.mark.parametrize(
    ("picture", "other"),
    [
        *(("a.jpg", name) for name in ("ab.xmp", "b.mov", "a1.txt", "a.b.jpg", "a.png", "a.heic", "x/y/z/a.txt")),
        *(("a.jpg", name) for name in (".hidden/a.txt", "@eaDir/a.jpg.txt", "b-a.txt")),
        ("p(1).jpg", "p.jpg.json"),
        ("p(1).jpg", "p.jpg(2).json"),
        ("p-edited.jpg", "p.json"),
        ("p-1.jpg", "p.jpg.json"),
        (f"{LONG}.jpg", f"{LONG[:40]}.json"),
        ("IMG_E0008.JPG", "IMG_0009.AAE"),
        ("IMG_Easter.jpg", "IMG_aster.txt"),
    ],
)
def test_other_names_are_no_companions(tmp_path, picture, other):
    path = touch(tmp_path / picture)
    touch(tmp_path / other)
    assert companions_of(path) == []


def test_a_folder_with_pictures_of_its_own_keeps_its_files(tmp_path):
    path = touch(tmp_path / "a.jpg")
    touch(tmp_path / "x" / "a.txt")
    touch(tmp_path / "x" / "other.jpg")
    assert companions_of(path) == []


def test_the_longest_name_counts(tmp_path):
    names = ("a.jpg", "a-b.jpg", "a(1).jpg", "a-b.txt", "a.jpg(1).json", "a.txt")
    for name in names:
        touch(tmp_path / name)
    found = {name: [path.name for path in companions_of(tmp_path / name)] for name in names[:3]}
    assert found == {"a.jpg": ["a.txt"], "a-b.jpg": ["a-b.txt"], "a(1).jpg": ["a.jpg(1).json"]}


def test_a_new_companion_is_seen(tmp_path):
    path = touch(tmp_path / "a.jpg")
    os.utime(tmp_path, (1, 1))
    assert companions_of(path) == []
    other = touch(tmp_path / "a.txt")
    assert companions_of(path) == [other]


def test_alike_companions_go_together(tmp_path):
    one, other = touch(tmp_path / "one" / "IMG_1.jpg"), touch(tmp_path / "two" / "b.jpg")
    film, same = touch(tmp_path / "one" / "IMG_1.MOV", b"film"), touch(tmp_path / "two" / "b.mov", b"film")
    memo = touch(tmp_path / "two" / "b.wav", b"memo")
    assert matched_companions(one, other) == (((same, film),), "")
    assert matched_companions(other, one) == ((), "belongs together with b.wav")
    memo.unlink()
    assert matched_companions(other, one) == (((film, same),), "")
    film.write_bytes(b"another")
    assert matched_companions(one, other) == ((), "belongs together with IMG_1.MOV")


def test_several_companions_go_together(tmp_path):
    one, other = touch(tmp_path / "one" / "a.jpg"), touch(tmp_path / "two" / "b.jpg")
    for folder, stem in (("one", "a"), ("two", "b")):
        for ending in (".mov", ".xmp", ".jpg.json"):
            touch(tmp_path / folder / f"{stem}{ending}", ending.encode())
    pairs, reason = matched_companions(one, other)
    assert [(twin.name, own.name) for twin, own in pairs] == [
        ("b.jpg.json", "a.jpg.json"),
        ("b.mov", "a.mov"),
        ("b.xmp", "a.xmp"),
    ]
    assert reason == ""


def test_companions_go_with_a_picture_without_any(tmp_path):
    one, other = touch(tmp_path / "one" / "a.jpg"), touch(tmp_path / "two" / "a.jpg")
    assert matched_companions(one, other) == ((), "")
    touch(tmp_path / "two" / "a.txt")
    assert matched_companions(one, other) == ((), "")


@pytest.mark.parametrize("how", ["two pictures", "hard link", "link", "empty"])
def test_a_companion_that_can_not_go_keeps_its_picture(tmp_path, how):
    one, other = touch(tmp_path / "one" / "a.jpg"), touch(tmp_path / "two" / "a.jpg")
    film = touch(tmp_path / "one" / "a.mov", b"" if how == "empty" else b"film")
    touch(tmp_path / "two" / "a.mov", film.read_bytes())
    if how == "two pictures":
        touch(tmp_path / "one" / "a.heic")
    elif how == "hard link":
        os.link(film, tmp_path / "film")
    elif how == "link":
        film.rename(tmp_path / "film")
        film.symlink_to(tmp_path / "film")
    assert matched_companions(one, other).reason == "belongs together with a.mov"


def test_one_companion_of_two_pictures_is_no_like_of_itself(tmp_path):
    one, other = touch(tmp_path / "a.jpg"), touch(tmp_path / "a.png")
    touch(tmp_path / "a.txt")
    assert (
        matched_companions(one, other).reason == matched_companions(other, one).reason == "belongs together with a.txt"
    )


def test_many_files_take_no_long_search(tmp_path, monkeypatch):
    for number in range(300):
        touch(tmp_path / f"IMG_{number:04}.jpg")
        touch(tmp_path / f"IMG_{number:04}.xmp")
    scanned = []
    scandir = os.scandir
    monkeypatch.setattr(companions.os, "scandir", lambda folder: scanned.append(folder) or scandir(folder))
    assert all(len(companions_of(tmp_path / f"IMG_{number:04}.jpg")) == 1 for number in range(300))
    assert len(scanned) <= 2
