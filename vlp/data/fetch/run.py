"""The whole of it: ask, check, keep, remember. One event loop asks, threads decode, the loop's thread writes."""

from __future__ import annotations

import asyncio
import fcntl
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from vlp.data.addresses import file_name
from vlp.data.fetch.client import Answer, Limits, Status, get, session
from vlp.data.fetch.hosts import Hosts, Manners, Turn
from vlp.data.fetch.picture import Picture, check
from vlp.data.fetch.shards import IMAGES, Shards
from vlp.data.fetch.status import FILE, StatusFile
from vlp.errors import InputError

WINDOW = 20_000
"""Addresses in memory at once."""
_FLUSH_SECONDS = 5.0


@dataclass(frozen=True)
class Settings:
    agent: str
    parallel: int = 64
    side: int = 1024
    """Pixels of the longer side, at most."""
    repeats: int = 5
    """The same bytes from so many addresses are a place-holder."""
    shard_images: int = IMAGES
    threads: int = 2
    limits: Limits = field(default_factory=Limits)
    manners: Manners = field(default_factory=Manners)


@dataclass
class Result:
    counts: dict[str, int]
    """Status -> addresses, of the whole list."""
    asked: int
    """Addresses that got their last word in this call."""
    deferred: int
    """Not asked for: their hosts did not answer, or want to be left alone for long."""
    recovered: int
    """Asked for again because their archive was damaged or gone."""
    seconds: float


def fetch(
    addresses: Sequence[str],
    out: Path,
    settings: Settings,
    limit: int | None = None,
    progress: Callable[[int, int, Status], None] = lambda done, of, status: None,
) -> Result:
    """Fetch what has no last word yet; killed at any time, another call goes on.

    Writes into `out`: `NNNNN.tar` with images named by `file_name(address)`, `status.sqlite`, `status.parquet`.

    Args:
        limit: only the first so many addresses of the list.

    Raises:
        InputError: another process fetches into `out`, the disk is full, or the status file is damaged.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(out, "another process is fetching into this folder.", "Wait for it to end.") from error
        status = StatusFile(out / FILE)
        try:
            status.add(addresses)
            shards = Shards(out, status, settings.shard_images)
            start = time.monotonic()
            work = _Work(status, shards, settings, progress)
            try:
                asyncio.run(work.run(status.open_places(limit)))
            finally:
                shards.flush()
            shards.close()
            _sweep(status, shards, settings.repeats)
            status.export(out / "status.parquet")
            seconds = time.monotonic() - start
            return Result(status.counts(), work.finished, work.hosts.deferred, shards.asked_again, seconds)
        finally:
            status.close()


def _sweep(status: StatusFile, shards: Shards, repeats: int) -> None:
    """Take place-holders out of the archives: only the first few of each are in."""
    status.mark_placeholders(repeats)
    status.commit()
    for shard, addresses in status.to_remove().items():
        shards.remove(shard, [file_name(a) for a in addresses])
        status.removed(addresses)
        status.commit()


class _Work:
    def __init__(
        self,
        status: StatusFile,
        shards: Shards,
        settings: Settings,
        progress: Callable[[int, int, Status], None],
    ) -> None:
        self._status, self._shards, self._settings, self._progress = status, shards, settings, progress
        self.hosts = Hosts(settings.manners)
        self.finished = 0
        self._total = 0
        self._flushed = time.monotonic()

    async def run(self, places: list[int]) -> None:
        s = self._settings
        self._total = len(places)
        tasks: set[asyncio.Task[None]] = set()
        try:
            async with session(s.limits, s.agent, s.parallel) as self._session:
                with ThreadPoolExecutor(s.threads) as self._pool:
                    while True:
                        if places and self.hosts.waiting < WINDOW // 2:
                            self.hosts.add(self._status.addresses(places[:WINDOW]))
                            del places[:WINDOW]
                        while len(tasks) < s.parallel and (turn := self.hosts.next(time.monotonic())):
                            tasks.add(asyncio.create_task(self._one(turn)))
                        if not tasks and not self.hosts.waiting and not places:
                            return
                        await self._some(tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _some(self, tasks: set[asyncio.Task[None]]) -> None:
        """Until a task ends or a host is ready; errors of a task are raised here."""
        wait = self.hosts.wait(time.monotonic()) if len(tasks) < self._settings.parallel else None
        wait = _FLUSH_SECONDS if wait is None else min(wait + 0.001, _FLUSH_SECONDS)
        if not tasks:
            await asyncio.sleep(wait)
        else:
            done, _ = await asyncio.wait(tasks, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            tasks -= done
            for task in done:
                task.result()
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self._shards.flush()
            self._flushed = time.monotonic()

    async def _one(self, turn: Turn) -> None:
        answer = await get(self._session, turn.address, self._settings.limits, time.time())
        picture = None
        if answer.status is Status.OK:
            loop = asyncio.get_running_loop()
            picture = await loop.run_in_executor(self._pool, check, answer.body, self._settings.side)
        if self.hosts.done(turn, answer, time.monotonic()):
            self._keep(turn, answer, picture)

    def _keep(self, turn: Turn, answer: Answer, picture: Picture | None) -> None:
        """Image and status; both are on the disk after the next flush."""
        tries = turn.tries + 1
        if picture is None:
            self._status.failed(turn.address, answer, tries)
        else:
            shard = None
            # the first few copies of a place-holder are in before it is known as one; `_sweep` takes them out
            if picture.status is Status.OK and self._status.same(picture.sha256) < self._settings.repeats:
                shard = self._shards.append(file_name(turn.address), picture.data)
            self._status.came(turn.address, answer, tries, picture, shard)
        if self._shards.full:
            self._shards.flush()
        self.finished += 1
        self._progress(self.finished, self._total, answer.status if picture is None else picture.status)
