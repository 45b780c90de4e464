"""`vlp infer` as a user calls it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.infer.lab import Lab
from vlp.cli.infer import app
from vlp.errors import InputError
from vlp.files import read_json
from vlp.infer import Predictor

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TEXT = "a red [MASK] above a blue disc"


def test_command_writes_picture_and_numbers(lab: Lab, predictor: Predictor, tmp_path: Path) -> None:
    """Through the `vlp` command itself, in a folder of its own."""
    image = lab.image()[1]
    code = "from vlp.cli import main; main()"
    command = [sys.executable, "-c", code, "infer", "--model", lab.model("stage2"), "--image", image, "--text", TEXT]
    done = subprocess.run(
        [str(c) for c in [*command, "--json", "numbers.json", "--top", "3"]],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / f"{image.stem}.grounded.png") as picture:
        assert picture.width == 96 * 7 and picture.height > 96 * 7
    numbers, answer = read_json(tmp_path / "numbers.json"), predictor(image=image, text=TEXT, top_k=3)
    assert numbers["match"] == pytest.approx(answer.match) and numbers["text"] == TEXT
    assert numbers["words"][0]["candidates"][0][0] == answer.words[0].word
    assert numbers["phrases"][0]["box"] == pytest.approx(answer.phrases[0].box)
    shown = done.stdout.splitlines()
    assert any(line.startswith("[MASK]") and answer.words[0].word in line for line in shown)
    assert sum(line.startswith("phrase") for line in shown) == 2


def test_store_without_image_gives_numbers_only(lab: Lab, tmp_path: Path) -> None:
    store = ["--regions", str(lab.paths.regions), "--image-id", lab.image()[0]]
    arguments = ["--model", str(lab.model("stage2")), "--text", TEXT, *store]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0 and "phrase" in result.stdout and "picture" not in result.stdout
    wanted = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "x.png")])
    assert isinstance(wanted.exception, InputError) and "no image to draw on" in str(wanted.exception)


def test_unknown_kind_of_picture_is_refused(lab: Lab, tmp_path: Path) -> None:
    arguments = ["--model", lab.model("stage2"), "--image", lab.image()[1], "--text", TEXT, "--out", tmp_path / "x.bmp"]
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert isinstance(result.exception, InputError) and ".png, .jpg, .jpeg" in str(result.exception)
