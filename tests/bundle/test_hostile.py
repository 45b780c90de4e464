"""A bundle by somebody else writes nothing outside a temporary folder, opens nothing but itself, and ends soon."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from vlp.bundle import contents, verify
from vlp.config import Experiment
from vlp.data.tables import rows
from vlp.errors import InputError, printable
from vlp.report.gallery import Images

Change = Callable[[dict[str, Any], dict[str, bytes]], None]
"""Of the manifest and the files."""


def made(bundle: Path, out: Path, change: Change, more: list[tarfile.TarInfo] | None = None) -> Path:
    """The bundle after a change, with every digest put right again, and further members without contents."""
    with tarfile.open(bundle) as tar:
        files = {m.name: tar.extractfile(m).read() for m in tar if m.isreg()}  # type: ignore[union-attr]
    value = json.loads(files.pop(contents.MANIFEST))
    files.pop(contents.DIGEST)
    change(value, files)
    for name, data in files.items():
        if name in value["packed"]:
            value["packed"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    first = json.dumps(value).encode()
    files = {contents.MANIFEST: first, **files}
    files[contents.DIGEST] = f"{hashlib.sha256(first).hexdigest()}  {contents.MANIFEST}\n".encode()
    with tarfile.open(out, "w") as tar:
        for name, data in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
            for member in (more or []) if name == contents.MANIFEST else []:
                tar.addfile(member)
    return out


def config(**over: Any) -> Change:
    def change(value: dict[str, Any], files: dict[str, bytes]) -> None:
        files["experiment.yaml"] = yaml.safe_dump({**yaml.safe_load(files["experiment.yaml"]), **over}).encode()

    return change


def manifest(**over: Any) -> Change:
    return lambda value, files: value.update(over)


def member(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.type, header.linkname = kind, target
    return header


@pytest.mark.parametrize("name", ["/tmp/planted", "../planted", "..", ".", "a/b", "a\\b", "", "x\n", "x;touch y"])
def test_the_name_of_the_experiment_is_one_of_a_folder(bundle: Path, tmp_path: Path, name: str) -> None:
    out = made(bundle, tmp_path / "b.tar", manifest(experiment=name))
    before = set(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="is no name of an experiment"):
        verify.verify(out)
    assert set(tmp_path.rglob("*")) == before and not Path("/tmp/planted").exists()


@pytest.mark.parametrize(
    "name", ["../planted", "/planted", "a/../../planted", "tables//x", "a\\x", "c:x", "tables/\x1b[2J"]
)
def test_files_stand_inside(bundle: Path, tmp_path: Path, name: str) -> None:
    def change(value: dict[str, Any], files: dict[str, bytes]) -> None:
        files[name], value["packed"][name] = b"x", {"sha256": "", "size": 1}

    with pytest.raises(InputError, match="is no file of a bundle"):
        verify.verify(made(bundle, tmp_path / "b.tar", change))
    assert not (tmp_path.parent / "planted").exists() and not Path("/planted").exists()


@pytest.mark.parametrize(
    "header",
    [
        member("tables/link", tarfile.SYMTYPE, "/etc/passwd"),
        member("tables/hard", tarfile.LNKTYPE, "/etc/passwd"),
        member("tables/pipe", tarfile.FIFOTYPE),
        member("tables/device", tarfile.CHRTYPE),
        member("../outside", tarfile.REGTYPE),
        member("/etc/outside", tarfile.REGTYPE),
        member("tables/foreign", tarfile.REGTYPE),
    ],
    ids=lambda header: header.name,
)
def test_links_devices_and_foreign_files_are_told_and_not_unpacked(
    bundle: Path, tmp_path: Path, header: tarfile.TarInfo
) -> None:
    out = made(bundle, tmp_path / "b.tar", lambda value, files: None, [header])
    _, wrong = verify.intact(out, tmp_path / "open")
    assert [line.partition(": ")[0] for line in wrong] == [header.name]
    assert not os.path.lexists(tmp_path / "open" / header.name) and not (tmp_path / "outside").exists()


def test_a_file_larger_than_the_manifest_says_is_not_hashed(bundle: Path, tmp_path: Path) -> None:
    """A sparse member of a terabyte, by both of tar's ways to write one."""
    name = "predictions/vqa.full.test.parquet"
    known, _ = verify.unpack(bundle, tmp_path / "known")
    old = member(name, tarfile.GNUTYPE_SPARSE)
    new = member(name, tarfile.REGTYPE)
    new.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 40)}
    for number, header in enumerate((old, new)):
        out = tmp_path / f"{number}.tar"
        value = known.json()
        first = json.dumps(value, default=vars).encode()
        with tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as tar:
            head = tarfile.TarInfo(contents.MANIFEST)
            head.size = len(first)
            tar.addfile(head, io.BytesIO(first))
            tar.addfile(header, io.BytesIO(b"0\n"))
        _, wrong = verify.intact(out, tmp_path / f"open{number}")
        assert any(line.startswith(f"{name}: ") for line in wrong)
        assert not (tmp_path / f"open{number}" / name).exists()


@pytest.mark.parametrize("target", ["/dev/zero", "/etc/passwd", "other.yaml"])
def test_a_config_that_extends_others_is_refused_unread(bundle: Path, tmp_path: Path, target: str) -> None:
    found = verify.verify(made(bundle, tmp_path / "b.tar", config(extends=target)))
    (line,) = found.wrong["experiment.yaml"]
    assert "extends other files" in line and not found.fits


def test_nothing_outside_is_opened(bundle: Path, finished: Experiment) -> None:
    """Not the pictures of the report either, which the tables name by absolute paths, and which are there."""
    tables = finished.folder / "tables"
    row, opened = next(rows(tables, "images")), list[str]()
    raw = str(Path(row["path"]).parent)

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and str(arguments[0]).startswith(raw):
            opened.append(str(arguments[0]))

    sys.addaudithook(hear)
    assert verify.verify(bundle).fits and opened == []
    assert Images(tables, None).uri(row["image_id"]) is None and opened == []
    assert Images(tables, Path(raw)).uri(row["image_id"]) and opened  # so does the report itself


def test_control_characters_are_printed_as_escapes(bundle: Path, tmp_path: Path) -> None:
    import typer

    from vlp.cli.verify import command

    app = typer.Typer()
    app.command()(command)
    out = made(bundle, tmp_path / "b.tar", manifest(code_version="\x1b[2Jforged\r"), [member("x\x1b[31m", b"0")])
    said = CliRunner().invoke(app, [str(out)]).output
    assert "\x1b" not in said and "\r" not in said and "\\x1b[2Jforged" in said
    assert printable("a\x00b\u202ec\nd") == "a\\x00b\\u202ec\nd"


def test_nothing_is_left_behind(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    verify.verify(bundle)
    assert list((tmp_path / "scratch").iterdir()) == []
