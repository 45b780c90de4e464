"""Fetching from a server on loopback that fails in every way."""

from __future__ import annotations

import io
import itertools
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.data.fetch.server import Server, jpeg, serving
from vlp.archives import members
from vlp.data.addresses import file_name
from vlp.data.fetch.client import Limits, Status
from vlp.data.fetch.hosts import GIVE_UP, Manners
from vlp.data.fetch.run import Result, Settings, fetch
from vlp.errors import InputError

QUICK = Settings("vlp-test/1 (tests)", parallel=16, shard_images=4, limits=Limits(1.0, 0.5, 300_000))
POLITE = Manners(per_host=8, delay=0.0, tries=3, back_off=0.05)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


def go(addresses: list[str], out: Path, manners: Manners = POLITE, **settings: object) -> Result:
    from dataclasses import replace

    return fetch(addresses, out, replace(QUICK, manners=manners, **settings))  # type: ignore[arg-type]


def statuses(out: Path) -> dict[str, dict]:
    return {row["address"]: row for row in pq.read_table(out / "status.parquet").to_pylist()}


def images(out: Path) -> dict[str, bytes]:
    found = {}
    for path in sorted(out.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                assert member.name not in found
                file = tar.extractfile(member)
                assert file is not None
                found[member.name] = file.read()
    return found


FAILURES = {
    "404/a.jpg": Status.GONE,
    "403/a.jpg": Status.GONE,
    "500/a.jpg": Status.BUSY,
    "503/a.jpg": Status.BUSY,
    "429/a.jpg": Status.BUSY,
    "html/1.jpg": Status.NOT_AN_IMAGE,
    "loop/1.jpg": Status.REDIRECTS,
    "elsewhere/1.jpg": Status.INVALID,
    "robots/1.jpg": Status.REFUSED,
    "short/1.jpg": Status.TRUNCATED,
    "cut/1.jpg": Status.NOT_AN_IMAGE,
    "pixel/1.jpg": Status.TOO_SMALL,
    "huge/1.jpg": Status.TOO_LARGE,
    "endless/1.jpg": Status.TOO_LARGE,
    "drip/1.jpg": Status.TIMEOUT,
    "headers/1.jpg": Status.TIMEOUT,
    "hang/1.jpg": Status.TIMEOUT,
    "reset/1.jpg": Status.UNREACHABLE,
    "garbage/1.jpg": Status.UNREACHABLE,
}
GOOD = ("ok/1.jpg", "ok/2.jpg", "octets/3.jpg", "moved/4.jpg", "flaky/5.jpg", "later/6.jpg")


def test_every_failure_ends_in_time_and_has_its_name(server: Server, tmp_path: Path) -> None:
    free = socket.socket()
    free.bind(("127.0.0.1", 0))
    refused = f"http://127.0.0.1:{free.getsockname()[1]}/x.jpg"  # bound, not listening
    wanted = {server.url(path): status for path, status in FAILURES.items()}
    wanted |= {refused: Status.UNREACHABLE, "http://no-such-host.invalid/x.jpg": Status.UNREACHABLE}
    wanted |= {"http://[bad/x.jpg": Status.INVALID, **{server.url(path): Status.OK for path in GOOD}}
    start = time.monotonic()
    result = go(list(wanted), tmp_path, Manners(per_host=40, delay=0.0, tries=3, back_off=0.05), parallel=40)
    assert time.monotonic() - start < 30
    found = statuses(tmp_path)
    assert {a: row["status"] for a, row in found.items()} == {a: str(s) for a, s in wanted.items()}
    assert result.counts["ok"] == len(GOOD) and result.asked == len(wanted)
    assert set(images(tmp_path)) == {file_name(server.url(path)) for path in GOOD}
    # what cannot pass is asked for once, the rest three times
    once = {"404/a.jpg", "html/1.jpg", "huge/1.jpg", "cut/1.jpg", "ok/1.jpg"}
    assert {path: server.asked[path] for path in once} == dict.fromkeys(once, 1)
    assert server.asked["500/a.jpg"] == server.asked["hang/1.jpg"] == server.asked["flaky/5.jpg"] == 3
    assert found[server.url("flaky/5.jpg")]["tries"] == 3
    assert server.agents == {"vlp-test/1 (tests)"}


def test_what_came_is_what_was_sent_and_readable_as_an_archive(server: Server, tmp_path: Path) -> None:
    addresses = [server.url(f"ok/{i}.jpg") for i in range(10)]
    go(addresses, tmp_path)
    found = images(tmp_path)
    assert [found[file_name(a)] for a in addresses] == [jpeg(i) for i in range(10)]
    assert [len(members(path)) for path in sorted(tmp_path.glob("*.tar"))] == [4, 4, 2]
    row = statuses(tmp_path)[addresses[3]]
    assert (row["width"], row["height"], row["bytes"]) == (64, 48, len(jpeg(3)))
    assert not list(tmp_path.glob("*.part"))


def test_large_images_are_made_smaller(server: Server, tmp_path: Path) -> None:
    address = server.url("ok/1.jpg")
    go([address], tmp_path, side=40)
    with Image.open(io.BytesIO(images(tmp_path)[file_name(address)])) as image:
        assert (image.size, image.format) == ((40, 30), "JPEG")


def test_place_holders_are_found_by_their_digest_and_taken_out(server: Server, tmp_path: Path) -> None:
    addresses = [server.url(f"{kind}/{i}.jpg") for i in range(9) for kind in ("same", "ok")]
    result = go(addresses, tmp_path, repeats=3)
    assert (result.counts["placeholder"], result.counts["ok"]) == (9, 9)
    assert set(images(tmp_path)) == {file_name(a) for a in addresses if "/ok/" in a}
    # a tenth that comes later is known as one
    result = go([*addresses, server.url("same/77.jpg")], tmp_path, repeats=3)
    assert result.counts["placeholder"] == 10 and len(images(tmp_path)) == 9


def test_a_second_call_asks_only_for_what_may_pass(server: Server, tmp_path: Path) -> None:
    addresses = [server.url(p) for p in ("ok/1.jpg", "404/1.jpg", "500/1.jpg", "html/1.jpg")]
    go(addresses, tmp_path)
    before = dict(server.asked)
    result = go(addresses, tmp_path)
    again = {path: count - before[path] for path, count in server.asked.items()}
    assert again == {"ok/1.jpg": 0, "404/1.jpg": 0, "html/1.jpg": 0, "500/1.jpg": 3}
    assert result.asked == 1 and statuses(tmp_path)[addresses[2]]["tries"] == 6


def test_manners(server: Server, tmp_path: Path) -> None:
    """Requests at once and their distance stay in bounds; `Retry-After` holds for all of the host."""
    addresses = [server.url("later/0.jpg"), *(server.url(f"ok/{i}.jpg") for i in range(8))]
    go(addresses, tmp_path, Manners(per_host=2, delay=0.05, tries=3))
    assert server.most <= 2
    times = [t for t, _ in sorted(server.times)]
    assert min(b - a for a, b in itertools.pairwise(times)) > 0.02
    first = next(t for t, path in server.times if path == "later/0.jpg")
    assert not [path for t, path in server.times if first + 0.2 < t < first + 0.9]


def test_a_host_that_does_not_answer_or_says_much_later_is_left_alone(server: Server, tmp_path: Path) -> None:
    free = socket.socket()
    free.bind(("127.0.0.1", 0))
    dead = [f"http://127.0.0.1:{free.getsockname()[1]}/{i}.jpg" for i in range(100)]
    late = [server.url(f"long/{i}.jpg") for i in range(50)]
    other = server.url("ok/1.jpg", "localhost")
    result = go([*dead, *late, other], tmp_path, Manners(per_host=1, delay=0.0, tries=2, back_off=0.01))
    assert result.deferred >= 150 - GIVE_UP - 1 and result.counts["ok"] == 1
    assert result.counts["pending"] == result.deferred
    assert sum(count for path, count in server.asked.items() if path.startswith("long")) == 1


@pytest.mark.slow
def test_killed_in_the_middle_and_continued_nothing_is_lost_or_double(server: Server, tmp_path: Path) -> None:
    """SIGKILL at three points; the rest is asked for by the last call, and every image is there once."""
    addresses = [server.url(f"ok/{i}.jpg") for i in range(300)]
    (tmp_path / "list.txt").write_text("\n".join(addresses) + "\n")
    out = tmp_path / "out"
    call = [sys.executable, "-c", "from vlp.cli import main; main()", "data", "fetch", "list", "--delay", "0.004"]
    call += ["--list", str(tmp_path / "list.txt"), "--out", str(out), "--per-host", "3"]
    for more in (30, 60, 90):
        before = sum(server.asked.values())
        process = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while sum(server.asked.values()) < before + more and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert "300  100.0%" in done.stdout, done.stdout
    found = images(out)
    assert len(found) == 300 and all(found[file_name(a)] == jpeg(i) for i, a in enumerate(addresses[:20]))


def test_a_cut_or_lost_archive_is_fetched_again(server: Server, tmp_path: Path) -> None:
    addresses = [server.url(f"ok/{i}.jpg") for i in range(12)]
    go(addresses, tmp_path, shard_images=3)
    first, second = sorted(tmp_path.glob("*.tar"))[:2]
    lost = len(members(first)) + len(members(second))
    first.unlink()
    second.write_bytes(second.read_bytes()[:2000])
    result = go(addresses, tmp_path, shard_images=3)
    assert result.recovered == lost == result.asked and len(images(tmp_path)) == 12


def test_two_processes_and_a_damaged_status_file_are_refused(server: Server, tmp_path: Path) -> None:
    import fcntl

    go([server.url("ok/1.jpg")], tmp_path)
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process"):
            go([server.url("ok/1.jpg")], tmp_path)
    (tmp_path / "status.sqlite").write_bytes(b"SQLite format 3\0" + b"\x55" * 5000)
    with pytest.raises(InputError, match=r"status\.sqlite: is damaged"):
        go([server.url("ok/1.jpg")], tmp_path)
