"""Pictures on plain pages are found, cut out at their edges; others are left whole."""

import numpy as np
import pytest

from dedup.panels import main_panel

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
