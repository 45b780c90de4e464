"""Pictures: what is asked of the browser's machine, what is refused; a real browser where there is one."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tools import browser
from tools.browser import Browser, Screen, find, shrink
from tools.pictures import Picture, take
from vlp.errors import InputError, VlpError

PAGE = """<!doctype html><html><head><link rel="icon" href="data:,"><style>
body {{ margin: 0; background: white }} @media (prefers-color-scheme: dark) {{ body {{ background: black }} }}
#red {{ background: #f00; height: 50px; width: {width}px }}</style></head>
<body><div style="height: 900px"></div><div id="red"></div><script>{script}</script></body></html>"""


def page(folder: Path, width: int = 300, script: str = "") -> str:
    path = folder / "page.html"
    path.write_text(PAGE.format(width=width, script=script))
    return path.as_uri()


def test_no_browser_is_told_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHROMIUM", "no-such-browser")
    with pytest.raises(InputError, match=r"no-such-browser: no such browser .*apt-get install chromium"):
        find()
    monkeypatch.delenv("CHROMIUM")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="chromium: no such browser"):
        find()


def test_a_picture_is_made_small_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(noise).save(path)
    before = path.stat().st_size
    shrink(path)
    assert path.stat().st_size <= browser.MOST_BYTES < before
    assert Image.open(path).size == (400, 400)
    monkeypatch.setattr(browser, "MOST_BYTES", 1000)
    with pytest.raises(VlpError, match="smaller part of the page"):
        shrink(path)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no chromium")
def test_a_real_browser(tmp_path: Path) -> None:
    """The part that is asked for, in light and dark; a console that speaks and a page too wide are errors."""
    out = tmp_path / "out"
    with Browser(find()) as real:
        for dark, ground in ((False, (255, 255, 255)), (True, (0, 0, 0))):
            whole = Picture("whole", page(tmp_path), Screen(600, 400, dark=dark))
            take(real, [whole, Picture("part", whole.url, whole.screen, "#red")], out, ours=True)
            with Image.open(out / "whole.png") as image, Image.open(out / "part.png") as part:
                assert image.size == (600, 400) and image.convert("RGB").getpixel((5, 5)) == ground
                assert part.size == (600, 50)
                assert [part.convert("RGB").getpixel((x, 25)) for x in (10, 590)] == [(255, 0, 0), ground]
        phone = Screen(390, 800, phone=True)
        with pytest.raises(VlpError, match="on a screen of 390"):
            take(real, [Picture("wide", page(tmp_path, width=700), phone)], out, ours=True)
        with pytest.raises(VlpError, match="said on its console: oh"):
            take(real, [Picture("speaks", page(tmp_path, script="console.error('oh')"), phone)], out, ours=True)
        with pytest.raises(VlpError, match="has no #blue"):
            take(real, [Picture("none", page(tmp_path), phone, "#blue")], out, ours=True)
