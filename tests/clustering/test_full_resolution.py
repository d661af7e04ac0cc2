"""Before a file goes: what was changed at one place is seen, what was changed evenly is no reason to stay."""

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

from dedup.clustering import full_resolution
from dedup.clustering.full_resolution import (
    is_another_exposure,
    is_looked_at,
    is_sharper,
    shows_another,
    why_they_stay,
)
from dedup.matching.classification import Match
from dedup.matching.confirmation import match_pictures
from dedup.matching.differences import worst_place
from dedup.matching.kinds import MatchKind
from dedup.matching.pictures import picture_of
from dedup.matching.registration import lay
from dedup.workers import Lost
from tests.confirmation_pictures import COPIES, cut, photo, read_picture

SIDE = 640
WHOLE = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
EVEN = "resize thumbnail heavy_jpeg grey sepia bright dark blur noise border letterbox".split()


def moved(image, size=0.08):
    """Something of the picture stands at another place as well."""
    part, width = image.copy(), round(size * SIDE)
    box = image.width // 2, image.height // 2, image.width // 2 + width, image.height // 2 + width
    part.paste(image.crop(box), (image.width // 6, image.height // 5))
    return part


def painted_over(image, size=0.1):
    pixels, mask = np.array(image), np.zeros(image.size[::-1], np.uint8)
    cv2.circle(mask, (image.width // 2, image.height // 2), round(size * SIDE / 2), 255, -1)
    return Image.fromarray(cv2.inpaint(pixels, mask, 3, cv2.INPAINT_TELEA))


def page(words):
    image = Image.new("RGB", (1000, 1400), "white")
    font = ImageFont.load_default(size=20)
    for row in range(40):
        ImageDraw.Draw(image).text((80, 90 + 30 * row), " ".join(words[10 * row : 10 * row + 10]), "black", font)
    return image


WORDS = [word for word in "night holds seven quiet ships under pale moon while harbour lights drift".split() * 40][:400]
PAGES = {"comma": WORDS[:205] + [WORDS[205] + ","] + WORDS[206:], "word": WORDS[:205] + ["amber"] + WORDS[206:]}


def look(tmp_path, member, keeper, say=shows_another, may_be=()):
    """What a closer look says of two images that are confirmed to be one picture."""
    paths = tmp_path / "member.png", tmp_path / "keeper.png"
    for path, image in zip(paths, (member, keeper), strict=True):
        image.save(path, compress_level=1)
    match = match_pictures(*map(read_picture, paths))
    assert match is not None and match.kind in (*may_be, "resaved", "edited", "crop")
    return say(*paths, np.reshape(match.transform, (3, 3)))


def blurred(image, sigma):
    return Image.fromarray(cv2.GaussianBlur(np.array(image), (0, 0), sigma))


def small_and_large_again(image, share):
    return image.resize([side // share for side in image.size]).resize(image.size)


SOFTER = {"blur 1": (blurred, 1), "blur 2": (blurred, 2), "blur 4": (blurred, 4), "a third": (small_and_large_again, 3)}


@pytest.mark.parametrize("edit", SOFTER)
@pytest.mark.parametrize("name", ["chelsea.png", "coffee.png", "china.jpg"])
def test_a_sharp_picture_does_not_go_for_a_soft_one(tmp_path, name, edit):
    image, (change, amount) = photo(name, SIDE), SOFTER[edit]
    assert look(tmp_path, image, change(image, amount), is_sharper)
    assert not look(tmp_path, change(image, amount), image, is_sharper)


@pytest.mark.parametrize("edit", [*EVEN, "sharpen"])
@pytest.mark.parametrize("name", ["chelsea.png", "coffee.png", "china.jpg"])
def test_what_is_no_sharper_may_go(tmp_path, name, edit):
    image = photo(name, SIDE)
    sharpened = Image.fromarray(cv2.addWeighted(np.array(image), 2, np.array(blurred(image, 1.5)), -1, 0))
    copy = sharpened if edit == "sharpen" else COPIES[edit](image)
    assert not look(tmp_path, copy, image, is_sharper)


@pytest.mark.parametrize("edit", EVEN)
@pytest.mark.parametrize("name", ["chelsea.png", "coffee.png", "china.jpg"])
def test_what_is_changed_evenly_may_go(tmp_path, name, edit):
    image = photo(name, SIDE)
    image = image.point(lambda level: level * 0.7) if edit == "bright" else image  # so that nothing burns out
    assert not look(tmp_path, COPIES[edit](image), image)


@pytest.mark.parametrize("turn", [Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_90])
def test_what_is_turned_or_cut_may_go(tmp_path, turn):
    image = photo("china.jpg", SIDE)
    assert not look(tmp_path, image.transpose(turn), image)
    assert not look(tmp_path, cut(image, 0.1, 0.1, 0.9, 0.8), image)


@pytest.mark.parametrize("name", ["coffee.png", "china.jpg", "coins.png"])
def test_something_that_stands_elsewhere_is_seen(tmp_path, name):
    image = photo(name, SIDE)
    assert look(tmp_path, moved(image), image) and look(tmp_path, image, moved(image))


def test_what_the_keeper_paints_over_is_seen(tmp_path):
    image = photo("astronaut.png", SIDE)
    flat = image.copy()
    flat.paste((90, 90, 90), (300, 300, 360, 360))
    assert look(tmp_path, image, painted_over(image)) and look(tmp_path, image, flat)


def test_what_is_burnt_out_or_lost_in_black_is_another_shot(tmp_path):
    image = photo("chelsea.png", SIDE)
    levels = np.asarray(image, float)
    for shot in (levels * 1.8, levels * 1.4 - 120):
        shot = Image.fromarray(shot.clip(0, 255).astype(np.uint8))
        assert look(tmp_path, shot, image, is_another_exposure) and look(tmp_path, image, shot, is_another_exposure)
    assert not look(tmp_path, ImageEnhance.Brightness(image).enhance(0.6), image, is_another_exposure)


@pytest.mark.parametrize("change", PAGES)
def test_one_word_or_comma_on_a_page_is_seen(tmp_path, change):
    pages = page(PAGES[change]), page(WORDS)
    assert all(look(tmp_path, *pair, may_be=["similar"]) for pair in (pages, pages[::-1]))


def test_the_same_page_may_go(tmp_path):
    image = page(WORDS)
    assert not look(tmp_path, image.resize((700, 980)), image)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_reasons_come_in_order_and_a_file_that_is_gone_stays(tmp_path, monkeypatch, num_workers):
    monkeypatch.setattr(full_resolution, "WORTH_PROCESSES", 2)
    image, names = photo("coffee.png", SIDE), ("image", "moved", "missing")
    image.save(tmp_path / "image.png")
    moved(image).save(tmp_path / "moved.png")
    jobs = [
        (tmp_path / f"{name}.png", tmp_path / "image.png", WHOLE, first, MatchKind.RESAVED)
        for name in names
        for first in (True, False)
    ]
    reasons = list(why_they_stay(jobs, num_workers))
    assert reasons[:2] == ["", ""] and reasons[2:4] == ["shows at one place what the kept file does not"] * 2
    assert all(isinstance(reason, Lost) for reason in reasons[4:])


def test_what_can_not_be_laid_on_its_keeper_is_lost_and_not_let_go(tmp_path):
    photo("coffee.png", SIDE).save(tmp_path / "a.png")
    assert is_looked_at(Match(MatchKind.RESAVED, 0.0, transform=None))
    (reason,) = why_they_stay([(tmp_path / "a.png", tmp_path / "a.png", None, True, MatchKind.RESAVED)], 0)
    assert reason == Lost("ValueError: where it lies on its keeper is not known")


def test_where_no_place_can_be_looked_at_something_may_have_changed():
    pictures = [picture_of(np.asarray(image), image.size) for image in [photo("coffee.png", SIDE)] * 2]
    assert worst_place(lay(*pictures, np.eye(3), 200)) < 1
    apart = np.array([[1, 0, 0.99], [0, 1, 0], [0, 0, 1.0]])
    assert worst_place(lay(*pictures, apart, 200)) == np.inf


def test_what_is_too_coarse_to_be_told_from_another_shot_stays(tmp_path):
    image, paths = photo("coffee.png", 400), [tmp_path / "tiny.png", tmp_path / "small.png", tmp_path / "keeper.png"]
    for path, side in zip(paths, (20, 80, 400), strict=True):
        image.resize((side, side)).save(path)
    whole = tuple(np.eye(3).ravel().tolist())
    tiny, small = why_they_stay(
        [(path, paths[-1], whole, True, MatchKind.RESAVED) for path in paths[:2]], num_workers=0
    )
    assert tiny == "is too small or too blurred to tell what it shows" and small == ""
