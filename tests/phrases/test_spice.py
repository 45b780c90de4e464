"""SPICE's jar as the parser, with a `java` that keeps to SPICE's command line."""

from __future__ import annotations

import json
import stat
import sys
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vlp.cli import phrases as phrase_commands
from vlp.errors import ConfigError, InputError
from vlp.phrases import backends, mine, shards, spice
from vlp.phrases.spice import SpiceParser, graph

JAVA = """#!{python}
import json, os, sys
from pathlib import Path

here, arguments = Path(__file__).parent, sys.argv[1:]
mode = (here / "mode").read_text()
if arguments == ["-version"]:
    print('openjdk version "%s"' % (here / "version").read_text(), file=sys.stderr)
    sys.exit()
start = arguments.index("-jar")
assert arguments[0].startswith("-Xmx")
letters = "utf-8" if "-Dfile.encoding=UTF-8" in arguments[:start] else "ascii"
given, out, rest = Path(arguments[start + 2]), None, arguments[start + 3 :]
while rest:
    if rest[0] == "-out":
        out, rest = Path(rest[1]), rest[2:]
    elif rest[0] == "-threads":
        int(rest[1])
        rest = rest[2:]
    elif rest[0] == "-detailed":
        rest = rest[1:]
    else:
        print('Unknown option "%s"' % rest[0], file=sys.stderr)
        sys.exit(1)
items = json.loads(given.read_bytes().decode("ascii"))
assert all(i["refs"] and all(isinstance(r, str) for r in i["refs"]) for i in items)
with (here / "runs").open("a") as runs:
    runs.write(f"{{len(items)}}\\n")
if mode == "fails":
    print("Error: Could not score batched file input:\\njava.lang.OutOfMemoryError", file=sys.stderr)
    sys.exit(1)
if mode == "silent":
    sys.exit(0)


def tuples(text):
    assert text == text.lower()
    found = [["man"], ["man", "young"]] if "man" in text else []
    found += [["horse"], ["man", "ride on top of", "horse"]] if "horses" in text else []
    found += [["café"], ["café", "small"]] if "café" in text else []
    return [{{"tuple": t, "truth_value": False}} for t in found]


keys = ("image_id", "scores", "test_tuples", "ref_tuples")
answer = [dict(zip(keys, (i["image_id"], {{}}, tuples(i["test"]), []))) for i in items]
if mode == "short":
    answer = answer[:-1]
if mode == "four":
    answer[0]["test_tuples"] = [{{"tuple": ["a", "b", "c", "d"]}}]
text = json.dumps(answer, ensure_ascii=False)
out.write_bytes((text[: len(text) // 2] if mode == "cut" else text).encode(letters, "replace"))
"""


@pytest.fixture
def jar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "jdk" / "bin"
    home.mkdir(parents=True)
    java = home / "java"
    java.write_text(JAVA.format(python=sys.executable), encoding="utf-8")
    java.chmod(java.stat().st_mode | stat.S_IXUSR)
    (home / "mode").write_text("works")
    (home / "version").write_text("1.8.0_392")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "spice-1.0.jar"
    path.write_bytes(b"PK a jar")
    return path


def _set(jar: Path, name: str, value: str) -> None:
    (jar.parent / "jdk" / "bin" / name).write_text(value)


def _runs(jar: Path) -> list[int]:
    path = jar.parent / "jdk" / "bin" / "runs"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def test_tuples_and_the_words_they_are_made_of(jar: Path) -> None:
    text = "A Young man riding on top of two horses"
    (found,) = SpiceParser(jar).pipe([text])
    words = {p.parts: [text[a:b] for a, b in p.words] for p in found.phrases()}
    assert words == {
        ("man", "young"): ["Young", "man"],
        ("man", "ride on top of", "horse"): ["man", "riding", "on", "top", "of", "horses"],
    }
    assert [t.lemma for t in found.things] == ["man", "horse"]


def test_letters_beyond_ascii_come_back(jar: Path) -> None:
    (found,) = SpiceParser(jar).pipe(["a small café"])
    assert [p.parts for p in found.phrases()] == [("café", "small")]


def test_a_part_without_a_word_in_the_text_has_none() -> None:
    (phrase,) = graph("his dog", [["man"], ["man", "have", "dog"]]).phrases()
    assert phrase.parts == ("man", "have", "dog") and phrase.words == ((0, 0), (4, 7))


def test_every_text_is_parsed_once(jar: Path) -> None:
    parser = SpiceParser(jar)
    assert len(list(parser.pipe(["a man", "A man", "a cat"]))) == 3
    again = list(SpiceParser(jar).pipe(["a cat", "a man", "a dog"]))
    assert [len(g.phrases()) for g in again] == [0, 1, 0]
    assert _runs(jar) == [2, 1]
    jar.write_bytes(b"PK another jar")
    list(SpiceParser(jar).pipe(["a man"]))
    assert _runs(jar) == [2, 1, 1]


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("fails", r"spice-1\.0\.jar: SPICE ended with exit code 1 .*OutOfMemoryError.*CoreNLP"),
        ("silent", "exit code 0 and no result: no message"),
        ("short", "not that of the 2 texts"),
        ("cut", "not that of the 2 texts"),
        ("four", "one to three parts"),
    ],
)
def test_a_run_that_fails_is_told_and_not_kept(jar: Path, mode: str, message: str) -> None:
    _set(jar, "mode", mode)
    with pytest.raises(InputError, match=message):
        list(SpiceParser(jar).pipe(["a man", "a cat"]))
    _set(jar, "mode", "works")
    assert [len(g.phrases()) for g in SpiceParser(jar).pipe(["a man", "a cat"])] == [1, 0]


def test_a_damaged_cache_is_named(jar: Path, tmp_path: Path) -> None:
    (tmp_path / "cache.sqlite").write_bytes(b"no database at all, but long enough to look like one" * 20)
    with pytest.raises(InputError, match=r"cache\.sqlite.*Remove the file"):
        list(SpiceParser(jar, tmp_path / "cache.sqlite").pipe(["a man"]))


@pytest.mark.parametrize("version", ["15.0.1", "17.0.15", "21"])
def test_a_java_without_the_engine_is_told(jar: Path, version: str) -> None:
    _set(jar, "version", version)
    with pytest.raises(ConfigError, match=rf"version {version.split('.')[0]}; SPICE runs on Java 8 to 14.*spice\.yaml"):
        SpiceParser(jar)


def test_no_java_and_no_jar_are_told(jar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"none\.jar is no file"):
        SpiceParser(tmp_path / "none.jar")
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="no `java`"):
        SpiceParser(jar)


def test_a_library_that_the_jar_names_is_missed(tmp_path: Path) -> None:
    jar = tmp_path / "spice-1.0.jar"
    manifest = (
        "Manifest-Version: 1.0\r\nClass-Path: lib/here.jar lib/stanford-core\r\n nlp-3.6.0.jar\r\nMain-Class: a.B\r\n"
    )
    with zipfile.ZipFile(jar, "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", manifest)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "here.jar").touch()
    with pytest.raises(ConfigError, match=r"needs lib/stanford-corenlp-3\.6\.0\.jar beside it"):
        SpiceParser(jar)


def test_it_mines_counts_and_shows(jar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"spice:{jar}"
    assert backends.version(name) == backends.rules_version(name) == f"spice {spice.jar_digest(jar)[:16]}"
    mined = dict(mine.mine(["a cat", "a man"], name))
    assert [p.parts for p in mined["a man"]] == [("man", "young")] and mined["a cat"] == ()
    *_, counts = shards.mine_shards(iter(["a man", "a man", "a cat"]), tmp_path / "shards", name)
    assert counts.sentences == 3 and list(shards.frequencies(tmp_path / "shards")) == [
        ("attribute", ("man", "young"), 2)
    ]
    shown = CliRunner().invoke(phrase_commands.app, ["show", "a man", "--parser", name])
    assert shown.exit_code == 0 and "(man, young)" in shown.output


def test_the_cache_holds_json(jar: Path, tmp_path: Path) -> None:
    import sqlite3

    list(SpiceParser(jar, tmp_path / "c.sqlite").pipe(["a man"]))
    (row,) = sqlite3.connect(tmp_path / "c.sqlite").execute("SELECT value FROM tuples").fetchall()
    assert json.loads(row[0]) == [["man"], ["man", "young"]]
