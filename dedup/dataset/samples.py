"""Sample pictures with known duplicates. Output: a folder of 63 pictures and truth.csv.

    python -m dedup.dataset.samples FOLDER

The photos are those that scikit-image and scikit-learn install with themselves. truth.csv has a row a picture: path
(relative to the folder), group (pictures with the same number are copies of one), edit (what was done) and level
(original, exact, easy, medium, hard). The same libraries write the same bytes.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

from dedup.output import write_table

SAMPLES_MARK = ".dedup-samples"  # says that a folder is ours to write to
OLDEST = 1_577_836_800  # 2020-01-01 UTC: modification times are part of what a keeper is chosen by
ORIENTATION = 0x0112

Row = tuple[str, int, str, str]  # path, group, edit, level


def _scale(image: Image.Image, factor: float) -> Image.Image:
    size = (round(image.width * factor), round(image.height * factor))
    return image.resize(size, Image.Resampling.LANCZOS)


def _cut(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    width, height = image.size
    return image.crop((round(width * left), round(height * top), round(width * right), round(height * bottom)))


def _write(image: Image.Image, text: str, x: float, y: float, size: float, fill: str) -> None:
    """Text at (x, y), shares of the sides; size: of the letters, a share of the height."""
    font = ImageFont.load_default(size=round(image.height * size))
    ImageDraw.Draw(image).text((image.width * x, image.height * y), text, fill=fill, font=font)


def _caption(image: Image.Image) -> Image.Image:
    image = image.copy()
    _write(image, "Summer 2019", 0.05, 0.85, 0.09, "yellow")
    return image


def _meme(image: Image.Image) -> Image.Image:
    image = ImageOps.expand(image, (0, image.height // 5, 0, 0), "white")
    _write(image, "nobody: absolutely nobody:", 0.04, 0.04, 0.07, "black")
    return image


def _sepia(image: Image.Image) -> Image.Image:
    return ImageOps.colorize(ImageOps.grayscale(image), (30, 15, 0), (255, 240, 205))


def _turned() -> dict:
    """Save options that say the picture was taken with the camera turned by 90 degrees."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return {"quality": 90, "exif": exif}


# edit: level, subfolder, ending, how it is saved, what is done
EDITS: dict[str, tuple[str, str, str, dict, Callable[[Image.Image], Image.Image]]] = {
    "reencode": ("easy", "web", ".jpg", {"quality": 75}, lambda image: image),
    "heavy_jpeg": ("easy", "web", ".jpg", {"quality": 20}, lambda image: image),
    "progressive": ("easy", "web", ".jpeg", {"quality": 88, "progressive": True}, lambda image: image),
    "png": ("easy", "web", ".png", {}, lambda image: image),
    "webp": ("easy", "web", ".webp", {"quality": 80}, lambda image: image),
    "tiff": ("easy", "backup", ".TIF", {"compression": "tiff_lzw"}, lambda image: image),
    "resize": ("easy", "web", ".jpg", {"quality": 92}, lambda image: _scale(image, 0.6)),
    "thumbnail": ("easy", "web", ".jpg", {"quality": 85}, lambda image: _scale(image, 0.35)),
    "turned": ("easy", "phone", ".jpg", _turned(), lambda image: image.transpose(Image.Transpose.ROTATE_90)),
    "crop": ("medium", "edited", ".jpg", {"quality": 90}, lambda image: _cut(image, 0.04, 0.05, 0.96, 0.97)),
    "bright": ("medium", "edited", ".jpg", {"quality": 90}, lambda image: ImageEnhance.Brightness(image).enhance(1.3)),
    "dark": ("medium", "edited", ".jpg", {"quality": 90}, lambda image: ImageEnhance.Brightness(image).enhance(0.65)),
    "colour": ("medium", "edited", ".jpg", {"quality": 90}, lambda image: ImageEnhance.Color(image).enhance(1.8)),
    "gray": ("medium", "edited", ".jpg", {"quality": 90}, ImageOps.grayscale),
    "sepia": ("medium", "edited", ".jpg", {"quality": 90}, _sepia),
    "text": ("medium", "edited", ".jpg", {"quality": 90}, _caption),
    "meme": ("medium", "edited", ".jpg", {"quality": 90}, _meme),
    "border": ("medium", "edited", ".png", {}, lambda image: ImageOps.expand(image, 20, "white")),
    "crop_hard": ("hard", "edited", ".jpg", {"quality": 90}, lambda image: _cut(image, 0.1, 0.15, 0.8, 0.85)),
    "mirror": ("hard", "edited", ".jpg", {"quality": 90}, ImageOps.mirror),
    "turn90": ("hard", "edited", ".jpg", {"quality": 90}, lambda image: image.transpose(Image.Transpose.ROTATE_90)),
    "turn180": ("hard", "edited", ".jpg", {"quality": 90}, lambda image: image.transpose(Image.Transpose.ROTATE_180)),
}
# photo: its copies. A photo without copies must be left alone.
PHOTOS = {
    "chelsea.png": "exact reencode resize text",
    "astronaut.png": "exact webp crop mirror",
    "coffee.png": "reencode thumbnail bright meme",
    "rocket.jpg": "exact heavy_jpeg turn90",
    "china.jpg": "exact resize crop_hard turned",
    "flower.jpg": "png colour gray",
    "camera.png": "reencode dark border",
    "motorcycle_left.png": "progressive thumbnail sepia",
    "coins.png": "tiff crop",
    "retina.jpg": "resize turn180",
    "ihc.png": "webp gray",
    "page.png": "exact reencode",
    "brick.png": "resize",
    "clock_motion.png": "exact",
    "text.png": "",
    "grass.png": "",
    "gravel.png": "",
    "moon.png": "",
    "horse.png": "",
}
PAGES = {
    "letter_1": "Dear Anna,|thank you for the|photographs. The lake|is as blue as ever and|the boat still floats.",
    "letter_2": "On Sunday we went up|to the old mill where|nobody lives any more;|bring warm shoes when|you come.",
}


def write_samples(folder: Path) -> list[Path]:
    """Write the sample pictures and truth.csv into a folder, and return the pictures, sorted.

    folder : new, empty, or written by this function before; its pictures are then written anew

    Raises
    ------
    FileExistsError : folder holds something else
    FileNotFoundError : a photo is not where scikit-image or scikit-learn should have installed it
    """
    folder = Path(folder)
    if folder.exists() and not (folder / SAMPLES_MARK).exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(
            f"{folder} exists and was not made by dedup.dataset.samples: name a new or an empty folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SAMPLES_MARK).touch()
    rows = sorted([*_write_photos(folder), *_write_lookalikes(folder)])
    write_table(folder / "truth.csv", ("path", "group", "edit", "level"), rows)
    return sorted(folder / path for path, *_ in rows)


def _write_photos(folder: Path) -> Iterator[Row]:
    """The photos as they are installed, each followed by its copies."""
    for group, (name, edits) in enumerate(PHOTOS.items()):
        source = _installed(name)
        _put(folder, f"photos/{name}", 0, partial(shutil.copyfile, source))
        yield f"photos/{name}", group, "original", "original"
        with Image.open(source) as opened:
            image = opened.convert("RGB")
        for age, edit in enumerate(edits.split(), 1):
            path, level, write = f"backup/{name}", "exact", partial(shutil.copyfile, source)
            if edit != "exact":
                level, subfolder, ending, options, change = EDITS[edit]
                path, write = f"{subfolder}/{source.stem}_{edit}{ending}", partial(change(image).save, **options)
            _put(folder, path, age, write)
            yield path, group, edit, level


def _write_lookalikes(folder: Path) -> Iterator[Row]:
    """Pairs that look alike and are not copies: each picture is a group of its own."""
    with Image.open(_installed("hubble_deep_field.jpg")) as opened:
        sky = opened.convert("RGB")
    pictures = {"sky_left": _cut(sky, 0, 0, 0.48, 1), "sky_right": _cut(sky, 0.52, 0, 1, 1)}
    pictures |= {name: _page(text) for name, text in PAGES.items()}
    pictures |= {f"house_{hue}": _house(hue) for hue in ("crimson", "royalblue")}
    for group, (name, image) in enumerate(pictures.items(), len(PHOTOS)):
        _put(folder, f"lookalikes/{name}.png", 0, image.save)
        yield f"lookalikes/{name}.png", group, "original", "original"


def _page(text: str) -> Image.Image:
    page = Image.new("RGB", (500, 640), "white")
    for line, words in enumerate(text.split("|")):
        _write(page, words, 0.1, 0.1 + 0.09 * line, 0.055, "black")
    return page


def _house(colour: str) -> Image.Image:
    """The same drawing in the hue asked for."""
    drawing = Image.new("RGB", (480, 400), "white")
    pen = ImageDraw.Draw(drawing)
    pen.rectangle((110, 190, 370, 370), fill=colour, outline="black", width=6)
    pen.polygon((80, 190, 240, 60, 400, 190), fill="dimgray", outline="black", width=6)
    pen.rectangle((210, 270, 270, 370), fill="white", outline="black", width=6)
    for left in (140, 300):
        pen.rectangle((left, 220, left + 45, 260), fill="lightyellow", outline="black", width=5)
    pen.ellipse((400, 20, 460, 80), fill=colour)
    return drawing


def _installed(name: str) -> Path:
    """Where a photo lies, without importing the library it comes with."""
    for package, subfolder in (("skimage", "data"), ("sklearn", "datasets/images")):
        spec = find_spec(package)
        if spec and (path := Path(spec.origin).parent / subfolder / name).is_file():
            return path
    raise FileNotFoundError(f"{name} comes with scikit-image or scikit-learn: install requirements.txt")


def _put(folder: Path, name: str, age: int, write: Callable[[Path], object]) -> None:
    """Write a file; a copy is a day younger than the one before it."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    write(path)
    os.utime(path, (OLDEST + 86_400 * age,) * 2)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Write sample pictures with known duplicates and their truth.csv.")
    parser.add_argument("folder", type=Path, help="new, empty, or written by this command before")
    folder = parser.parse_args().folder
    try:
        paths = write_samples(folder)
    except OSError as error:
        parser.exit(1, f"{error}\n")
    print(f"{len(paths)} pictures and truth.csv -> {folder}")


if __name__ == "__main__":
    main()
