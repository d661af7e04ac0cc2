"""Pictures side by side: what can be drawn, where it lies, what is refused."""

import io

import numpy as np
import pytest
from PIL import Image

from dedup.report.canvas import CELL
from dedup.report.grid import GAP, MARGIN, plot_pictures

RED, BLUE = (200, 30, 30), (20, 40, 220)


def drawn(figure) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(figure.png())))


def cell(page: np.ndarray, row: int, column: int, side: int) -> tuple[int, ...]:
    """The colour in the middle of a square, where no row has captions."""
    step = side + GAP
    return tuple(int(value) for value in page[MARGIN + row * step + side // 2, MARGIN + column * step + side // 2])


def test_files_images_and_arrays_lie_in_rows(tmp_path):
    Image.new("RGB", (30, 20), RED).save(tmp_path / "red.png")
    array = np.full((20, 20, 3), BLUE, np.uint8)
    page = drawn(plot_pictures([tmp_path / "red.png", Image.new("RGB", (9, 9), BLUE), array], columns=2, side=40))
    assert page.shape[1] == 2 * MARGIN + 2 * 40 + GAP
    assert [cell(page, 0, 0, 40), cell(page, 0, 1, 40), cell(page, 1, 0, 40)] == [RED, BLUE, BLUE]


def test_a_picture_is_fitted_without_being_squeezed():
    page = drawn(plot_pictures([Image.new("RGB", (80, 20), RED)], side=40))
    beside = tuple(bytes.fromhex(CELL[1:]))
    column = [tuple(page[MARGIN + y, MARGIN + 20]) for y in range(40)]
    assert column.count(RED) == 10 and column.count(beside) == 30


def test_a_map_goes_from_white_to_dark_blue():
    page = drawn(plot_pictures([np.array([[-1.0, 1.0], [1.0, -1.0]])], side=40))
    light, dark = page[MARGIN + 10, MARGIN + 10].astype(int), page[MARGIN + 10, MARGIN + 30].astype(int)
    assert light.min() > 240 and dark[0] < 30 < dark[2]
    assert drawn(plot_pictures([np.zeros((2, 2))])).size  # a map of one value is no division by zero


def test_captions_and_frames():
    plain = drawn(plot_pictures([Image.new("RGB", (9, 9), RED)] * 2))
    lines = drawn(plot_pictures([Image.new("RGB", (9, 9), RED)] * 2, ["one\ntwo", "$x_"], frames=[None, "#00ff00"]))
    assert lines.shape[0] > plain.shape[0]
    assert (lines[MARGIN - 2 : MARGIN + 1] == (0, 255, 0)).all(axis=-1).any()


def test_what_can_not_be_drawn_is_refused():
    with pytest.raises(ValueError, match="got 0 pictures"):
        plot_pictures([])
    with pytest.raises(ValueError, match="1 pictures, 2 captions"):
        plot_pictures([Image.new("RGB", (9, 9))], ["a", "b"])
