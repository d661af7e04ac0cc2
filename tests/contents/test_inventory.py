"""What a file holds besides its picture: for each kind a file that has it and stays, and the bare one that may go."""

import io
import struct
import zlib
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pillow_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from dedup.contents import inventory as contents
from dedup.contents import metadata, parts
from dedup.contents.inventory import (
    Contents,
    ages,
    capture_time,
    read_all_contents,
    richness,
    what_it_lacks,
    why_it_stays,
)
from dedup.contents.metadata import read_metadata
from dedup.dataset.decoding import orientation_of

pillow_heif.register_heif_opener()

EXIF_IFD, GPS_IFD = 0x8769, 0x8825
FILM = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom\0\0\0\x10mdat12345678"
SCENE = Image.fromarray(np.random.default_rng(1).integers(0, 256, (32, 48, 3), dtype=np.uint8))


def saved(path: Path, image: Image.Image = SCENE, **options) -> Path:
    image.save(path, **options)
    return path


def read_contents(path: Path) -> Contents:
    return read_all_contents([path], 1)[path]


def held(path: Path) -> dict[str, frozenset[str]]:
    found = read_contents(path)
    assert not found.untold, found.untold
    return dict(found.held)


def exif(base: dict | None = None, detail: dict | None = None, place: dict | None = None) -> bytes:
    data = Image.Exif()
    data.update(base or {})
    data.get_ifd(EXIF_IFD).update(detail or {})
    data.get_ifd(GPS_IFD).update(place or {})
    return data.tobytes()


def xmp(properties: str = "", elements: str = "") -> bytes:
    spaces = {
        "dc": "http://purl.org/dc/elements/1.1/",
        "xmp": "http://ns.adobe.com/xap/1.0/",
        "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
        "exif": "http://ns.adobe.com/exif/1.0/",
        "tiff": "http://ns.adobe.com/tiff/1.0/",
        "photoshop": "http://ns.adobe.com/photoshop/1.0/",
        "lr": "http://ns.adobe.com/lightroom/1.0/",
        "crs": "http://ns.adobe.com/camera-raw-settings/1.0/",
        "GCamera": "http://ns.google.com/photos/1.0/camera/",
        "GPano": "http://ns.google.com/photos/1.0/panorama/",
        "GDepth": "http://ns.google.com/photos/1.0/depthmap/",
        "hdrgm": "http://ns.adobe.com/hdr-gain-map/1.0/",
        "mwg-rs": "http://www.metadataworkinggroup.com/schemas/regions/",
        "stArea": "http://ns.adobe.com/xmp/sType/Area#",
        "stEvt": "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#",
        "MicrosoftPhoto": "http://ns.microsoft.com/photo/1.0/",
    }
    declared = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in spaces.items())
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" {declared} {properties}>{elements}</rdf:Description></rdf:RDF></x:xmpmeta>'
    ).encode()


def bag(name: str, *items: str) -> str:
    inner = "".join(item if item.startswith("<rdf:li") else f"<rdf:li>{item}</rdf:li>" for item in items)
    return f"<{name}><rdf:Bag>{inner}</rdf:Bag></{name}>"


def iptc(*datasets: tuple[int, bytes]) -> dict:
    """A JPEG's APP13 segment, as Pillow's `extra`."""
    block = b"".join(b"\x1c\x02" + bytes([number]) + struct.pack(">H", len(text)) + text for number, text in datasets)
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(block)) + block + b"\0" * (len(block) % 2)
    return {"extra": segment(0xED, b"Photoshop 3.0\0" + resource)}


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def texts(**pairs: str) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    for name, text in pairs.items():
        info.add_itxt(name, text)
    return info


FACES = (
    '<mwg-rs:Regions rdf:parseType="Resource"><mwg-rs:AppliedToDimensions stDim:w="9" stDim:h="9"'
    ' xmlns:stDim="http://ns.adobe.com/xap/1.0/sType/Dimensions#"/><mwg-rs:RegionList><rdf:Bag><rdf:li>'
    '<rdf:Description mwg-rs:Name="Ann" mwg-rs:Type="Face"><mwg-rs:Area stArea:x="0.5" stArea:y="0.5" stArea:w="0.1"'
    ' stArea:h="0.1"/></rdf:Description></rdf:li></rdf:Bag></mwg-rs:RegionList></mwg-rs:Regions>'
)
HISTORY = "<xmpMM:History><rdf:Seq><rdf:li stEvt:action='{}' stEvt:when='2020'/></rdf:Seq></xmpMM:History>"

TOLD = {  # a name, and ways to tell of it
    "capture time": [
        {"exif": exif(detail={0x9003: "2015:01:01 10:00:00"})},
        {"exif": exif(detail={0x9004: "2015:01:01 10:00:00"})},
        {"xmp": xmp('exif:DateTimeOriginal="2015-01-01T10:00:00"')},
        {"xmp": xmp('xmp:CreateDate="2015-01-01T10:00:00"')},
        iptc((55, b"20150101"), (60, b"100000")),
    ],
    "fraction of the second": [
        {"exif": exif(detail={0x9291: "25"})},
        {"xmp": xmp('exif:DateTimeOriginal="2015-01-01T10:00:00.25"')},
    ],
    "time zone": [
        {"exif": exif(detail={0x9011: "+02:00"})},
        {"xmp": xmp('photoshop:DateCreated="2015-01-01T10:00:00+02:00"')},
    ],
    "exposure time": [{"exif": exif(detail={0x829A: 0.25})}, {"xmp": xmp('exif:ExposureTime="1/4"')}],
    "exposure bias": [{"exif": exif(detail={0x9204: -1.0})}, {"xmp": xmp('exif:ExposureBiasValue="-1/1"')}],
    "f-number": [{"exif": exif(detail={0x829D: 2.8})}, {"xmp": xmp('exif:FNumber="28/10"')}],
    "ISO": [
        {"exif": exif(detail={0x8827: 100})},
        {"xmp": xmp("", "<exif:ISOSpeedRatings><rdf:Seq><rdf:li>100</rdf:li></rdf:Seq></exif:ISOSpeedRatings>")},
    ],
    "place": [
        {"exif": exif(place={1: "S", 2: (48.0, 8.0, 6.0), 3: "W", 4: (11.0, 30.0, 0.0)})},
        {"xmp": xmp('exif:GPSLatitude="48,8.1S" exif:GPSLongitude="11,30,0W"')},
    ],
    "keywords": [
        {"xmp": xmp("", bag("dc:subject", "Lisbon"))},
        {"exif": exif({0x9C9E: "Lisbon".encode("utf-16-le")})},
        iptc((25, b"Lisbon")),
    ],
    "rating": [
        {"xmp": xmp('xmp:Rating="5"')},
        {"exif": exif({0x4746: 5})},
        {"exif": exif({0x4749: 99})},
    ],
    "caption": [
        {"exif": exif({0x010E: "At the lake"})},
        {"xmp": xmp("", "<dc:description><rdf:Alt><rdf:li>At the lake</rdf:li></rdf:Alt></dc:description>")},
        iptc((120, b"At the lake")),
    ],
    "title": [
        {"exif": exif({0x9C9B: "Lake".encode("utf-16-le")})},
        {"xmp": xmp("", "<dc:title><rdf:Alt><rdf:li>Lake</rdf:li></rdf:Alt></dc:title>")},
        iptc((5, b"Lake")),
    ],
    "artist": [{"exif": exif({0x013B: "Ann"})}, {"xmp": xmp("", bag("dc:creator", "Ann"))}, iptc((80, b"Ann"))],
    "copyright": [
        {"exif": exif({0x8298: "© Ann".encode()})},
        {"xmp": xmp("", "<dc:rights><rdf:Alt><rdf:li>© Ann</rdf:li></rdf:Alt></dc:rights>")},
        iptc((116, "© Ann".encode())),
    ],
    "comment": [
        {"exif": exif(detail={0x9286: b"ASCII\0\0\0a castle, steps: 30"})},
        {"exif": exif({0x9C9C: "a castle, steps: 30".encode("utf-16-le")})},
        {"comment": "a castle, steps: 30"},
    ],
    "city": [{"xmp": xmp('photoshop:City="Porto"')}, iptc((90, b"Porto"))],
    "faces": [{"xmp": xmp("", FACES)}],
    "projection type": [{"xmp": xmp('GPano:ProjectionType="equirectangular"')}],
    "film": [{"xmp": xmp('GCamera:MotionPhoto="1"')}, {"xmp": xmp('GCamera:MicroVideo="1"')}],
    "gain map": [{"xmp": xmp('hdrgm:Version="1.0"')}, {"extra": segment(0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0")}],
    "depth map": [{"xmp": xmp('GDepth:Format="RangeInverse"')}],
    "edits of Camera Raw": [{"xmp": xmp('crs:HasSettings="True" crs:Exposure2012="+1"')}],
    "edit history": [{"xmp": xmp("", HISTORY.format("cropped"))}],
    "label": [{"xmp": xmp('xmp:Label="Red"')}],
    "data in APP1": [{"extra": segment(0xE1, b"FLIR\0 temperatures")}],
    "data in APP11": [{"extra": segment(0xEB, b"JP content credentials")}],
}


@pytest.mark.parametrize("name", TOLD)
def test_the_only_file_that_tells_it_stays_and_the_same_told_otherwise_is_enough(tmp_path, name):
    bare = saved(tmp_path / "bare.jpg")
    ways = [saved(tmp_path / f"{number}.jpg", **way) for number, way in enumerate(TOLD[name])]
    for path in ways:
        assert name in held(path) and name not in held(bare)
        assert name in why_it_stays(path, bare, tmp_path)
        assert why_it_stays(bare, path, tmp_path) == ""
        assert richness(read_contents(path)) > richness(read_contents(bare))
        assert all(held(path)[name] == held(other)[name] for other in ways), [held(other)[name] for other in ways]


@pytest.mark.parametrize(
    "options",
    [
        {"exif": exif({0x0131: "Photoshop", 0x0132: "2024:01:01 00:00:00", 0x0112: 1, 0x011A: 300.0})},
        {"exif": exif(detail={0xA002: 48, 0xA003: 32, 0x9000: b"0232", 0xA001: 1, 0xA406: 0, 0x9292: "11"})},
        {"exif": exif({0x4746: 0})},
        {"exif": exif({0x010E: " \0", 0x013B: ""}, {0x9286: b"ASCII\0\0\0   \0", 0x9003: "0000:00:00 00:00:00"})},
        {"exif": exif(place={1: "N", 2: (0.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)})},
        {"exif": b"Exif\0\0broken"},
        {"xmp": b"<broken"},
        {"xmp": b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x dc:title="&b;"/>'},
        {"xmp": xmp('xmp:CreatorTool="GIMP" xmp:ModifyDate="2024-01-01" xmpMM:DocumentID="a" tiff:ImageWidth="48"')},
        {"xmp": xmp('xmp:Rating="0" exif:PixelXDimension="48" GCamera:MotionPhoto="0" crs:HasSettings="False"')},
        {"xmp": xmp("", HISTORY.format("saved"))},
        {"extra": b"", "dpi": (300, 300)},
        {"comment": b"CREATOR: gd-jpeg v1.0 (using IJG JPEG v80), quality = 90"},
        {"extra": segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x09\x1c\x02\x19\xff\xff..")},
        {"icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()},
        {"icc_profile": b"broken"},
        iptc((40, b"FBMD0f000869010000e5"), (103, b"XKcsP0mE1xGMb7CUbUoB")),
        {"progressive": True, "optimize": True, "quality": 30},
    ],
)
def test_what_is_technical_empty_or_broken_holds_nothing_back(tmp_path, options):
    path = saved(tmp_path / "a.jpg", **options)
    assert held(path) == {}
    assert why_it_stays(path, saved(tmp_path / "bare.png"), tmp_path) == ""


def test_other_values_on_both_sides_keep_both(tmp_path):
    early, late = (
        saved(tmp_path / f"{year}.jpg", exif=exif(detail={0x9003: f"{year}:06:01 10:00:00"})) for year in (2012, 2019)
    )
    for one, other in ((early, late), (late, early)):
        assert why_it_stays(one, other, tmp_path) == "differs from its keeper in capture time"


def test_a_time_told_less_finely_is_held_by_a_finer_one(tmp_path):
    coarse = saved(tmp_path / "a.jpg", xmp=xmp('exif:DateTimeOriginal="2015-01-01T10:00"'))
    day = saved(tmp_path / "c.jpg", xmp=xmp('exif:DateTimeOriginal="2015-01-01"'))
    fine = saved(tmp_path / "b.jpg", exif=exif(detail={0x9003: "2015:01:01 10:00:07"}))
    assert why_it_stays(coarse, fine, tmp_path) == why_it_stays(day, fine, tmp_path) == ""
    assert "capture time" in why_it_stays(fine, coarse, tmp_path)


def test_more_keywords_hold_fewer(tmp_path):
    few = saved(tmp_path / "few.jpg", xmp=xmp("", bag("dc:subject", "sea")))
    many = saved(tmp_path / "many.jpg", xmp=xmp("", bag("dc:subject", "sea", "sun")))
    assert why_it_stays(few, many, tmp_path) == "" and "keywords" in why_it_stays(many, few, tmp_path)


def test_many_names_are_counted(tmp_path):
    options = xmp('xmp:Label="a" xmp:Rating="1" photoshop:City="b" photoshop:State="c" photoshop:Country="d"')
    path = saved(tmp_path / "a.jpg", xmp=options)
    said = "has the city, country, label and 2 more that its keeper lacks"
    assert why_it_stays(path, saved(tmp_path / "b.jpg"), tmp_path) == said


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".heic", ".avif"])
def test_xmp_is_read_in_every_format(tmp_path, suffix):
    options = {"xmp": xmp('xmp:Rating="5"')}
    if suffix == ".png":
        options = {"pnginfo": texts(**{"XML:com.adobe.xmp": options["xmp"].decode()})}
    if suffix == ".tif":
        options = {"tiffinfo": {700: options["xmp"]}}
    assert held(saved(tmp_path / f"a{suffix}", **options))["rating"] == {"5"}


def test_xmp_of_a_gif_is_read(tmp_path):
    path = saved(tmp_path / "a.gif")
    path.write_bytes(path.read_bytes()[:-1] + b"!\xff\x0bXMP DataXMP" + xmp('xmp:Rating="5"') + b"\0;")
    assert held(path)["rating"] == {"5"}


def test_xmp_goes_on_in_later_segments(tmp_path):
    whole = xmp('GDepth:Data="abcd" GDepth:Mime="image/png"')
    head = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + struct.pack(">I", len(whole))
    parts = [(at, whole[at : at + 99]) for at in range(0, len(whole), 99)]
    extra = b"".join(segment(0xE1, head + struct.pack(">I", at) + part) for at, part in parts[::-1])
    path = saved(tmp_path / "a.jpg", xmp=xmp('xmpNote:HasExtendedXMP="0"'), extra=extra)
    assert set(held(path)) == {"depth map"} and len(held(path)["depth map"]) == 1


def test_iptc_and_xmp_in_imagemagicks_profiles_of_a_png_are_read(tmp_path):
    block = b"\x1c\x02\x19" + struct.pack(">H", 6) + b"Lisbon"
    info = PngImagePlugin.PngInfo()
    for kind, data in (("iptc", block), ("xmp", xmp('xmp:Rating="4"'))):
        info.add_text(f"Raw profile type {kind}", f"\n{kind}\n{len(data):8}\n{data.hex()}\n", zip=True)
    assert held(saved(tmp_path / "a.png", pnginfo=info)) == {"keywords": {"Lisbon"}, "rating": {"4"}}


@pytest.mark.parametrize("key", ["parameters", "prompt", "workflow", "Dream", "sd-metadata"])
def test_a_prompt_in_a_png_makes_it_stay(tmp_path, key):
    path = saved(tmp_path / "a.png", pnginfo=texts(**{key: "a castle at dusk" + ", oil" * 99}))
    assert why_it_stays(path, saved(tmp_path / "b.png"), tmp_path) == "has the generation prompt that its keeper lacks"


def test_texts_of_a_png_count_but_those_of_programs(tmp_path):
    texted = texts(Author="Ann", Software="GIMP", Comment="Created with GIMP", **{"date:create": "2020-01-01"})
    assert held(saved(tmp_path / "a.png", pnginfo=texted)) == {"artist": {"Ann"}}


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_chunks_that_no_rule_knows_count(tmp_path):
    path = saved(tmp_path / "a.png")
    data = path.read_bytes()
    path.write_bytes(data[:-12] + chunk(b"mkBT", b"layers") + chunk(b"tEXt", b"Title\0Lake") + data[-12:])
    assert set(held(path)) == {"data in mkBT", "title"}


SAMSUNG = b"\0\0\x30\x0a\x10\0\0\0MotionPhoto_Data" + FILM + b"SEFHk\0\0\0\1\0\0\0SEFT"


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".heic"])
@pytest.mark.parametrize(("behind", "name"), [(FILM, "film"), (SAMSUNG, "film"), (b"a zip", "data behind the end")])
def test_data_behind_the_end_makes_a_file_stay(tmp_path, suffix, behind, name):
    path, bare = saved(tmp_path / f"a{suffix}"), saved(tmp_path / f"b{suffix}")
    path.write_bytes(path.read_bytes() + behind)
    assert why_it_stays(path, bare, tmp_path) == f"has the {name} that its keeper lacks"
    assert why_it_stays(bare, path, tmp_path) == ""
    bare.write_bytes(bare.read_bytes() + b"\0\0\n\0")
    assert held(bare) == {}


def test_a_film_in_a_box_of_its_own(tmp_path):
    path = saved(tmp_path / "a.heic")
    path.write_bytes(path.read_bytes() + struct.pack(">I", 8 + len(FILM)) + b"mpvd" + FILM)
    assert set(held(path)) == {"film"}


def jpeg(image: Image.Image = SCENE, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"xmp": xmp('hdrgm:Version="1.0" hdrgm:GainMapMax="3"')}, "gain map"),
        ({"extra": segment(0xE2, b"urn:iso:std:iso:ts:21496:-1\0")}, "gain map"),
        ({"xmp": b'<x AuxiliaryImageType="urn:com:apple:photo:2020:aux:hdrgainmap"/>'}, "gain map"),
        ({"xmp": b'<x AuxiliaryImageType="urn:com:apple:photo:2018:aux:disparity"/>'}, "depth map"),
        ({}, "second picture"),
    ],
)
def test_pictures_behind_a_jpeg(tmp_path, options, name):
    path, bare = tmp_path / "a.jpg", saved(tmp_path / "b.jpg")
    path.write_bytes(jpeg() + jpeg(SCENE.convert("L").resize((8, 8)), **options) + FILM)
    assert set(held(path)) == {name, "film"}
    assert name in why_it_stays(path, bare, tmp_path)


def test_second_pictures_of_a_camera_count_but_its_previews(tmp_path):
    options = {"format": "MPO", "save_all": True, "append_images": [SCENE.resize((24, 16))]}
    path = saved(tmp_path / "a.jpg", **options)
    assert set(held(path)) == {"second picture"}
    data = path.read_bytes()
    entry = data.index(b"\x02\xb0\x07\0\x20\0\0\0") + 8  # MPEntry, 32 bytes, and where they are
    start = data.index(b"MPF\0") + 4 + int.from_bytes(data[entry : entry + 4], "little")
    path.write_bytes(data[: start + 16] + struct.pack("<I", 0x010001) + data[start + 20 :])  # "Large Thumbnail (VGA)"
    assert held(path) == {}


def heic(path: Path, images: list[Image.Image], **options) -> Path:
    images[0].save(path, save_all=True, append_images=images[1:], **options)
    return path


def test_burst_frames_of_a_heic_make_it_stay(tmp_path):
    shots = [SCENE.rotate(angle) for angle in (0, 90, 180)]
    burst, bare = heic(tmp_path / "burst.heic", shots), saved(tmp_path / "bare.heic")
    assert why_it_stays(burst, bare, tmp_path) == "has the other frames or pages that its keeper lacks"
    assert why_it_stays(bare, burst, tmp_path) == ""


@pytest.mark.parametrize("suffix", [".heic", ".avif"])
@pytest.mark.parametrize(
    ("index", "name"),
    [
        (b"auxC\0\0\0\0urn:com:apple:photo:2020:aux:hdrgainmap\0", "gain map"),
        (b"infe\2\0\0\0\0\2\0\0tmap\0", "gain map"),
        (b"auxC\0\0\0\0urn:mpeg:hevc:2015:auxid:2\0", "depth map"),
        (b"auxC\0\0\0\0urn:com:apple:photo:2018:aux:portraiteffectsmatte\0", "auxiliary pictures"),
        (b"grpl\0\0\0\x1cster\0\0\0\0", "second picture"),
        (b"colrnclx\0\x09\0\x10\0\x09\x80", "colours beyond sRGB"),
    ],
)
def test_pictures_that_an_index_of_boxes_names(tmp_path, monkeypatch, suffix, index, name):
    path = saved(tmp_path / f"a{suffix}")
    assert held(path) == {}
    data = path.read_bytes()
    at = data.index(b"meta") - 4
    size = int.from_bytes(data[at : at + 4], "big")
    box = struct.pack(">I", size + len(index) + 8) + data[at + 4 : at + size] + chunk(b"free", index)[:-4]
    with Image.open(path) as image:
        changed = data[:at] + box[:4] + box[4:] + data[at + size :]
        told = contents.read_parts(image, changed.replace(b"free" + index, index))
    assert set(told) >= {name}


@pytest.mark.parametrize("auxiliary", ["urn:mpeg:hevc:2015:auxid:1", "urn:mpeg:mpegB:cicp:systems:auxiliary:alpha"])
def test_an_auxiliary_alpha_is_told_by_the_pixels(tmp_path, auxiliary):
    meta = b"auxC\0\0\0\0" + auxiliary.encode() + b"\0"
    data = struct.pack(">I", 16) + b"ftypheic\0\0\0\0" + struct.pack(">I", 8 + len(meta)) + b"meta" + meta
    assert contents.read_parts(SCENE, data) == {}


@pytest.mark.parametrize("bits", [10, 12])
def test_deep_heic_and_avif(tmp_path, bits):
    deep = np.random.default_rng(2).integers(0, 1 << 16, (16, 16, 3), dtype=np.uint16)
    file = pillow_heif.from_bytes("RGB;16", (16, 16), deep.tobytes())
    pillow_heif.options.SAVE_HDR_TO_12_BIT = bits == 12
    try:
        file.save(tmp_path / "a.heic")
    finally:
        pillow_heif.options.SAVE_HDR_TO_12_BIT = False
    path = tmp_path / "a.heic"
    assert why_it_stays(path, saved(tmp_path / "b.heic"), tmp_path).startswith(f"has the {bits} bits a channel")
    import cv2

    cv2.imwrite(str(tmp_path / "c.png"), deep)
    assert why_it_stays(path, tmp_path / "c.png", tmp_path) == ""


@pytest.mark.parametrize(("flags", "bits"), [(0x00, 8), (0x40, 10), (0x60, 12)])
def test_bits_of_an_avif(flags, bits):
    meta = b"av1C\x81\x00" + bytes([flags])
    data = struct.pack(">I", 16) + b"ftypavif\0\0\0\0" + struct.pack(">I", 8 + len(meta)) + b"meta" + meta
    assert contents.bits_in_boxes(data) == bits


@pytest.mark.parametrize("colours", [1, 3])
def test_a_jpeg_2000_of_16_bits(tmp_path, colours):
    import cv2

    deep = np.random.default_rng(2).integers(0, 1 << 16, (32, 32, colours), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "a.jp2"), deep)
    saved(tmp_path / "b.jp2")
    assert (
        why_it_stays(tmp_path / "a.jp2", tmp_path / "b.jp2", tmp_path)
        == "has the 16 bits a channel that its keeper lacks"
    )


def test_cmyk_and_other_colour_spaces(tmp_path):
    cmyk = saved(tmp_path / "a.jpg", SCENE.convert("CMYK"))
    assert why_it_stays(cmyk, saved(tmp_path / "b.jpg"), tmp_path) == "has the CMYK colours that its keeper lacks"
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB", 5000)).tobytes()
    profiled = saved(tmp_path / "c.tif", icc_profile=lab)
    assert "colour profile" in why_it_stays(profiled, cmyk, tmp_path)


def test_frame_times_and_frames_of_an_animation(tmp_path):
    frames = [SCENE.rotate(90 * number).convert("P") for number in range(3)]

    def film(name: str, count: int, *times: int) -> Path:
        return saved(tmp_path / name, frames[0], save_all=True, append_images=frames[1:count], duration=list(times))

    whole, same, slow, cut = (
        film(f"{name}.gif", *rest)
        for name, rest in {"a": (3, 50, 60, 70), "b": (3, 50, 60, 70), "c": (3, 90, 60, 70), "d": (2, 50, 60)}.items()
    )
    same.write_bytes(same.read_bytes()[:-1] + b"!\xfe\x04abcd\0;")
    assert why_it_stays(whole, saved(tmp_path / "e.gif"), tmp_path).startswith("has the frame times and other frames")
    assert why_it_stays(whole, same, tmp_path) == ""
    assert why_it_stays(whole, slow, tmp_path) == "differs from its keeper in frame times"
    assert "other frames or pages" in why_it_stays(whole, cut, tmp_path)


def test_a_page_that_is_a_thumbnail_is_none(tmp_path):
    small = SCENE.resize((12, 8))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    path = saved(tmp_path / "a.tif", save_all=True, append_images=[small])
    with Image.open(path) as image:
        image.seek(1)
        assert image.tag_v2.get(254) == 1
    assert held(path) == {}


def test_what_can_not_be_told_stays_and_is_no_keeper(tmp_path):
    broken, whole = tmp_path / "a.jpg", saved(tmp_path / "b.jpg", xmp=xmp('xmp:Rating="5"'))
    broken.write_bytes(b"no picture")
    for pair in ((broken, whole), (whole, broken)):
        assert why_it_stays(*pair, tmp_path).startswith("can't be compared with its keeper in full: ")
    assert read_contents(tmp_path / "missing.jpg").untold


def test_many_files_are_told_as_one_by_one(tmp_path):
    paths = [saved(tmp_path / f"{number}.jpg", **TOLD[name][0]) for number, name in enumerate(list(TOLD)[:5])]
    paths.append(tmp_path / "missing.jpg")
    for workers in (0, 2):
        found = read_all_contents(paths, workers)
        assert found.keys() == set(paths) and found[paths[-1]].untold
        assert all(found[path] == read_contents(path) for path in paths[:-1])


def test_age_is_the_capture_time_where_all_tell_one(tmp_path):
    told = read_contents(saved(tmp_path / "a.jpg", exif=exif(detail={0x9003: "1970:01:02 00:00:01"})))
    bare = read_contents(saved(tmp_path / "b.jpg"))
    assert capture_time(told) == 86401 and capture_time(bare) is None
    assert ages([(told, 1.0), (told, 2.0)]) == [86401, 86401] and ages([(told, 1.0), (bare, 2.0)]) == [1.0, 2.0]
    assert capture_time(Contents({"capture time": frozenset({"2020:13:45 99:00:00"})})) is None


VALUES = st.dictionaries(st.sampled_from("abc"), st.frozensets(st.sampled_from("123")))


@given(VALUES, VALUES)
def test_a_keeper_that_lacks_nothing_and_is_not_alike_is_richer(own, kept):
    own, kept = Contents(own), Contents(kept)
    assert what_it_lacks(own, own) == ()
    if not what_it_lacks(own, kept):
        assert richness(own) < richness(kept) or own == kept


def test_what_raises_tells_nothing_and_the_rest_still_does():
    def broken():
        raise RuntimeError("broken")

    image = SimpleNamespace(getexif=broken, format="JPEG", info={"comment": b"Ann", "photoshop": {0x0404: b"\x1c\x02"}})
    assert read_metadata(image, b"") == {"comment": {"Ann"}}


def test_metadata_of_a_file_without_any(tmp_path):
    with Image.open(saved(tmp_path / "a.bmp")) as image:
        assert read_metadata(image, b"") == {}


def test_a_lack_of_memory_is_no_broken_part(monkeypatch):
    def lack(*_):
        raise MemoryError

    monkeypatch.setattr(metadata, "fromstring", lack)
    monkeypatch.setattr(contents.ImageCms, "ImageCmsProfile", lack)
    image = SimpleNamespace(getexif=lack, _getmp=lack, format="JPEG", info={"xmp": xmp()})
    reads = [partial(each, image, b"") for each in (read_metadata, metadata._exif, metadata._xmp, parts._thumbnails)]
    for read in (*reads, partial(contents._profile_name, b"lack"), partial(orientation_of, image)):
        with pytest.raises(MemoryError):
            list(read())
