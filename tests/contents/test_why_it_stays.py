"""Why a duplicate stays: one small pair of files for each reason, and its near miss that may go."""

import ctypes
import itertools
import os
import time
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
import pytest
from PIL import Image

from dedup import workers
from dedup.contents import companions
from dedup.contents import inventory as contents
from dedup.contents.inventory import why_it_stays

pillow_heif.register_heif_opener()

EXIF_IFD, GPS_IFD = 0x8769, 0x8825


@pytest.fixture
def keeper(tmp_path) -> Path:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "keeper.png")
    return tmp_path / "keeper.png"


def picture(path: Path, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "red").save(path, **options)
    return path


def exif(time: str | None = None, place: bool = False) -> bytes:
    data = Image.Exif()
    if time is not None:
        data.get_ifd(EXIF_IFD)[0x9003] = time
    if place:
        data.get_ifd(GPS_IFD).update({1: "N", 2: (48.0, 8.0, 0.0), 3: "E", 4: (11.0, 30.0, 0.0)})
    return data.tobytes()


def test_a_plain_copy_may_go(keeper, tmp_path):
    assert why_it_stays(picture(tmp_path / "copy.jpg"), keeper, tmp_path) == ""


def test_a_member_of_a_set_stays_unless_its_keeper_has_the_same(keeper, tmp_path):
    member = picture(tmp_path / "a.jpg")
    (tmp_path / "a.mov").write_bytes(b"film")
    assert why_it_stays(member, keeper, tmp_path) == "belongs together with a.mov"
    (tmp_path / "keeper.mov").write_bytes(b"film")
    assert why_it_stays(member, keeper, tmp_path) == ""


def test_hard_links_stay(keeper, tmp_path):
    os.link(keeper, tmp_path / "link.png")
    assert why_it_stays(tmp_path / "link.png", keeper, tmp_path).startswith("is a hard link to its keeper")
    member = picture(tmp_path / "a.jpg")
    for name, says in (("b.jpg", "has another hard link:"), ("c.jpg", "has 2 more hard links:")):
        os.link(member, tmp_path / name)
        assert why_it_stays(member, keeper, tmp_path).startswith(says)


def test_links_stay_and_are_no_keepers(keeper, tmp_path):
    (tmp_path / "link.png").symlink_to(keeper)
    assert "not a regular file" in why_it_stays(tmp_path / "link.png", keeper, tmp_path)
    assert "not a regular file" in why_it_stays(keeper, tmp_path / "link.png", tmp_path)


@pytest.mark.parametrize(
    "folder",
    [".Trash-1000/files", "Trash/files", ".dedup-trash/run", "$RECYCLE.BIN", "#recycle/x", "files_trashbin/files"]
    + [".stversions", ".Trashes/501", "RECYCLER", "@Recycle", ".dtrash"],
)
def test_files_in_a_trash_stay_and_are_no_keepers(keeper, tmp_path, folder):
    inside = picture(tmp_path / folder / "a.jpg")
    assert why_it_stays(inside, keeper, tmp_path) == "lies in a trash folder"
    assert why_it_stays(keeper, inside, tmp_path) == "its keeper lies in a trash folder"


@pytest.mark.parametrize("folder", ["trashy", "my trash", "recycled paper", "bin"])
def test_a_folder_that_sounds_like_a_trash_is_none(keeper, tmp_path, folder):
    assert why_it_stays(picture(tmp_path / folder / "a.jpg"), keeper, tmp_path) == ""


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".heic", ".avif"])
def test_the_only_file_with_time_or_place_stays(keeper, tmp_path, suffix):
    dated = picture(tmp_path / f"dated{suffix}", exif=exif("2020:01:02 03:04:05"))
    placed = picture(tmp_path / f"placed{suffix}", exif=exif(place=True))
    assert why_it_stays(dated, keeper, tmp_path) == "has the capture time that its keeper lacks"
    assert why_it_stays(placed, keeper, tmp_path) == "has the place that its keeper lacks"
    both = picture(tmp_path / f"both{suffix}", exif=exif("2020:01:02 03:04:05", place=True))
    assert why_it_stays(dated, both, tmp_path) == why_it_stays(placed, both, tmp_path) == ""


def test_an_empty_date_is_no_date(keeper, tmp_path):
    assert why_it_stays(picture(tmp_path / "a.jpg", exif=exif("0000:00:00 00:00:00")), keeper, tmp_path) == ""


def test_a_date_in_xmp_counts(keeper, tmp_path):
    member = picture(tmp_path / "a.jpg", xmp=b'<x exif:DateTimeOriginal="2020-01-02T10:00:00"/>')
    assert why_it_stays(member, keeper, tmp_path) == "has the capture time that its keeper lacks"


@pytest.mark.parametrize("mark", ["GCamera:MotionPhoto", "Camera:MotionPhoto", "GCamera:MicroVideo"])
def test_a_film_behind_the_picture_makes_it_stay(keeper, tmp_path, mark):
    member = picture(tmp_path / "a.jpg", xmp=f'<x {mark}="1"/>'.encode())
    assert why_it_stays(member, keeper, tmp_path) == "has the film that its keeper lacks"
    assert why_it_stays(member, picture(tmp_path / "b.jpg", xmp=f'<y {mark}="1"/>'.encode()), tmp_path) == ""


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".tga", ".gif"])
def test_a_transparent_file_stays_without_a_transparent_keeper(keeper, tmp_path, suffix):
    clear = Image.new("RGBA", (8, 8), "red")
    clear.save(tmp_path / f"opaque{suffix}")
    clear.putpixel((3, 3), (255, 0, 0, 0))
    clear.save(tmp_path / f"clear{suffix}")
    clear.save(tmp_path / "other.png", compress_level=1)
    said = "has the transparency that its keeper lacks"
    assert why_it_stays(tmp_path / f"clear{suffix}", keeper, tmp_path) == said
    assert why_it_stays(tmp_path / f"clear{suffix}", tmp_path / f"opaque{suffix}", tmp_path) == said
    assert why_it_stays(tmp_path / f"clear{suffix}", tmp_path / "other.png", tmp_path) == ""
    assert why_it_stays(tmp_path / f"opaque{suffix}", keeper, tmp_path) == ""


def test_a_palette_with_a_clear_colour_is_transparent(keeper, tmp_path):
    Image.new("P", (8, 8)).save(tmp_path / "a.png", transparency=0)
    assert why_it_stays(tmp_path / "a.png", keeper, tmp_path) == "has the transparency that its keeper lacks"


def test_transparency_that_is_too_large_to_be_read_makes_it_stay(keeper, tmp_path, monkeypatch):
    Image.new("RGBA", (8, 8)).save(tmp_path / "a.png")
    monkeypatch.setattr(contents, "MAX_BYTES", 255)
    told = contents.read_all_contents([tmp_path / "a.png", keeper], 0)
    assert "too large to be read" in why_it_stays(tmp_path / "a.png", keeper, tmp_path, told=told)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".ppm", ".pgm"])
def test_a_file_of_16_bits_stays_without_a_keeper_of_16(keeper, tmp_path, suffix):
    shape = (8, 8) if suffix == ".pgm" else (8, 8, 3)
    for name, kind in (("fine", np.uint16), ("coarse", np.uint8)):
        cv2.imwrite(str(tmp_path / f"{name}{suffix}"), np.full(shape, 200, kind))
    cv2.imwrite(str(tmp_path / "other.tiff"), np.full(shape, 201, np.uint16))
    fine = tmp_path / f"fine{suffix}"
    assert why_it_stays(fine, keeper, tmp_path) == "has the 16 bits a channel that its keeper lacks"
    assert why_it_stays(fine, tmp_path / "other.tiff", tmp_path) == ""
    assert why_it_stays(tmp_path / f"coarse{suffix}", keeper, tmp_path) == ""


@pytest.mark.parametrize("mode", ["I", "F", "I;16", "I;16B"])
def test_single_channels_of_more_than_8_bits_count(keeper, tmp_path, mode):
    Image.new(mode, (8, 8)).save(tmp_path / "a.tif")
    assert why_it_stays(tmp_path / "a.tif", keeper, tmp_path) == "has the 16 bits a channel that its keeper lacks"


@pytest.mark.parametrize("suffix", [".tga", ".qoi", ".bmp", ".jp2", ".ppm", ".heic", ".avif"])
def test_a_plain_copy_in_any_format_may_go(keeper, tmp_path, suffix):
    assert why_it_stays(picture(tmp_path / f"a{suffix}"), keeper, tmp_path) == ""


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tif", ".avif"])
def test_other_frames_make_a_file_stay(keeper, tmp_path, suffix):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    moving, same = tmp_path / f"moving{suffix}", tmp_path / f"copy{suffix}"
    frames[0].save(moving, save_all=True, append_images=frames[1:])
    frames[0].save(same, save_all=True, append_images=frames[1:], comment=b"another file", compress_level=1)
    said = why_it_stays(moving, keeper, tmp_path)
    assert "other frames or pages" in said and said.endswith(" that its keeper lacks")
    assert why_it_stays(moving, same, tmp_path) == ""


def test_pictures_behind_the_first_of_a_jpeg_make_it_stay(keeper, tmp_path):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=frames[1:])
    assert why_it_stays(tmp_path / "a.jpg", keeper, tmp_path) == "has the second picture that its keeper lacks"


@pytest.mark.skipif(workers.START_METHOD != "fork", reason="elsewhere frames are decoded in the process itself")
@pytest.mark.parametrize(
    ("harm", "said"), [(ctypes.string_at, "crashed its process"), (time.sleep, "took longer than")]
)
def test_a_page_that_brings_its_decoder_down_costs_no_run(keeper, tmp_path, monkeypatch, harm, said):
    page = Image.new("RGB", (8, 8), "blue")
    picture(tmp_path / "a.tif", save_all=True, append_images=[page])
    harmful = workers.job(lambda path: harm(60 if harm is time.sleep else 0))
    monkeypatch.setattr(contents, "_read", harmful)
    monkeypatch.setattr(workers, "TIME_LIMIT", 0.2)
    assert said in why_it_stays(tmp_path / "a.tif", keeper, tmp_path)


@pytest.mark.parametrize(("limit", "value", "said"), [("_MOST_FRAMES", 1, "2 frames"), ("MAX_BYTES", 255, "too large")])
def test_frames_without_end_stay(keeper, tmp_path, monkeypatch, limit, value, said):
    member = picture(tmp_path / "a.tif", save_all=True, append_images=[Image.new("RGB", (8, 8), "blue")])
    monkeypatch.setattr(contents, limit, value)
    assert said in why_it_stays(member, keeper, tmp_path, told=contents.read_all_contents([member, keeper], 0))


def test_pages_that_repeat_the_first_may_go(keeper, tmp_path):
    page = Image.new("RGB", (8, 8), "red")
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page])
    assert why_it_stays(tmp_path / "a.tif", keeper, tmp_path) == ""


def test_each_file_is_read_once_however_many_pairs_ask_and_again_once_it_changed(tmp_path, monkeypatch):
    files, read = [picture(tmp_path / f"{name}.png") for name in "abcd"], []
    monkeypatch.setattr(companions, "digest_of", lambda file: read.append(file.name) or file.read())
    for member, keeper in itertools.permutations(files, 2):
        assert why_it_stays(member, keeper, tmp_path) == ""
    assert sorted(map(str, read)) == sorted(map(str, files))
    os.utime(files[0], (10**9, 10**9))
    assert why_it_stays(files[0], files[1], tmp_path) == "" and list(map(str, read[4:])) == [str(files[0])]


def test_what_can_not_be_compared_stays(keeper, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    assert why_it_stays(tmp_path / "a.jpg", keeper, tmp_path).startswith("can't be compared with its keeper")


def test_what_is_gone_meanwhile_stays_and_is_no_keeper(keeper, tmp_path):
    for pair in ((tmp_path / "gone.jpg", keeper), (keeper, tmp_path / "gone.jpg")):
        assert why_it_stays(*pair, tmp_path).startswith("can't be compared with its keeper in full: ")
