"""What the tracker costs a training while its MLflow server lives, is dead, hangs, answers 500 and comes back.

    python -m benchmarks.tracking [--rounds 5] [--seconds 6]

A small real training logs every step. In turn it runs without a tracker (no journal is written) and with one. Printed
are the time inside tracker calls on the training thread as a share of the step, the steps' times with and without,
interleaved, and what arrived at the server in the end.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.tracking.conftest import toy
from tests.tracking.server import Server
from vlp.tracking import journal as journals
from vlp.tracking import mirror, track


def steps(log: Callable[[int, dict[str, float]], None], seconds: float, first: int) -> list[float]:
    """Train for so long, logging each step -> seconds of each step."""
    torch.manual_seed(0)
    model = torch.nn.TransformerEncoder(torch.nn.TransformerEncoderLayer(128, 2, 256, batch_first=True), 2)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    x_BLD = torch.randn(16, 40, 128)
    taken, until = [], time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        optimizer.zero_grad()
        loss = (model(x_BLD) - x_BLD).square().mean()
        loss.backward()
        optimizer.step()
        values = {f"loss_{k}": loss.item() for k in ("vsc", "mcr_visual", "mcr_text", "mlm", "itm", "wpg")}
        rates = dict.fromkeys(("learning_rate", "samples_per_second", "tokens_per_second", "data_wait", "mfu"), 0.5)
        log(first + len(taken), {"loss": sum(values.values()), **values, **rates})
        taken.append(time.perf_counter() - began)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="of each state of the server, with and without a tracker")
    parser.add_argument("--seconds", type=float, default=6.0, help="of training in each")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        server = Server(Path(scratch) / "server")
        server.start()
        try:
            measure(server, Path(scratch), arguments.rounds, arguments.seconds)
        finally:
            server.close()


def measure(server: Server, folder: Path, rounds: int, seconds: float) -> None:
    experiment = toy(folder, tracking={"enabled": True, "uri": server.uri})
    own = experiment.folder / "runs" / "stage1" / "journal.jsonl"
    training, inside, written = journals.Journal(own), [0.0], [0]

    def log(step: int, values: dict[str, float]) -> None:
        began = time.perf_counter()
        training.metrics(step, values)
        inside[0] += time.perf_counter() - began
        written[0] = step

    states: dict[str, Callable[[], Any]] = {
        "answers": lambda: None,
        "killed": server.kill,
        "answers 500": server.fail,
        "started again": server.start,
        "hangs (SIGSTOP)": server.stop,
        "goes on (SIGCONT)": server.go_on,
    }
    steps(lambda step, values: None, seconds, 0)  # warm
    driver = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    follower = threading.Thread(target=_follow, args=(folder, server.uri, driver.pid))
    print(f"{'server':20}{'tracker / step':>16}{'step, without':>16}{'step, with':>14}{'spread':>10}{'ratio':>8}")
    worst, apart = 0.0, []
    with track(experiment, "stage1") as run, run.training(own):
        follower.start()
        for name, change in states.items():
            change()
            with_, without, inside[0] = [], [], 0.0
            total = 0.0
            for _ in range(rounds):
                without.append(statistics.median(steps(lambda step, values: None, seconds, 0)))
                taken = steps(log, seconds, written[0] + 1)
                with_.append(statistics.median(taken))
                total += sum(taken)
            spread = max(without) / min(without) - 1
            a, b = statistics.median(without), statistics.median(with_)
            worst, apart = max(worst, inside[0] / total), [*apart, *([name] if abs(b / a - 1) > spread else [])]
            print(f"{name:20}{inside[0] / total:16.3%}{a * 1e3:13.2f} ms{b * 1e3:11.2f} ms{spread:10.1%}{b / a:8.3f}")
    driver.kill()
    driver.wait()
    follower.join()
    mirror.sync(experiment)
    from mlflow import MlflowClient

    client = MlflowClient(server.uri)
    found = client.get_experiment_by_name(experiment.name)
    assert found is not None
    runs = {r.info.run_name: r.info for r in client.search_runs([found.experiment_id])}
    points = client.get_metric_history(runs["stage1"].run_id, "loss")
    once = sorted(p.step for p in points) == list(range(1, written[0] + 1))
    print(f"{written[0]:,} steps logged, {len(points):,} points of the loss arrived, each once: {once}")
    print(f"inside tracker calls: at most {worst:.3%} of a step (wanted: 1%)")
    print(f"with and without a tracker further apart than runs without it: {', '.join(apart) or 'never'}")
    print("states of the runs:", ", ".join(sorted(info.status for info in runs.values())))


def _follow(folder: Path, uri: str, driver: int) -> None:
    """The mirror beside the workflow is a process of its own, and nice."""
    code = (
        "import os, sys; from pathlib import Path; from tests.tracking.conftest import toy; "
        "from vlp.tracking import mirror; os.nice(19); "
        "mirror.follow(toy(Path(sys.argv[1]), tracking={'enabled': True, 'uri': sys.argv[2]}), int(sys.argv[3]), 1.0)"
    )
    command = [sys.executable, "-c", code, str(folder), uri, str(driver)]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[1], stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
