"""One opener: orientation, depth, transparency, damage, at every door; and nobody opens images beside it."""

from __future__ import annotations

import ast
import hashlib
import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vlp.config.data import Shapes
from vlp.data.fetch.client import Status
from vlp.data.fetch.picture import check
from vlp.data.leaks.phash import distance, hash_file
from vlp.data.readers.common import BadRecord
from vlp.data.readers.image_files import Probed, probe
from vlp.data.shapes import generate
from vlp.errors import InputError
from vlp.images.decode import TURNED, ImageError, Skipped, decode, from_memory, header, open_rgb, read_image
from vlp.images.folder import in_folder, measured
from vlp.images.pictures import look, open_picture

ROOT = Path(__file__).parents[2]
ORIENTATION = 0x0112
LEVELS = np.array([[0, 25, 128, 255], [255, 200, 100, 0]], np.uint8)


def photo(width: int = 100, height: int = 60, seed: int = 0) -> Image.Image:
    """Smooth enough for JPEG, without symmetry."""
    small = np.random.default_rng(seed).integers(0, 255, (6, 10, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def pixels(image: Image.Image) -> np.ndarray:
    assert image.mode == "RGB"
    return np.asarray(image)


def grey(image: Image.Image) -> list[list[int]]:
    """The levels of a picture whose channels are the same."""
    found = pixels(image)
    assert (found == found[..., :1]).all()
    return found[..., 0].tolist()


def turned_by(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


# -- what was right stays ---------------------------------------------------------------------------------------------
def test_the_demos_pictures_decode_to_the_bits_of_pillow_alone(tmp_path: Path) -> None:
    generate(Shapes(train_images=6, val_images=1, test_images=1), tmp_path / "raw")
    files = sorted((tmp_path / "raw" / "images").iterdir())
    digest = hashlib.sha256()
    for path in files:
        with Image.open(path) as image:
            plain = np.asarray(image.convert("RGB"))
        found = decode(path)
        assert (pixels(found.image) == plain).all() and found.notes == ()
        lossless = encoded(Image.fromarray(plain // 8 * 8), "PNG")
        digest.update(pixels(decode(lossless).image).tobytes())
    assert len(files) == 8
    assert digest.hexdigest() == DIGEST


DIGEST = "c9e1c5c7ed4c43281e7ac2d23bff5f0361e78483834ee132b9eb78583c57e449"


def test_nobody_else_opens_images() -> None:
    """Nor turns them, nor makes arrays of them: by the syntax trees of all that is not a test."""
    found: list[str] = []
    for folder in ("vlp", "tools", "benchmarks", "workflow"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            tree = ast.parse(path.read_text(encoding="utf-8"))
            modules = {"Image", "PIL.Image", "ImageOps", "ImageFile"}
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and node.module == "PIL":
                    modules |= {a.asname for a in node.names if a.asname}
                if isinstance(node, ast.ImportFrom) and node.module == "PIL.Image":
                    found += [f"{name}: open" for a in node.names if a.name == "open"]
                if isinstance(node, ast.ImportFrom) and node.module in ("imageio", "cv2", "torchvision.io"):
                    found.append(f"{name}: {node.module}")
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    owner, method = ast.unparse(node.func.value), node.func.attr
                    if (owner in modules and method == "open") or method in ("exif_transpose", "getexif"):
                        found.append(f"{name}: {owner}.{method}")
    assert sorted(set(found)) == ["vlp/images/decode.py: Image.open", "vlp/images/decode.py: image.getexif"]


# -- orientation ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_stand_upright_at_every_door(tmp_path: Path, form: str, orientation: int) -> None:
    """Tables, extraction and inference see the same picture, in the size of the table."""
    upright = photo(96, 64)
    back = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270, 3: Image.Transpose.ROTATE_180}
    back |= {2: Image.Transpose.FLIP_LEFT_RIGHT, 4: Image.Transpose.FLIP_TOP_BOTTOM}
    back |= {5: Image.Transpose.TRANSPOSE, 7: Image.Transpose.TRANSVERSE}
    stored = upright.transpose(back[orientation]) if orientation in back else upright
    options = {"quality": 95} if form in ("JPEG", "WEBP") else {}
    path = tmp_path / f"photo.{form.lower().replace('tiff', 'png')}"
    path.write_bytes(encoded(stored, form, exif=turned_by(orientation), **options))
    # a TIFF is turned by Pillow itself
    notes = (TURNED,) if orientation > 1 and form != "TIFF" else ()
    assert header(path).size == (96, 64) and probe(path) == Probed((96, 64), notes)
    (record,) = measured(in_folder(tmp_path, "set"), Skipped("stop"))
    assert (record.width, record.height) == (96, 64)
    for found in (read_image(record).permute(1, 2, 0).numpy(), pixels(open_picture(path)), pixels(open_rgb(path))):
        assert found.shape == (64, 96, 3)
        assert np.abs(found.astype(int) - np.asarray(upright).astype(int)).mean() < 8
    with Image.open(path) as handed:
        assert (pixels(open_picture(handed)) == pixels(open_rgb(path))).all()


def test_the_hash_of_a_turned_copy_is_that_of_the_picture(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(photo(300, 200), "JPEG"))
    stored = photo(300, 200).transpose(Image.Transpose.ROTATE_90)
    (tmp_path / "b.jpg").write_bytes(encoded(stored, "JPEG", exif=turned_by(6)))
    one, other = hash_file(tmp_path / "a.jpg"), hash_file(tmp_path / "b.jpg")
    assert one is not None and other is not None and distance(one, other) <= 2


def test_damaged_exif_data_are_said_and_harm_nothing(tmp_path: Path) -> None:
    whole = encoded(photo(), "JPEG", exif=turned_by(6))
    at = whole.index(b"Exif\0\0") + 6
    path = tmp_path / "bad.jpg"
    path.write_bytes(whole[:at] + b"XX" + whole[at + 2 :])
    assert decode(path).image.size == (100, 60)
    exif = Image.Exif()
    exif[0x010E] = "six"  # a text, which becomes the orientation's
    path.write_bytes(encoded(photo(), "JPEG", exif=exif.tobytes().replace(b"\x01\x0e", b"\x01\x12", 1)))
    found = decode(path)
    assert found.notes == ("its EXIF data are damaged: taken as it lies in the file",)
    assert probe(path) == Probed((100, 60), found.notes)


# -- depth and modes --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_scaled_and_not_cut_off(form: str) -> None:
    deep = Image.fromarray(LEVELS.astype(np.uint16) * 257)
    assert grey(decode(encoded(deep, form)).image) == LEVELS.tolist()


def test_a_dark_16_bit_picture_stays_dark() -> None:
    dark = Image.fromarray(np.full((4, 4), 200, np.uint16))
    for form in ("PNG", "TIFF", "PPM"):
        assert grey(decode(encoded(dark, form)).image) == [[1] * 4] * 4, form


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I;16N"])
def test_16_bit_pictures_of_any_byte_order(mode: str) -> None:
    order = ">" if mode == "I;16B" else "<"
    data = (LEVELS.astype(np.uint16) * 257).astype(f"{order}u2").tobytes()
    assert grey(open_picture(Image.frombytes(mode, (4, 2), data))) == LEVELS.tolist()


@pytest.mark.parametrize(("most", "top"), [(255, 255), (65535, 65535)])
def test_32_bit_whole_numbers_by_their_range(most: int, top: int) -> None:
    image = Image.fromarray((LEVELS.astype(np.int32) * (most // 255)).astype(np.int32))
    found = from_memory(image)
    assert grey(found.image) == LEVELS.tolist()
    assert found.notes == (f"numbers of 32 bits are taken as 0 to {top}",)


@pytest.mark.parametrize("most", [1, 255])
def test_floats_by_their_range_which_is_said(most: int) -> None:
    image = Image.fromarray((LEVELS / 255 * most).astype(np.float32))
    for found in (from_memory(image), decode(encoded(image, "TIFF"))):
        assert grey(found.image) == LEVELS.tolist()
        assert found.notes == (f"float numbers are taken as 0 to {most}",)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 300.0])
def test_floats_that_are_no_levels_are_refused(value: float) -> None:
    levels = (LEVELS / 255).astype(np.float32)
    levels[0, 0] = value
    for handed in (levels, Image.fromarray(levels)):
        with pytest.raises(
            InputError, match=r"^image: the image cannot be read \((a number|its numbers).*Give"
        ) as error:
            look(handed)
        assert "\n" not in str(error.value)


def test_what_is_transparent_stands_on_white() -> None:
    """Each has red, half red and nothing: of the last two white shines through."""
    rgba = np.array([[[255, 0, 0, 255], [255, 0, 0, 128], [255, 0, 0, 0]]], np.uint8)
    wanted = [[255, 0, 0], [255, 127, 127], [255, 255, 255]]
    image = Image.fromarray(rgba)
    for form in ("PNG", "TIFF"):
        assert pixels(decode(encoded(image, form)).image)[0].tolist() == wanted, form
    assert pixels(decode(encoded(image, "WEBP", lossless=True, exact=True)).image)[0].tolist() == wanted
    assert pixels(open_picture(rgba))[0].tolist() == wanted
    assert np.abs(pixels(open_picture(image.convert("RGBa"))).astype(int)[0] - wanted).max() <= 1
    la = Image.merge("LA", (Image.new("L", (3, 1), 100), Image.fromarray(rgba[..., 3])))
    for handed in (la, decode(encoded(la, "PNG")).image):
        assert grey(open_picture(handed)) == [[100, 177, 255]]
    assert np.abs(np.array(grey(open_picture(la.convert("La")))) - [[100, 177, 255]]).max() <= 1


def test_a_transparent_colour_and_a_palettes_alpha_stand_on_white() -> None:
    palette = Image.new("P", (3, 1))
    palette.putpalette([10, 20, 30, 200, 0, 0, 0, 0, 200])
    palette.putdata([0, 1, 2])
    plain = pixels(decode(encoded(palette, "PNG")).image)[0].tolist()
    assert plain == [[10, 20, 30], [200, 0, 0], [0, 0, 200]]
    for transparency in (1, bytes([255, 0, 255])):
        for form in ("PNG", "GIF") if transparency == 1 else ("PNG",):
            found = pixels(decode(encoded(palette, form, transparency=transparency)).image)[0].tolist()
            assert found == [[10, 20, 30], [255, 255, 255], [0, 0, 200]], form
    pa = palette.copy()
    pa.info["transparency"] = bytes([255, 0, 255])
    assert pixels(open_picture(pa.convert("PA")))[0].tolist()[1] == [255, 255, 255]
    colour = Image.fromarray(np.array([[[1, 2, 3], [9, 9, 9]]], np.uint8))
    assert pixels(decode(encoded(colour, "PNG", transparency=(1, 2, 3))).image)[0].tolist() == [[255] * 3, [9] * 3]
    level = Image.fromarray(np.array([[7, 9]], np.uint8))
    assert grey(decode(encoded(level, "PNG", transparency=7)).image) == [[255, 9]]
    deep = Image.fromarray(np.array([[7, 9 * 257]], np.uint16))
    assert grey(decode(encoded(deep, "PNG", transparency=7)).image) == [[255, 9]]


def test_the_other_modes() -> None:
    bits = Image.fromarray(np.where(LEVELS > 110, 255, 0).astype(np.uint8)).convert("1")
    assert grey(decode(encoded(bits, "PNG")).image) == [[0, 0, 255, 255], [255, 255, 0, 0]]
    image = photo()
    rgb = np.asarray(image).astype(int)
    for mode in ("CMYK", "YCbCr", "HSV", "RGBX"):
        assert np.abs(pixels(open_picture(image.convert(mode))).astype(int) - rgb).mean() < 4, mode
    # Pillow writes and reads CMYK with Adobe's inversion
    found = pixels(decode(encoded(image.convert("CMYK"), "JPEG", quality=95)).image).astype(int)
    assert np.abs(found - rgb).mean() < 6
    assert grey(open_picture(Image.fromarray(LEVELS))) == LEVELS.tolist()


def test_of_an_animation_the_first_picture_is_read() -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    for form, options in (
        ("GIF", {}),
        ("WEBP", {"lossless": True}),
        ("PNG", {}),
        ("TIFF", {}),
        ("MPO", {"quality": 95}),
    ):
        data = encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)
        found = pixels(decode(data).image)
        assert np.abs(found.astype(int) - [255, 0, 0]).max() <= 4, form


# -- arrays and other objects -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64, ">u2", ">f4"])
def test_arrays_of_every_type_and_shape(dtype: Any) -> None:
    kind = np.dtype(dtype)
    scale = {"f": 1 / 255, "u": 257 if kind.itemsize == 2 else 1}[kind.kind]
    values = (LEVELS.astype(float) * scale).astype(kind)
    assert grey(open_picture(values)) == LEVELS.tolist()
    assert grey(open_picture(values[..., None])) == LEVELS.tolist()
    three = np.stack([values, values[::-1], values], -1)
    assert pixels(open_picture(three))[..., 1].tolist() == LEVELS[::-1].tolist()
    clear = np.concatenate([three, np.zeros_like(three[..., :1])], -1)
    clear[0, 0, 3] = three.max()
    found = pixels(open_picture(clear))
    assert found[0, 0].tolist() == [0, 255, 0] and (found[1] == 255).all()


@pytest.mark.parametrize(
    "handed",
    [
        np.zeros((3, 20, 30), np.uint8),
        np.zeros((2, 20, 30, 3), np.uint8),
        np.zeros((20, 30, 2), np.uint8),
        np.zeros((0, 30, 3), np.uint8),
        np.zeros((5,), np.uint8),
        np.array(3),
        np.zeros((20, 30), np.int64),
        np.zeros((20, 30), bool),
        np.zeros((20, 30), complex),
        np.array([["a"]]),
        Image.new("RGB", (0, 4)),
        b"bytes",
        [[1, 2]],
        7,
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(handed: Any) -> None:
    with pytest.raises(InputError, match=r"^image: .*(wanted|pixels)") as error:
        look(handed)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("size", [(3000, 3), (3, 3000), (1, 1)])
def test_narrow_pictures_are_pictures(tmp_path: Path, size: tuple[int, int]) -> None:
    for form in ("JPEG", "PNG"):
        path = tmp_path / f"thin.{form.lower()}"
        path.write_bytes(encoded(photo(*size), form))
        assert open_rgb(path).size == size and probe(path) == Probed(size, ())


# -- damage -----------------------------------------------------------------------------------------------------------
JPEGS = {
    "plain": {},
    "progressive": {"progressive": True},
    "4:4:4": {"subsampling": 0},
    "restarts": {"restart_marker_rows": 1},
    "optimized": {"optimize": True, "quality": 95},
}


def _jpeg(kind: str) -> bytes:
    image = photo(160, 120, 3)
    return encoded(
        {"grey": image.convert("L"), "cmyk": image.convert("CMYK")}.get(kind, image), "JPEG", **JPEGS.get(kind, {})
    )


@pytest.mark.parametrize("kind", [*JPEGS, "grey", "cmyk"])
def test_a_jpeg_that_was_cut_is_damaged_whatever_its_end(tmp_path: Path, kind: str) -> None:
    whole = _jpeg(kind)
    path = tmp_path / "cut.jpg"
    path.write_bytes(whole)
    assert open_rgb(path).size == (160, 120) and probe(path) == Probed((160, 120), ())
    start = len(whole) // 4 if kind == "progressive" else whole.index(b"\xff\xda") + 20
    for end in range(start, len(whole) - 40, max(1, (len(whole) - start) // 40)):
        for tail in (b"", b"\xff\xd9", bytes(4000), b"\xff\xd9" + bytes(9)):
            path.write_bytes(whole[:end] + tail)
            with pytest.raises(ImageError, match=r"cut|truncated|broken|cannot be read"):
                open_rgb(path)
            assert isinstance(probe(path), BadRecord), (end, tail[:4])
    with pytest.raises(InputError, match=r"cut\.jpg: the image .*Give a whole JPEG"):
        open_picture(path)
    assert check(path.read_bytes(), 512).status is Status.NOT_AN_IMAGE


def test_a_picture_of_pillows_that_is_not_read_yet_is_looked_at_too(tmp_path: Path) -> None:
    whole = _jpeg("plain")
    path = tmp_path / "cut.jpg"
    path.write_bytes(whole[: len(whole) // 2] + b"\xff\xd9")
    with Image.open(path) as image, pytest.raises(InputError, match="the image is cut"):
        open_picture(image)
    path.write_bytes(whole)
    with Image.open(path) as image:
        assert open_picture(image).size == (160, 120)


def test_sound_jpegs_that_end_in_grey_or_carry_more_are_whole() -> None:
    flat = Image.new("RGB", (64, 48), (128, 128, 128))
    thumbnail = turned_by(1)
    small = encoded(photo(16, 12), "JPEG")
    for options in ({}, {"progressive": True}, {"exif": thumbnail}, {"comment": small}):
        for image in (flat, photo()):
            data = encoded(image, "JPEG", **options)
            for more in (b"", bytes(100), b"after the end", small):
                assert decode(data + more).image.size == image.size


def test_other_files_that_were_cut_are_damaged(tmp_path: Path) -> None:
    image = photo(90, 70)
    for form in ("PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM"):
        data = encoded(image, form)
        path = tmp_path / f"cut.{form.lower()}"
        path.write_bytes(data[: len(data) * 2 // 3])
        with pytest.raises(ImageError, match="cannot be read") as error:
            open_rgb(path)
        assert "0x" not in str(error.value) and str(tmp_path) not in str(error.value)
        assert isinstance(probe(path), BadRecord), form


def test_a_png_whose_data_end_before_its_end_chunk_is_damaged() -> None:
    data = encoded(photo(), "PNG")
    at = data.index(b"IDAT")
    (size,) = struct.unpack(">I", data[at - 4 : at])
    chunks = [(b"IDAT", data[at + 4 : at + 4 + size // 2]), (b"IEND", b"")]
    cut = data[: at - 4]
    for name, body in chunks:
        cut += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    with pytest.raises(ImageError, match="truncated"):
        decode(cut)


@pytest.mark.parametrize("data", [b"", b"not an image", b"\xff\xd8\xff\xd9", b"\x89PNG\r\n\x1a\n", b"GIF89a"])
def test_what_is_no_image_says_so(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.jpg").write_bytes(data)
    with pytest.raises(ImageError, match="cannot be read"):
        open_rgb(tmp_path / "x.jpg")
    skipped = Skipped("skip")
    assert measured(in_folder(tmp_path, "set"), skipped) == [] and "cannot be read" in skipped.images[0]["reason"]
    with pytest.raises(ImageError, match="the image file is missing"):
        open_rgb(tmp_path / "none.jpg")


# -- warnings ---------------------------------------------------------------------------------------------------------
def _warns() -> bytes:
    """Its EXIF directory is cut: Pillow warns, and reads on."""
    exif = turned_by(1).tobytes()
    return encoded(photo(), "JPEG", exif=exif[:-6] + b"\xff\xff")


def test_warnings_of_decoders_belong_to_their_picture() -> None:
    """From threads, each time, and without a word on the terminal; others' warnings go where they went."""
    bad, good = _warns(), encoded(photo(), "JPEG")
    with warnings.catch_warnings(record=True) as seen, ThreadPoolExecutor(4) as pool:
        found = list(pool.map(decode, [bad, good] * 20))
        warnings.warn("mine", stacklevel=1)
    assert [bool(f.notes) for f in found] == [True, False] * 20
    assert all(f.notes[0].startswith("the decoder warns: ") for f in found[::2])
    assert [str(w.message) for w in seen] == ["mine"]
