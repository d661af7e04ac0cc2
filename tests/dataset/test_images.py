"""Reading a folder: which files, upright and RGB whatever the format, in batches that skip what can't be read."""

import multiprocessing
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from dedup import workers
from dedup.dataset import reading
from dedup.dataset.decoding import UnreadableImage, load_image, one_line
from dedup.dataset.images import ImagesDataset, list_images, read_batches

KINDS = ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF", "MPO"]
# The corners of a 48 x 32 px picture, clockwise from the top left.
CORNERS = [(220, 30, 30), (30, 200, 30), (30, 30, 220), (230, 230, 40)]
# How a picture must be stored for each EXIF orientation to bring it upright.
STORED = {
    1: lambda image: image,
    2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
    4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
    7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
    8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
}


def four_colours(width=48, height=32):
    image = Image.new("RGB", (2, 2))
    image.putdata([CORNERS[0], CORNERS[1], CORNERS[3], CORNERS[2]])
    return image.resize((width, height), Image.Resampling.NEAREST)


def corners(image):
    right, bottom = image.width - 4, image.height - 4
    return [image.getpixel(place) for place in ((3, 3), (right, 3), (right, bottom), (3, bottom))]


def close(found, expected, tolerance=30):
    return np.abs(np.array(found, int) - np.array(expected, int)).max() <= tolerance


def save(image, path, kind, **options):
    if kind == "HEIF":
        pillow_heif.from_pillow(image).save(path, **options)
    else:
        image.save(path, kind, **options)
    return path


@pytest.fixture
def picture_folder(tmp_path):
    """Eleven pictures of other brightness; those numbered 3 to 5 are broken."""
    for number in range(11):
        path = tmp_path / f"{number:02}.png"
        Image.new("RGB", (40 + number, 30), (20 * number,) * 3).save(path)
        if 3 <= number <= 5:
            path.write_bytes(path.read_bytes()[:40])
    return tmp_path


class TestListImages:
    def test_sorted_any_depth_any_case(self, tmp_path):
        for name in ("b.JPG", "a.png", "deep/er/c.Jpeg", "notes.txt", "jpg", "no.jpg.bak"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        found = list_images(tmp_path, [".jpg", ".PNG", ".jpeg"])
        assert found == [tmp_path / name for name in ("a.png", "b.JPG", "deep/er/c.Jpeg")]

    def test_hidden_trash_and_links_are_left_out(self, tmp_path):
        for name in (".hidden.jpg", ".git/a.jpg", ".dedup-trash/1/a.jpg", "._b.jpg", "real/a.jpg"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        try:
            (tmp_path / "link.jpg").symlink_to(tmp_path / "real/a.jpg")
            (tmp_path / "linked").symlink_to(tmp_path / "real", target_is_directory=True)
        except OSError:
            pytest.skip("links are not allowed here")
        assert list_images(tmp_path, [".jpg"]) == [tmp_path / "real/a.jpg"]
        assert list_images(tmp_path / ".dedup-trash" / "1", [".jpg"]) == []
        assert list_images(tmp_path / ".git", [".jpg"]) == [tmp_path / ".git/a.jpg"]  # asked for by name

    @pytest.mark.parametrize(
        "folder",
        ["Photos Library.photoslibrary", "Old.MIGRATEDPHOTOLIBRARY", "A.aplibrary", "Previews.lrdata", "B.lrlibrary"]
        + ["@eaDir", ".picasaoriginals", ".thumbnails", ".@__thumb", "appdata_oc4k2"],
    )
    def test_folders_of_other_programs_are_passed_over_and_told(self, tmp_path, folder):
        for name in ("real/a.jpg", f"real/{folder}/deep/b.jpg"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        passed_over = []
        assert list_images(tmp_path, [".jpg"], passed_over=passed_over) == [tmp_path / "real/a.jpg"]
        assert passed_over == [tmp_path / "real" / folder]
        assert list_images(tmp_path / "real" / folder, [".jpg"]) == [tmp_path / f"real/{folder}/deep/b.jpg"]

    @pytest.mark.parametrize("folder", ["photoslibrary", "my.photos", "lrdata", "thumbnails", "eaDir"])
    def test_folders_that_sound_alike_are_searched(self, tmp_path, folder):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.jpg").touch()
        assert list_images(tmp_path, [".jpg"]) == [tmp_path / folder / "a.jpg"]

    @pytest.mark.parametrize(
        ("exclude", "found"),
        [
            ((), ["a.jpg", "old/b.jpg", "x/old/c.jpg", "x/old/y/d.jpg"]),
            (("old",), ["a.jpg", "x/old/c.jpg", "x/old/y/d.jpg"]),
            (("old/",), ["a.jpg", "x/old/c.jpg", "x/old/y/d.jpg"]),
            (("*/old",), ["a.jpg", "old/b.jpg"]),
            (("*/y/*", "a.*"), ["old/b.jpg", "x/old/c.jpg"]),
            (("[ax]*",), ["old/b.jpg"]),
            (("OLD", "b.jpg"), ["a.jpg", "old/b.jpg", "x/old/c.jpg", "x/old/y/d.jpg"]),
        ],
    )
    def test_what_is_excluded(self, tmp_path, exclude, found):
        for name in ("a.jpg", "old/b.jpg", "x/old/c.jpg", "x/old/y/d.jpg"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        assert list_images(tmp_path, [".jpg"], exclude) == [tmp_path / name for name in found]

    def test_a_pattern_that_excludes_nothing_is_told(self, tmp_path, caplog):
        (tmp_path / "a.jpg").touch()
        assert list_images(tmp_path, [".jpg"], ["a.*", "*.jpg"]) == [] and not caplog.messages
        assert list_images(tmp_path, [".jpg"], ["A.jpg", "*.png", "a.*"]) == []
        assert caplog.messages == ["exclude: no file or folder matches 'A.jpg', '*.png'"]

    def test_a_folder_that_is_none(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(FileNotFoundError):
            list_images(tmp_path / "missing", [".jpg"])
        with pytest.raises(NotADirectoryError):
            list_images(tmp_path / "file", [".jpg"])


class TestLoadImage:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("orientation", STORED)
    def test_upright_in_every_orientation(self, tmp_path, kind, orientation):
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = STORED[orientation](four_colours(480, 320))
        path = save(stored, tmp_path / "x", kind, exif=exif.tobytes() if kind == "HEIF" else exif)
        for image in (load_image(path), load_image(path, 32)):
            assert close(corners(image), CORNERS, 40)
            assert image.width > image.height
        dataset = ImagesDataset([path], 16)
        dataset[0]
        assert dataset.sizes.tolist() == [[480, 320]]

    @pytest.mark.parametrize("kind", [*KINDS, "GIF", "BMP", "JPEG2000", "PPM"])
    def test_the_content_counts_not_the_name(self, tmp_path, kind):
        image = load_image(save(four_colours(), tmp_path / "x.txt", kind))
        assert (image.mode, image.size) == ("RGB", (48, 32))
        assert close(corners(image), CORNERS, 40)

    @pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "LAB"])
    def test_modes_become_rgb(self, tmp_path, mode):
        source = Image.new("RGB", (20, 20), "white")
        path = tmp_path / "x.tif"
        if mode == "LAB":
            Image.new("LAB", (20, 20), (255, 128, 128)).save(path)
        else:
            source.convert(mode).save(path)
        image = load_image(path)
        assert image.mode == "RGB"
        assert close(image.getpixel((10, 10)), (255, 255, 255), 3)

    def test_cmyk_jpeg(self, tmp_path):
        save(four_colours().convert("CMYK"), tmp_path / "x.jpg", "JPEG", quality=95)
        assert close(corners(load_image(tmp_path / "x.jpg")), CORNERS, 40)

    @pytest.mark.parametrize("name", ["x.png", "x.tif", "x.pgm"])
    def test_16_bit_grey_is_scaled_not_clipped(self, tmp_path, name):
        values = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(8, axis=0)  # (8, 256)
        Image.fromarray(values).save(tmp_path / name)
        grey = np.asarray(load_image(tmp_path / name))[4, :, 0]
        assert np.abs(grey.astype(int) - np.arange(256)).max() <= 1

    @pytest.mark.parametrize("white", [1.0, 255.0])
    def test_float_grey_is_scaled(self, tmp_path, white):
        values = np.linspace(0, white, 256, dtype=np.float32)[None].repeat(8, axis=0)
        values[0, 0] = np.nan
        Image.fromarray(values).save(tmp_path / "x.tif")
        grey = np.asarray(load_image(tmp_path / "x.tif"))[4, :, 0]
        assert np.abs(grey.astype(int) - np.arange(256)).max() <= 1

    @pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
    def test_transparent_is_white_and_half_transparent_is_half_white(self, tmp_path, mode):
        image = Image.new("RGBA", (30, 1200), (0, 0, 0, 255))
        image.paste((0, 0, 0, 0), (10, 0, 20, 1200))
        if mode != "P":
            image.paste((0, 0, 0, 128), (20, 0, 30, 1200))
        image.convert(mode).save(tmp_path / "x.png")
        found = load_image(tmp_path / "x.png")
        for y in (0, 511, 512, 1199):
            assert found.getpixel((5, y)) == (0, 0, 0)
            assert found.getpixel((15, y)) == (255, 255, 255)
            assert mode == "P" or close(found.getpixel((25, y)), (127, 127, 127), 1)

    @pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
    def test_an_animation_gives_its_first_frame(self, tmp_path, kind):
        frames = [Image.new("RGB", (32, 32), colour) for colour in ((200, 30, 30), (30, 30, 200))]
        frames[0].save(tmp_path / "x", kind, save_all=True, append_images=frames[1:])
        assert close(load_image(tmp_path / "x").getpixel((16, 16)), (200, 30, 30))

    @pytest.mark.parametrize("kind", ["JPEG", "PNG"])
    @pytest.mark.parametrize("size", [(1001, 640), (640, 5000), (159, 700), (160, 160), (320, 320), (319, 2000)])
    def test_never_smaller_than_the_short_side_asked_for(self, tmp_path, kind, size):
        path = save(four_colours(*size), tmp_path / "x", kind)
        image = load_image(path, 160)
        assert min(image.size) >= min(160, *size)
        assert min(image.size) < 320 + 1
        assert image.width / image.height == pytest.approx(size[0] / size[1], rel=0.02)
        assert load_image(path).size == size

    def test_broken_metadata_is_no_reason_to_refuse(self, tmp_path):
        path = save(four_colours(), tmp_path / "x.jpg", "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
        assert load_image(path).size == (48, 32)

    @pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff", b"GIF89a", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(50)])
    def test_the_reason_is_one_line(self, tmp_path, data):
        (tmp_path / "x.jpg").write_bytes(data)
        with pytest.raises(UnreadableImage) as caught:
            load_image(tmp_path / "x.jpg")
        assert str(caught.value).strip()
        assert len(str(caught.value).splitlines()) == 1

    @pytest.mark.parametrize(
        ("error", "says"),
        [
            (PermissionError(13, "Permission denied", "/photos/x.jpg"), "Permission denied"),
            (OSError("image file is truncated"), "image file is truncated"),
            (RuntimeError(b"Unsupported file format or not RAW file"), "Unsupported file format or not RAW file"),
            (KeyError(), "KeyError"),
        ],
    )
    def test_the_reason_is_in_words_alone(self, error, says):
        assert one_line(error) == says

    def test_pillow_is_left_as_it_was(self, tmp_path):
        before = Image.MAX_IMAGE_PIXELS, dict(Image.OPEN)
        load_image(save(four_colours(), tmp_path / "x", "HEIF"))
        assert before[0] == Image.MAX_IMAGE_PIXELS
        assert before[1].items() <= Image.OPEN.items()


class TestImagesDataset:
    def test_an_item_is_a_square_and_its_index(self, tmp_path):
        path = save(four_colours(300, 100), tmp_path / "x.png", "PNG")
        dataset = ImagesDataset([path, tmp_path / "missing.png"], 24)
        image, index = dataset[0]
        assert (tuple(image.shape), image.dtype, index, len(dataset)) == ((3, 24, 24), torch.uint8, 0, 2)
        assert close([image[:, y, x].tolist() for y, x in ((2, 2), (2, 21), (21, 21), (21, 2))], CORNERS, 2)
        with pytest.raises(UnreadableImage):
            dataset[1]
        assert list(dataset.failures) == [tmp_path / "missing.png"]
        assert dataset.sizes.tolist() == [[300, 100], [0, 0]]

    def test_shrinking_is_antialiased(self, tmp_path):
        stripes = np.zeros((90, 90, 3), np.uint8)
        stripes[:, ::2] = 255
        Image.fromarray(stripes).save(tmp_path / "x.png")
        image, _ = ImagesDataset([tmp_path / "x.png"], 48)[0]
        assert close(image.numpy()[:, 2:-2, 2:-2], 127, 60)

    def test_works_in_torchs_own_loader(self, picture_folder):
        paths = [path for path in list_images(picture_folder, [".png"]) if path.name > "05"][:5]
        paths = [path for path in paths if path.name != "05.png"]
        images, indices = next(iter(DataLoader(ImagesDataset(paths, 8), batch_size=4)))
        assert (tuple(images.shape), indices.tolist()) == ((4, 3, 8, 8), [0, 1, 2, 3])

    def test_a_side_that_is_none(self):
        with pytest.raises(ValueError, match="got 0"):
            ImagesDataset([], 0)


class TestReadBatches:
    @pytest.mark.parametrize("num_workers", [0, 1, 3])
    @pytest.mark.parametrize(
        ("batch_size", "expected"),
        [
            (4, [[0, 1, 2], [6, 7], [8, 9, 10]]),
            (3, [[0, 1, 2], [6, 7, 8], [9, 10]]),  # the whole second batch is unreadable
            (1, [[0], [1], [2], [6], [7], [8], [9], [10]]),
            (100, [[0, 1, 2, 6, 7, 8, 9, 10]]),
        ],
    )
    def test_batches_are_the_same_for_any_number_of_workers(self, picture_folder, num_workers, batch_size, expected):
        dataset = ImagesDataset(list_images(picture_folder, [".png"]), 8)
        batches = list(read_batches(dataset, batch_size, num_workers))
        assert [indices.tolist() for _, indices in batches] == expected
        for images, indices in batches:
            assert images.dtype == torch.uint8 and images.shape[1:] == (3, 8, 8)
            assert images[:, :, 4, 4].tolist() == [[20 * index] * 3 for index in indices.tolist()]
        assert [path.name for path in dataset.failures] == ["03.png", "04.png", "05.png"]
        assert dataset.sizes[:, 0].tolist() == [40, 41, 42, 0, 0, 0, 46, 47, 48, 49, 50]

    def test_a_batch_kept_by_the_caller_is_never_written_to(self, tmp_path):
        for number in range(60):
            Image.new("RGB", (9, 9), (4 * number,) * 3).save(tmp_path / f"{number:02}.png")
        dataset = ImagesDataset(list_images(tmp_path, [".png"]), 4)
        images = torch.cat([images for images, _ in read_batches(dataset, 2, 2)])
        assert images[:, 0, 0, 0].tolist() == list(range(0, 240, 4))

    @pytest.mark.parametrize("side", [32, 160, 1024])
    def test_memory_is_bounded_for_any_batch_size(self, side, monkeypatch):
        monkeypatch.setattr(reading, "run_jobs", lambda read, paths, workers, ahead: (n for n in [ahead] * 1000))
        for batch_size in (1, 32, 4096, 65_536):
            batch = next(reading.read_ahead([Path("x")] * 1000, side, batch_size, 0, 5))
            assert 1 <= len(batch) <= batch_size and len(batch) * 5 * side * side * 3 <= reading.WAITING
            assert batch[0] * 5 * side * side * 3 <= reading.WAITING, "read ahead"

    @pytest.mark.parametrize("num_workers", [0, 2])
    @pytest.mark.parametrize("waiting", [1, 3000])
    def test_where_a_batch_does_not_fit_into_memory_smaller_ones_show_the_same(
        self, tmp_path, waiting, num_workers, monkeypatch
    ):
        for number in range(60):
            Image.new("RGB", (9, 9), (4 * number,) * 3).save(tmp_path / f"{number:02}.png")
        monkeypatch.setattr(reading, "WAITING", waiting)
        dataset = ImagesDataset(list_images(tmp_path, [".png"]), 16)
        images, indices = zip(*read_batches(dataset, 4096, num_workers), strict=True)
        assert torch.cat(indices).tolist() == list(range(60)) and len(images) > 10
        assert torch.cat(images)[:, 0, 0, 0].tolist() == list(range(0, 240, 4))

    @pytest.mark.parametrize("num_workers", [0, 2])
    def test_nothing_to_read(self, tmp_path, num_workers):
        (tmp_path / "x.png").touch()
        assert list(read_batches(ImagesDataset([], 8), 4, num_workers)) == []
        dataset = ImagesDataset([tmp_path / "x.png"], 8)
        assert list(read_batches(dataset, 4, num_workers)) == []
        assert dataset.failures == {tmp_path / "x.png": "empty file"}

    def test_processes_that_can_not_be_forked(self, picture_folder, monkeypatch):
        monkeypatch.setattr(workers, "START_METHOD", "spawn")
        dataset = ImagesDataset(list_images(picture_folder, [".png"]), 8)
        assert [indices.tolist() for _, indices in read_batches(dataset, 100, 1)] == [[0, 1, 2, 6, 7, 8, 9, 10]]

    def test_leaving_early_leaves_no_process_behind(self, picture_folder):
        dataset = ImagesDataset(list_images(picture_folder, [".png"]), 8)
        batches = read_batches(dataset, 1, 2)
        next(batches)
        assert len(multiprocessing.active_children()) == 2
        batches.close()
        assert multiprocessing.active_children() == []

    @pytest.mark.parametrize(("batch_size", "num_workers"), [(0, 1), (1, -1)])
    def test_numbers_that_make_no_sense(self, batch_size, num_workers):
        with pytest.raises(ValueError, match="got"):
            next(read_batches(ImagesDataset([], 8), batch_size, num_workers))
