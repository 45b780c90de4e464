# The resolved experiment, and helpers for paths. No logic of the rules themselves.
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from snakemake.exceptions import WorkflowError
from snakemake.utils import validate

from vlp.config import (
    build,
    fine_tuning,
    given,
    json_schema,
)
from vlp.config.tasks import known
from vlp.data.readers import named_files
from vlp.errors import ConfigError, VlpError
from vlp.files import STORE_MANIFEST, write_text
from vlp.launch import writers
from vlp.methods import facts

if not config:
    raise WorkflowError("Name an experiment: --configfile configs/demo.yaml")
try:
    resolved, moved_to, files = config, None, workflow.configfiles
    if files:  # none: a run of a sweep, which is resolved
        given.refuse_twice(sys.argv[1:])
        over = workflow.config_settings.config
        resolved, moved_to = given.read_all(files, over)
    EXPERIMENT = build(resolved, ", ".join(map(str, files)) or config["name"])
    EXPERIMENT = EXPERIMENT.lying_in(moved_to)
    given.refuse_unspeakable(EXPERIMENT, sys.executable)
    SETTINGS = EXPERIMENT.model_dump(mode="json")
except ConfigError as error:
    raise WorkflowError(str(error)) from error
# Commands read the whole experiment from this file; it is no rule's input. A rule re-runs when the part of the
# config that it declares as its `params` has changed.
RESOLVED = str(EXPERIMENT.folder / "experiment.yaml")
SCHEMA = EXPERIMENT.folder / "config.schema.json"
TEXTS = {
    Path(RESOLVED): yaml.safe_dump(SETTINGS, sort_keys=False),
    SCHEMA: json.dumps(json_schema(EXPERIMENT.model.method), indent=1) + "\n",
}


def write_config():
    """The config and its schema, as they are now, into the experiment's folder."""
    for path, text in TEXTS.items():
        if not path.exists() or path.read_text() != text:
            write_text(path, text)


# One writer of a folder at a time. A dry run, or one that finds another at work, leaves the other's config alone.
CLAIM = writers.Claim(EXPERIMENT.folder)
try:
    with CLAIM.briefly() as free:
        if free:
            write_config()
    with TemporaryDirectory() as folder:
        write_text(Path(folder) / SCHEMA.name, TEXTS[SCHEMA])
        validate(resolved, f"{folder}/{SCHEMA.name}", set_default=False)
except (OSError, VlpError) as error:
    raise WorkflowError(str(error)) from error
if workflow.is_main_process:
    writers.at_start(CLAIM, write_config)


def begin():
    """For `onstart`: from now on this workflow is the only writer."""
    try:
        writers.begin()
    except VlpError as error:
        raise WorkflowError(str(error)) from error


def at(path):
    """A file of this experiment: in its folder, or in that of the experiment it reuses."""
    return str(EXPERIMENT.place(path))


# What a method does not read is made by no rule and named by no command.
NEEDS = EXPERIMENT.needs
# What reads regions watches one file: the store, or the manifest where the store is the folder of its shards.
STORE = str(EXPERIMENT.region_store) if "regions" in NEEDS else ""
WATCHED_STORE = STORE if STORE.endswith(".h5") else f"{STORE}/{STORE_MANIFEST}"
REGIONS_READ = [WATCHED_STORE] if STORE else []
REGIONS_OPTION = f"--regions {STORE}" if STORE else ""
PHRASES_READ = [at("phrases/phrases.parquet")] if "phrases" in NEEDS else []
PHRASES_OPTION = "".join(f"--phrases {path}" for path in PHRASES_READ)
VOCABULARY = [at("vocabulary/phrases.json")] if PHRASES_READ else []
VOCABULARY += [at("vocabulary/tokenizer/tokenizer.json")]


def region_store(wildcards, input):
    """The store that is meant by the file that a rule watches."""
    path = Path(input.regions)
    return path.parent if path.name == STORE_MANIFEST else path


def part(*names):
    """The named parts of the config, for `params`: what a rule depends on. `{task}` in a name is the wildcard."""

    def describe(wildcards):
        found = {}
        for name in (n.format(**dict(wildcards.items())) for n in names):
            value = SETTINGS
            for key in name.split("."):
                value = value[key]
            found[name] = value
        return json.dumps(found, sort_keys=True)

    return describe


def depends(*rules):
    """What rules of the data depend on, as the schema declares it: a sweep shares data by the same parts."""
    return part(*EXPERIMENT.parts_of(*rules))


# How every rule calls the command; one process beside the workflow mirrors the journals of all to MLflow.
VLP = f"{Path(sys.executable).parent}/vlp"
CALL = {"vlp": VLP, "config": RESOLVED}
# A command ends with the workflow that started it, or a new workflow would find a second writer.
shell.prefix(f"export VLP_TRACKING_FOLLOWED=1 VLP_DRIVER={os.getpid()}; ")
FOLLOW_LOG = at("logs/tracking.log")


def follow(driver):
    """Start the mirror beside the workflow; it ends by itself after process `driver`."""
    Path(FOLLOW_LOG).parent.mkdir(parents=True, exist_ok=True)
    command = [VLP, "tracking", "follow", "--config", RESOLVED, "--driver", str(driver)]
    with open(FOLLOW_LOG, "a") as log:
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


MODEL = "model.safetensors"
LEAKS = [at("leaks/identity.parquet"), at("leaks/shared.parquet")]
TASKS = list(EXPERIMENT.tasks_set)
VARIANTS = {name: SETTINGS["tasks"][name]["variants"] for name in TASKS}
TABLES = [
    "images",
    "captions",
    "questions",
    "entailment",
    "phrase_boxes",
    "objects",
    "labels",
    "referring",
]


def present(what, paths):
    """Those of the files that are on disk. The others are told, and the command that needs them says what to do: so a
    dry run shows the whole chain before anything is fetched."""
    there = [str(path) for path in paths if Path(path).exists()]
    if len(there) < len(paths) and workflow.is_main_process:
        lacking = sorted({str(path) for path in paths} - set(there))
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        text = f"{what} not on disk: {', '.join(lacking[:3])}{more}"
        print(text, file=sys.stderr)
    return there


# Data sets whose images the experiment captions itself -> number of jobs.
CAPTIONED = {
    name: chosen.captioner.shards
    for name, chosen in EXPERIMENT.data.each().items()
    if chosen.captioner is not None
}


def raw_files(of=None):
    """What the tables are read from: the generator's manifest, or every annotation file of the sources, or those that
    say which images the data set `of` has."""
    if EXPERIMENT.data.generator is not None:
        return [at("raw/manifest.json")]
    try:
        return present("raw data", sorted(named_files(EXPERIMENT, of)))
    except VlpError as error:
        raise WorkflowError(str(error)) from error


def captioner_of(wildcards):
    """What a set's captions depend on, for `params`."""
    chosen = EXPERIMENT.data.each()[wildcards.captioned]
    keys = {"captioner", "images", "root", "split", "captions", "limit"}
    return json.dumps(chosen.model_dump(mode="json", include=keys))


def caption_shards(wildcards):
    """The files of a set's captions, in order."""
    shards = CAPTIONED[wildcards.captioned]
    return [
        at(f"captions/{wildcards.captioned}/{shard}-of-{shards}.jsonl")
        for shard in range(1, shards + 1)
    ]


# What the tasks start from: the model of the last stage, or one made elsewhere.
STARTED = EXPERIMENT.start_from is not None
PRETRAINED = str(EXPERIMENT.pretrained_model / MODEL)


def model_of(wildcards):
    """The model that a prediction reads."""
    if wildcards.variant == "pretrained":
        return PRETRAINED
    return at(f"models/{wildcards.task}.{wildcards.variant}{wildcards.again}/{MODEL}")


def training_of(wildcards):
    """The part of a task's config that its fine-tuning depends on, for `params`."""
    settings = getattr(EXPERIMENT.tasks, wildcards.task)
    return json.dumps(settings.of_training, sort_keys=True)


def prediction_of(wildcards):
    """The part of a task's config that its predictions depend on, for `params`."""
    settings = getattr(EXPERIMENT.tasks, wildcards.task)
    return json.dumps(settings.of_prediction, sort_keys=True)


def seed_of(wildcards):
    """The option for a fine-tuning with another seed than the experiment's."""
    return f"--seed {wildcards.again[1:]}" if wildcards.again else ""


def threads_of(kind):
    """CPU cores that one run of this kind keeps busy on this host; training on SLURM keeps none."""
    r = SETTINGS["launch"][kind]
    return 1 if r["executor"] == "slurm" else r["tasks_per_node"] * r["threads"]


def threads_alone(kind, here):
    """The same of work of one process, which keeps `here` cores busy on this host."""
    return 1 if SETTINGS["launch"][kind]["executor"] == "slurm" else here


def processes(kind):
    """What results depend on, of where a training runs, for `params`: it is not run again for another partition."""
    r = SETTINGS["launch"][kind]
    return json.dumps([r[key] for key in ("nodes", "tasks_per_node", "threads")])


wildcard_constraints:
    task="|".join(known()),
    variant="full|blind|scratch|pretrained",
    again=r"(-\d+)?",
    split="val|test",
