"""Pictures of web pages by Chromium, headless, without any network but loopback; spoken to by its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from vlp.errors import InputError, VlpError

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--remote-debugging-port=0",
]
MOST_BYTES = 300_000
SECONDS = 60
"""That a page may take to come to rest."""
_QUIET_SECONDS = 1.0
T = TypeVar("T")


def find() -> Path:
    """The browser that CHROMIUM names, else the first of `NAMES` on the PATH.

    Raises:
        InputError: there is none.
    """
    named = os.environ.get("CHROMIUM")
    found = next(filter(None, map(shutil.which, [named] if named else NAMES)), None)
    if found is None:
        remedy = "Install it (Debian: apt-get install chromium), or name it: CHROMIUM=/path/to/chromium."
        raise InputError(named or "chromium", "no such browser on the PATH; pictures are made with it.", remedy)
    return Path(found)


@dataclass(frozen=True)
class Screen:
    """In CSS pixels."""

    width: int
    height: int
    dark: bool = False
    phone: bool = False


class Browser:
    """One page at a time; a context manager, which ends the browser."""

    def __init__(self, command: Path) -> None:
        self.command = command
        self.complaints: list[str] = []
        """Errors and warnings that the page wrote on its console, and what it did not get."""

    def __enter__(self) -> Browser:
        self._loop = asyncio.new_event_loop()
        self._profile = tempfile.mkdtemp(prefix="chromium-")
        arguments = [str(self.command), *QUIET, f"--user-data-dir={self._profile}", "about:blank"]
        self._process = subprocess.Popen(
            arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            self._do(self._connect())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(AttributeError):
            self._do(self._session.close())
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._loop.close()
        shutil.rmtree(self._profile, ignore_errors=True)

    def prepare(self, script: str) -> None:
        """Run JavaScript in every page that is opened from now on, before its own."""
        self._send("Page.addScriptToEvaluateOnNewDocument", source=script)

    def open(self, url: str, screen: Screen) -> None:
        """Load the page and wait until it asks for nothing more.

        Raises:
            VlpError: it did not come to rest.
        """
        self.complaints.clear()
        self._asked.clear()
        size = {"width": screen.width, "height": screen.height, "deviceScaleFactor": 1, "mobile": screen.phone}
        colours = [{"name": "prefers-color-scheme", "value": "dark" if screen.dark else "light"}]
        self._send("Emulation.setDeviceMetricsOverride", **size)
        self._send("Emulation.setEmulatedMedia", features=colours)
        self._send("Page.navigate", url="about:blank")  # else another anchor of the same page loads nothing
        self._send("Page.navigate", url=url)
        self.rest()

    def rest(self) -> None:
        """Raises VlpError: the page still asks for things after `SECONDS`."""
        self._do(self._rest())

    def until(self, script: str) -> None:
        """Wait until a JavaScript expression is true, and the page at rest.

        Raises:
            VlpError: it is not true after `SECONDS`.
        """
        end = time.monotonic() + SECONDS
        while not self.evaluate(script):
            if time.monotonic() > end:
                raise VlpError(f"not true after {SECONDS} s: {script}")
            time.sleep(0.2)
        self.rest()

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        found = self._send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise VlpError(f"{script}: {found['exceptionDetails'].get('text')}")
        return found["result"].get("value")

    def shot(self, out: Path, part: str | None = None) -> None:
        """Write a picture of what is seen, or of the whole height of the element that the CSS selector `part` names.

        Raises:
            VlpError: there is no such element, or the picture can not be made small.
        """
        more: dict[str, Any] = {}
        if part is not None:
            place = "(e => e && [e.getBoundingClientRect().y + scrollY, e.offsetHeight])"
            found = self.evaluate(f"{place}(document.querySelector({json.dumps(part)}))")
            if not found:
                raise VlpError(f"{out.name}: the page has no {part}")
            y, height = found
            clip = {"x": 0, "y": y, "width": self.evaluate("innerWidth"), "height": height, "scale": 1}
            more = {"clip": clip, "captureBeyondViewport": True}
        data = self._send("Page.captureScreenshot", format="png", **more)["data"]
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(base64.b64decode(data))
        shrink(out)

    # -- the protocol -----------------------------------------------------------------------------------------
    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    def _send(self, method: str, **params: Any) -> dict[str, Any]:
        return self._do(self._call(method, **params))

    async def _connect(self) -> None:
        import aiohttp

        port_file, end = Path(self._profile) / "DevToolsActivePort", time.monotonic() + SECONDS
        while not (port_file.exists() and port_file.read_text().count("\n")):
            if self._process.poll() is not None or time.monotonic() > end:
                raise VlpError(f"{self.command} did not start")
            await asyncio.sleep(0.1)
        address = f"http://127.0.0.1:{port_file.read_text().splitlines()[0]}/json/list"
        self._session = aiohttp.ClientSession()
        async with self._session.get(address) as answer:
            page = next(target for target in await answer.json() if target["type"] == "page")
        self._socket = await self._session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0)
        self._number, self._asked, self._changed = 0, set[str](), time.monotonic()
        for domain in ("Page", "Runtime", "Network", "Log"):
            await self._call(f"{domain}.enable")

    async def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        number = self._number
        await self._socket.send_json({"id": number, "method": method, "params": params})
        while True:
            message = await self._socket.receive_json(timeout=SECONDS)
            if message.get("id") == number:
                if "error" in message:
                    raise VlpError(f"{method}: {message['error']['message']}")
                return message["result"]
            self._hear(message)

    async def _rest(self) -> None:
        end = time.monotonic() + SECONDS
        self._changed = time.monotonic()
        while time.monotonic() < end:
            with contextlib.suppress(asyncio.TimeoutError):
                self._hear(await self._socket.receive_json(timeout=0.2))
            # Some pages keep a request open for good: so a long silence is rest too.
            if time.monotonic() - self._changed < _QUIET_SECONDS * (5 if self._asked else 1):
                continue
            ready = await self._call("Runtime.evaluate", expression="document.readyState")
            if ready["result"].get("value") == "complete":
                return
        raise VlpError(f"the page is not at rest after {SECONDS} s: {sorted(self._asked)[:3]}")

    def _hear(self, message: dict[str, Any]) -> None:
        kind, said = message.get("method", ""), message.get("params", {})
        if kind == "Network.requestWillBeSent":
            self._asked.add(said["requestId"])
            self._changed = time.monotonic()
        elif kind in ("Network.loadingFinished", "Network.loadingFailed"):
            self._asked.discard(said["requestId"])
            self._changed = time.monotonic()
        elif kind == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert"):
            self.complaints.append(" ".join(str(a.get("value", a.get("description"))) for a in said["args"]))
        elif kind == "Runtime.exceptionThrown":
            self.complaints.append(said["exceptionDetails"]["text"])
        elif kind == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{said['entry']['text']} {said['entry'].get('url', '')}")


def shrink(path: Path) -> None:
    """Fewer colours, until the picture is small enough for a repository.

    Raises:
        VlpError: it stays too large.
    """
    from vlp.images.decode import open_rgb

    whole = open_rgb(path)
    for colours in (256, 128, 64, 32):
        whole.quantize(colours).save(path, optimize=True)
        if path.stat().st_size <= MOST_BYTES:
            return
    raise VlpError(f"{path}: {path.stat().st_size:,} bytes, more than {MOST_BYTES:,}: take a smaller part of the page")
