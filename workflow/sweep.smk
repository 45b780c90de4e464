# A sweep as one workflow: every experiment of `plan.yaml` is the Snakefile as a module, with only the rules of its own
# work; what runs share is one experiment's alone. `vlp sweep FILE` writes the plan and calls this.
import os
import subprocess
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

from vlp import strict_yaml
from vlp.config.load import merge
from vlp.errors import VlpError
from vlp.launch import writers
from vlp.sweep.plan import rule_prefix

min_version("9.0")


if "plan" not in config:
    raise WorkflowError("Call this as `vlp sweep FILE`, which makes the plan.")
PLAN = strict_yaml.read(config["plan"])
FOLDER = Path(config["plan"]).parent
VLP = f"{Path(sys.executable).parent}/vlp"
# A profile says where jobs run (partition, executor): it wins, as it does over an experiment file.
NODES = [
    {**n, "config": merge(n["config"], {"launch": config.get("launch", {})})}
    for n in PLAN["nodes"]
]


onstart:
    try:
        writers.begin()
    except VlpError as error:
        raise WorkflowError(str(error)) from error
    command = [VLP, "tracking", "follow", "--plan", config["plan"]]
    (FOLDER / "logs").mkdir(exist_ok=True)
    with open(FOLDER / "logs/tracking.log", "a") as log:
        subprocess.Popen(
            [*command, "--driver", str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


rule all:
    input:
        FOLDER / "report.html",


for entry in NODES:
    node = rule_prefix(entry["name"])

    module:
        name: node
        snakefile:
            "Snakefile"
        config:
            entry["config"]

    if entry["kind"] == "run":

        use rule * from node exclude all as node*

    else:

        # Rules of stages stay: nobody asks for what they would make here.
        use rule * from node exclude all, finetune, predict, results, report as node*


rule table:
    input:
        plan=config["plan"],
        results=[
            FOLDER / n["name"] / "results.csv" for n in NODES if n["kind"] == "run"
        ],
    output:
        table=FOLDER / "sweep.csv",
        report=report(FOLDER / "report.html", category="Sweep"),
    log:
        FOLDER / "logs/table.log",
    conda:
        "../envs/vlp.yaml"
    params:
        vlp=VLP,
    shell:
        "{params.vlp} report sweep --plan {input.plan} --out {output.table} --html {output.report} > {log} 2>&1"
