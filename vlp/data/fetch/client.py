"""One request: the body of an address, or why there is none. It ends in time and in bounds whatever the server does."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum

import aiohttp

REDIRECTS = 5
_CHUNK = 1 << 16
_BUSY = (408, 425, 429, 500, 502, 503, 504)
_NO_AI = {"noai", "noimageai", "noindex", "noimageindex"}


class Status(StrEnum):
    """What became of an address."""

    PENDING = "pending"
    OK = "ok"
    PLACEHOLDER = "placeholder"
    """The same bytes come from many addresses: a picture that says there is none."""
    GONE = "gone"
    """The server says that there is nothing, or not for us (most of 4xx)."""
    REFUSED = "refused"
    """The site asks not to be used so (X-Robots-Tag)."""
    NOT_AN_IMAGE = "not an image"
    """It does not decode: a page, a damaged or cut file."""
    TOO_SMALL = "too small"
    TOO_LARGE = "too large"
    REDIRECTS = "redirects"
    INVALID = "invalid"
    """No address that can be asked for."""
    BUSY = "busy"
    """The server says to come again, or fails (5xx)."""
    UNREACHABLE = "unreachable"
    """No such host, refused, reset."""
    TIMEOUT = "timeout"
    TRUNCATED = "truncated"
    """Fewer bytes than were promised."""


AGAIN = frozenset({Status.BUSY, Status.UNREACHABLE, Status.TIMEOUT, Status.TRUNCATED})
"""May pass: tried again, and by the next call too."""
DOWN = frozenset({Status.UNREACHABLE, Status.TIMEOUT})
"""Speak against the host, not the address."""


@dataclass(frozen=True)
class Limits:
    seconds: float = 30.0
    """For a whole request, redirects and the last byte included."""
    connect_seconds: float = 10.0
    bytes: int = 20_000_000


@dataclass(frozen=True)
class Answer:
    status: Status
    detail: str = ""
    http: int | None = None
    body: bytes = b""
    wait: float | None = None
    """Seconds that the server asks us to wait (Retry-After)."""


def session(limits: Limits, agent: str, parallel: int) -> aiohttp.ClientSession:
    """Names are looked up once in five minutes; compressed answers are not asked for, as images are compressed."""
    connector = aiohttp.TCPConnector(limit=parallel, ttl_dns_cache=300)
    timeout = aiohttp.ClientTimeout(total=limits.seconds, sock_connect=limits.connect_seconds)
    headers = {"User-Agent": agent, "Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"}
    return aiohttp.ClientSession(
        connector=connector, timeout=timeout, headers=headers, cookie_jar=aiohttp.DummyCookieJar()
    )


async def get(session: aiohttp.ClientSession, address: str, limits: Limits, now: float) -> Answer:
    """
    Args:
        now: time of day, seconds, which a date in Retry-After is compared with.
    """
    try:
        # The session's own limit counts per step of a redirect chain; this one does not.
        async with asyncio.timeout(limits.seconds), session.get(address, max_redirects=REDIRECTS) as response:
            return await _read(response, limits, now)
    except TimeoutError:
        return Answer(Status.TIMEOUT, f"longer than {limits.seconds:g} s")
    except aiohttp.TooManyRedirects:
        return Answer(Status.REDIRECTS, f"more than {REDIRECTS} redirects")
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
        return Answer(Status.INVALID, _said(error))
    except aiohttp.ClientPayloadError as error:
        return Answer(Status.TRUNCATED, _said(error))
    except (aiohttp.ClientError, OSError) as error:
        return Answer(Status.UNREACHABLE, _said(error))
    except (ValueError, UnicodeError) as error:  # a host name that cannot be encoded
        return Answer(Status.INVALID, _said(error))


async def _read(response: aiohttp.ClientResponse, limits: Limits, now: float) -> Answer:
    http = response.status
    if http in _BUSY:
        return Answer(Status.BUSY, f"HTTP {http}", http, wait=retry_after(response.headers.get("Retry-After"), now))
    if http != 200:
        return Answer(Status.GONE, f"HTTP {http}", http)
    if _NO_AI & {word.strip().lower() for word in response.headers.get("X-Robots-Tag", "").split(",")}:
        return Answer(Status.REFUSED, "X-Robots-Tag", http)
    if (response.content_length or 0) > limits.bytes:
        return Answer(Status.TOO_LARGE, f"{response.content_length:,} bytes", http)
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        body += chunk
        if len(body) > limits.bytes:
            return Answer(Status.TOO_LARGE, f"more than {limits.bytes:,} bytes", http)
    return Answer(Status.OK, response.headers.get("Content-Type", ""), http, bytes(body))


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds to wait, of the header's two forms, a number and a date; None: absent or neither."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except ValueError:
        return None


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200]
