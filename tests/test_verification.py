"""Confirmation: copies of every kind are found with their share and place, and nothing that only looks alike."""

import io
import sys
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from dedup import samples, verification
from dedup.members import _seen_by, what_is_missing
from dedup.pictures import read_picture
from dedup.verification import JOINING, Verifier, match_pictures

PHOTOS = "chelsea.png astronaut.png coffee.png china.jpg flower.jpg coins.png".split()
SIDE = 360


def photo(name, side=SIDE):
    with Image.open(samples._installed(name)) as opened:
        image = opened.convert("RGB")
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


def cut(image, left, top, right, bottom):
    return samples._cut(image, left, top, right, bottom)


def jpeg(image, quality):
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality)
    return Image.open(data).convert("RGB")


def write(image, text, place, size, fill="black"):
    image = image.copy()
    ImageDraw.Draw(image).text(place, text, fill=fill, font=ImageFont.load_default(size=size))
    return image


@pytest.fixture
def match(tmp_path):
    """Compare two images as two files: their Match, or None."""

    def compare(first, second):
        for name, image in (("first.png", first), ("second.png", second)):
            image.save(tmp_path / name, compress_level=1)
        return match_pictures(read_picture(tmp_path / "first.png"), read_picture(tmp_path / "second.png"))

    return compare


def joined(match):
    return match is not None and match.kind in JOINING


def moved(match, x, y):
    """Where a point of the first picture lies in the second, both in unit coordinates."""
    across, down, scale = np.reshape(match.transform, (3, 3)) @ [x, y, 1]
    return pytest.approx((across / scale, down / scale), abs=0.015)


# ---- copies


def sticker(image):
    image = image.copy()
    width, height = image.size
    place = (width * 0.55, height * 0.55, width * 0.8, height * 0.9)
    ImageDraw.Draw(image).ellipse(place, fill="magenta", outline="white", width=5)
    return image


def noisy(image, amount=10, seed=0):
    noise = np.random.default_rng(seed).normal(0, amount, (*image.size[::-1], 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


COPIES = {
    "resize": lambda image: samples._scale(image, 0.5),
    "thumbnail": lambda image: samples._scale(image, 0.3),
    "stretch": lambda image: image.resize((image.width, image.height * 3 // 4)),
    "heavy_jpeg": lambda image: jpeg(image, 10),
    "grey": ImageOps.grayscale,
    "sepia": samples._sepia,
    "bright": lambda image: ImageEnhance.Brightness(image).enhance(1.4),
    "dark": lambda image: ImageEnhance.Brightness(image).enhance(0.5),
    "contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.4),
    "colour": lambda image: ImageEnhance.Color(image).enhance(2),
    "blur": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
    "noise": noisy,
    "border": lambda image: ImageOps.expand(image, 20, "white"),
    "letterbox": lambda image: ImageOps.pad(image, (SIDE, SIDE), color="black"),
    "caption": lambda image: write(image, "Summer 2019", (15, image.height * 0.8), 32, "yellow"),
    "sticker": sticker,
    "tilt": lambda image: image.rotate(4, Image.Resampling.BICUBIC),
}


@pytest.mark.parametrize("edit", COPIES)
@pytest.mark.parametrize("name", PHOTOS[:4])
def test_edited_copies_are_copies(match, name, edit):
    image = photo(name)
    found = match(image, COPIES[edit](image))
    assert found is not None and found.kind == "copy"
    assert found.first_coverage > 0.85 and found.second_coverage > 0.8
    if edit not in ("caption", "sticker"):
        assert found.first_coverage > 0.95 and found.second_coverage > 0.93


TURNS = {  # where (0, 0) and (1, 0) go
    Image.Transpose.FLIP_LEFT_RIGHT: ((1, 0), (0, 0)),
    Image.Transpose.FLIP_TOP_BOTTOM: ((0, 1), (1, 1)),
    Image.Transpose.ROTATE_90: ((0, 1), (0, 0)),
    Image.Transpose.ROTATE_180: ((1, 1), (0, 1)),
    Image.Transpose.ROTATE_270: ((1, 0), (1, 1)),
    Image.Transpose.TRANSPOSE: ((0, 0), (0, 1)),
}


@pytest.mark.parametrize("turn", TURNS)
def test_turned_and_mirrored_copies_are_copies(match, turn):
    image = photo("chelsea.png")
    found = match(image, image.transpose(turn))
    assert found.kind == "copy" and min(found.first_coverage, found.second_coverage) > 0.98
    assert (moved(found, 0, 0), moved(found, 1, 0)) == TURNS[turn]


def test_a_mirrored_crop_is_a_crop(match):
    image = photo("coffee.png")
    found = match(image, ImageOps.mirror(cut(image, 0.1, 0.1, 0.8, 0.85)))
    assert found.kind == "crop"
    assert moved(found, 0.1, 0.1) == (1, 0) and moved(found, 0.8, 0.85) == (0, 1)


@pytest.mark.parametrize("box", [(0.04, 0.05, 0.96, 0.97), (0.1, 0.15, 0.8, 0.85), (0, 0, 0.6, 0.6), (0.3, 0, 1, 1)])
@pytest.mark.parametrize("name", ["chelsea.png", "china.jpg"])
def test_a_crop_says_how_much_of_the_whole_it_shows_and_where(match, name, box):
    left, top, right, bottom = box
    image = photo(name)
    found = match(image, cut(image, *box))
    assert found.kind == "crop"
    assert found.first_coverage == pytest.approx((right - left) * (bottom - top), abs=0.01)
    assert found.second_coverage > 0.97
    assert moved(found, left, top) == (0, 0) and moved(found, right, bottom) == (1, 1)
    assert found.first_resolution == pytest.approx(1, abs=0.03)


def test_resolution_is_told_both_ways(match):
    image = photo("astronaut.png")
    found = match(image, samples._scale(image, 0.5))
    assert found.first_resolution == pytest.approx(2, abs=0.05)
    assert found.second_resolution == pytest.approx(0.5, abs=0.02)
    squeezed = match(image, image.resize((image.width // 2, image.height)))  # the lower of both axes counts
    assert squeezed.first_resolution == pytest.approx(1, abs=0.03)
    assert squeezed.second_resolution == pytest.approx(0.5, abs=0.02)


def test_colours_of_both_are_told(match):
    image = photo("coffee.png")
    found = match(image, ImageOps.grayscale(image))
    assert found.first_chroma > 10 and found.second_chroma < 1


def test_marks_count_against_who_bears_them(match):
    image = photo("china.jpg")
    found = match(image, write(image, "Summer 2019", (15, image.height * 0.75), 40, "yellow"))
    assert found.second_extra > 0.02 > found.first_extra
    assert found.second_coverage == pytest.approx(1 - found.second_extra, abs=0.01)


# ---- pictures within others


def screenshot(image, side=SIDE):
    screen = Image.new("RGB", (side * 3 // 5, side), "white")
    pen = ImageDraw.Draw(screen)
    pen.rectangle((0, 0, screen.width, side // 9), fill="steelblue")
    screen = write(screen, "Photos of today", (10, 10), 18, "white")
    shown = image.resize((screen.width - 20, round((screen.width - 20) * image.height / image.width)))
    screen.paste(shown, (10, side // 6))
    text = "7 people like this\nAnna: what a nice one\nTom: where was that?"
    return write(screen, text, (10, side // 6 + shown.height + 6), 14)


def collage(images, side=SIDE):
    page = Image.new("RGB", (side, side), "white")
    half = side // 2 - 3
    for place, image in enumerate(images):
        page.paste(image.resize((half, half)), (place % 2 * (half + 6), place // 2 * (half + 6)))
    return page


def paste_in(image, side=SIDE):
    page = ImageOps.fit(photo("coins.png"), (side, side))
    page.paste(image.resize((side // 2, side * image.height // image.width // 2)), (side // 3, side // 4))
    return page


CONTAINERS = {
    "screenshot": screenshot,
    "collage": lambda image: collage([photo("flower.jpg"), image, photo("coins.png"), photo("rocket.jpg")]),
    "paste_in": paste_in,
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", ["chelsea.png", "china.jpg"])
def test_what_shows_a_picture_beside_other_things_contains_it(match, name, container):
    image = photo(name)
    found = match(image, CONTAINERS[container](image))
    assert found.kind == "contains"
    assert found.first_coverage > 0.95 and 0.1 < found.second_coverage < 0.75  # plain margins count as shown


# ---- different pictures


def test_different_photos_are_not_one(tmp_path):
    names = [*PHOTOS, "rocket.jpg", "moon.png", "brick.png", "grass.png", "page.png", "text.png", "motorcycle_left.png"]
    pictures = []
    for name in names:
        photo(name).save(tmp_path / f"{name}.png")
        pictures.append(read_picture(tmp_path / f"{name}.png"))
    pairs = combinations(zip(names, pictures, strict=True), 2)
    assert [(a, b) for (a, first), (b, second) in pairs if match_pictures(first, second)] == []


@pytest.mark.parametrize("name", ["chelsea.png", "brick.png", "hubble_deep_field.jpg", "page.png", "china.jpg"])
def test_crops_without_overlap_are_not_one(match, name):
    image = photo(name)
    assert match(cut(image, 0, 0, 0.48, 1), cut(image, 0.52, 0, 1, 1)) is None
    assert match(cut(image, 0, 0, 1, 0.48), cut(image, 0, 0.52, 1, 1)) is None


@pytest.mark.parametrize("name", ["chelsea.png", "china.jpg"])
def test_overlapping_views_are_similar_at_most(match, name):
    image = photo(name)
    assert match(cut(image, 0, 0, 0.7, 1), cut(image, 0.3, 0, 1, 1)).kind == "similar"


def test_two_cameras_side_by_side_do_not_take_one_picture(match):
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
def test_a_page_with_other_words_is_another_page(match, old, new, scale):
    assert not joined(match(letter(LETTER, scale), letter(LETTER.replace(old, new), scale)))


@pytest.mark.parametrize("edit", ["resize", "bright", "dark", "noise", "border", "letterbox"])
def test_a_page_is_still_found_when_edited(match, edit):
    page = letter(LETTER, 2)
    assert match(page, COPIES[edit](page)).kind == "copy"
    assert match(page, jpeg(samples._scale(page, 0.7), 30)).kind == "copy"


def receipt(prices, total):
    lines = [f"{name:8}{price}" for name, price in zip("MILK BREAD APPLES COFFEE".split(), prices, strict=True)]
    page = Image.new("RGB", (240, 360), "white")
    for line, words in enumerate(["SUPERMARKET", "Main street 12", *lines, f"TOTAL   {total}", "THANK YOU"]):
        page = write(page, words, (20, 30 + 30 * line), 19)
    return page


def test_a_receipt_with_another_total_is_another_receipt(match):
    prices = ["1.29", "2.49", "3.10", "7.99"]
    first = receipt(prices, "14.87")
    assert match(first, jpeg(first, 30)).kind == "copy"
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


def test_a_chart_with_another_bar_is_another_chart(match):
    values = [100, 120, 80, 200, 50, 30, 150, 170]
    assert match(chart(values), jpeg(chart(values), 40)).kind == "copy"
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
def test_one_template_with_another_logo_is_another_picture(match, logos):
    assert not joined(match(*map(template, logos)))


@pytest.mark.parametrize("hues", [*combinations(["crimson", "royalblue", "seagreen", "orange"], 2)])
def test_one_drawing_in_two_hues_is_two_pictures(match, hues):
    assert not joined(match(*map(samples._house, hues)))


def test_a_drawing_is_found_in_grey_and_sepia(match):
    house = samples._house("crimson")
    assert match(house, ImageOps.grayscale(house)).kind == "copy"
    assert match(house, samples._sepia(house)).kind == "copy"


def speckled(seed):
    noise = np.random.default_rng(seed).normal(250, 2, (200, 200, 3))
    return Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8))


def gradient(first, last, size=(300, 220)):
    share = np.linspace(0, 1, size[1])[:, None, None]
    return Image.fromarray(
        np.broadcast_to(first + (np.subtract(last, first)) * share, (*size[::-1], 3)).astype(np.uint8)
    )


def test_what_shows_nothing_is_one_with_nothing(match):
    assert match(Image.new("RGB", (200, 200), "red"), Image.new("RGB", (200, 200), "blue")) is None
    assert match(Image.new("RGB", (200, 200), "red"), Image.new("RGB", (100, 100), "red")) is None
    assert match(speckled(0), speckled(1)) is None
    assert match(write(speckled(0), "1", (90, 90), 12), write(speckled(0), "2", (90, 90), 12)) is None
    sky, sunset = gradient((10, 20, 80), (200, 220, 255)), gradient((80, 20, 10), (255, 220, 200))
    assert match(sky, sunset) is None
    assert match(sky, sky.transpose(Image.Transpose.ROTATE_90)) is None


def test_two_pictures_before_one_gradient_are_two(match):
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
def test_a_frame_or_a_watermark_in_common_is_not_a_picture_in_common(match, names, change):
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


def test_a_moment_later_with_something_moved_is_not_joined(match):
    assert not joined(match(exposure(0, (20, 60), 125), exposure(1, (200, 100), 125)))


@pytest.mark.parametrize("size", [60, 90])
def test_where_something_small_has_moved_neither_stands_for_the_other(match, size):
    found = match(exposure(0, (30, 70), size), exposure(1, (210, 110), size))
    if found:
        assert any(what_is_missing(_seen_by(found, is_first)) for is_first in (True, False))


@pytest.mark.parametrize("sizes", [*combinations([(1, 1), (1, 300), (300, 1), (2, 2), (9, 9), (300, 8)], 2)])
def test_pictures_of_hardly_any_pixels_do_no_harm(match, sizes):
    images = [noisy(Image.new("RGB", size, "grey"), 60, seed) for seed, size in enumerate(sizes)]
    assert not joined(match(*images))


# ---- swapping


SWAPPED = {
    "copy": lambda image: samples._scale(image, 0.6),
    "turn": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "crop": lambda image: cut(image, 0.1, 0.15, 0.8, 0.85),
    "caption": COPIES["caption"],
    "screenshot": screenshot,
    "overlap": lambda image: image.transform(image.size, Image.Transform.AFFINE, (1, 0, image.width * 0.35, 0, 1, 0)),
}


@pytest.mark.parametrize("edit", SWAPPED)
@pytest.mark.parametrize("name", ["chelsea.png", "china.jpg"])
def test_swapping_the_pictures_swaps_the_match(match, name, edit):
    image = photo(name)
    there, back = match(image, SWAPPED[edit](image)), match(SWAPPED[edit](image), image)
    assert there.kind == back.kind
    for of in ("coverage", "resolution", "extra", "chroma"):
        pairs = [(getattr(m, f"first_{of}"), getattr(m, f"second_{of}")) for m in (there, back)]
        assert pairs[0] == pytest.approx(pairs[1][::-1], abs=0.5 if of == "chroma" else 0.04)
    both = np.reshape(back.transform, (3, 3)) @ np.reshape(there.transform, (3, 3))
    assert both / both[2, 2] == pytest.approx(np.eye(3), abs=0.02)


# ---- Verifier


def all_pairs(count, seed=0):
    """A graph in which every pair is a candidate, at distances that say nothing."""
    distances = np.random.default_rng(seed).uniform(0.01, 0.5, (count, count)).astype(np.float32)
    distances = np.triu(distances, 1)
    rows, columns = np.indices((count, count)).reshape(2, -1)
    return csr_matrix(((distances + distances.T).ravel(), (rows, columns)), shape=(count, count))


def components(graph):
    labels = connected_components(graph)[1]
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in labels}


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    """Paths: three photos with three copies each, a collage of two of them, a plain and an unreadable file."""
    folder, side = tmp_path_factory.mktemp("album"), 240
    images = {}
    for name in ("chelsea", "coffee", "china"):
        image = photo(f"{name}.jpg" if name == "china" else f"{name}.png", side)
        images |= {f"{name}": image, f"{name}_small": samples._scale(image, 0.6)}
        images |= {f"{name}_crop": cut(image, 0.1, 0.1, 0.9, 0.95), f"{name}_grey": ImageOps.grayscale(image)}
    images["collage"] = collage([images["chelsea"], images["coffee"], images["coffee"], images["chelsea"]], side)
    images["plain"] = Image.new("RGB", (100, 100), "teal")
    paths = []
    for name, image in images.items():
        paths.append(folder / f"{name}.png")
        image.save(paths[-1])
    paths.insert(5, folder / "broken.png")
    paths[5].write_bytes(b"no picture")
    return paths


@pytest.fixture(scope="module")
def verified(album):
    """A verifier that has verified all pairs of the album, and the confirmed graph."""
    verifier = Verifier(album, num_workers=0, progress=False)
    return verifier, verifier.verify(all_pairs(len(album)))


def groups_of(album):
    names = [path.stem.split("_")[0] for path in album]
    return {frozenset(k for k, other in enumerate(names) if other == name) for name in names}


def test_groups_of_an_album_are_found_around_an_unreadable_file(album, verified):
    assert components(verified[1]) == groups_of(album)


def test_the_confirmed_graph_is_symmetric_and_keeps_distances_and_diagonal(album, verified):
    graph, confirmed = all_pairs(len(album)).toarray(), verified[1]
    assert (confirmed != confirmed.T).nnz == 0 and confirmed.has_sorted_indices
    assert confirmed.dtype == np.float32
    rows, columns = confirmed.nonzero()
    assert (confirmed.toarray()[rows, columns] == graph[rows, columns]).all()
    stored = set(zip(*(part.tolist() for part in confirmed.tocoo().coords), strict=True))
    assert {(k, k) for k in range(len(album))} <= stored


def test_leaving_pairs_out_changes_no_group(album, verified):
    exhaustive = Verifier(album, num_workers=0, progress=False)
    exhaustive.match_many([(i, j, 0.1) for i, j in combinations(range(len(album)), 2)])
    edges = [pair for pair, found in exhaustive.matches.items() if found.kind in JOINING]
    rows, columns = np.transpose(edges)
    graph = csr_matrix((np.ones(len(edges)), (rows, columns)), shape=(len(album),) * 2)
    assert components(graph) == components(verified[1])
    assert len(verified[0]._compared) < len(exhaustive._compared)
    for pair, found in verified[0].matches.items():
        assert replace(found, distance=0) == replace(exhaustive.matches[pair], distance=0)


def test_what_contains_two_pictures_joins_neither(album, verified):
    verifier, confirmed = verified
    container = next(k for k, path in enumerate(album) if path.stem == "collage")
    kinds = {found.kind for pair, found in verifier.matches.items() if container in pair}
    assert kinds == {"contains"}
    assert confirmed[container].indices.tolist() == [container]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux compares in forked processes")
def test_forked_processes_find_the_same(album, verified, monkeypatch):
    monkeypatch.setattr(verification, "WORTH_FORKING", 1)
    forked = Verifier(album, num_workers=2, progress=False)
    graph = forked.verify(all_pairs(len(album)))
    assert forked.matches == verified[0].matches
    assert (graph != verified[1]).nnz == 0


@pytest.fixture
def twins(tmp_path):
    """Paths: a JPEG, the same bytes, the same pixels as a PNG, one pixel changed in that, another picture."""
    image = photo("coffee.png", 240)
    image.save(tmp_path / "a.jpg", quality=80)
    (tmp_path / "b.jpg").write_bytes((tmp_path / "a.jpg").read_bytes())
    with Image.open(tmp_path / "a.jpg") as opened:
        pixels = opened.convert("RGB")
    pixels.save(tmp_path / "c.png")
    red, green, blue = pixels.getpixel((100, 60))
    pixels.putpixel((100, 60), (red, green, blue ^ 1))
    pixels.save(tmp_path / "d.png")
    photo("china.jpg", 240).save(tmp_path / "e.png")
    return sorted(tmp_path.iterdir())


def test_same_bytes_and_same_pixels_are_told_from_copies(twins):
    verifier = Verifier(twins, num_workers=0, progress=False)
    assert verifier.match(0, 1, 0.0).kind == "identical"
    assert verifier.match(0, 2, 0.0).kind == "same_pixels"
    assert verifier.match(2, 3, 0.0).kind == "copy"
    assert verifier.match(0, 4, 0.5) is None
    whole = verifier.matches[0, 1]
    assert whole.transform == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    assert (whole.first_coverage, whole.second_coverage, whole.first_resolution) == (1, 1, 1)


def test_blank_twins_are_found_by_their_bytes_alone(tmp_path):
    for name, colour in (("a", "white"), ("b", "white"), ("c", "black"), ("d", "black")):
        Image.new("RGB", (50, 50), colour).save(tmp_path / f"{name}.png")
    Image.new("RGB", (50, 50), "black").save(tmp_path / "d.png", compress_level=0)
    paths = sorted(tmp_path.iterdir())
    verifier = Verifier(paths, num_workers=0, progress=False)
    assert components(verifier.verify(all_pairs(4))) == {frozenset({0, 1}), frozenset({2, 3})}
    assert {pair: found.kind for pair, found in verifier.matches.items()} == {
        (0, 1): "identical",
        (2, 3): "same_pixels",
    }


def test_distance_zero_stays_an_edge(twins):
    zeros = csr_matrix((np.zeros(4, np.float32), ([0, 0, 1, 1], [0, 1, 0, 1])), shape=(2, 2))
    confirmed = Verifier(twins[:2], num_workers=0, progress=False).verify(zeros)
    assert confirmed.nnz == 4 and confirmed.data.tolist() == [0, 0, 0, 0]


def test_no_candidates_no_edges(twins):
    diagonal = csr_matrix((np.zeros(5, np.float32), (range(5), range(5))), shape=(5, 5))
    verifier = Verifier(twins, num_workers=0, progress=False)
    assert verifier.verify(diagonal).nnz == 5 and verifier._compared == set() == set(verifier._pictures)


def test_a_match_is_asked_for_in_any_order_and_compared_once(twins, monkeypatch):
    verifier = Verifier(twins, num_workers=0, progress=False)
    found = verifier.match(3, 2, 0.25)
    assert (found.kind, found.distance) == ("copy", 0.25) and list(verifier.matches) == [(2, 3)]
    monkeypatch.setattr(verification, "match_pictures", lambda *_: pytest.fail("compared again"))
    assert verifier.match(2, 3, 0.3) is found
    assert verifier.match(2, 2, 0.0) is None


def test_a_file_that_went_missing_matches_nothing(twins):
    twins[1].unlink()
    verifier = Verifier(twins, num_workers=0, progress=False)
    assert components(verifier.verify(all_pairs(5))) == {frozenset({0, 2, 3}), frozenset({1}), frozenset({4})}


def test_two_groups_that_do_not_join_are_left_after_some_tries(tmp_path, monkeypatch):
    monkeypatch.setattr(verification, "TRIES", 3)
    compared = []

    def same_letter(first, second, path, other, distance):
        compared.append(path.name + other.name)
        return verification.Match("copy", distance) if path.name[0] == other.name[0] else None

    monkeypatch.setattr(verification, "_same_data", same_letter)
    monkeypatch.setattr(verification, "match_pictures", lambda *_: None)
    paths = [tmp_path / f"{letter}{number}" for letter in "ab" for number in range(6)]
    for path in paths:
        Image.new("RGB", (8, 8)).save(path, "PNG")
    graph = all_pairs(12)
    graph.data[(graph.toarray() > 0).sum() :] = 0
    confirmed = Verifier(paths, num_workers=0, progress=False).verify(graph)
    assert components(confirmed) == {frozenset(range(6)), frozenset(range(6, 12))}
    across = [names for names in compared if names[0] != names[2]]
    assert 3 <= len(across) < 18  # of 36; groups grow while they are tried
    assert len(compared) == len(set(compared))
