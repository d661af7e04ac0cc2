"""Pictures on plain pages and in collages are found, cut out at their edges; others are left whole."""

import numpy as np
import pytest

from dedup.dataset.panels import main_panel, panels

PHOTO = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)


def page(colour, height=400, width=220):
    return np.full((height, width, 3), colour, np.uint8)


@pytest.mark.parametrize("colour", [255, 24, 128])
def test_picture_on_a_page_is_cut_out(colour):
    image = page(colour)
    image[100:190, 50:170] = PHOTO
    image[:20] = (60, 90, 150)  # a bar
    image[300:304, 20:150] = 100  # a line of text
    assert np.abs(np.subtract(main_panel(image), (50, 100, 170, 190))).max() <= 4


def test_panel_lies_inside_images_of_any_size():
    for height in range(390, 430):
        image = page(255, height)
        image[height - 90 :, 100:] = PHOTO  # in the corner
        left, top, right, bottom = main_panel(image)
        assert 0 <= left < right <= 220 and 0 <= top < bottom <= height


@pytest.mark.parametrize("image", [PHOTO, page(255), page(0, 3, 3), page(9, 1, 500)])
def test_no_panel(image):
    assert main_panel(image) is None


def test_a_bar_larger_than_the_picture_is_not_the_panel():
    image = page(255)
    image[:60] = (60, 90, 150)
    image[150:195, 80:140] = PHOTO[:45, :60]
    assert np.abs(np.subtract(main_panel(image), (80, 150, 140, 195))).max() <= 4


def test_an_uneven_sky_is_no_page():
    image = page(0)
    image[:] = np.linspace(120, 250, 400).astype(np.uint8)[:, None, None]
    image[250:340, 50:170] = PHOTO
    assert panels(image) == []


def shaded(level):
    """A picture of little contrast, around a grey level."""
    return (PHOTO // 16 + level).astype(np.uint8)


def test_a_collage_is_cut_at_its_seams():
    dark, bright = shaded(20), shaded(200)
    assert panels(np.hstack([bright, dark])) == [(0, 0, 120, 90), (120, 0, 240, 90)]
    assert panels(np.vstack([dark, bright])) == [(0, 0, 120, 90), (0, 90, 120, 180)]
    four = np.vstack([np.hstack([dark, bright]), np.hstack([shaded(100), shaded(150)])])
    assert sorted(panels(four)) == [(0, 0, 120, 90), (0, 90, 120, 180), (120, 0, 240, 90), (120, 90, 240, 180)]


def test_no_more_than_four_parts_and_none_of_a_whole_picture():
    assert len(panels(np.hstack([PHOTO // 8 + np.uint8(level) for level in (0, 120, 10, 130, 20, 140)]))) == 4
    assert panels(shaded(90)) == panels(PHOTO) == []
