"""What only looks alike is not confirmed: other words, other logos, other hues, a common frame, a moment later."""

from itertools import combinations

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageDraw, ImageOps

from dedup.clustering.members import seen_by, what_is_missing
from dedup.dataset import samples
from dedup.matching.confirmation import match_pictures
from tests.confirmation_pictures import (
    COPIES,
    PHOTOS,
    cut,
    joined,
    jpeg,
    match,
    noisy,
    photo,
    read_picture,
    screenshot,
    write,
)


def test_different_photos_are_not_one(tmp_path):
    names = [*PHOTOS, "rocket.jpg", "moon.png", "brick.png", "grass.png", "page.png", "text.png", "motorcycle_left.png"]
    pictures = []
    for name in names:
        photo(name).save(tmp_path / f"{name}.png")
        pictures.append(read_picture(tmp_path / f"{name}.png"))
    pairs = combinations(zip(names, pictures, strict=True), 2)
    assert [(a, b) for (a, first), (b, second) in pairs if match_pictures(first, second)] == []


@pytest.mark.parametrize("name", ["chelsea.png", "brick.png", "hubble_deep_field.jpg", "page.png", "china.jpg"])
def test_crops_without_overlap_are_not_one(name):
    image = photo(name)
    assert match(cut(image, 0, 0, 0.48, 1), cut(image, 0.52, 0, 1, 1)) is None
    assert match(cut(image, 0, 0, 1, 0.48), cut(image, 0, 0.52, 1, 1)) is None


@pytest.mark.parametrize("name", ["chelsea.png", "china.jpg"])
def test_overlapping_views_are_similar_at_most(name):
    image = photo(name)
    assert match(cut(image, 0, 0, 0.7, 1), cut(image, 0.3, 0, 1, 1)).kind == "similar"


def test_two_cameras_side_by_side_do_not_take_one_picture():
    assert not joined(match(photo("motorcycle_left.png"), photo("motorcycle_right.png")))


LETTER = (
    "Dear Anna,|thank you for the|photographs. The lake|is as blue as ever and|the boat still floats.|"
    "We will come again in|summer, when the roses|are out, and stay for|a week or two with you|and your little brother."
)


def letter(text, scale=1):
    page = Image.new("RGB", (300 * scale, 380 * scale), "white")
    for line, words in enumerate(text.split("|")):
        page = write(page, words, (30 * scale, (26 * line + 30) * scale), 18 * scale)
    return page


@pytest.mark.parametrize(
    "old, new",
    [
        (LETTER[44:], samples.PAGES["letter_2"]),
        ("is as blue as ever and", "is as grey as ever but"),
        ("ever", "never"),
        ("stay for", "stay far"),
    ],
)
@pytest.mark.parametrize("scale", [1, 3])
def test_a_page_with_other_words_is_another_page(old, new, scale):
    assert not joined(match(letter(LETTER, scale), letter(LETTER.replace(old, new), scale)))


@pytest.mark.parametrize("edit", ["resize", "bright", "dark", "noise", "border", "letterbox"])
def test_a_page_is_still_found_when_edited(edit):
    page = letter(LETTER, 2)
    assert match(page, COPIES[edit](page)).kind in ("resaved", "edited")
    assert match(page, jpeg(samples._scale(page, 0.7), 30)).kind == "resaved"


def receipt(prices, total):
    lines = [f"{name:8}{price}" for name, price in zip("MILK BREAD APPLES COFFEE".split(), prices, strict=True)]
    page = Image.new("RGB", (240, 360), "white")
    for line, words in enumerate(["SUPERMARKET", "Main street 12", *lines, f"TOTAL   {total}", "THANK YOU"]):
        page = write(page, words, (20, 30 + 30 * line), 19)
    return page


def test_a_receipt_with_another_total_is_another_receipt():
    prices = ["1.29", "2.49", "3.10", "7.99"]
    first = receipt(prices, "14.87")
    assert match(first, jpeg(first, 30)).kind == "resaved"
    assert not joined(match(first, receipt(prices, "14.81")))
    assert not joined(match(first, receipt(["1.29", "2.49", "3.11", "8.99"], "15.88")))


def chart(values):
    image = Image.new("RGB", (360, 280), "white")
    pen = ImageDraw.Draw(image)
    pen.line((40, 20, 40, 250, 350, 250), fill="black", width=2)
    for column, value in enumerate(values):
        pen.rectangle((55 + 37 * column, 250 - value, 80 + 37 * column, 250), fill="steelblue")
        pen.text((58 + 37 * column, 255), "Jan Feb Mar Apr May Jun Jul Aug".split()[column], fill="black")
    for height in range(50, 250, 50):
        pen.text((10, height), str(250 - height), fill="black")
    return image


def test_a_chart_with_another_bar_is_another_chart():
    values = [100, 120, 80, 200, 50, 30, 150, 170]
    assert match(chart(values), jpeg(chart(values), 40)).kind == "resaved"
    assert not joined(match(chart(values), chart([*values[:3], 180, *values[4:]])))
    assert not joined(match(chart(values), chart(values[::-1])))


def template(logo, background=None):
    image = background.copy() if background else Image.new("RGB", (360, 270), "white")
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 0, 360, 50), fill="navy")
    pen.rectangle((0, 230, 360, 270), fill="lightgrey")
    {
        "disc": lambda: pen.ellipse((130, 85, 230, 185), fill="darkorange"),
        "square": lambda: pen.rectangle((130, 85, 230, 185), fill="darkorange"),
        "ring": lambda: pen.ellipse((130, 85, 230, 185), outline="darkorange", width=14),
    }[logo]()
    return write(image, "Annual report 2023", (15, 12), 22, "white")


@pytest.mark.parametrize("logos", [*combinations(["disc", "square", "ring"], 2)])
def test_one_template_with_another_logo_is_another_picture(logos):
    assert not joined(match(*map(template, logos)))


def advertisement(offer):
    image = Image.new("RGB", (360, 300), "white")
    image.paste(ImageOps.fit(photo("coffee.png"), (180, 240)), (20, 30))
    ImageDraw.Draw(image).ellipse((215, 70, 345, 200), fill="crimson")
    return write(image, offer, (232, 105), 42, "white")


def test_one_advertisement_with_another_offer_is_another_picture():
    assert not joined(match(advertisement("SALE"), advertisement("-50%")))


@pytest.mark.parametrize("hues", [*combinations(["crimson", "royalblue", "seagreen", "orange"], 2)])
def test_one_drawing_in_two_hues_is_two_pictures(hues):
    assert not joined(match(*map(samples._house, hues)))


def test_a_drawing_is_found_in_grey_and_sepia():
    house = samples._house("crimson")
    assert match(house, ImageOps.grayscale(house)).kind == "edited"
    assert match(house, samples._sepia(house)).kind == "edited"


def speckled(seed):
    noise = np.random.default_rng(seed).normal(250, 2, (200, 200, 3))
    return Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8))


def gradient(first, last, size=(300, 220)):
    share = np.linspace(0, 1, size[1])[:, None, None]
    return Image.fromarray(
        np.broadcast_to(first + (np.subtract(last, first)) * share, (*size[::-1], 3)).astype(np.uint8)
    )


def test_what_shows_nothing_is_one_with_nothing():
    assert match(Image.new("RGB", (200, 200), "red"), Image.new("RGB", (200, 200), "blue")) is None
    assert match(Image.new("RGB", (200, 200), "red"), Image.new("RGB", (100, 100), "red")) is None
    assert match(speckled(0), speckled(1)) is None
    assert match(write(speckled(0), "1", (90, 90), 12), write(speckled(1), "2", (90, 90), 12)) is None
    assert match(write(speckled(0), "1", (90, 90), 12), write(speckled(1), "1", (90, 90), 12)) is None
    sky, sunset = gradient((10, 20, 80), (200, 220, 255)), gradient((80, 20, 10), (255, 220, 200))
    assert match(sky, sunset) is None
    assert match(sky, sky.transpose(Image.Transpose.ROTATE_90)) is None


def test_two_pictures_before_one_gradient_are_two():
    pages = [gradient((10, 20, 80), (200, 220, 255)) for _ in range(2)]
    for page, name in zip(pages, ("chelsea.png", "china.jpg"), strict=True):
        page.paste(ImageOps.fit(photo(name), (70, 70)), (120, 75))
    assert match(*pages) is None


def watermarked(image):
    marks = Image.new("RGB", image.size)
    for y in range(-20, image.height, 55):
        for x in range(-20, image.width, 120):
            marks = write(marks, "stock photo", (x + y % 120, y), 20, (110, 110, 110))
    return ImageChops.add(image.point([value * 7 // 10 for value in range(256)] * 3), marks)


@pytest.mark.parametrize(
    "names", [("chelsea.png", "china.jpg"), ("rocket.jpg", "moon.png"), ("flower.jpg", "coins.png")]
)
@pytest.mark.parametrize("change", [watermarked, screenshot], ids=["watermark", "screenshot"])
def test_a_frame_or_a_watermark_in_common_is_not_a_picture_in_common(names, change):
    first, second = (change(ImageOps.fit(photo(name), (340, 255))) for name in names)
    assert not joined(match(first, second))


def exposure(seed, object_place, object_size):
    """The same view, a moment later: other noise, a little less light, something has moved."""
    view, moving = photo("china.jpg"), ImageOps.fit(photo("chelsea.png"), (object_size, object_size))
    mask = Image.new("L", moving.size)
    ImageDraw.Draw(mask).ellipse((0, 0, object_size - 1, object_size - 1), fill=255)
    view.paste(moving, object_place, mask)
    noise = np.random.default_rng(seed).normal(0, 4, (*view.size[::-1], 3))
    return Image.fromarray(np.clip(np.asarray(view) * (1 - 0.05 * seed) + noise, 0, 255).astype(np.uint8))


def test_a_moment_later_with_something_moved_is_not_joined():
    assert not joined(match(exposure(0, (20, 60), 125), exposure(1, (200, 100), 125)))


@pytest.mark.parametrize("size", [60, 90])
def test_where_something_small_has_moved_neither_stands_for_the_other(size):
    found = match(exposure(0, (30, 70), size), exposure(1, (210, 110), size))
    if found:
        assert any(what_is_missing(seen_by(found, is_first)) for is_first in (True, False))


@pytest.mark.parametrize("sizes", [*combinations([(1, 1), (1, 300), (300, 1), (2, 2), (9, 9), (300, 8)], 2)])
def test_pictures_of_hardly_any_pixels_do_no_harm(sizes):
    images = [noisy(Image.new("RGB", size, "grey"), 60, seed) for seed, size in enumerate(sizes)]
    assert not joined(match(*images))
