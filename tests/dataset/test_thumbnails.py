"""Thumbnails: one for each content, made once, taken away when nothing needs it."""

import hashlib
import shutil

import pytest
from PIL import Image

from dedup.dataset.decoding import THUMBNAIL as SIDE
from dedup.dataset.decoding import UnreadableImage
from dedup.dataset.thumbnails import read_with_thumbnail, thumbnail_path, write_thumbnails


@pytest.fixture
def pictures(tmp_path):
    """A wide picture, its exact copy, a small one turned upright by its metadata, and a broken file."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.linear_gradient("L").resize((1200, 300)).save(folder / "wide.png")
    shutil.copy(folder / "wide.png", folder / "again.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (60, 40), "red").save(folder / "small.jpg", exif=turned)
    (folder / "broken.jpg").write_bytes(b"no picture")
    return [folder / name for name in ("wide.png", "again.png", "small.jpg", "broken.jpg")]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_one_for_each_content(pictures, tmp_path, num_workers):
    found = write_thumbnails(pictures, tmp_path / "out", num_workers, progress=False)
    wide, again, small, broken = pictures
    assert found.keys() == {wide, again, small}
    assert found[wide] == found[again] == hashlib.blake2b(wide.read_bytes(), digest_size=32).hexdigest()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{digest}.jpg" for digest in found.values()}
    assert Image.open(thumbnail_path(tmp_path / "out", found[wide])).size == (SIDE, SIDE // 4)
    assert Image.open(thumbnail_path(tmp_path / "out", found[small])).size == (40, 60)


def test_made_once_and_taken_away(pictures, tmp_path):
    folder = tmp_path / "out"
    found = write_thumbnails(pictures, folder, progress=False)
    wide, _, small, _ = pictures
    kept = thumbnail_path(folder, found[wide])
    kept.write_bytes(b"made before")
    (folder / "mine.jpg").write_bytes(b"mine")
    write_thumbnails([wide], folder, progress=False)
    assert kept.read_bytes() == b"made before"
    assert {path.name for path in folder.iterdir()} == {kept.name, "mine.jpg"}
    assert small.exists()


def test_what_is_known_and_made_is_not_opened(pictures, tmp_path):
    folder, (wide, again, small, _) = tmp_path / "out", pictures
    found = write_thumbnails([wide, small], folder, progress=False)
    wide.unlink()
    known = {wide: found[wide], again: found[wide], small: "0" * 64}
    assert write_thumbnails([wide, again, small], folder, progress=False, known=known) == known | {small: found[small]}
    assert {path.name for path in folder.iterdir()} == {f"{digest}.jpg" for digest in found.values()}


def test_a_thumbnail_is_named_by_what_it_shows(pictures, tmp_path):
    """Whatever the file held before, or whoever asks for it."""
    folder, (_, _, small, broken) = tmp_path / "out", pictures
    shown, size = read_with_thumbnail(small, folder)
    assert shown.shape == (60, 40, 3) and size == (40, 60)
    (thumbnail,) = folder.iterdir()
    assert thumbnail == thumbnail_path(folder, hashlib.blake2b(small.read_bytes(), digest_size=32).hexdigest())
    Image.new("RGB", (60, 40), "blue").save(small)
    read_with_thumbnail(small, folder)
    other = thumbnail_path(folder, hashlib.blake2b(small.read_bytes(), digest_size=32).hexdigest())
    assert [Image.open(path).getpixel((9, 9))[2] > 200 for path in (thumbnail, other)] == [False, True]
    with pytest.raises(UnreadableImage):
        read_with_thumbnail(broken, folder)
    assert len(list(folder.iterdir())) == 2
    (tmp_path / "file").write_bytes(b"")
    assert read_with_thumbnail(small, tmp_path / "file")[1] == (60, 40)  # where nothing can be written, it is read


def test_nothing_to_show_makes_an_empty_folder(tmp_path):
    assert write_thumbnails([], tmp_path / "out", 2, progress=False) == {}
    assert list((tmp_path / "out").iterdir()) == []
