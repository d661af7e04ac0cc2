"""How files were made: enlarged, saved again and toned pictures, each told from its contrary."""

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

from dedup.clustering import detail
from dedup.clustering.detail import enlarged, is_laid_alike, made_from, read_plane, shows_no_more, tell_sources
from dedup.clustering.quality import ONE_TONE, OWN_COLOURS, own_colours, read_details
from dedup.workers import Lost, attempt

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


def coloured():
    """A photo whose colours do not follow its greys, since subsampling must have something to lose."""
    return Image.merge("RGB", [photo(seed).convert("L") for seed in (0, 1, 2)])


@pytest.mark.parametrize(("first", "second"), [(60, 98), (60, 75), (75, 90), (75, 80), (85, 95), (85, None)])
def test_a_file_that_was_saved_again_finer_is_known_by_the_steps_it_still_has(save, first, second):
    source = save(photo(), "source", first)
    copy = save(opened(source), "copy", second)
    earlier = save(photo(), "earlier", second)
    assert made_from(copy, source)
    assert not made_from(earlier, source), "both come from a third"
    assert not made_from(earlier, save(opened(earlier), "later", first)), "the other way round"


@pytest.mark.parametrize(("quality", "webp"), [(60, 90), (75, 92), (85, 95)])
def test_which_of_a_jpeg_and_a_webp_was_saved_from_the_other(save, tmp_path, quality, webp):
    source = save(photo(), "source", quality)
    opened(source).save(tmp_path / "copy.webp", quality=webp)
    photo().save(tmp_path / "first.webp", quality=webp)
    copy = save(opened(tmp_path / "first.webp"), "copy", quality)
    assert made_from(tmp_path / "copy.webp", source) and not made_from(tmp_path / "first.webp", copy)


def test_what_went_back_to_its_earlier_steps_looks_like_the_source(save):
    """So that a file's own steps tell nothing then; which one is older has to."""
    finer = save(opened(save(photo(), "first", 75)), "finer", 96)
    assert made_from(finer, save(opened(finer), "back", 75))


EDITS = {
    "noise": lambda image: Image.blend(image, Image.effect_noise(image.size, 60).convert("RGB"), 0.15),
    "contrast": lambda image: image.point(lambda level: 1.3 * level),
    "blur": lambda image: image.filter(ImageFilter.GaussianBlur(1.5)),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_was_not_saved_again(save, edit):
    source = save(photo(), "source", 80)
    assert not made_from(save(EDITS[edit](opened(source)), "edited", 92), source)


def test_what_can_not_be_told_is_not_said(save):
    flat = save(Image.new("RGB", (256, 192), "teal"), "flat", 60)
    assert not made_from(save(opened(flat), "again", 98), flat)
    source = save(photo(), "source", 60)
    assert not made_from(save(photo(size=(128, 96)), "smaller", 90), source)
    assert list(tell_sources([(save(opened(source), "copy", 90), source), (source, flat)], 0)) == [True, False]


@pytest.mark.parametrize("size", [(200, 6), (6, 200), (3, 3)])
def test_pictures_without_a_whole_block_do_no_harm(save, size):
    image = photo(size=size)
    assert not made_from(save(image, "first", 90), save(image, "second", 60))
    assert detail.coefficients(np.zeros((6, 200), np.uint8)).shape == (0, 8, 25, 8)


@pytest.mark.parametrize("quality", [45, 90, None])
def test_one_tone_laid_over_greys_is_known(save, quality):
    sepia = ImageOps.colorize(photo().convert("L"), (30, 15, 0), (255, 240, 205))
    assert own_colours(save(sepia, "sepia", quality)) <= ONE_TONE
    assert own_colours(save(coloured(), "coloured", quality)) >= OWN_COLOURS


def test_what_has_few_shades_is_not_toned(save):
    drawing = Image.new("RGB", (256, 192), "white")
    drawing.paste("navy", (40, 40, 140, 140))
    assert own_colours(save(drawing, "drawing")) == 1


def test_a_file_that_can_not_be_read_tells_nothing(save, tmp_path):
    there, missing = save(photo(), "there", 60), tmp_path / "missing.jpg"
    pairs = (there, missing), (missing, there), (there, missing, 0.5, WHOLE)
    found = [*(attempt(job, missing) for job in (read_details, own_colours, read_plane)), *tell_sources(pairs, 0)]
    assert all(isinstance(each, Lost) for each in found), found


def test_a_header_tells_of_loss(save, tmp_path):
    lossy, finer = (read_details(save(photo(), f"q{q}", q)) for q in (60, 90))
    assert lossy.step > 2 * finer.step > 0 and not lossy.lossless and lossy.bits < finer.bits
    lossless = read_details(save(photo(), "lossless"))
    assert lossless.lossless and lossless.step == 0
    photo().save(tmp_path / "a.webp", quality=80)
    photo().save(tmp_path / "b.webp", lossless=True)
    assert [read_details(tmp_path / f"{name}.webp").lossless for name in "ab"] == [False, True]


@pytest.mark.parametrize("quality", [90, None])
def test_a_picture_that_is_turned_when_shown_has_no_plane(save, quality):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert read_plane(save(photo(), "turned", quality, exif=exif)) is None
    assert read_plane(save(photo(), "upright", quality)) is not None


def test_coefficients_are_those_of_each_block():
    grey = np.asarray(photo(size=(30, 21)).convert("L"))
    found = detail.coefficients(grey)
    assert found.shape == (2, 8, 3, 8)
    for row, column in np.ndindex(2, 3):
        block = np.float32(grey[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]) - 128
        assert found[row, :, column] == pytest.approx(cv2.dct(block), abs=1e-3)
    assert detail.coefficients(grey, 3) == pytest.approx(found[:, :3, :, :3])
    assert detail._from_coefficients(found) == pytest.approx(grey[:16, :24])
