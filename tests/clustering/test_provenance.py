"""Traces: pictures enlarged, saved again, edited and compressed, each told from the others and from its contrary."""

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

from dedup.clustering import jpeg_forensics
from dedup.clustering.crop_provenance import may_be_cut_from
from dedup.clustering.jpeg_forensics import enlarged, how_made, is_laid_alike, read_plane, shows_no_more
from dedup.clustering.monochrome import COLOURFUL, TONED, own_colours
from dedup.clustering.quality import read_details
from dedup.clustering.resaving import MANY_BLOCKS, corner_of, how_they_were_made, saved_from, share_becoming

FILTERS = ("NEAREST", "BILINEAR", "BICUBIC", "LANCZOS")
WHOLE = (1.0, 0, 0, 0, 1, 0, 0, 0, 1)


def photo(seed=0, size=(256, 192)):
    """Noise with a photo's spectrum: as much at every scale."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size[0]), np.fft.fftfreq(size[1])))
    spectrum = np.fft.fft2(rng.normal(size=(size[1], size[0]))) / np.maximum(frequency, 1 / max(size))
    pixels = np.fft.ifft2(spectrum).real
    pixels = 128 + 40 * (pixels - pixels.mean()) / pixels.std()
    return Image.fromarray(np.stack([pixels, 0.9 * pixels, 0.7 * pixels], axis=-1).clip(0, 255).astype(np.uint8))


@pytest.fixture
def save(tmp_path):
    """Save a picture, as JPEG of a quality or as PNG; its path."""

    def save(image, name, quality=None, **options):
        path = tmp_path / f"{name}.{'jpg' if quality else 'png'}"
        image.save(path, **({"quality": quality} if quality else {}), **options)
        return path

    return save


def opened(path):
    return Image.open(path).convert("RGB")


def captioned(image):
    image.paste("white", (16, 150, 100, 162))
    return image


@pytest.mark.parametrize("times", [2, 4])
@pytest.mark.parametrize("way", FILTERS)
@pytest.mark.parametrize("quality", [60, 75, 90, None])
def test_an_enlarged_picture_is_known(save, times, way, quality):
    small = save(photo(), "small", 85)
    size = tuple(times * side for side in opened(small).size)
    large = save(opened(small).resize(size, Image.Resampling[way]), "large", quality)
    assert enlarged(read_plane(large), read_plane(small))
    assert shows_no_more(large, small, 1 / times, WHOLE)


@pytest.mark.parametrize("quality", [75, 95])
def test_where_there_is_next_to_no_detail_rounding_is_none(save, quality):
    """As of a sky above houses: a corner that is nearly plain."""
    mixed = photo(size=(500, 400))
    mixed.paste(mixed.crop((0, 0, 250, 200)).filter(ImageFilter.GaussianBlur(2.5)), (0, 0))
    small = save(mixed, "small", 98)
    large = save(opened(small).resize((2000, 1600), Image.Resampling.LANCZOS), "large", quality)
    assert enlarged(read_plane(large), read_plane(small))


def test_an_enlargement_of_a_picture_that_is_turned_on_being_shown_is_known(save):
    exif = Image.Exif()
    exif[0x0112] = 6
    small = save(photo(), "small", 90, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(small)).convert("RGB")
    large = save(upright.resize((2 * upright.width, 2 * upright.height), Image.Resampling.BICUBIC), "large", 90)
    assert shows_no_more(large, small, 0.5, WHOLE)
    assert not shows_no_more(save(upright.resize((384, 512)), "c"), save(photo(1), "other", 90, exif=exif), 0.5, WHOLE)


def test_a_soft_middle_hides_no_detail(save):
    """As of a portrait before leaves, or a sky above houses."""
    large = np.asarray(photo(size=(1800, 1400)))
    soft = np.asarray(Image.fromarray(large).filter(ImageFilter.GaussianBlur(8)))
    mixed = large.copy()
    mixed[100:1300, 100:1700] = soft[100:1300, 100:1700]
    file = save(Image.fromarray(mixed), "large", 90)
    small = save(opened(file).resize((900, 700), Image.Resampling.LANCZOS), "small", 85)
    assert not enlarged(read_plane(file), read_plane(small))
    enlargement = save(opened(small).resize((1800, 1400), Image.Resampling.BICUBIC), "again", 90)
    assert enlarged(read_plane(enlargement), read_plane(small))


@pytest.mark.parametrize("times", [2, 4])
@pytest.mark.parametrize("way", ["BOX", "BICUBIC", "LANCZOS"])
@pytest.mark.parametrize("quality", [60, 75, 90, None])
def test_a_sharper_picture_is_no_enlargement(save, times, way, quality):
    large = save(photo(), "large", quality)
    size = tuple(side // times for side in opened(large).size)
    small = save(opened(large).resize(size, Image.Resampling[way]), "small", 85)
    assert not enlarged(read_plane(large), read_plane(small))


def test_what_is_hardly_larger_or_laid_otherwise_is_not_looked_at(save):
    small = save(photo(), "small")
    large = save(opened(small).resize((512, 384)), "large")
    assert shows_no_more(large, small, 0.5, WHOLE)
    assert not shows_no_more(large, small, 0.6, WHOLE)
    assert not shows_no_more(large, small, 0.5, (-1.0, 0, 1, 0, 1, 0, 0, 0, 1))
    assert not shows_no_more(large, small, 0.5, None)
    assert is_laid_alike((1.0, 0, 0.01, 0, 1, 0, 0, 0, 1)) and not is_laid_alike((1.0, 0, 0.03, 0, 1, 0, 0, 0, 1))


@pytest.mark.parametrize(("first", "second"), [(60, 98), (60, 75), (75, 90), (85, 95), (85, None)])
def test_a_file_that_was_saved_again_is_known_by_its_coefficients(save, first, second):
    source = save(photo(), "source", first)
    copy = save(opened(source), "copy", second)
    earlier = save(photo(), "earlier", second)
    assert how_made(read_plane(copy), read_plane(source)) == "saved again"
    assert how_made(read_plane(earlier), read_plane(source)) == "compressed"
    assert how_made(read_plane(source), read_plane(save(opened(earlier), "later", first))) in ("alike", "saved again")


def test_a_lossless_file_with_just_the_pixels_of_a_jpeg_was_made_from_it(save):
    """Although steps as fine as these leave nothing to tell by."""
    source = save(photo(), "source", 99)
    assert how_made(read_plane(save(opened(source), "again")), read_plane(source)) == "saved again"
    assert how_made(read_plane(save(photo(), "earlier")), read_plane(source)) != "saved again"


def test_a_caption_leaves_the_traces_of_saving_and_a_change_all_over_does_not(save):
    source = save(photo(), "source", 60)
    brighter = opened(source).point(lambda level: 1.3 * level)
    assert how_made(read_plane(save(captioned(opened(source)), "captioned", 90)), read_plane(source)) == "saved again"
    assert how_made(read_plane(save(brighter, "brighter", 90)), read_plane(source)) == "edited"


def test_flat_pictures_tell_nothing(save):
    flat = save(Image.new("RGB", (256, 192), "teal"), "flat", 60)
    assert how_made(read_plane(save(opened(flat), "again", 98)), read_plane(flat)) == ""


def coloured():
    """A photo whose colours do not follow its greys, since subsampling must have something to lose."""
    return Image.merge("RGB", [photo(seed).convert("L") for seed in (0, 1, 2)])


@pytest.mark.parametrize("quality", [60, 80])
@pytest.mark.parametrize("sampling", ["4:4:4", "4:2:0"])
def test_what_went_back_to_its_earlier_steps_is_the_copy(save, quality, sampling):
    """By its coefficients alone, the finer one would be saved again from what was saved from it."""
    first = save(coloured(), "first", quality)
    source = save(opened(first), "source", 96, subsampling=sampling)
    copy = save(opened(source), "copy", quality)
    assert how_made(read_plane(source), read_plane(copy)) == "saved again"
    assert saved_from(copy, source) and not saved_from(source, copy)


@pytest.mark.parametrize("second", [60, 85, 98, None])
def test_a_copy_is_known_whichever_is_finer(save, second):
    source = save(coloured(), "source", 80)
    copy = save(opened(source), "copy", second)
    assert saved_from(copy, source) and not saved_from(source, copy)


def test_what_gives_each_other_or_nothing_tells_nothing(save, tmp_path):
    source = save(photo(), "source", 80)
    other = save(coloured(), "other", 60)
    assert not saved_from(source, source) and not saved_from(other, source) and not saved_from(source, other)
    assert not saved_from(tmp_path / "missing.jpg", source)
    large = save(coloured().resize((1500, 1200)), "large", 80)
    assert saved_from(save(opened(large), "again", 60), large)  # looked at in part


@pytest.mark.parametrize("edit", [lambda image: image.convert("L").convert("RGB"), captioned])
def test_what_was_changed_in_part_was_saved_from_its_source_as_well(save, edit):
    source = save(coloured(), "source", 80)
    copy = save(edit(opened(source)), "copy", 93)
    assert saved_from(copy, source) and not saved_from(source, copy)
    brighter = opened(source).point(lambda level: 1.1 * level)
    assert not saved_from(save(brighter, "brighter", 93), source)


def test_steps_that_are_alike_bring_blocks_back_by_chance(save):
    """Of a picture with other tones, many blocks come out as the source's, and most do not as the copy's."""
    source = save(coloured(), "source", 75)
    moved = np.asarray(opened(source)).astype(int)
    moved[::9, ::11] += 2
    copy = save(Image.fromarray(moved.clip(0, 255).astype(np.uint8)), "copy", 78)
    assert share_becoming(corner_of(copy), corner_of(source)) > MANY_BLOCKS
    assert not saved_from(source, copy)


@pytest.mark.parametrize("edit", [lambda image: image.convert("L").convert("RGB"), captioned])
def test_a_change_in_colours_or_in_part_hides_no_saving(save, edit):
    """What is left of a picture in steps as coarse as these may look edited."""
    source = save(coloured(), "source", 98)
    assert list(how_they_were_made([(source, save(edit(opened(source)), "copy", 12))], 0)) == ["compressed"]


@pytest.mark.parametrize(("quality", "webp"), [(60, 90), (85, 50), (75, 75), (85, 80)])
def test_which_of_a_jpeg_and_a_webp_was_saved_from_the_other(save, tmp_path, quality, webp):
    source = save(photo(), "source", quality)
    opened(source).save(tmp_path / "copy.webp", quality=webp)
    photo().save(tmp_path / "first.webp", quality=webp)
    copy = save(opened(tmp_path / "first.webp"), "copy", quality)
    pairs = [(tmp_path / "copy.webp", source), (tmp_path / "first.webp", copy)]
    assert list(how_they_were_made(pairs, 0)) == ["saved again", "compressed"]


def test_a_webp_of_other_tones_tells_nothing(save, tmp_path):
    source = save(photo(), "source", 90)
    opened(source).point(lambda level: 1.3 * level).save(tmp_path / "brighter.webp", quality=80)
    assert list(how_they_were_made([(tmp_path / "brighter.webp", source)], 0)) == [""]


def test_what_black_and_white_cut_off_is_no_edit(save):
    """Steps as coarse as these go far beyond the brightest colour, where the file ends."""
    vivid = coloured().point(lambda level: 3 * level - 256)
    source = save(vivid, "source", 98)
    assert how_made(read_plane(source), read_plane(save(opened(source), "copy", 15))) != "edited"


def part_of(whole, left, top, width, height):
    """The transform of a match, from a part's unit coordinates to the whole's."""
    return (width / whole[0], 0, left / whole[0], 0, height / whole[1], top / whole[1], 0, 0, 1)


@pytest.mark.parametrize("way", [None, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_90])
@pytest.mark.parametrize(("first", "second"), [(60, 95), (95, 60), (90, None)])
def test_what_was_cut_out_is_the_whole_but_for_its_own_steps(save, way, first, second):
    whole = save(photo(), "whole", first)
    part = opened(whole).crop((30, 20, 230, 170))
    to_whole = np.reshape(part_of((256, 192), 30, 20, 200, 150), (3, 3))
    if way is not None:
        part = part.transpose(way)
        turns = {
            Image.Transpose.FLIP_LEFT_RIGHT: [[-1, 0, 1], [0, 1, 0]],
            Image.Transpose.ROTATE_90: [[0, -1, 1], [1, 0, 0]],
        }
        to_whole = to_whole @ np.array([*turns[way], [0, 0, 1]])
    assert may_be_cut_from(save(part, "part", second), whole, to_whole.ravel() + 0.002)


@pytest.mark.parametrize("margin", [0, 12])
def test_what_was_laid_on_a_larger_picture_was_not_cut_from_it(save, margin):
    """The larger one is the coarser; of two as fine, each block must come out to the last px."""
    source = save(photo(), "source", 96)
    larger = Image.new("RGB", (256 + 2 * margin, 240 + margin), "white")
    larger.paste(opened(source), (margin, 30))
    place = part_of(larger.size, margin, 30, 256, 192)
    for quality in (50, 97):
        assert not may_be_cut_from(source, save(larger, "laid", quality), place)
    larger.paste(photo(), (margin, 30))
    assert may_be_cut_from(source, save(larger, "of another", 97), place)


@pytest.mark.parametrize("second", [65, 96])
def test_where_in_its_steps_a_part_was_tells_whether_it_was_cut_out(save, second):
    """Of two pictures that differ as little: anywhere in a step, or by what saving the larger one did."""
    larger = Image.new("RGB", (256, 240), "white")
    larger.paste(photo(), (0, 30))
    whole = save(larger, "whole", second)
    part = save(opened(whole).crop((0, 30, 256, 222)), "part", 80)
    source = save(photo(), "source", 80)
    larger.paste(opened(source), (0, 30))
    place = part_of(larger.size, 0, 30, 256, 192)
    assert may_be_cut_from(part, whole, place)
    assert not may_be_cut_from(source, save(larger, "laid", second), place)


@pytest.mark.parametrize("quality", [45, 90, None])
def test_one_tone_laid_over_greys_is_known(save, quality):
    sepia = ImageOps.colorize(photo().convert("L"), (30, 15, 0), (255, 240, 205))
    assert own_colours(save(sepia, "sepia", quality)) <= TONED
    assert own_colours(save(coloured(), "coloured", quality)) >= COLOURFUL


def test_what_has_few_shades_is_not_toned(save):
    drawing = Image.new("RGB", (256, 192), "white")
    drawing.paste("navy", (40, 40, 140, 140))
    assert own_colours(save(drawing, "drawing")) == 1


def test_a_header_tells_of_loss_and_metadata(save, tmp_path):
    exif = Image.Exif()
    exif[0x0110] = "Box Brownie"
    lossy, finer = (read_details(save(photo(), f"q{q}", q, exif=exif, icc_profile=b"profile")) for q in (60, 90))
    assert lossy.step > 2 * finer.step > 0 and not lossy.lossless and lossy.bits < finer.bits
    assert lossy.metadata == {"camera", "colour profile"}
    lossless = read_details(save(photo(), "lossless"))
    assert lossless.lossless and lossless.step == 0 and not lossless.metadata
    photo().save(tmp_path / "a.webp", quality=80)
    photo().save(tmp_path / "b.webp", lossless=True)
    assert [read_details(tmp_path / f"{name}.webp").lossless for name in "ab"] == [False, True]
    assert read_details(tmp_path / "missing.jpg").bits == 0


@pytest.mark.parametrize("quality", [90, None])
def test_a_picture_that_is_turned_when_shown_has_no_plane(save, quality):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert read_plane(save(photo(), "turned", quality, exif=exif)) is None
    assert read_plane(save(photo(), "upright", quality)) is not None


@pytest.mark.parametrize("size", [(200, 6), (6, 200), (3, 3)])
def test_pictures_without_a_whole_block_do_no_harm(save, size):
    image = photo(size=size)
    files = [save(image, "first", 90), save(image, "second", 60), save(image, "third", None)]
    made = list(how_they_were_made([(files[0], files[1]), (files[2], files[1])], 0))
    assert made == ["", "compressed"]  # the second is what saving the pixels of the third gives
    assert jpeg_forensics.coefficients(np.zeros((6, 200), np.uint8)).shape == (0, 8, 25, 8)


def test_coefficients_are_those_of_each_block():
    grey = np.asarray(photo(size=(30, 21)).convert("L"))
    found = jpeg_forensics.coefficients(grey)
    assert found.shape == (2, 8, 3, 8)
    for row, column in np.ndindex(2, 3):
        block = np.float32(grey[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]) - 128
        assert found[row, :, column] == pytest.approx(cv2.dct(block), abs=1e-3)
    assert jpeg_forensics.coefficients(grey, 3) == pytest.approx(found[:, :3, :, :3])
    assert jpeg_forensics._from_coefficients(found) == pytest.approx(grey[:16, :24])
