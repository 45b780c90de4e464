"""The pictures of README and docs, from finished results: the report, a sweep's table, the runs in MLflow's UI.

`make docs-pictures` calls it. Chromium makes the pictures; MLflow's server is started on loopback, and ended.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from tools.browser import Browser, Screen, find
from vlp.config import Experiment, build
from vlp.config.load import read
from vlp.errors import InputError, VlpError
from vlp.tracking import mirror, store

if TYPE_CHECKING:
    from mlflow import MlflowClient

WIDE = Screen(1160, 1000)
PHONE = Screen(390, 1400, phone=True)
DESK = Screen(1440, 860)
_PANEL = {"mlflow.assistant.panelOpen_v1": "false", "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true"}
_NO_PANEL = f"Object.assign(localStorage, {json.dumps(_PANEL)})"
"""A first visit to MLflow opens a panel over a third of the page."""
_RELATIVE = r"""{
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode())
        walk.currentNode.data = walk.currentNode.data.replace(/(\/[\w.-]+)+\/results\//g, 'results/');
}"""
"""Paths as of the folder the work was done in: where that stood is nobody's affair."""
_START_SECONDS = 240


@dataclass(frozen=True)
class Picture:
    name: str
    url: str
    screen: Screen
    part: str | None = None
    """CSS selector; None: what the screen shows."""
    ready: str = "true"
    """JavaScript that is true when all is there."""


def report_pictures(page: Path) -> list[Picture]:
    url = page.resolve().as_uri()
    both = [("", WIDE), ("-dark", replace(WIDE, dark=True))]
    found = [Picture(f"report{name}", url, screen) for name, screen in both]
    found += [Picture(f"alignment{name}", url, screen, "#alignment") for name, screen in both]
    figures = {"attention": ".attended", "grounding": ".twice", "embedding": ".broad"}
    found += [Picture(name, url, WIDE, part) for name, part in figures.items()]
    return [*found, Picture("report-phone", url, PHONE)]


def mlflow_pictures(client: MlflowClient, experiment: Experiment, server: str) -> list[Picture]:
    """The pages of one experiment's runs.

    Raises:
        InputError: the store lacks a run that a picture shows.
    """
    uri = store.store_uri(experiment)
    found = client.get_experiment_by_name(experiment.name)
    if found is None:
        raise InputError(uri, f"holds no {experiment.name}.", "Run: vlp tracking sync.")
    runs = {run.info.run_name: run.info.run_id for run in client.search_runs([found.experiment_id], max_results=1000)}
    if lacking := sorted({experiment.name, "stage2", "results"} - runs.keys()):
        raise InputError(uri, f"holds no run {', '.join(lacking)}.", "Run the whole chain, then vlp tracking sync.")
    versions = client.search_model_versions(f"run_id = '{runs['stage2']}'")
    if not versions:
        raise InputError(uri, "holds no model of stage2.", "Run: vlp tracking sync.")
    at, kind = f"{server}/#/experiments/{found.experiment_id}/runs", "workflowType=machine_learning"
    task = quote('tags.task = "vqa"')
    return [
        Picture(
            "mlflow-runs", f"{mirror.table_address(experiment, server)}&{kind}", DESK, ready=_opened(_says("stage1"))
        ),
        Picture("mlflow-parent", f"{at}/{runs[experiment.name]}?{kind}", DESK, ready=_says("Child runs")),
        Picture("mlflow-metrics", f"{at}/{runs['stage2']}/model-metrics?{kind}", DESK, ready=_drawn(6)),
        Picture("mlflow-artifacts", f"{at}/{runs['results']}/artifacts?{kind}", DESK, ready=_says("results.csv")),
        Picture("mlflow-model", f"{server}/#/models/{quote(versions[0].name)}?{kind}", DESK, ready=_says("final")),
        Picture(
            "mlflow-compare", f"{at}?searchFilter={task}&compareRunsMode=CHART&{kind}", DESK, ready=_opened(_drawn(3))
        ),
    ]


def _says(text: str) -> str:
    return f"document.body.innerText.includes({json.dumps(text)})"


def _opened(then: str) -> str:
    """Clicks, once, what shows the children of the parent run; true when `then` is."""
    plus = "document.querySelector('[data-component-id*=\"runnamecellrenderer\"]')"
    click = f"(plus => plus && !window.clicked && (window.clicked = true) && plus.click())({plus})"
    return f"({then}) || void {click}"


def _drawn(charts: int) -> str:
    return f"document.querySelectorAll('.js-plotly-plot .main-svg').length >= {charts}"


@contextmanager
def ui(*where: str) -> Iterator[str]:
    """MLflow's UI on a free port of loopback, as `vlp tracking ui` starts it; its address.

    Raises:
        VlpError: it did not come up.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [sys.executable, "-c", "from vlp.cli import main; main()", "tracking", "ui", *where, "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait(server, address)
        yield address
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait()


def _wait(server: subprocess.Popen[bytes], address: str) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        if server.poll() is not None:
            said = server.stderr.read().decode(errors="replace") if server.stderr else ""
            raise VlpError(f"MLflow's UI ended by itself:\n{said[-2000:]}")
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.5)
    raise VlpError(f"MLflow's UI did not answer at {address} within {_START_SECONDS} s")


def take(browser: Browser, pictures: Sequence[Picture], out: Path, *, ours: bool) -> None:
    """Write the pictures.

    Args:
        ours: a page of this project: its console has to stay empty, and nothing may be wider than the screen.

    Raises:
        VlpError: it does not.
    """
    for picture in pictures:
        browser.open(picture.url, picture.screen)
        browser.until(picture.ready)
        if not ours:
            browser.evaluate(_RELATIVE)
        path = out / f"{picture.name}.png"
        browser.shot(path, picture.part)
        if ours and browser.complaints:
            raise VlpError(f"{picture.url}: the page said on its console: {browser.complaints[0]}")
        wide = browser.evaluate("document.documentElement.scrollWidth")
        if ours and wide > picture.screen.width:
            raise VlpError(f"{picture.url}: {wide} pixels wide on a screen of {picture.screen.width}")
        print(f"{path}  {path.stat().st_size:,} bytes", flush=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.pictures", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="experiment.yaml of finished results")
    parser.add_argument("--plan", type=Path, help="plan.yaml of a finished sweep; none: its pictures stay as they are")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    given = parser.parse_args(arguments)
    command = find()
    experiment = build(read(given.config, []), str(given.config))
    page = experiment.folder / "report.html"
    if not page.exists():
        raise InputError(page, "the report is missing.", f"Run the experiment first: make demo CONFIG={given.config}.")
    with Browser(command) as browser:
        take(browser, report_pictures(page), given.out, ours=True)
        with ui("--config", str(given.config)) as server:
            client = _client(experiment)
            browser.prepare(_NO_PANEL)
            take(browser, mlflow_pictures(client, experiment, server), given.out, ours=False)
    if given.plan is not None:
        with Browser(command) as browser:
            _sweep(browser, given.plan, given.out)


def _client(experiment: Experiment) -> MlflowClient:
    os.environ.update(store.SETTINGS)
    from mlflow import MlflowClient

    return MlflowClient(store.store_uri(experiment))


def _sweep(browser: Browser, plan: Path, out: Path) -> None:
    from vlp.sweep.plan import read as plan_of

    part = plan_of(plan).nodes[-1].experiment
    page = plan.parent / "report.html"
    if not page.exists():
        raise InputError(page, "the sweep's table is missing.", "Finish the sweep first: vlp sweep FILE.")
    take(browser, [Picture("sweep", page.resolve().as_uri(), WIDE, "main section")], out, ours=True)
    with ui("--plan", str(plan)) as server:
        browser.prepare(_NO_PANEL)
        url = f"{mirror.table_address(part, server)}&workflowType=machine_learning"
        take(browser, [Picture("mlflow-sweep", url, DESK, ready=_opened(_says("data-")))], out, ours=False)


if __name__ == "__main__":
    try:
        main()
    except VlpError as error:
        print(f"pictures: {error}", file=sys.stderr)
        sys.exit(2)
