"""`vlp tracking ui`: on a port that another program has it says so and ends."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from vlp.cli import tracking
from vlp.tracking import mirror, store


@pytest.fixture(params=["127.0.0.1", "0.0.0.0", "::"])
def used(request: pytest.FixtureRequest) -> Iterator[int]:
    family = socket.AF_INET6 if request.param == "::" else socket.AF_INET
    try:
        server = socket.socket(family)
        server.bind((request.param, 0))
    except OSError:
        pytest.skip("no such addresses here")
    server.listen()
    yield int(server.getsockname()[1])
    server.close()


@pytest.fixture
def ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """An experiment with journals, and what would be run in the place of this process."""
    ran: list[Any] = []
    (tmp_path / "e" / "journals").mkdir(parents=True)

    class Here:
        folder = tmp_path / "e"

    monkeypatch.setattr(tracking, "_experiments", lambda *_: [Here()])
    monkeypatch.setattr(store, "store_uri", lambda _: "sqlite:///x.db")
    monkeypatch.setattr(store, "top", lambda _: tmp_path)
    monkeypatch.setattr(mirror, "sync", lambda _: 1)
    monkeypatch.setattr(mirror, "table_address", lambda _, uri: uri)
    monkeypatch.setattr(os, "execve", lambda *given: ran.append(given[1]))
    return ran


def run(port: int) -> Any:
    return CliRunner().invoke(tracking.app, ["ui", "--config", "e.yaml", "--port", str(port)])


def test_a_port_in_use_is_named_and_no_address_is_told(ready: list[Any], used: int) -> None:
    done = run(used)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"vlp: port {used}: another program listens there")
    assert "--port N" in done.stderr and "make ui PORT=N" in done.stderr
    assert "http" not in done.output and not ready


def test_a_free_port_is_served(ready: list[Any]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    done = run(port)
    assert done.exit_code == 0, done.exception
    assert f"http://127.0.0.1:{port}" in done.output
    (command,) = ready
    assert command[command.index("--port") + 1] == str(port)
