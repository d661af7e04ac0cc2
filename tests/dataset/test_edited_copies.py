"""Edited copies: the same for the same seed, always three channels of bytes, and nothing written into a picture."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup.dataset import copies
from dedup.dataset.copies import (
    DETAIL,
    GEOMETRY,
    LAYOUT,
    MARKS,
    TONE,
    crop,
    make_copy,
    mirror,
    quarter_turn,
    random_colour,
    resize,
)

EDITS = [*GEOMETRY, *TONE, *MARKS, *LAYOUT, *DETAIL]


def picture(height: int = 60, width: int = 90, seed: int = 0) -> np.ndarray:
    """(height, width, 3) uint8: smooth stripes with a little grain, no symmetry."""
    y, x = np.mgrid[:height, :width]
    waves = np.stack([127 + 100 * np.sin(x / 9 + seed), 127 + 100 * np.sin(y / 7 + x / 40), 2 * x + y], axis=2)
    grain = np.random.default_rng(seed).integers(0, 8, waves.shape)
    return (waves + grain).clip(0, 255).astype(np.uint8)


def test_every_edit_stands_in_one_table():
    assert len(EDITS) == len(set(EDITS)) == 27
    assert all(0 < share < 1 for table in (GEOMETRY, TONE, MARKS, LAYOUT, DETAIL) for share in table.values())
    assert sum(LAYOUT.values()) <= 1  # of which there is at most one


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_edits_keep_the_type_and_the_input(edit):
    for seed in range(12):
        image, other = picture(), picture(60, 90, 1) if seed % 2 else picture(150, 40, 1)
        image.flags.writeable = other.flags.writeable = False
        before = image.copy(), other.copy()
        edited = edit(image, other, np.random.default_rng(seed))
        assert edited.dtype == np.uint8 and edited.ndim == 3 and edited.shape[2] == 3 and edited.size
        assert (image == before[0]).all() and (other == before[1]).all()


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_edits_change_something_and_repeat_themselves(edit):
    image, other = picture(), picture(seed=1)
    results = [[edit(image, other, np.random.default_rng(seed)) for seed in range(12)] for _ in range(2)]
    assert all(np.array_equal(first, again) for first, again in zip(*results, strict=True))
    assert not all(np.array_equal(result, image) for result in results[0])


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_edits_bear_tiny_and_lopsided_pictures(edit):
    for seed, (height, width) in enumerate([(16, 16), (8, 120), (120, 8), (17, 31)]):
        edited = edit(picture(height, width), picture(9, 70), np.random.default_rng(seed))
        assert edited.dtype == np.uint8 and edited.shape[2:] == (3,)


def test_mirror_and_quarter_turn():
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    assert (mirror(image, image, None) == image[:, [2, 1, 0]]).all()
    turned = {quarter_turn(image, image, np.random.default_rng(seed)).tobytes() for seed in range(20)}
    assert turned == {np.rot90(image, quarters).tobytes() for quarters in (1, 2, 3)}


def test_crop_keeps_a_connected_part_of_the_stated_share():
    image = np.zeros((100, 200, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(100)[:, None], np.arange(200)[None, :]
    for seed in range(200):
        part = crop(image, image, np.random.default_rng(seed))
        assert 0.2 <= part.shape[0] * part.shape[1] / 20_000 <= 1
        assert (np.diff(part[:, 0, 0].astype(int)) == 1).all() and (np.diff(part[0, :, 1].astype(int)) == 1).all()


def test_resize_averages_where_it_shrinks():
    checkers = np.indices((64, 64)).sum(axis=0)[..., None].repeat(3, axis=2) % 2 * 255
    assert abs(resize(checkers.astype(np.uint8), 16, 16).astype(int) - 127).max() <= 1
    assert resize(picture(), 0.1, 3).shape == (8, 8, 3)


def test_plain_colours_are_common():
    colours = [random_colour(np.random.default_rng(seed)) for seed in range(200)]
    assert 0.5 < np.mean([len(set(colour)) == 1 for colour in colours]) < 0.7
    assert all(type(value) is int and 0 <= value <= 255 for colour in colours for value in colour)


def test_strength_zero_is_the_picture_itself():
    image, other = picture(64, 64), picture(seed=1)
    for seed in range(20):
        assert (make_copy(image, other, 64, np.random.default_rng(seed), strength=0) == image).all()


def test_strength_zero_squeezes_other_shapes():
    image = np.full((50, 200, 3), 10, np.uint8)
    image[:, 100:] = 200
    copy = make_copy(image, image, 32, np.random.default_rng(0), strength=0).astype(int)
    assert copy.shape == (32, 32, 3)
    assert abs(copy[:, :14] - 10).max() <= 2 and abs(copy[:, 18:] - 200).max() <= 2


def test_more_strength_changes_more():
    image, other = picture(64, 64), picture(seed=1)
    changed = [
        sum((make_copy(image, other, 64, np.random.default_rng(seed), strength) != image).any() for seed in range(60))
        for strength in (0, 0.1, 1)
    ]
    assert changed[0] == 0 < changed[1] < changed[2]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.sampled_from([32, 64]), height=st.integers(16, 160))
def test_the_same_seed_gives_the_same_copy(seed, size, height):
    image, other = picture(height, 90), picture(70, 110, 1)
    before = image.copy(), other.copy()
    image.flags.writeable = other.flags.writeable = False
    copies = [make_copy(image, other, size, np.random.default_rng(seed)) for _ in range(2)]
    assert copies[0].shape == (size, size, 3) and copies[0].dtype == np.uint8
    assert copies[0].flags.c_contiguous and copies[0].flags.writeable
    assert (copies[0] == copies[1]).all()
    assert (image == before[0]).all() and (other == before[1]).all()


def test_another_seed_gives_another_copy():
    made = {make_copy(picture(), picture(seed=1), 32, np.random.default_rng(seed)).tobytes() for seed in range(20)}
    assert len(made) == 20


def test_at_most_one_layout(monkeypatch):
    laid_out = []
    counting = {
        (lambda image, other, rng, number=number: laid_out.append(number) or image): share
        for number, share in enumerate(LAYOUT.values())
    }
    monkeypatch.setattr(copies, "LAYOUT", counting)
    counts = []
    for seed in range(400):
        laid_out.clear()
        make_copy(picture(32, 32), picture(seed=1), 32, np.random.default_rng(seed))
        counts.append(len(laid_out))
    assert set(counts) == {0, 1}
    assert abs(np.mean(counts) - sum(LAYOUT.values())) < 0.08
