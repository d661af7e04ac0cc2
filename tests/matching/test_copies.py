"""Copies of every kind are confirmed, with the share and the place that either shows of the other."""

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from dedup.dataset import samples
from tests.confirmation_pictures import (
    COPIES,
    PHOTOS,
    collage,
    cut,
    joined,
    jpeg,
    match,
    moved,
    paste_in,
    photo,
    screenshot,
    write,
)

RESAVED, EITHER = ["resaved"], ["resaved", "edited"]
KINDS = {"resize": RESAVED, "thumbnail": RESAVED, "heavy_jpeg": RESAVED, "blur": EITHER, "noise": EITHER}
GRAIN = 16  # grey levels of noise, before it is blurred


@pytest.mark.parametrize("edit", COPIES)
@pytest.mark.parametrize("name", PHOTOS[:4])
def test_edited_copies_are_copies(name, edit):
    image = photo(name)
    found = match(image, COPIES[edit](image))
    adds_nothing = edit == "letterbox" and image.width == image.height
    assert found is not None and found.kind in (RESAVED if adds_nothing else KINDS.get(edit, ["edited"]))
    assert found.first_coverage > 0.85 and found.second_coverage > 0.8
    if edit not in ("caption", "sticker"):
        assert found.first_coverage > 0.95 and found.second_coverage > 0.93


def on_a_table(place=(90, 70), seed=0):
    """A small cup on a table of fine grain, which compression takes away."""
    rng = np.random.default_rng(seed)
    grain = cv2.GaussianBlur(rng.normal(0, 1, (225, 300)), (0, 0), 1)[..., None]
    down, across = np.mgrid[:1:225j, :1:300j]
    table = np.stack([150 + 30 * across - 20 * down, 110 + 20 * across, 70 + 10 * down], axis=-1) + GRAIN * grain
    page, cup = Image.fromarray(table.clip(0, 255).astype(np.uint8)), photo("coffee.png", 110)
    shape = Image.new("L", cup.size)
    ImageDraw.Draw(shape).ellipse((2, 2, cup.width - 3, cup.height - 3), fill=255)
    page.paste(cup, place, shape)
    return page


@pytest.mark.parametrize("edit", [lambda image: jpeg(samples._scale(image, 0.5), 20), lambda image: jpeg(image, 12)])
def test_a_copy_without_the_grain_of_its_original_is_a_copy(edit):
    image = on_a_table()
    assert match(image, edit(image)).kind == "resaved"


@pytest.mark.parametrize("place", [(93, 72), (96, 74), (90, 76)])
def test_a_thing_that_has_moved_on_a_table_is_no_copy(place):
    found = match(on_a_table(), on_a_table(place, seed=1))
    assert not joined(found)


TURNS = {  # where (0, 0) and (1, 0) go
    Image.Transpose.FLIP_LEFT_RIGHT: ((1, 0), (0, 0)),
    Image.Transpose.FLIP_TOP_BOTTOM: ((0, 1), (1, 1)),
    Image.Transpose.ROTATE_90: ((0, 1), (0, 0)),
    Image.Transpose.ROTATE_180: ((1, 1), (0, 1)),
    Image.Transpose.ROTATE_270: ((1, 0), (1, 1)),
    Image.Transpose.TRANSPOSE: ((0, 0), (0, 1)),
}


@pytest.mark.parametrize("turn", TURNS)
def test_turned_and_mirrored_copies_are_copies(turn):
    image = photo("chelsea.png")
    found = match(image, image.transpose(turn))
    assert found.kind == "edited" and min(found.first_coverage, found.second_coverage) > 0.98
    assert (moved(found, 0, 0), moved(found, 1, 0)) == TURNS[turn]


def test_a_mirrored_crop_is_a_crop():
    image = photo("coffee.png")
    found = match(image, ImageOps.mirror(cut(image, 0.1, 0.1, 0.8, 0.85)))
    assert found.kind == "crop"
    assert moved(found, 0.1, 0.1) == (1, 0) and moved(found, 0.8, 0.85) == (0, 1)


@pytest.mark.parametrize("box", [(0.04, 0.05, 0.96, 0.97), (0.1, 0.15, 0.8, 0.85), (0, 0, 0.6, 0.6), (0.3, 0, 1, 1)])
@pytest.mark.parametrize("name", ["chelsea.png", "china.jpg"])
def test_a_crop_says_how_much_of_the_whole_it_shows_and_where(name, box):
    left, top, right, bottom = box
    image = photo(name)
    found = match(image, cut(image, *box))
    assert found.kind == "crop"
    assert found.first_coverage == pytest.approx((right - left) * (bottom - top), abs=0.01)
    assert found.second_coverage > 0.97
    assert moved(found, left, top) == (0, 0) and moved(found, right, bottom) == (1, 1)
    assert found.first_resolution == pytest.approx(1, abs=0.03)


def test_resolution_is_told_both_ways():
    image = photo("astronaut.png")
    found = match(image, samples._scale(image, 0.5))
    assert found.first_resolution == pytest.approx(2, abs=0.05)
    assert found.second_resolution == pytest.approx(0.5, abs=0.02)
    squeezed = match(image, image.resize((image.width // 2, image.height)))  # the lower of both axes counts
    assert squeezed.first_resolution == pytest.approx(1, abs=0.03)
    assert squeezed.second_resolution == pytest.approx(0.5, abs=0.02)


def test_colours_of_both_are_told():
    image = photo("coffee.png")
    found = match(image, ImageOps.grayscale(image))
    assert found.first_chroma > 10 and found.second_chroma < 1


def test_marks_count_against_who_bears_them():
    image = photo("china.jpg")
    found = match(image, write(image, "Summer 2019", (15, image.height * 0.75), 40, "yellow"))
    assert found.second_extra > 0.02 > found.first_extra
    assert found.second_coverage == pytest.approx(1 - found.second_extra, abs=0.01)


CONTAINERS = {
    "screenshot": screenshot,
    "collage": lambda image: collage([photo("flower.jpg"), image, photo("coins.png"), photo("rocket.jpg")]),
    "paste_in": paste_in,
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", ["chelsea.png", "china.jpg"])
def test_what_shows_a_picture_beside_other_things_contains_it(name, container):
    image = photo(name)
    found = match(image, CONTAINERS[container](image))
    assert found.kind == "contains"
    assert found.first_coverage > 0.95 and 0.1 < found.second_coverage < 0.75  # plain margins count as shown


SWAPPED = {
    "copy": lambda image: samples._scale(image, 0.6),
    "turn": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "crop": lambda image: cut(image, 0.1, 0.15, 0.8, 0.85),
    "caption": COPIES["caption"],
    "screenshot": screenshot,
    "overlap": lambda image: image.transform(image.size, Image.Transform.AFFINE, (1, 0, image.width * 0.35, 0, 1, 0)),
}


@pytest.mark.parametrize("edit", SWAPPED)
@pytest.mark.parametrize("name", ["chelsea.png", "china.jpg"])
def test_swapping_the_pictures_swaps_the_match(name, edit):
    image = photo(name)
    there, back = match(image, SWAPPED[edit](image)), match(SWAPPED[edit](image), image)
    assert there.kind == back.kind
    for of in ("coverage", "resolution", "extra", "chroma"):
        pairs = [(getattr(m, f"first_{of}"), getattr(m, f"second_{of}")) for m in (there, back)]
        assert pairs[0] == pytest.approx(pairs[1][::-1], abs=0.5 if of == "chroma" else 0.04)
    both = np.reshape(back.transform, (3, 3)) @ np.reshape(there.transform, (3, 3))
    assert both / both[2, 2] == pytest.approx(np.eye(3), abs=0.02)
