"""Folders to measure on: photos of DEDUP_DATA in, so many files under names of their own out.

More files than there are photos come from crops: another piece of a photo every time, saved as JPEG.
"""

from __future__ import annotations

import argparse
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

CAMERA_PIXELS = 8_000_000
LEAST = 0.94  # side of a crop, as a share of the photo's


def folder_given(description: str, arguments: Sequence[str] | None = None) -> Path:
    """The folder that a benchmark is called with. description : for --help"""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    return parser.parse_args(arguments).folder


def web_folder(data: Path, build: Path, count: int) -> Path:
    """JPEGs of about 0.2 megapixels: every photo as it is, then crops until there are enough."""
    photos = sorted((data / "dev" / "photos").glob("*.jpg"))
    return _fill(build / f"web_{count}", photos, count, own=True)


def unique_folder(data: Path, build: Path, count: int) -> Path:
    """Different photos, small JPEGs from the web: no crops, and no copies but those that came along unseen."""
    photos = [path for part in ("dev/photos", "train") for path in sorted((data / part).glob("*.jpg"))]
    return _fill(build / f"unique_{count}", photos, min(count, len(photos)), own=True)


def camera_folder(data: Path, build: Path, count: int) -> Path:
    """Camera JPEGs of 8 megapixels and more."""
    photos = [path for path in sorted((data / "camera").glob("*.jpg")) if _pixels(path) * LEAST**2 > CAMERA_PIXELS]
    return _fill(build / f"camera_{count}", photos, count, own=True)


def growing_folder(data: Path, build: Path, count: int) -> Path:
    """Ten crops of each of count / 10 small photos: a folder ten times as large holds ten times of everything."""
    photos = sorted((data / "train").glob("*.jpg"))[: count // 10]
    return _fill(build / f"growing_{count}", photos, count, own=False)


def warm(folder: Path) -> None:
    """Have the system hold the files in memory, so that no program is measured with the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.read_bytes()


def _pixels(path: Path) -> int:
    with Image.open(path) as image:
        return image.width * image.height


def _fill(folder: Path, photos: Sequence[Path], count: int, own: bool) -> Path:
    """The folder with so many files, made when it isn't there as a whole."""
    if len(list(folder.glob("*.jpg"))) == count:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number in range(count):
        photo, target = photos[number % len(photos)], folder / f"{number:05}.jpg"
        if own and number < len(photos):
            shutil.copyfile(photo, target)
        else:
            _crop(photo, random.Random(number)).save(target, quality=92)
    return folder


def _crop(path: Path, random: random.Random) -> Image.Image:
    with Image.open(path) as image:
        width, height = (round(side * random.uniform(LEAST, 1)) for side in image.size)
        left, top = random.randint(0, image.width - width), random.randint(0, image.height - height)
        return image.convert("RGB").crop((left, top, left + width, top + height))
