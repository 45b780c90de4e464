import time
from pathlib import Path

import pytest

from tests.tracking.conftest import Make
from vlp.tracking import journal as journals
from vlp.tracking import system, track

SAID = """0, 93, 1024, 310.25
1, 0, 12, [N/A]
"""


def test_a_short_run_has_one_sample_and_a_longer_one_more(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = make()
    for every, wanted in ((10.0, 1), (0.05, 3)):
        monkeypatch.setattr(system, "EVERY", every)
        with track(experiment, "tables"):
            time.sleep(0.3)
        events = journals.read(experiment.folder / "journals" / "tables.jsonl")
        steps = [e["step"] for e in events if e.get("key") == "system/system_memory_usage_percentage"]
        assert len(steps) >= wanted and steps == list(range(len(steps)))
        assert (len(steps) == 1) == (wanted == 1)
        values = {e["key"]: e["value"] for e in events if e["event"] == "metric"}
        assert 0 < values["system/system_memory_usage_percentage"] <= 100
        assert values["system/disk_available_megabytes"] > 0


def test_gpus_are_those_that_nvidia_smi_tells_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert system.gpus() == {}
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\necho '{SAID.strip()}'\n")
    tool.chmod(0o755)
    assert system.gpus() == {
        "gpu_0_utilization_percentage": 93.0,
        "gpu_0_memory_usage_megabytes": 1024.0,
        "gpu_0_power_usage_watts": 310.25,
        "gpu_1_utilization_percentage": 0.0,
        "gpu_1_memory_usage_megabytes": 12.0,
    }
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert system.gpus() == {}
