"""What people keep as pictures of their own and a program might take for copies: none of them may go for another."""

from itertools import permutations

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from dedup.clustering.full_resolution import NUMBERS, ON_BLACK, why_they_stay
from dedup.dataset.decoding import load_image, read_values
from dedup.matching.confirmation import Verifier
from dedup.matching.kinds import MatchKind
from tests.confirmation_pictures import jpeg, photo

INK = (24, 24, 37)
JPEG = {"quality": 92}


def going(folder, images, **options):
    """Names of files that may go for another one of them, at any level of removal: {member: keeper}."""
    ending, paths = ".jpg" if options else ".png", []
    for name, image in images.items():
        paths.append(folder / f"{name}{ending}")
        image.save(paths[-1], **options)
    return {paths[i].stem: paths[j].stem for i, j in permutations(range(len(paths)), 2) if may_go(paths[i], paths[j])}


def may_go(member, keeper):
    match = Verifier([member, keeper], 0, progress=False).match(0, 1, 0.1)
    if match is None or not match.kind.joins:
        return False
    return match.kind in (MatchKind.IDENTICAL, MatchKind.SAME_PIXELS) or not reason(member, keeper, match)


def goes_as_jpeg(folder, image, quality):
    """Whether a picture that is saved again as a JPEG may go for the one that was saved without loss."""
    image.save(folder / "whole.png")
    image.save(folder / "again.jpg", quality=quality)
    return may_go(folder / "again.jpg", folder / "whole.png")


def reason(member, keeper, match):
    return next(why_they_stay([(member, keeper, match.transform, True, match.kind)], 0))


def clouds(size, seed, blur):
    noise = np.random.default_rng(seed).normal(0, 1, size[::-1]).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), blur)
    return (soft - soft.mean()) / soft.std()


def article(body, sleeves=None, size=(420, 480)):
    """A jacket on white, with folds and buttons that are the same in every colour."""
    folds = 1 + 0.12 * clouds(size, 3, 14)[..., None] + 0.03 * clouds(size, 4, 1)[..., None]
    page, cloth = Image.new("RGB", size, (252, 252, 252)), np.ones((*size[::-1], 3))
    parts = [(sleeves or body, [(40, 130), (140, 60), (280, 60), (380, 130), (345, 200), (75, 200)]),
             (body, [(115, 60), (305, 60), (305, 440), (115, 440)])]  # fmt: skip
    for colour, outline in parts:
        shape = Image.new("L", size)
        ImageDraw.Draw(shape).polygon(outline, fill=255)
        page.paste(Image.fromarray((cloth * folds * colour).clip(0, 255).astype(np.uint8)), mask=shape)
    for y in range(120, 420, 50):
        ImageDraw.Draw(page).ellipse((205, y, 213, y + 8), fill=(92, 80, 50))
    return page


GREYS = {"black": (34, 34, 36), "charcoal": (72, 72, 74), "grey": (140, 140, 141), "silver": (200, 200, 202)}
COLOURS = {"navy": (30, 40, 90), "beige": (222, 200, 160), "olive": (90, 95, 50)}


def test_one_article_in_several_shades_is_several_articles(tmp_path):
    assert going(tmp_path, {name: article(colour) for name, colour in (GREYS | COLOURS).items()}, **JPEG) == {}


def test_one_article_with_another_second_colour_is_another_article(tmp_path):
    sleeves = {"black": (34, 34, 36), "green": (20, 100, 50), "navy": (30, 40, 110), "grey": (120, 120, 122)}
    assert going(tmp_path, {name: article((200, 30, 40), colour) for name, colour in sleeves.items()}, **JPEG) == {}


def flag(*colours, size=(360, 240)):
    image, step = Image.new("RGB", size), size[0] // len(colours)
    for place, colour in enumerate(colours):
        ImageDraw.Draw(image).rectangle((place * step, 0, place * step + step, size[1]), fill=colour)
    return image


def test_flags_with_two_colours_in_common_are_others(tmp_path):
    flags = {"france": ("#0055a4", "white", "#ef4135"), "italy": ("#009246", "white", "#ce2b37"),
             "ireland": ("#169b62", "white", "#ff883e"), "chad": ("#002664", "#fecb00", "#c60c30"),
             "romania": ("#002b7f", "#fcd116", "#ce1126")}  # fmt: skip
    found = going(tmp_path, {name: flag(*colours) for name, colours in flags.items()})
    assert {*found, *found.values()} <= {"chad", "romania"}  # in which nobody sees a difference


def wallpaper(ground, mark=INK, end=None, size=(480, 270), large=1.0):
    """A mark on a plain ground, or on one that changes from corner to corner."""
    down, across = np.mgrid[0 : 1 : size[1] * 1j, 0 : 1 : size[0] * 1j]
    share = ((across + down) / 2)[..., None]
    image = Image.fromarray((np.array(ground) * (1 - share) + np.array(end or ground) * share).astype(np.uint8))
    pen, (x, y), r = ImageDraw.Draw(image), (size[0] / 2, size[1] / 2), 26 * large
    pen.polygon([(x, y - r), (x + r * 0.8, y + r), (x, y + r * 0.4), (x - r * 0.8, y + r)], fill=mark)
    for place in range(6):
        pen.ellipse(
            (x - 40 + 14 * place, y + 40, x - 34 + 14 * place, y + 46),
            fill=[(230, 120, 120), (250, 230, 160)][place % 2],
        )
    return image


PINK, BLUE, MINT, PEACH = (238, 172, 222), (164, 182, 238), (160, 224, 206), (244, 194, 150)


def test_one_template_in_the_colours_of_several_themes_is_several_pictures(tmp_path):
    plain = {f"plain{k}": wallpaper(ground) for k, ground in enumerate((PINK, BLUE, MINT, PEACH))}
    faded = {f"faded{k}": wallpaper((200, 172, 235), end=end) for k, end in enumerate((PINK, BLUE, MINT))}
    marks = {
        "small": wallpaper((30, 30, 46), (137, 180, 250)),
        "large": wallpaper((46, 52, 64), (143, 188, 187), large=1.4),
    }
    assert going(tmp_path, plain | faded | marks) == {}


def waves(light, dark=INK, size=(480, 270)):
    share = np.clip(clouds(size, 5, 24) * 1.5 + 0.5, 0, 1)[..., None]
    return Image.fromarray((np.array(dark) * (1 - share) + np.array(light) * share).astype(np.uint8))


def test_soft_shapes_in_other_colours_are_other_pictures(tmp_path):
    lights = {"rose": (222, 146, 174), "sand": (226, 216, 150), "shell": (240, 222, 220), "apricot": (238, 178, 138)}
    assert going(tmp_path, {name: waves(light) for name, light in lights.items()}) == {}
    assert goes_as_jpeg(tmp_path, waves(PINK), 90)


def chart(colours=("red", "lime", "red", "blue"), width=2, title="", grid=0, size=(400, 400)):
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    for place, colour in enumerate(colours * 3):
        x, y = 200 + 150 * np.cos(place * 0.52), 200 + 150 * np.sin(place * 0.52)
        pen.ellipse((x - 9, y - 9, x + 9, y + 9), fill=colour)
    for radius in (40, 80, 110):
        pen.ellipse((200 - radius, 200 - radius, 200 + radius, 200 + radius), outline=colours[0], width=width)
    pen.polygon([(150, 170), (240, 160), (230, 230), (170, 240)], fill="red")
    for step in range(grid):
        pen.line((150, 175 + 10 * step, 240, 170 + 10 * step), fill="blue")
    if title:
        pen.text((170, 6), title, fill="black", font=ImageFont.load_default(size=13))
    return image


def test_charts_with_other_colours_lines_titles_and_grids_are_others(tmp_path):
    charts = {"a": chart(), "b": chart(("blue", "lime", "red", "red")), "c": chart(("red", "lime", "blue", "blue")),
              "wide": chart(width=5), "titled": chart(title="Chart title"), "grid": chart(grid=5)}  # fmt: skip
    assert going(tmp_path, charts) == {}
    assert goes_as_jpeg(tmp_path, chart(), 85)


def arrow(size=(320, 320)):
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle((16, 16, 304, 304), 30, outline="navy", width=7)
    pen.polygon([(160, 60), (250, 160), (195, 160), (195, 260), (125, 260), (125, 160), (70, 160)], fill="seagreen")
    for y in range(180, 255, 9):
        pen.line((132, y, 188, y), fill="lightgreen", width=2)
    pen.rectangle((60, 220, 90, 260), fill="seagreen")  # so that its mirror image is another one
    return image


def glyph(text, size=256):
    image = Image.new("L", (size, size), 255)
    ImageDraw.Draw(image).text((size * 0.3, size * 0.1), text, fill=0, font=ImageFont.load_default(size=size * 0.7))
    return image


@pytest.mark.parametrize("draw", [arrow, lambda: glyph("b"), lambda: glyph("6")])
def test_signs_and_letters_that_are_turned_or_mirrored_are_others(tmp_path, draw):
    turns = {turn.name: draw().transpose(turn) for turn in Image.Transpose}
    assert going(tmp_path, {"upright": draw()} | turns) == {}


def stamped(image, text, place=(0, 0), size=16, ground="black", ink="white"):
    image, font = image.copy(), ImageFont.load_default(size=size)
    pen = ImageDraw.Draw(image)
    if ground:
        pen.rectangle((*place, place[0] + pen.textlength(text, font) + 8, place[1] + size * 1.4), fill=ground)
    pen.text((place[0] + 4, place[1] + 1), text, fill=ink, font=font)
    return image


@pytest.mark.parametrize("name", ["coffee.png", "chelsea.png", "china.jpg"])
def test_another_stamp_score_or_subtitle_is_another_frame(tmp_path, name):
    image = photo(name, 640)
    frames = {
        text: stamped(image, text) for text in ("2021-03-04 10:00:00", "2021-03-04 10:01:00", "2021-03-04 22:59:58")
    }
    frames |= {text: stamped(image, text, (330, 10), 20, "", "yellow") for text in ("001200", "001850")}
    frames |= {text: stamped(image, text, (240, 270), 20, "grey") for text in ("I never said that.", "Then who did?")}
    frames = {f"frame{k}": frame for k, frame in enumerate(frames.values())}
    assert going(tmp_path, frames, quality=90) == {}


def test_a_small_thing_that_moved_makes_another_frame(tmp_path):
    frames = {}
    for x in (0, 200, 230):
        frames[f"x{x}"] = photo("china.jpg", 640)
        if x:
            ImageDraw.Draw(frames[f"x{x}"]).ellipse((x, 300, x + 24, 324), fill=(200, 30, 30))
    assert going(tmp_path, frames, quality=90) == {}


def test_the_same_frame_saved_again_may_go(tmp_path):
    image = stamped(photo("china.jpg", 640), "2021-03-04 10:00:00")
    assert going(tmp_path, {"a": image, "b": jpeg(image, 75)}, quality=95) == {"a": "b", "b": "a"}


def spot(image, box, how):
    image, part = image.copy(), image.crop(box)
    if how == "blurred":
        part = part.filter(ImageFilter.GaussianBlur(8))
    elif how == "mosaic":
        part = part.resize((5, 4), Image.Resampling.BOX).resize(part.size, Image.Resampling.NEAREST)
    else:
        part.paste(tuple(np.asarray(part).reshape(-1, 3).mean(axis=0).astype(int)), (0, 0, *part.size))
    image.paste(part, box[:2])
    return image


@pytest.mark.parametrize("how", ["blurred", "mosaic", "painted"])
@pytest.mark.parametrize("name", ["astronaut.png", "coffee.png", "china.jpg"])
def test_a_retouched_photo_is_edited_and_the_untouched_one_never_goes(tmp_path, name, how):
    image = photo(name, 640)
    box = (image.width // 3, image.height // 4, image.width // 3 + 60, image.height // 4 + 48)
    paths = [tmp_path / "untouched.jpg", tmp_path / "retouched.jpg"]
    for path, each in zip(paths, (image, spot(image, box, how)), strict=True):
        each.save(path, quality=92)
    match = Verifier(paths, 0, progress=False).match(0, 1, 0.0)
    assert match.kind == MatchKind.EDITED
    assert reason(*paths, match) and not may_go(*paths)


def test_white_on_nothing_is_seen(tmp_path):
    plain = Image.new("RGBA", (400, 250), (0, 0, 0, 0))
    ImageDraw.Draw(plain).polygon([(40, 200), (100, 40), (160, 200)], fill="black")
    lettered = plain.copy()
    ImageDraw.Draw(lettered).text((190, 90), "ACME TRAVEL", fill="white", font=ImageFont.load_default(size=30))
    sticker, outlined = (Image.new("RGBA", (300, 300), (0, 0, 0, 0)) for _ in range(2))
    ImageDraw.Draw(outlined).ellipse((40, 40, 260, 260), fill="white")
    disc = Image.new("L", (200, 200))
    ImageDraw.Draw(disc).ellipse((0, 0, 199, 199), fill=255)
    for image in (sticker, outlined):
        image.paste(photo("chelsea.png").resize((200, 200)), (50, 50), disc)
    images = {"plain": plain, "lettered": lettered, "sticker": sticker, "outlined": outlined}
    assert going(tmp_path, images) == {}
    match = Verifier([tmp_path / "plain.png", tmp_path / "lettered.png"], 0, progress=False).match(0, 1, 0.0)
    assert match is None or reason(tmp_path / "plain.png", tmp_path / "lettered.png", match) == ON_BLACK
    half = plain.resize((200, 125))
    assert going(tmp_path, {"large": plain, "small": half})["small"] == "large"


def masks(seed, count=9):
    values = np.zeros((240, 320), np.uint16)
    rng = np.random.default_rng(seed)
    for value in range(1, count):
        x, y, a, b = rng.integers((20, 20, 15, 15), (300, 220, 50, 40))
        cv2.ellipse(values, (int(x), int(y)), (int(a), int(b)), 0, 0, 360, value, -1)
    return values


def test_16_bit_pictures_with_small_values_are_seen_and_go_for_the_same_values_only(tmp_path):
    images = {"a": masks(0), "copy": masks(0), "b": masks(1), "twice": masks(0) * 2}
    for name, values in images.items():
        Image.fromarray(values).save(tmp_path / f"{name}.png", compress_level=9 if name == "copy" else 1)
    paths = {name: tmp_path / f"{name}.png" for name in images}
    assert np.asarray(load_image(paths["a"])).std() > 30
    assert {(a, b) for a, b in permutations(images, 2) if may_go(paths[a], paths[b])} == {("a", "copy"), ("copy", "a")}
    match = Verifier([paths["a"], paths["twice"]], 0, progress=False).match(0, 1, 0.0)
    assert match.kind != MatchKind.SAME_PIXELS and reason(paths["a"], paths["twice"], match) == NUMBERS


def test_same_pixels_are_the_same_at_full_depth_with_transparency_and_profile(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65536, (40, 60, 3), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    cv2.imwrite(str(tmp_path / "other.png"), deep ^ 1)
    cv2.imwrite(str(tmp_path / "deep.tif"), deep)
    values = {name: read_values(tmp_path / name)[0] for name in ("deep.png", "other.png", "deep.tif")}
    assert np.array_equal(values["deep.png"], values["deep.tif"]) and values["deep.png"].dtype == np.uint16
    assert not np.array_equal(values["deep.png"], values["other.png"])
    image = photo("coffee.png")
    image.save(tmp_path / "plain.png")
    image.save(tmp_path / "profile.png", icc_profile=b"another")
    image.putalpha(254)
    image.save(tmp_path / "alpha.png")
    paths = [tmp_path / f"{name}.png" for name in ("plain", "profile", "alpha")]
    kinds = [Verifier([paths[0], other], 0, progress=False).match(0, 1, 0.0).kind for other in paths[1:]]
    assert MatchKind.SAME_PIXELS not in kinds


def test_two_pictures_of_nothing_but_bars_are_not_one(tmp_path):
    for name, level in (("a", 255), ("b", 243)):
        values = np.zeros((48, 64), np.uint8)
        values[:, 12:52] = level
        Image.fromarray(values).save(tmp_path / f"{name}.png")
    assert Verifier([tmp_path / "a.png", tmp_path / "b.png"], 0, progress=False).match(0, 1, 0.0) is None


def document(mark=None, size=64):
    """An icon: a page on nothing, in soft shades, with a faint mark on it."""
    page = Image.new("RGBA", (4 * size, 4 * size))
    draw = ImageDraw.Draw(page)
    draw.rounded_rectangle((8 * 4, 4 * 4, 56 * 4, 60 * 4), 12, fill=(250, 250, 250, 255), outline=(120, 120, 120, 255))
    draw.ellipse((80, 120, 176, 216), fill=(60, 120, 200, 255))
    shade = np.linspace(0, 30, 4 * size, dtype=np.float32)[:, None, None] * [1, 1, 1, 0]
    page = Image.fromarray((np.asarray(page) - shade).clip(0, 255).astype(np.uint8))
    if mark:
        layer = Image.new("RGBA", page.size)
        ImageDraw.Draw(layer).text((70, 24), mark, (90, 90, 90, 70), ImageFont.load_default(80))
        page.alpha_composite(layer)
    return page.resize((size, size), Image.Resampling.LANCZOS)


def test_icons_with_other_faint_marks_are_others(tmp_path):
    assert not going(tmp_path, {"plain": document(), "asks": document("?"), "tells": document("i")})


def test_icons_in_other_colours_are_others(tmp_path):
    pixels = np.asarray(document())
    tinted = [pixels * [0.9, 1, 1, 1], pixels[..., [2, 1, 0, 3]], pixels[..., [1, 1, 1, 3]]]
    icons = [Image.fromarray(each.clip(0, 255).astype(np.uint8)) for each in tinted]
    assert not going(tmp_path, {"blue": document()} | {f"other{k}": icon for k, icon in enumerate(icons)})


def line_chart(colour, width=1):
    page = Image.new("RGB", (640, 480), "white")
    draw = ImageDraw.Draw(page)
    draw.rectangle((80, 60, 576, 420), outline="black")
    for x in range(80, 577, 62):
        draw.line((x, 420, x, 414), fill="black")
    draw.line((80, 240, 576, 240), fill=colour, width=width)
    return page


def test_charts_whose_line_has_another_colour_or_width_are_others(tmp_path):
    charts = {"blue": line_chart("blue"), "grey": line_chart("grey"), "wide": line_chart("blue", 2)}
    assert not going(tmp_path, charts)


def test_a_photo_saved_without_loss_in_fewer_colours_may_go(tmp_path):
    image = photo("coffee.png", 400)
    assert "few" in going(tmp_path, {"full": image, "few": image.quantize(256).convert("RGB")})
