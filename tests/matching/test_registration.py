"""What confirmation knows of one picture, and the transforms it tries: margins, turned squares, keypoints, areas."""

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from dedup.dataset import samples
from dedup.matching import registration
from dedup.matching.confirmation import explain
from dedup.matching.kinds import MatchKind
from dedup.matching.pictures import GRID, content_box
from dedup.matching.registration import TURNS, keypoint_transforms, lay, outline, refine, shares, whole_transforms
from dedup.matching.similarity import compare
from tests.confirmation_pictures import read_picture


def photo(side=300):
    with Image.open(samples._installed("chelsea.png")) as opened:
        image = opened.convert("RGB")
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


@pytest.fixture
def picture(tmp_path):
    def write_and_read(image):
        (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(tmp_path / "picture.png")
        return read_picture(tmp_path / "picture.png")

    return write_and_read


def framed(left=0, top=0, right=0, bottom=0, colour="white"):
    return np.asarray(ImageOps.expand(photo(100), (left, top, right, bottom), colour))


@pytest.mark.parametrize("colour", ["white", "black", "teal"])
@pytest.mark.parametrize("margins", [(0, 0, 0, 0), (10, 0, 0, 0), (0, 20, 0, 5), (7, 7, 7, 7), (1, 2, 3, 4)])
def test_content_box_is_what_lies_within_the_margins(margins, colour):
    image = framed(*margins, colour)
    height, width = image.shape[:2]
    left, top, right, bottom = margins
    expected = (left / width, top / height, 1 - right / width, 1 - bottom / height)
    assert content_box(image) == pytest.approx(expected)


def test_margins_of_two_colours_are_both_cut():
    image = np.asarray(ImageOps.expand(Image.fromarray(framed(top=10, bottom=10)), (15, 0), "black"))
    height, width = image.shape[:2]
    assert content_box(image) == pytest.approx((15 / width, 10 / height, 1 - 15 / width, 1 - 10 / height))


def test_compressed_margins_are_cut_and_faint_pictures_are_kept():
    noise = np.random.default_rng(0).integers(-5, 6, framed(10, 10, 10, 10).shape)
    image = np.clip(framed(10, 10, 10, 10) + noise, 0, 255).astype(np.uint8)
    assert content_box(image) == pytest.approx(content_box(framed(10, 10, 10, 10)))
    steep = np.full((50, 50, 3), 200, np.uint8)
    steep[10:40, 10:40] = 180  # 20 levels off, over more than 2 of 100 pixels
    assert content_box(steep) == pytest.approx((0.2, 0.2, 0.8, 0.8))


def test_a_plain_picture_is_all_content():
    assert content_box(np.full((20, 30, 3), 7, np.uint8)) == (0, 0, 1, 1)
    assert content_box(np.zeros((1, 1, 3), np.uint8)) == (0, 0, 1, 1)


def test_turned_squares_are_numpys():
    square = np.arange(GRID * GRID).reshape(GRID, GRID)
    turned = [square.ravel()[order].reshape(GRID, GRID) for order in registration._turned_squares()]
    expected = [np.rot90(view, -k) for view in (square, square[:, ::-1]) for k in range(4)]  # clockwise
    assert all((one == other).all() for one, other in zip(turned, expected, strict=True))


@pytest.mark.parametrize("turn", range(8))
def test_a_turn_moves_corners_as_it_moves_pixels(turn):
    square = np.zeros((GRID, GRID))
    square[0, 0], square[0, -1] = 1, 2  # at (0, 0) and (1, 0)
    turned = square.ravel()[registration._ORDERS[turn]].reshape(GRID, GRID)
    for value, corner in ((1, (0, 0, 1)), (2, (1, 0, 1))):
        y, x = np.argwhere(turned == value)[0] / (GRID - 1)
        assert (TURNS[turn] @ corner)[:2] == pytest.approx((x, y))


@pytest.mark.parametrize("turn", [None, *Image.Transpose])
def test_the_whole_picture_is_recognised_in_every_turn(picture, turn):
    image = photo()
    turned = ImageOps.expand(image if turn is None else image.transpose(turn), 20, "black")
    best = whole_transforms(picture(image), picture(turned))[0]
    inner = outline(best).mean(axis=0)
    assert inner == pytest.approx((0.5, 0.5), abs=0.01)
    assert np.ptp(outline(best), axis=0) == pytest.approx([1 - 40 / turned.width, 1 - 40 / turned.height], abs=0.02)


def test_a_picture_is_recognised_as_a_panel_of_a_page_and_of_a_collage(picture):
    image = photo()
    page = Image.new("RGB", (image.width * 2, image.height * 3), "white")
    page.paste(image, (60, 100))
    collage = Image.new("RGB", (image.width * 2, image.height), "black")
    collage.paste(image, (image.width, 0))
    for outer, corner in ((page, (60, 100)), (collage, (image.width, 0))):
        place = outline(whole_transforms(picture(image), picture(outer))[0]) * outer.size
        assert place[0] == pytest.approx(corner, abs=6)
        assert place[2] == pytest.approx(np.add(corner, image.size), abs=6)


def test_descriptors_can_be_mirrored_afterwards(picture):
    image = photo()
    own, mirrored = picture(image).keypoints, picture(ImageOps.mirror(image)).keypoints
    size = np.array(image.size)
    there = np.array([1, 0]) - own.points * [1, -1]  # where each lies in the mirrored picture
    apart = np.linalg.norm((there[:, None] - mirrored.points[None]) * size, axis=2)
    likeness = own.mirrored @ mirrored.descriptors.T
    near = np.where(apart < 2, likeness, -1).max(axis=1)
    found = near[near >= 0]
    assert len(found) > 0.8 * len(own.points)
    assert np.median(found) > 0.97
    plain = np.where(apart < 2, own.descriptors @ mirrored.descriptors.T, -1).max(axis=1)
    assert np.median(plain[plain >= 0]) < 0.85


@pytest.mark.parametrize("mirror", [False, True])
def test_keypoints_place_a_crop(picture, mirror):
    image = photo()
    part = image.crop((60, 40, 240, 160))
    if mirror:
        part = ImageOps.mirror(part)
    transform = next(keypoint_transforms(picture(part), picture(image)))
    corners = np.array([(60, 40), (240, 40), (240, 160), (60, 160)]) / image.size
    if mirror:
        corners = corners[[1, 0, 3, 2]]
    assert outline(transform) == pytest.approx(corners, abs=0.01)


def test_a_plain_picture_has_no_keypoints_and_no_transforms(picture):
    plain, image = picture(Image.new("RGB", (50, 40), "teal")), picture(photo())
    assert plain.keypoints.points.shape == (0, 2) and plain.keypoints.descriptors.shape == (0, 128)
    assert list(keypoint_transforms(plain, image)) == whole_transforms(plain, image) == []


SQUARE = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)


@pytest.mark.parametrize(
    "polygon, share",
    [
        (SQUARE, 1),
        (SQUARE[::-1], 1),
        (SQUARE * 0.5, 0.25),
        (SQUARE * [0.96, 1], 0.96),
        (SQUARE * 3 - 1, 1),
        (SQUARE + [0.3, -0.2], 0.56),
        (SQUARE + 2, 0),
        (np.array([[0.5, -0.5], [1.5, 0.5], [0.5, 1.5], [-0.5, 0.5]]), 1),
        (np.array([[0.5, 0], [1, 0.5], [0.5, 1], [0, 0.5]]), 0.5),
    ],
)
def test_shares_are_areas(picture, polygon, share):
    assert shares(picture(photo(100)), polygon) == pytest.approx((share, share))


def test_margins_count_as_shown(picture):
    image = ImageOps.expand(photo(100), (0, 50), "black")
    letterboxed = picture(image)
    top = 50 / image.height
    inner = SQUARE * [1, 1 - 2 * top] + [0, top]
    assert shares(letterboxed, inner) == pytest.approx((1 - 2 * top, 1))
    assert shares(letterboxed, inner * [0.5, 1]) == pytest.approx((0.5 - top, 0.5 + top))


@pytest.mark.parametrize("shift", [0.0, 0.004, 0.01])
def test_refining_takes_back_a_small_shift(picture, shift):
    image = picture(photo())
    off = np.array([[1, 0, shift], [0, 1, -shift], [0, 0, 1]])
    laid = lay(image, image, off)
    finer = refine(laid)
    assert outline(finer.first_to_second) == pytest.approx(SQUARE, abs=0.002)
    assert compare(image, image, finer).detail > 0.97
    if shift == 0.01:
        assert compare(image, image, laid).detail < 0.8


def test_no_fine_fit_is_looked_for_where_two_pictures_share_but_their_light_and_dark(picture, monkeypatch):
    tried, best = [], registration._best_move
    monkeypatch.setattr(registration, "_best_move", lambda base, *rest: tried.append(len(base)) or best(base, *rest))
    rng, light = np.random.default_rng(0), np.linspace(40, 200, 240)[:, None, None]
    scenes = [picture((light + rng.normal(0, 20, (240, 240, 3))).clip(0, 255).astype(np.uint8)) for _ in range(2)]
    laid = lay(*scenes, np.eye(3))
    assert refine(laid) is laid and tried == [len(laid.base) // 2]
    tried.clear()
    off = np.array([[1, 0, 0.02], [0, 1, -0.02], [0, 0, 1]])
    laid = lay(*[picture(photo())] * 2, off)
    assert registration.detail(laid) < registration.HOPELESS and refine(laid) is not laid  # the rough fit finds detail
    assert tried == [len(laid.base) // 2, len(laid.base)]


def test_a_frame_belongs_to_the_picture_that_lies_in_the_other(picture):
    image = photo()
    whole, part = picture(image), picture(image.crop((60, 40, 240, 160)))
    size = np.array(image.size)
    (left, top), (right, bottom) = (60, 40) / size, (240, 160) / size
    to_whole = np.array([[right - left, 0, left], [0, bottom - top, top], [0, 0, 1]])
    assert lay(part, whole, to_whole).base_is_first
    frame = lay(whole, part, np.linalg.inv(to_whole))
    assert not frame.base_is_first and frame.mask.mean() > 0.97
    assert frame.first_to_second == pytest.approx(np.linalg.inv(to_whole))
    assert cv2.absdiff(frame.base, frame.other)[frame.mask].mean() < 4


def test_a_frame_belongs_to_the_picture_that_is_shown_more_margins_aside(picture):
    image = photo()
    shifted = image.transform(image.size, Image.Transform.AFFINE, (1, 0, image.width * 0.3, 0, 1, 0))  # black fills it
    move = np.array([[1, 0, -0.3], [0, 1, 0], [0, 0, 1]])
    assert not lay(picture(image), picture(shifted), move).base_is_first
    assert lay(picture(shifted), picture(image), np.linalg.inv(move)).base_is_first


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_pair_is_explained_step_by_step(tmp_path, mirrored):
    part = photo().crop((30, 20, 280, 200))
    photo().save(tmp_path / "whole.png")
    (ImageOps.mirror(part) if mirrored else part).save(tmp_path / "part.png")
    found = explain(tmp_path / "whole.png", tmp_path / "part.png")
    assert found.match.kind == MatchKind.CROP and found.fits.sum() > 0.8 * len(found.fits) > 30
    likeness = found.likeness[np.isfinite(found.likeness)]
    assert len(likeness) > 100 and (likeness > 0.8).mean() > 0.9
    moved = cv2.perspectiveTransform(found.points[None], found.frame.first_to_second)[0][found.fits]
    assert np.abs(moved - found.others[found.fits]).max() < 0.03


def test_what_shares_nothing_is_explained_as_well(tmp_path):
    photo().save(tmp_path / "photo.png")
    Image.new("RGB", (200, 100), "white").save(tmp_path / "white.png")
    found = explain(tmp_path / "photo.png", tmp_path / "white.png")
    assert found.match is None and len(found.points) == len(found.others) == len(found.fits) == 0
