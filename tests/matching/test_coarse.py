"""Coarse pictures, tiny ones and ones blurred to nothing, are confirmed by all of the little that they show."""

from itertools import permutations

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

from dedup.clustering.members import seen_by, what_is_missing
from dedup.matching.classification import match_coarse
from dedup.matching.pictures import COARSE
from tests.confirmation_pictures import PHOTOS, cut, joined, jpeg, match, photo, read_picture

SMALL = {"tiny": lambda image: tiny(image), "placeholder": lambda image: tiny(image, 14).resize(image.size),
         "blurred": lambda image: jpeg(image.filter(ImageFilter.GaussianBlur(11)), 75)}  # fmt: skip


def tiny(image, side=18):
    return ImageOps.contain(image, (side, side), Image.Resampling.BOX)


def picture(image, folder):
    image.save(folder / "picture.png")
    return read_picture(folder / "picture.png")


@pytest.mark.parametrize("make", SMALL)
@pytest.mark.parametrize("name", ["chelsea.png", "astronaut.png", "coffee.png", "flower.jpg"])
def test_a_coarse_copy_goes_for_the_sharp_one_and_never_the_other_way(name, make):
    found = match(photo(name), SMALL[make](photo(name)))
    assert found.kind in ("resaved", "edited")
    assert what_is_missing(seen_by(found, is_first=False)) is None
    assert "the resolution of the kept file" in str(what_is_missing(seen_by(found, is_first=True)))


def test_turned_and_mirrored_coarse_copies_are_found():
    image = photo("chelsea.png")
    for turn in (Image.Transpose.ROTATE_90, Image.Transpose.FLIP_LEFT_RIGHT):
        assert joined(match(tiny(image).transpose(turn), image))


def test_no_coarse_picture_is_one_with_another_photo(tmp_path):
    sharp = [picture(photo(name), tmp_path) for name in PHOTOS]
    coarse = [picture(tiny(photo(name)), tmp_path) for name in PHOTOS]
    assert all(each.coarse for each in coarse) and not any(each.coarse for each in sharp)
    assert [pair for pair in permutations(range(len(PHOTOS)), 2)
            if match_coarse(sharp[pair[0]], coarse[pair[1]], 0.0)] == []  # fmt: skip


def test_sharp_and_coarse_pictures_are_not_compared_with_their_like(tmp_path):
    sharp, coarse = picture(photo("coffee.png"), tmp_path), picture(tiny(photo("coffee.png")), tmp_path)
    assert match_coarse(sharp, sharp, 0.0) is match_coarse(coarse, coarse, 0.0) is None


@pytest.mark.parametrize("change", ["cut", "other place", "other colours", "too little"])
def test_what_differs_in_a_part_or_shows_too_little_is_not_joined(change, tmp_path):
    image = photo("coffee.png")
    array = np.asarray(image).copy()
    h, w = array.shape[:2]
    array[: h // 4, : w // 4] = array[-(h // 4) :, -(w // 4) :]
    changed = {
        "cut": tiny(cut(image, 0.1, 0.1, 0.9, 0.9)),
        "other place": tiny(Image.fromarray(array)),
        "other colours": tiny(Image.merge("RGB", image.split()[::-1])),
        "too little": tiny(image, 4),
    }[change]
    assert match_coarse(picture(image, tmp_path), picture(changed, tmp_path), 0.0) is None


def test_what_is_coarse_is_told_by_what_it_shows(tmp_path):
    image = photo("astronaut.png")
    assert picture(tiny(image, COARSE), tmp_path).coarse
    assert picture(SMALL["placeholder"](image), tmp_path).coarse
    assert not picture(image.filter(ImageFilter.GaussianBlur(2)), tmp_path).coarse
    assert not picture(tiny(image, 48), tmp_path).coarse
