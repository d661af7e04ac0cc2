"""Files that mean harm: bombs, mutants, crashes, hangs, odd names, things that are no files. None may end a run."""

import contextlib
import csv
import ctypes
import errno
import io
import json
import multiprocessing
import os
import random
import re
import shutil
import socket
import stat
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401  (so that Pillow writes JPEG XL)
import pytest
from PIL import Image, PngImagePlugin

from dedup import workers
from dedup.contents.inventory import why_it_stays
from dedup.dataset import decoding
from dedup.dataset.decoding import UnreadableImage, load_image
from dedup.dataset.images import ImagesDataset, list_images, read_batches
from dedup.matching.confirmation import match_pictures
from dedup.matching.pictures import content_box, picture_of
from dedup.workers import TIME_LIMIT, TIMED, Lost, job, run_jobs

MEGABYTE = 2**20
LIMIT = 1800  # seconds for a whole process
HUGE = 20_000  # px
KINDS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF", "JPEG2000", "PPM", "TGA", "QOI", "JXL"]
PROJECT = Path(__file__).resolve().parents[2]


def encode(kind, size=(64, 48), **options):
    """A small good picture in a format."""
    pixels = np.add.outer(np.arange(size[1]) * 3, np.arange(size[0]) * 2)[..., None] + np.array([0, 60, 120])
    image = Image.fromarray((pixels % 256).astype(np.uint8))
    buffer = io.BytesIO()
    if kind == "HEIF":
        pillow_heif.from_pillow(image).save(buffer)
    else:
        image.save(buffer, kind, **options)
    return buffer.getvalue()


def patch(data, mark, skip, values, kind=">II"):
    """Overwrite numbers that lie `skip` bytes after a mark."""
    start = data.index(mark) + len(mark) + skip
    return data[:start] + struct.pack(kind, *values) + data[start + struct.calcsize(kind) :]


def png(width, height, depth, colour, data, *before):
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    extra = b"".join(chunk(name, body) for name, body in before)
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def tiff(width, height, data, compression=8):
    tags = {256: width, 257: height, 258: 1, 259: compression, 262: 1, 273: 200, 277: 1, 278: height, 279: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0)
    return head.ljust(200, b"\0") + data


def make_bombs():
    zeros = zlib.compress(bytes((HUGE // 8 + 1) * HUGE), 9)  # 20,000 x 20,000 of 1 bit: 50 MB from 50 kB
    webp = encode("WEBP")
    canvas = b"VP8X" + struct.pack("<II", 10, 0) + (16_382).to_bytes(3, "little") * 2
    return {
        "1_bit.png": png(HUGE, HUGE, 1, 0, zeros),
        "16_bit.png": png(HUGE, HUGE, 16, 6, zeros),
        "palette.png": png(HUGE, HUGE, 1, 3, zeros, (b"PLTE", bytes(6))),
        "sides.png": png(2**31 - 1, 2**31 - 1, 8, 2, zeros),
        "text.png": png(64, 64, 1, 0, zlib.compress(bytes(64)), (b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8), 9))),
        "profile.png": png(64, 64, 1, 0, b"", (b"iCCP", b"a\0\0" + zlib.compress(bytes(10**8), 9))),
        "deflate.tif": tiff(HUGE, HUGE, zeros),
        "raw.tif": tiff(2**31 - 1, 2**31 - 1, bytes(100), compression=1),
        "narrow.tif": tiff(2**30, 1, zeros),
        "canvas.webp": webp[:12] + canvas + webp[12:],
        "screen.gif": encode("GIF")[:6] + struct.pack("<HH", 65_535, 65_535) + encode("GIF")[10:],
        "frame.gif": patch(encode("GIF"), b"\x2c\0\0\0\0", 0, (65_535, 65_535), "<HH"),
        "rle.bmp": patch(patch(encode("BMP"), b"BM", 16, (60_000, 60_000), "<ii"), b"BM", 28, (1,), "<I"),
        "bits.bmp": patch(encode("BMP"), b"BM", 16, (60_000, -60_000), "<ii"),
        "stream.j2k": patch(encode("JPEG2000", no_jp2=True), b"\xff\x51", 4, (10**5, 10**5)),
        "box.jp2": patch(encode("JPEG2000"), b"ihdr", 0, (10**5, 10**5)),
        "lying.jp2": patch(encode("JPEG2000"), b"\xff\x51", 4, (10**5, 10**5)),
        "extent.heic": patch(encode("HEIF"), b"ispe", 4, (30_000, 30_000)),
        "extent.avif": patch(encode("AVIF"), b"ispe", 4, (30_000, 30_000)),
        "header.ppm": b"P6 60000 60000 255\n" + bytes(1000),
        "plain.tga": struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, 60_000, 60_000, 24, 0) + bytes(1000),
        "runs.tga": struct.pack("<BBBHHBHHHHBB", 0, 0, 10, 0, 0, 0, 0, 0, 5000, 5000, 24, 0) + b"\xff\0\0\0" * 10**5,
        "runs.qoi": b"qoif" + struct.pack(">IIBB", 5000, 5000, 3, 0) + b"\xfd" * 10**6,
        "progressive.jpg": patch(encode("JPEG", progressive=True), b"\xff\xc2", 3, (65_500, 65_500), ">HH"),
    }


MEASURE = """
import json, resource, sys, time
from pathlib import Path
from dedup.dataset.decoding import UnreadableImage, load_image
unit = 1 if sys.platform == "darwin" else 1024
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
try: load_image(Path(sys.argv[1], "good.jpg"), 160)
except UnreadableImage as error: raise SystemExit(str(error))
base, found = peak(), {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    start, reason = time.process_time(), None
    try: load_image(path, 160)
    except UnreadableImage as error: reason = str(error)
    found[path.name] = reason, time.process_time() - start, peak() - base
print(json.dumps(found))
"""


def test_bombs_are_refused_before_they_are_decoded(tmp_path):
    pytest.importorskip("resource")
    bombs = make_bombs()
    for name, data in bombs.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "good.jpg").write_bytes(encode("JPEG"))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, tmp_path],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
        timeout=LIMIT,
    )
    found = json.loads(done.stdout)
    assert found.pop("good.jpg")[0] is None
    assert len(found) == len(bombs) >= 12
    slowest, most = (max(row[column] for row in found.values()) for column in (1, 2))
    print(
        f"{len(found)} bombs, the slowest refused in {slowest:.2f} s of a CPU, {most / MEGABYTE:.0f} MB above the base"
    )
    for name, (reason, seconds, grown) in found.items():
        assert reason, f"{name} was read"
        assert len(reason.splitlines()) == 1
        assert seconds <= 1, name
        assert grown <= 100 * MEGABYTE, name  # of all files up to this one


def test_a_jpeg_that_draft_shrinks_may_be_large(tmp_path):
    path = tmp_path / "large.jpg"
    Image.new("L", (14_000, 13_000), 128).save(path)  # 182 megapixels, beyond Pillow's own limit
    assert min(load_image(path, 160).size) >= 160
    with pytest.raises(UnreadableImage, match="14000 x 13000 px need 728,000,000 bytes"):
        load_image(path)


def test_a_file_too_large_to_be_a_picture(tmp_path):
    path = tmp_path / "sparse.webp"
    with open(path, "wb") as file:
        file.write(encode("WEBP"))
        file.truncate(2**40)
    with pytest.raises(UnreadableImage, match="1,099,511,627,776 bytes"):
        load_image(path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_short_is_unreadable_and_not_filled_up(tmp_path, kind):
    path, data = tmp_path / f"x.{kind.lower()}", encode(kind, (320, 240))  # TGA is known by its ending alone
    path.write_bytes(data)
    assert load_image(path).size == (320, 240)
    for share in (0.05, 0.5, 0.9):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(UnreadableImage):
            load_image(path)
        with pytest.raises(UnreadableImage):
            load_image(path, 100)


@pytest.mark.parametrize(
    "data", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"%PDF-1.4\n", b"<svg/>", b"SIMPLE  ="]
)
def test_programs_and_documents_named_as_pictures_are_not_opened(tmp_path, data):
    path = tmp_path / "x.jpg"
    path.write_bytes(data + bytes(100))
    with pytest.raises(UnreadableImage, match="not a picture in a format we read"):
        load_image(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes and devices that have names")
def test_what_is_no_file_is_passed_over_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.jpg")
    os.mkdir("folder.jpg")
    os.symlink("/dev/zero", "zero.jpg")
    os.symlink("missing", "dangling.jpg")
    os.symlink(".", "loop")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.jpg")
        with contextlib.suppress(PermissionError):  # for root alone
            os.mknod("device.jpg", stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero
        start = time.perf_counter()
        assert list_images(tmp_path, [".jpg"]) == []
        for name in ("pipe.jpg", "folder.jpg", "zero.jpg", "socket.jpg", *Path().glob("device.jpg")):
            with pytest.raises(UnreadableImage, match="not a regular file"):
                load_image(tmp_path / name)
        for name in ("dangling.jpg", "nul\0.jpg"):
            with pytest.raises(UnreadableImage):
                load_image(tmp_path / name)
        assert time.perf_counter() - start < 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes that have names")
def test_a_pipe_put_in_place_at_the_last_moment_is_not_waited_for(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "x.jpg")
    late = SimpleNamespace(**{**vars(os), "stat": lambda path: os.lstat(__file__)})  # when looked at, it was a file
    monkeypatch.setattr(decoding, "os", late)
    (result,) = run_jobs(load_reason, [tmp_path / "x.jpg"], 1, time_limit=2)
    assert result == "not a regular file"


@job
def load_reason(path):
    with pytest.raises(UnreadableImage) as caught:
        load_image(path)
    return str(caught.value)


NAMES = [
    "図 書 館.jpg",
    "two\nlines.jpg",
    'it\'s "quoted".jpg',
    "$(touch x) `id`.jpg",
    "-rf.jpg",
    "\x1b[31mred.jpg",
    "=1+1.jpg",
]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_odd_names_survive(tmp_path):
    names = [os.fsencode(name) for name in NAMES] + [
        b"latin\xe9.jpg",
        b"x" * 251 + b".jpg",
        "e\u0301.jpg".encode(),
        "é.jpg".encode(),
    ]
    for name in names:
        Path(tmp_path, os.fsdecode(name)).write_bytes(encode("JPEG"))
    paths = list_images(tmp_path, [".jpg"])
    assert sorted(os.fsencode(path.name) for path in paths) == sorted(names)
    dataset = ImagesDataset(paths, 16)
    assert sum(len(indices) for _, indices in read_batches(dataset, 4, num_workers=1)) == len(names)
    assert not dataset.failures


@job
def fatal(given):
    """A decoder at its worst."""
    if given == "crash":
        ctypes.string_at(0)
    if given == "hang":
        time.sleep(60)
    while given == "spin":
        pass
    if given == "greed":
        return len(bytearray(2**27))
    if isinstance(given, BaseException):
        raise given
    return given


@job
def sleep(seconds):
    time.sleep(seconds)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_crash_or_a_hang_costs_one_job(num_workers):
    jobs = ["a", "crash", "b", "hang", "c", "crash", "d", "spin", "e"]
    results = list(run_jobs(fatal, jobs, num_workers, time_limit=0.5))
    assert [result for result in results if not isinstance(result, Lost)] == ["a", "b", "c", "d", "e"]
    assert [type(result) is Lost for result in results] == [job in ("crash", "hang", "spin") for job in jobs]
    assert "longer than 3 s" in results[3].reason, "by the clock"
    assert "longer than 0.5 s" in results[7].reason or not TIMED, "of computing"


ERRORS = [
    cv2.error("OpenCV"),
    np.linalg.LinAlgError("Singular matrix"),
    MemoryError(),
    SystemExit(3),
    ValueError("a\nb"),
]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_whatever_a_job_raises_costs_it_alone(num_workers):
    reasons = ["error: OpenCV", "LinAlgError: Singular matrix", "MemoryError", "SystemExit: 3", "ValueError: a b"]
    assert list(run_jobs(fatal, ["a", *ERRORS, "b"], num_workers)) == ["a", *map(Lost, reasons), "b"]


def test_a_function_that_is_not_declared_is_no_job():
    with pytest.raises(TypeError, match="is no job"):
        run_jobs(len, ["a"], 0)


def test_a_result_that_can_not_be_sent_costs_its_job():
    found = list(run_jobs(unsendable, ["a"], 1))
    assert len(found) == 1 and isinstance(found[0], Lost)


@job
def unsendable(given):
    return lambda: given


@pytest.mark.skipif(not TIMED, reason="only the clock counts here")
def test_a_job_that_waits_for_the_processor_or_a_disk_is_waited_for():
    assert list(run_jobs(sleep, [0.5, 0.1], 1, time_limit=0.2)) == [None, None]


@job
def touch(path):
    path.touch()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_nothing_is_done_before_the_first_result_is_asked_for(num_workers, tmp_path):
    paths = [tmp_path / name for name in "abc"]
    before = multiprocessing.active_children()
    results = run_jobs(touch, paths, num_workers)
    time.sleep(0.3)
    assert not any(path.exists() for path in paths) and multiprocessing.active_children() == before
    assert list(results) == [None] * 3 and all(path.exists() for path in paths)


def test_a_slow_reader_is_no_reason_to_blame_a_job():
    taken = []
    for result in run_jobs(fatal, list("abcdef"), 2, ahead=2, time_limit=0.3):
        time.sleep(0.4)
        taken.append(result)
    assert taken == list("abcdef")


ORPHANS = """
import multiprocessing, time
from dedup.workers import job, run_jobs

@job
def sleep(seconds):
    time.sleep(seconds)

results = run_jobs(sleep, [0, 0, 60, 60], 2)  # at work, and not about to look whether anybody waits
next(results), next(results)
print(*(process.pid for process in multiprocessing.active_children()), flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in Linux's way")
def test_workers_end_when_who_started_them_is_killed():
    with subprocess.Popen([sys.executable, "-c", ORPHANS], cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        workers = [Path("/proc", pid) for pid in process.stdout.readline().split()]
        process.kill()
    deadline = time.monotonic() + 30
    while (left := [each for each in workers if each.exists()]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(workers) == 2 and not left


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_a_job_can_not_take_all_memory():
    assert list(run_jobs(fatal, ["greed"], 1, memory_limit=2**25)) == [Lost("MemoryError")]
    assert list(run_jobs(fatal, ["greed"], 1, memory_limit=2**29)) == [2**27]


def make_mutants(folder, count, seed=0):
    """Good files of all formats with a few bytes changed."""
    good = [(kind, encode(kind)) for kind in KINDS]
    good += [("TIFF", encode("TIFF", compression="jpeg")), ("JPEG", encode("JPEG", progressive=True))]
    good += [("TIFF", encode("TIFF", compression="tiff_lzw")), ("WEBP", encode("WEBP", lossless=True))]
    draw = random.Random(seed)
    folder.mkdir()
    for number in range(count):
        kind, data = good[number % len(good)]
        mutant = bytearray(data)
        for _ in range(draw.choice([1, 2, 5, 20])):
            # half of the changes hit the headers, where they do most
            place = draw.randrange(min(len(mutant), 256) if draw.random() < 0.5 else len(mutant))
            mutant[place] = draw.choice([0, 0x7F, 0xFF, draw.randrange(256)])
        (folder / f"{number:05}.{kind.lower()}").write_bytes(mutant)


MEASURE_RUN = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run(sys.argv[1:], capture_output=True, text=True, errors="replace")
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024  # of the largest of all its processes
print(json.dumps([done.returncode, done.stdout, done.stderr, time.perf_counter() - start, peak]))
"""


def check_folder(folder, output, expected):
    """Find the duplicates of a folder of broken files, all phases, as a process."""
    program = [sys.executable, PROJECT / "main.py", folder, "--output", output, "--quiet", "--verbose"]
    program += ["--extensions", ",".join({path.suffix.lower() for path in folder.rglob("*.*")})]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE_RUN, *program], capture_output=True, text=True, check=True, timeout=LIMIT
    )
    code, said, errors, seconds, peak = json.loads(done.stdout)
    counted = re.search(r"^([\d,]+) images? read, ([\d,]+) unread", said, re.MULTILINE).groups()
    read, unreadable = (int(number.replace(",", "")) for number in counted)
    print(f"{read} read, {unreadable} unreadable, {seconds:.1f} s, largest process {peak / MEGABYTE:.0f} MB\n{said}")
    assert code in (0, 1) and "Traceback" not in said + errors, said + errors
    assert read + unreadable == expected
    with open(output / "unreadable.csv", newline="", encoding="utf-8") as file:
        reasons = [row["reason"] for row in csv.DictReader(file)]
    assert len(reasons) >= unreadable and all(reason and len(reason.splitlines()) == 1 for reason in reasons)
    assert not [reason for reason in reasons if "crashed" in reason]
    assert TIME_LIMIT <= 10
    assert peak <= 1024 * MEGABYTE


linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is measured in Linux's way")


@linux
def test_mutants_end_no_run(tmp_path):
    make_mutants(tmp_path / "mutants", 300)
    check_folder(tmp_path / "mutants", tmp_path / "out", 300)


def copy_hostile(folder):
    if "DEDUP_DATA" not in os.environ:
        pytest.skip("needs $DEDUP_DATA/hostile")
    sources = sorted(path for path in Path(os.environ["DEDUP_DATA"], "hostile").rglob("*") if path.is_file())
    folder.mkdir()
    for number, source in enumerate(sources):
        shutil.copyfile(source, folder / f"{number:05}{source.suffix or '.jpg'}")
    return len(sources)


@linux
@pytest.mark.data
def test_real_hostile_files_end_no_run(tmp_path):
    count = copy_hostile(tmp_path / "hostile")
    check_folder(tmp_path / "hostile", tmp_path / "out", count)


@linux
@pytest.mark.data
@pytest.mark.slow
def test_real_hostile_files_and_many_mutants_end_no_run(tmp_path):
    count = 5000 + copy_hostile(tmp_path / "hostile")
    make_mutants(tmp_path / "hostile" / "mutants", 5000)
    check_folder(tmp_path / "hostile", tmp_path / "out", count)


def test_what_is_kept_of_a_picture_holds_no_decoder(tmp_path):
    """Whose threads are not there after a fork, while it waits for them."""
    for kind in KINDS:
        (tmp_path / f"x.{kind.lower()}").write_bytes(encode(kind))
        assert type(load_image(tmp_path / f"x.{kind.lower()}")) is Image.Image, kind


def test_bars_around_what_is_plain_are_no_margin():
    """And stripes, which change along one side alone, confirm nothing: of another picture they look the same."""
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, 12:52] = 255
    assert content_box(image) == content_box(image.transpose(1, 0, 2)) == (0, 0, 1, 1)
    pictures = [picture_of(each, (64, 48)) for each in (image, np.minimum(image, 244))]
    assert all(picture.striped for picture in pictures) and match_pictures(*pictures) is None
    image[20:30, 20:30] = 0
    assert not picture_of(image, (64, 48)).striped


BROKEN_EXIF = [b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(range(60)), b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"]


@pytest.mark.parametrize("exif", BROKEN_EXIF)
def test_broken_metadata_tells_nothing_and_holds_nothing_back(exif, tmp_path):
    image = Image.open(io.BytesIO(encode("PNG")))
    image.save(tmp_path / "whole.png")
    image.save(tmp_path / "broken.webp", lossless=True, exif=exif)
    text = PngImagePlugin.PngInfo()
    text.add_text("Raw profile type exif", "\nexif\n      40\nno hexadecimal number")
    image.save(tmp_path / "broken.png", pnginfo=text)
    for name in ("broken.webp", "broken.png"):
        assert why_it_stays(tmp_path / name, tmp_path / "whole.png", tmp_path) == ""


@job
def suicidal(number: int) -> int:
    return number or os._exit(9)


@pytest.mark.skipif(workers.START_METHOD != "fork", reason="what is planted here is not met in a spawned process")
@pytest.mark.parametrize("failing", [1, 2, 3])
def test_only_starts_that_fail_again_and_again_end_a_run(monkeypatch, tmp_path, failing):
    def start():
        begun = tmp_path / "begun"
        with begun.open("a") as file:
            file.write(".")
        if 1 < begun.stat().st_size <= 1 + failing:  # the first process is there, and the next ones fail
            os._exit(1)

    monkeypatch.setattr(workers, "serve_parent", start)
    results = run_jobs(suicidal, [0, 1, 2], 1)
    if failing < workers.STARTS:
        assert list(results) == [Lost("crashed its process (exit status 9)"), 1, 2]
    else:
        with pytest.raises(ChildProcessError, match="num_workers"):
            list(results)


def test_no_process_is_left_where_not_all_can_start(monkeypatch):
    begun, start = [], workers._Worker

    def refused(arguments):
        if len(begun) == 2:
            raise BlockingIOError(errno.EAGAIN, "no more processes")
        begun.append(start(arguments))
        return begun[-1]

    monkeypatch.setattr(workers, "_Worker", refused)
    with pytest.raises(BlockingIOError):
        list(run_jobs(suicidal, [1, 2, 3], 3))
    assert not any(worker.process.is_alive() for worker in begun)
