from pathlib import Path

import pytest
import yaml

from vlp.errors import ConfigError
from vlp.strict_yaml import parse, read


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\na: 2", "f, line 2: a stands there twice, first in line 1"),
        ("a:\n  b: {c: 1,\n      c: 1}", "f, line 3: a.b.c stands there twice, first in line 2"),
        ("- {a: 1}\n- {a: 1, a: 2}", "f, line 2: 1.a stands there twice"),
        ("1: a\n0x1: b", "f, line 2: 0x1 stands there twice"),
        ("a: {<<: &x {k: 1}, <<: *x}", "f, line 1: a.<< stands there twice"),
        ("data.limit: [1", "f, line 1: not valid YAML (while parsing a flow sequence"),
        ("a: b: c", "f, line 1: not valid YAML (mapping values are not allowed here)"),
        ("a: 1\n---\nb: 2", "f, line 2: not valid YAML"),
        ("a: &x [*x]", "f: nested too deeply, or within itself"),
        ("[" * 9000, "f: nested too deeply"),
        ("a: 2024-13-01", "f: not valid YAML (month must be in 1..12)"),
        ("a: !!bool x", "f: not valid YAML"),
        ("a: !!int ''", "f: not valid YAML"),
        ("? [1]\n: 2", "f, line 1: not valid YAML (a key is no single word)"),
        ("\x00", "f: not valid YAML (special characters are not allowed)"),
    ],
)
def test_what_is_no_yaml_or_stands_there_twice_is_one_line(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(text, "f")
    assert str(raised.value).startswith(told) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "text", ["", "a: 1", "a: &x {k: 1}\nb: {<<: *x, k: 2}\nc: *x", "[{a: 1}, {a: 2}]", '{"a": 1.5e3}']
)
def test_all_other_texts_have_the_value_that_yaml_gives_them(text: str) -> None:
    assert parse(text, "f") == yaml.safe_load(text)


def test_names_within_names_are_read_once() -> None:
    lines = ["a0: &a0 {k: 1}"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40)]
    assert parse("\n".join(lines), "f")["a1"] == [{"k": 1}, {"k": 1}]


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_bytes(b"\xef\xbb\xbfname: x\n")  # a byte order mark
    assert read(file) == {"name": "x"}
    file.write_bytes("seed: 1\nname: été\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"f\.yaml, line 2: not UTF-8 \(byte 0xe9\)"):
        read(file)
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory\)"):
        read(tmp_path)
    with pytest.raises(ConfigError, match=r"none\.yaml: there is no such file"):
        read(tmp_path / "none.yaml")
