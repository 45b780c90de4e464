"""The `vlp` command: one module per group, imported only when it is called (torch takes seconds to import)."""

from __future__ import annotations

import importlib
import sys

GROUPS = {
    "config": "check an experiment file, export the JSON schema",
    "data": "make the embedded data set, read published formats into tables",
    "regions": "train a detector, extract, import and inspect region stores",
    "phrases": "mine phrases from captions, build the vocabularies",
    "corpus": "tokenise every text once",
    "pretrain": "stage 1 and stage 2",
    "task": "fine-tune, predict",
    "evaluate": "the measures of a predictions file",
    "estimate": "FLOPs, hours, memory and disk of an experiment before it is run",
    "doctor": "what is there, what is missing, what an experiment needs",
    "jobs": "the experiment's jobs: state, node, step, time left, log",
    "logs": "the end of a job's log",
    "sweep": "many runs of one experiment, what they share made once",
    "models": "checkpoints of the released code: import, export",
    "infer": "a model on one image and one text: fill masks, score, ground, draw",
    "search": "find images by a text, texts by an image, with a trained model",
    "results": "what is sent to an evaluation server, and what it answers",
    "report": "results and the report",
    "lineage": "from a number back to the raw data, with every digest checked",
    "bundle": "an experiment's predictions, config, digests and results in one file",
    "verify": "every number of a bundle computed again",
    "tracking": "the MLflow mirror and its UI",
}


def main() -> None:
    import typer

    from vlp.errors import Preempted, VlpError, printable
    from vlp.launch.driver import end_with_driver

    end_with_driver()
    app = typer.Typer(help="Vision-language pre-training from raw images to a table.", no_args_is_help=True)
    app.callback()(lambda: None)  # else a single command would lose its name
    named = [a for a in sys.argv[1:2] if a in GROUPS]
    for name in named or GROUPS:
        module = importlib.import_module(f"vlp.cli.{name}")
        if hasattr(module, "command"):  # not a group: it has arguments of its own
            app.command(name, help=GROUPS[name])(module.command)
            continue
        app.add_typer(module.app, name=name, help=GROUPS[name], no_args_is_help=True)
    try:
        app(standalone_mode=True)
    except VlpError as error:
        print(f"vlp: {printable(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code if isinstance(error, Preempted) else 2)
