"""A job's code and environment are those it was sent from."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vlp.errors import VlpError
from vlp.launch import snapshot


@pytest.mark.slow
def test_the_copy_is_what_a_job_imports_whatever_happens_to_the_checkout(tmp_path: Path) -> None:
    copy = snapshot.code(tmp_path)
    assert snapshot.code(tmp_path) == copy and [p.name for p in tmp_path.iterdir()] == [copy.name]
    (copy / "vlp" / "mark.py").write_text("")
    command = [sys.executable, "-c", "import vlp, vlp.mark; print(vlp.__file__)"]
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONSAFEPATH": "1"}
    said = subprocess.check_output(command, text=True, cwd=snapshot.PACKAGE.parent, env=environment)
    assert Path(said.strip()).is_relative_to(copy)


def test_other_packages_stop_a_job(tmp_path: Path) -> None:
    here = snapshot.environment()
    assert {"python", "torch", "snakemake"} <= here.keys()
    snapshot.must_be(here, None)
    with pytest.raises(VlpError, match=r"torch 1.0 -> \S+. Restore it \(envs/lock.txt\)"):
        snapshot.must_be(here | {"torch": "1.0"}, None)
    with pytest.raises(VlpError, match="added 1 -> absent"):
        snapshot.must_be(here | {"added": "1"}, None)
    with pytest.raises(VlpError, match="not from its copy"):
        snapshot.must_be(here, tmp_path)


@pytest.mark.slow
def test_the_environment_does_not_depend_on_what_was_imported() -> None:
    """setuptools carries packages of its own, and puts them on the path when it is imported."""
    code = "import setuptools, json; from vlp.launch import snapshot; print(json.dumps(snapshot.environment()))"
    import json

    assert json.loads(subprocess.check_output([sys.executable, "-c", code], text=True)) == snapshot.environment()
