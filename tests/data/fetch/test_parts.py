"""Lists, the check of pictures, Retry-After, and the order of hosts."""

from __future__ import annotations

import io
from email.utils import formatdate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.data.fetch.server import jpeg
from tests.data.photos import photo
from vlp.data.fetch.client import Answer, Status, retry_after
from vlp.data.fetch.hosts import Hosts, Manners
from vlp.data.fetch.lists import read
from vlp.data.fetch.picture import check
from vlp.errors import InputError

A, B = "http://a.example/1.jpg", "https://b.example/2_x.jpg"


@pytest.mark.parametrize(
    "source, name, text",
    [
        ("conceptual_captions", "Train.tsv", f"a cat\t{A}\nno address\nsame\t{A}\tmore\nü\t{B}\n"),
        ("sbu", "urls.txt", f"{A}\nftp://x\n{A}\n\n{B}\n"),
        ("sbu", "sbu.json", f'{{"image_urls": ["{A}", "x", "{A}", "{B}"], "captions": []}}'),
        ("openimages", "ids.csv", f'ImageID,OriginalURL\n1,{A}\n2,\n3,{A}\n4,"{B}"\n'),
        ("list", "any.txt", f"{A}\nwww.b.example\n{A}\n{B}\n"),
    ],
)
def test_lists_in_published_forms(tmp_path: Path, source: str, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = read(source, tmp_path / name)
    assert (found.addresses, found.repeated, len(found.bad)) == ([A, B], 1, 1)


def test_a_bad_list_is_named(tmp_path: Path) -> None:
    path = tmp_path / "l.txt"
    with pytest.raises(InputError, match="missing"):
        read("sbu", path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        read("sbu", path)
    path.write_text("nothing\n")
    with pytest.raises(InputError, match=r"no address.*row 1: 'nothing'"):
        read("list", path)
    with pytest.raises(InputError, match="no column OriginalURL"):
        read("openimages", path)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def test_only_what_must_be_is_encoded_again() -> None:
    small = jpeg(1)
    assert check(small, 64).data == small
    for body in (
        encoded(photo(1), "PNG"),
        encoded(photo(1).convert("P"), "GIF"),
        encoded(photo(1).convert("RGBA"), "WEBP"),
        encoded(photo(1).convert("CMYK"), "JPEG"),
        encoded(photo(1).convert("L"), "JPEG"),
    ):
        found = check(body, 100)
        assert (found.status, found.width, found.height) == (Status.OK, 100, 75)
        with Image.open(io.BytesIO(found.data)) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (100, 75))


def test_a_turned_photograph_is_set_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    found = check(encoded(photo(1), "JPEG", exif=exif.tobytes()), 1000)
    assert (found.width, found.height) == (240, 320)


def test_damaged_bytes_and_bombs_are_refused() -> None:
    whole = jpeg(1)
    assert check(whole[:-200], 64).status is Status.NOT_AN_IMAGE
    assert check(b"", 64).status is Status.NOT_AN_IMAGE
    assert check(b"<svg/>", 64).status is Status.NOT_AN_IMAGE
    bomb = encoded(Image.new("1", (20_000, 20_000)), "PNG")
    assert len(bomb) < 100_000 and check(bomb, 64).status is Status.TOO_LARGE


def test_retry_after_is_a_number_or_a_date() -> None:
    assert retry_after("120", 0.0) == 120
    assert retry_after(formatdate(1_000_060, usegmt=True), 1_000_000.0) == 60
    assert retry_after(formatdate(10, usegmt=True), 1_000_000.0) == 0
    assert retry_after("soon", 0.0) is None and retry_after(None, 0.0) is None


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from([Status.OK, Status.BUSY, Status.TIMEOUT])), max_size=40),
    st.integers(1, 3),
    st.integers(1, 3),
)
def test_every_address_gets_one_last_word_or_is_deferred(
    plan: list[tuple[int, Status]], per_host: int, tries: int
) -> None:
    """Whatever hosts answer: no address is lost or asked too often, and no host has too many at once."""
    hosts = Hosts(Manners(per_host, 0.5, tries, 1.0))
    fate = {f"http://h{host}/{i}": status for i, (host, status) in enumerate(plan)}
    hosts.add(fate)
    now, last, active = 0.0, [], []
    while hosts.waiting or active:
        while turn := hosts.next(now):
            active.append(turn)
            names = [t.address.split("/")[2] for t in active]
            assert max(names.count(n) for n in names) <= per_host and turn.tries < tries
        if active:
            turn = active.pop(0)
            if hosts.done(turn, Answer(fate[turn.address]), now):
                last.append(turn.address)
        else:
            wait = hosts.wait(now)
            assert wait is not None
            now += wait + 1e-6
    assert len(last) == len(set(last)) and len(last) + hosts.deferred == len(plan) and not hosts.active
