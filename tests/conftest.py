"""What tests of several rooms use."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests import guard

if TYPE_CHECKING:
    from vlp.batching.inputs import Paths
    from vlp.config import Experiment

# Jobs import nothing from the current directory; those of tests run functions of this package.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
)

# How long an example takes is the machine's load, not a property of the code.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


def pytest_configure() -> None:
    guard.install()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    with guard.watched(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, None, None]:
    yield
    guard.tell()


@pytest.fixture(scope="session")
def tiny_inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a corpus, a region store and a vocabulary for a training of seconds."""
    from tests.training.tiny_run import write_inputs

    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    return folder


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """The inputs of all tasks, made by hand."""
    from tests.tasks.lab import write

    return write(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="session")
def start(lab: Paths, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory to fine-tune."""
    from tests.tasks.lab import pretrained

    return pretrained(lab, tmp_path_factory.mktemp("start") / "model")


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The experiment's folder after the whole smoke chain; who changes something in it puts it back."""
    from tests.workflow.chain import snakemake

    folder = tmp_path_factory.mktemp("smoke") / "results"
    snakemake(folder)
    return folder / "smoke"


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """An experiment whose results are made up."""
    from tests.report import fabricate

    return fabricate.experiment(tmp_path_factory.mktemp("results"))


@pytest.fixture
def folder(made: Experiment) -> Path:
    return made.folder
