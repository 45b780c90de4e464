"""When which address may be asked for: few requests to a host at once, a pause between them, longer where it asks."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from vlp.data.fetch.client import AGAIN, DOWN, Answer

GIVE_UP = 8
"""So many failures to reach a host, one after the other, and it is left alone until the next call."""
LONGEST_WAIT = 300.0
"""Seconds: a host that asks for more is left alone until the next call."""


@dataclass(frozen=True)
class Manners:
    per_host: int = 4
    """Requests under way to one host."""
    delay: float = 0.1
    """Seconds between the starts of two requests to one host."""
    tries: int = 3
    back_off: float = 1.0
    """Seconds before the second try; each further try waits twice as long."""


@dataclass(frozen=True)
class Turn:
    address: str
    tries: int
    """Those before this one."""


@dataclass
class _Host:
    waiting: list[tuple[float, int, Turn]] = field(default_factory=list)
    """Heap: not before, order, turn."""
    active: int = 0
    ready: float = 0.0
    failures: int = 0
    left_alone: bool = False


class Hosts:
    """Times are seconds of any clock that does not run backwards."""

    def __init__(self, manners: Manners) -> None:
        self._manners = manners
        self._hosts: dict[str, _Host] = {}
        self._order = itertools.count()
        self.active = self.waiting = 0
        self.deferred = 0
        """Addresses of hosts that are left alone, not asked for."""

    def add(self, addresses: Iterable[str]) -> None:
        for address in addresses:
            self._push(self._of(address), Turn(address, 0), 0.0)

    def next(self, now: float) -> Turn | None:
        """An address that may be asked for now, and is taken for asked; None: none."""
        for host in self._hosts.values():
            if host.waiting and self._time(host) <= now:
                host.active += 1
                self.active += 1
                self.waiting -= 1
                host.ready = now + self._manners.delay
                return heapq.heappop(host.waiting)[2]
        return None

    def wait(self, now: float) -> float | None:
        """Seconds until one may be asked for, if nothing under way ends before; None: unknown."""
        times = [self._time(h) for h in self._hosts.values() if h.waiting and h.active < self._manners.per_host]
        return max(0.0, min(times) - now) if times else None

    def done(self, turn: Turn, answer: Answer, now: float) -> bool:
        """Take note of an answer; True: it is the last word in this call, False: the address will be tried again."""
        host = self._of(turn.address)
        host.active -= 1
        self.active -= 1
        host.failures = host.failures + 1 if answer.status in DOWN else 0
        if answer.wait is not None:
            host.ready = max(host.ready, now + answer.wait)
        if host.failures >= GIVE_UP or (answer.wait or 0.0) > LONGEST_WAIT:
            host.left_alone = True
            self.waiting -= len(host.waiting)
            self.deferred += len(host.waiting)
            host.waiting.clear()
        tries = turn.tries + 1
        if answer.status not in AGAIN or tries >= self._manners.tries or host.left_alone:
            if not host.active and not host.waiting and not host.failures and host.ready <= now:
                del self._hosts[_name(turn.address)]
            return True
        self._push(host, Turn(turn.address, tries), now + self._manners.back_off * 2 ** (tries - 1))
        return False

    def _time(self, host: _Host) -> float:
        free = host.active < self._manners.per_host
        return max(host.ready, host.waiting[0][0]) if free else float("inf")

    def _push(self, host: _Host, turn: Turn, not_before: float) -> None:
        if host.left_alone:
            self.deferred += 1
            return
        heapq.heappush(host.waiting, (not_before, next(self._order), turn))
        self.waiting += 1

    def _of(self, address: str) -> _Host:
        return self._hosts.setdefault(_name(address), _Host())


def _name(address: str) -> str:
    try:
        return urlsplit(address).netloc.rpartition("@")[2].lower()
    except ValueError:
        return ""  # the client says what is wrong with it
