"""A web server on loopback that answers each path in its own bad way; what it was asked is written down."""

from __future__ import annotations

import asyncio
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socket import SO_LINGER, SOL_SOCKET

from tests.data.photos import copy, photo


def jpeg(seed: int, size: tuple[int, int] = (64, 48)) -> bytes:
    import io

    out = io.BytesIO()
    copy(photo(seed, size)).save(out, "JPEG")
    return out.getvalue()


PAGE = b"<html><body>This photo is no longer available.</body></html>"


class Server:
    """Paths: `/ok/7.jpg` a picture of its own, `/same/7.jpg` always the same, `/STATUS/...`, and the words below."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.times: list[tuple[float, str]] = []
        self.agents: set[str] = set()
        self.most = self._now = 0
        """Requests at once, at most."""
        self.port = 0

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/{path}"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split()[1].lstrip("/")
            self.asked[path] += 1
            self.times.append((time.monotonic(), path))
            self.agents |= {line[12:] for line in head.split("\r\n") if line.startswith("User-Agent: ")}
            self._now += 1
            self.most = max(self.most, self._now)
            try:
                await self._answer(path, writer)
            finally:
                self._now -= 1
        with suppress(ConnectionError):
            writer.close()

    async def _answer(self, path: str, writer: asyncio.StreamWriter) -> None:
        kind, _, rest = path.partition("/")
        number = int(rest.split(".")[0]) if rest.split(".")[0].isdecimal() else 0
        send = _Sender(writer)
        if kind == "ok":
            await asyncio.sleep(0.01)
            await send.whole(jpeg(number))
        elif kind == "same":
            await send.whole(jpeg(999))
        elif kind.isdecimal():
            await send.whole(PAGE, int(kind))
        elif kind == "later":  # 429 once, then the picture
            first = self.asked[path] == 1
            await (send.whole(b"", 429, "Retry-After: 1\r\n") if first else send.whole(jpeg(number)))
        elif kind == "flaky":  # two failures, then the picture
            await (send.whole(b"", 503) if self.asked[path] < 3 else send.whole(jpeg(number)))
        elif kind == "long":
            await send.whole(b"", 503, "Retry-After: 86400\r\n")
        elif kind == "html":
            await send.whole(PAGE, kind="image/jpeg")
        elif kind == "octets":
            await send.whole(jpeg(number), kind="text/plain")
        elif kind == "loop":
            await send.whole(b"", 302, f"Location: /loop/{number + 1}.jpg\r\n")
        elif kind == "moved":
            await send.whole(b"", 301, f"Location: /ok/{number}.jpg\r\n")
        elif kind == "elsewhere":
            await send.whole(b"", 302, "Location: file:///etc/hostname\r\n")
        elif kind == "robots":
            await send.whole(jpeg(number), extra="X-Robots-Tag: noai\r\n")
        elif kind == "short":  # fewer bytes than promised
            body = jpeg(number)
            await send.head(200, len(body))
            await send.raw(body[: len(body) // 2])
        elif kind == "cut":  # no length, half a picture
            await send.head(200, None)
            await send.raw(jpeg(number)[:-300])
        elif kind == "pixel":
            await send.whole(jpeg(number, (1, 1)))
        elif kind == "huge":
            await send.head(200, 10**12)
            await send.raw(b"\xff\xd8" * 1000)
        elif kind == "endless":
            await send.head(200, None)
            while True:
                await send.raw(b"\xff" * 65536)
        elif kind == "drip":
            await send.head(200, 10**5)
            while True:
                await send.raw(b"\xff")
                await asyncio.sleep(0.05)
        elif kind == "headers":  # the head never ends
            await send.raw(b"HTTP/1.1 200 OK\r\n")
            for i in range(10**6):
                await send.raw(f"X-{i}: 1\r\n".encode())
                await asyncio.sleep(0.05)
        elif kind == "hang":
            await asyncio.sleep(60)
        elif kind == "reset":
            writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        elif kind == "garbage":
            await send.raw(b"\x00\x01 no HTTP at all \r\n\r\n")
        else:
            await send.whole(PAGE, 404)


class _Sender:
    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def raw(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def head(self, status: int, length: int | None, kind: str = "image/jpeg", extra: str = "") -> None:
        size = "" if length is None else f"Content-Length: {length}\r\n"
        text = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n{size}{extra}Connection: close\r\n\r\n"
        await self.raw(text.encode())

    async def whole(self, body: bytes, status: int = 200, extra: str = "", kind: str = "image/jpeg") -> None:
        await self.head(status, len(body), kind, extra)
        await self.raw(body)


@contextmanager
def serving() -> Iterator[Server]:
    made, ready = Server(), threading.Event()
    loop = asyncio.new_event_loop()

    def work() -> None:
        asyncio.set_event_loop(loop)
        server = loop.run_until_complete(asyncio.start_server(made.answer, "127.0.0.1", 0))
        made.port = server.sockets[0].getsockname()[1]
        ready.set()
        loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    ready.wait()
    try:
        yield made
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
