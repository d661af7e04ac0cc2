"""Kinds of matches: which join, and what is told apart of resaved and edited pictures."""

import pytest
from PIL import Image, ImageEnhance, ImageOps

from dedup.deletion.records import KINDS
from dedup.matching.kinds import MatchKind
from tests.confirmation_pictures import jpeg, match, photo


def test_kinds_up_to_crop_join():
    assert [kind for kind in MatchKind if kind.joins] == ["identical", "same_pixels", "resaved", "edited", "crop"]
    assert {kind for kind in MatchKind if kind.joins} == set(KINDS) - {"near", "copy"}


RESAVED = {
    "smaller": lambda image: image.resize((image.width * 2 // 3, image.height * 2 // 3)),
    "odd size": lambda image: image.resize((101, round(101 * image.height / image.width))),
    "coarsely saved": lambda image: jpeg(image, 8),
}
EDITED = {
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "paler": lambda image: ImageEnhance.Color(image).enhance(0.6),
    "grey": lambda image: ImageOps.grayscale(image).convert("RGB"),
    "stretched": lambda image: image.resize((image.width, round(image.height * 0.95))),
    "mirrored": ImageOps.mirror,
    "turned": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "framed": lambda image: ImageOps.expand(image, 8, "white"),
}


@pytest.mark.parametrize("edit", RESAVED)
@pytest.mark.parametrize("name", ["chelsea.png", "astronaut.png", "coffee.png", "china.jpg"])
def test_another_size_or_quality_is_resaved(name, edit):
    assert match(photo(name), RESAVED[edit](photo(name))).kind == MatchKind.RESAVED


@pytest.mark.parametrize("edit", EDITED)
@pytest.mark.parametrize("name", ["chelsea.png", "astronaut.png", "coffee.png", "china.jpg"])
def test_what_is_changed_on_purpose_is_edited(name, edit):
    assert match(photo(name), EDITED[edit](photo(name))).kind == MatchKind.EDITED


def test_what_a_jpeg_rounds_away_is_no_other_tone_but_grey_is():
    pale = ImageEnhance.Color(photo("coffee.png")).enhance(0.15)
    assert match(pale, jpeg(pale, 10)).kind == "resaved"
    assert match(pale, jpeg(pale.convert("L").convert("RGB"), 80)).kind == "edited"
    assert match(pale, jpeg(ImageEnhance.Color(pale).enhance(1.6), 80)).kind == "edited"


def test_the_order_of_two_files_does_not_tell_whether_one_is_stretched():
    large = photo("chelsea.png").resize((333, 250))
    small = large.resize((58, 43))  # 43.5 px, cut off
    assert match(large, small).kind == match(small, large).kind == "resaved"
