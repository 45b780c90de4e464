import pickle
from pathlib import Path

import pytest
import yaml

from vlp.config import Experiment, build, json_schema, load, read
from vlp.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_extends_and_overrides_have_real_types(tmp_path: Path) -> None:
    child = write(tmp_path / "child.yaml", f"extends: {CONFIGS / 'demo.yaml'}\nmodel: {{hidden_size: 64}}\n")
    e = load(child, ["pretraining.stage1.epochs=0.5", "tasks.vqa=null", "model.use_tags=false"])
    assert e.model.hidden_size == 64
    assert e.model.num_heads == load(CONFIGS / "demo.yaml").model.num_heads
    assert e.pretraining.stage1 is not None and e.pretraining.stage1.epochs == 0.5
    assert e.tasks.vqa is None
    assert e.model.use_tags is False


def test_unknown_key_is_named_with_its_path_and_a_suggestion() -> None:
    with pytest.raises(ConfigError, match=r"demo\.yaml: model\.hiden_size: unknown key; did you mean hidden_size\?"):
        load(CONFIGS / "demo.yaml", ["model.hiden_size=3"])


def test_wrong_type_is_named() -> None:
    with pytest.raises(ConfigError, match=r"pretraining\.stage2\.batch_size: .*given: 'many'"):
        load(CONFIGS / "demo.yaml", ["pretraining.stage2.batch_size=many"])


def test_parts_must_fit() -> None:
    with pytest.raises(ConfigError, match=r"model\.hidden_size: not a multiple"):
        load(CONFIGS / "demo.yaml", ["model.hidden_size=130"])
    with pytest.raises(ConfigError, match=r"data\.root: has no default"):
        load(CONFIGS / "flickr_mini.yaml")


def test_merged_attention_has_neither_unimodal_layers_nor_vsc() -> None:
    merged = ["model.fusion=merged", "model.text_layers=0", "model.visual_layers=0"]
    with pytest.raises(ConfigError, match=r"model\.fusion: merged attention has no unimodal layers"):
        load(CONFIGS / "demo.yaml", merged[:1])
    with pytest.raises(ConfigError, match=r"pretraining\.stage2\.losses: merged attention"):
        load(CONFIGS / "demo.yaml", [*merged, "pretraining.stage1=null"])
    fits = [*merged, "pretraining.stage1=null", "pretraining.stage2.losses=[mcr_visual, mcr_text, mlm, itm, wpg]"]
    assert load(CONFIGS / "demo.yaml", fits).pretraining.stage1 is None


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (
            ["launch.pretraining.tasks_per_node=3"],
            "pretraining.stage1: batch_size 64 is not a multiple of 3 ranks x 1 accumulation; see launch.pretraining",
        ),
        (
            ["launch.finetuning={executor: local, tasks_per_node: 5}"],
            "tasks.retrieval.optimisation: batch_size 64 is not a multiple of 5 ranks x 1 accumulation; see "
            "launch.finetuning",
        ),
        (
            ["tasks.grounding.optimisation.accumulation=3"],
            "tasks.grounding.optimisation: batch_size 64 is not a multiple of 1 ranks x 3 accumulation",
        ),
        (
            ["pretraining.stage2.negative_group=64"],
            "pretraining.stage2: negative_group: 64 does not divide the micro-batch of 32 (64 / 2 ranks / 1 accumu",
        ),
        (["pretraining.stage2.contrast_group=48"], "contrast_group: 48 does not divide batch_size 64"),
        (["pretraining.stage2.zero_stage=3", "pretraining.stage2.spike_factor=3"], "spike_factor: DeepSpeed"),
        (["tasks.vqa.optimisation.embedding_cache=true"], "tasks.vqa.optimisation.embedding_cache: is for vsc"),
        (
            ["pretraining.stage1.embedding_cache=true", "pretraining.stage1.losses=[mcr_visual]"],
            "pretraining.stage1.embedding_cache: is for vsc",
        ),
        (
            ["pretraining.stage1.precision=fp16"],
            "pretraining.stage1: precision: fp16 needs GPUs, and gpus_per_node is 0",
        ),
        (["launch.pretraining.executor=inline"], "launch.pretraining: executor: inline runs one task"),
        (["launch.pretraining.nodes=2"], "launch.pretraining: nodes: executor local has one node"),
        (["launch.pretraining.gpus_per_node=1"], "launch.pretraining: gpus_per_node: 1 GPUs for 2 tasks"),
        (["launch.prediction={executor: slurm, nodes: 2}"], "launch: prediction: is work of one process"),
        (["launch.prediction={executor: slurm, minutes: 2}"], "launch.prediction: signal_delay_seconds: 120 of 120"),
        (["launch.prediction.memory_gb=0"], "launch.prediction.memory_gb: Input should be greater than or equal to 1"),
    ],
)
def test_what_config_and_launch_decide_together_is_told_when_the_config_is_read(
    overrides: list[str], told: str
) -> None:
    """Not in a job, for fine-tuning after days of pre-training."""
    with pytest.raises(ConfigError) as raised:
        load(CONFIGS / "demo.yaml", overrides)
    assert told in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ["launch.pretraining.tasks_per_node=4", "launch.finetuning={executor: local, tasks_per_node: 4}"],
        ["launch.pretraining={executor: slurm, nodes: 2, tasks_per_node: 8, gpus_per_node: 8}"],
        ["pretraining.stage2={contrast_group: 16, negative_group: 16, embedding_cache: true, accumulation: 2}"],
        # What is not trained here may be of any shape.
        ["launch.pretraining.tasks_per_node=3", "start_from=models/stage2"],
        ["launch.pretraining.tasks_per_node=3", "reuse={stages: {stage1: a, stage2: b}}"],
        ["tasks.vqa={variants: [], optimisation: {batch_size: 7, accumulation: 2}}"],
    ],
)
def test_what_fits_together_is_taken(overrides: list[str]) -> None:
    load(CONFIGS / "demo.yaml", overrides)


def test_extends_itself(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="extends itself"):
        load(write(tmp_path / "a.yaml", "extends: a.yaml"))


def test_schema_and_model_agree(tmp_path: Path) -> None:
    """The exported JSON schema takes what the model takes and refuses what it refuses."""
    import jsonschema

    value = yaml.safe_load((CONFIGS / "demo.yaml").read_text())
    jsonschema.validate(value, json_schema())
    value["model"]["hiden_size"] = 3
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, json_schema())


def test_an_experiment_travels_to_a_job() -> None:
    e = load(CONFIGS / "demo.yaml")
    again = pickle.loads(pickle.dumps(e))
    assert again == e and type(again.tasks.vqa) is type(e.tasks.vqa)


def test_a_method_that_is_not_there_is_told() -> None:
    with pytest.raises(ConfigError, match=r"model\.method: 'mvtpr' is no method; there are "):
        load(CONFIGS / "demo.yaml", ["model.method=mvtpr"])


def test_the_old_names_of_what_is_reused_mean_the_same() -> None:
    old = load(CONFIGS / "demo.yaml", ["reuse.stage1=a"])
    new = load(CONFIGS / "demo.yaml", ["reuse.stages={stage1: a}"])
    assert old.place("models/stage1/x") == new.place("models/stage1/x") == Path("a/models/stage1/x")
    assert new.place("models/stage2") == new.pretrained_model == Path("results/demo/models/stage2")
    with pytest.raises(ConfigError, match=r"reuse\.stages: 'stage3' is no stage of mvptr"):
        load(CONFIGS / "demo.yaml", ["reuse.stages={stage3: a}"])


def test_a_key_that_stands_twice_is_named_wherever_it_stands(tmp_path: Path) -> None:
    """YAML readers keep the second and drop the first: an experiment without half of its settings."""
    twice = write(
        tmp_path / "a.yaml", f"extends: {CONFIGS / 'demo.yaml'}\nmodel: {{dropout: 0.2}}\nmodel: {{num_heads: 4}}\n"
    )
    with pytest.raises(ConfigError, match=r"a\.yaml, line 3: model stands there twice, first in line 2"):
        load(twice)
    with pytest.raises(ConfigError, match=r"a\.yaml, line 3: model stands there twice"):
        load(write(tmp_path / "b.yaml", "extends: a.yaml\n"))
    with pytest.raises(ConfigError, match=r"--set model=\{dropout: 0\.2, dropout: 0\.3\}, line 1: dropout stands"):
        load(CONFIGS / "demo.yaml", ["model={dropout: 0.2, dropout: 0.3}"])
    with pytest.raises(ConfigError, match=r"--set seed=2: seed is set twice, first by --set seed=1"):
        load(CONFIGS / "demo.yaml", ["seed=1", "seed=2"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[1, 2]", "a mapping is wanted at the top"),
        ("extends: 5", "extends: a path, or a list of paths"),
        ("extends: [1]", "extends: a path, or a list of paths"),
        ("extends: none.yaml", r"none\.yaml: there is no such file"),
        ("extends: .", r"cannot be read \(Is a directory\)"),
        ("name: x\n1: 2", "Keys should be strings"),
        ("sources: [a]", "sources: Input should be a valid dictionary"),
        ("sources: {1: ours}", r"sources\.1\.\[key\]: Input should be a valid string"),
        ("data: 5", "data: Input should be a valid dictionary"),
        ("model: {method: [1]}", "model.method"),
        ("pretraining: {stage2: {epochs: .inf}}", r"pretraining\.stage2\.epochs: Input should be a finite number"),
    ],
)
def test_files_of_another_form_are_told_in_one_line_each(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load(write(tmp_path / "a.yaml", text))
    if not text.startswith(("extends", "[")):
        with pytest.raises(ConfigError, match=told):
            load(write(tmp_path / "a.yaml", f"extends: {CONFIGS / 'demo.yaml'}\n{text}"))


def test_overrides_that_are_no_yaml_are_told() -> None:
    with pytest.raises(ConfigError, match=r"--set data\.limit=\[1, line 1: not valid YAML"):
        load(CONFIGS / "demo.yaml", ["data.limit=[1"])
    with pytest.raises(ConfigError, match=r"wanted KEY\.PATH=VALUE"):
        load(CONFIGS / "demo.yaml", ["data.limit"])


def stored(folder: Path, experiment: Experiment) -> Path:
    """As the Snakefile writes it into the results folder."""
    folder.mkdir(parents=True)
    write(folder / "config.schema.json", "{}")
    return write(folder / "experiment.yaml", yaml.safe_dump(experiment.model_dump(mode="json")))


def test_the_config_of_a_results_folder_is_of_the_folder_that_it_lies_in(tmp_path: Path) -> None:
    first = load(CONFIGS / "demo.yaml", [f"results={tmp_path / 'results'}", "launch.pretraining.array=null"])
    there = stored(first.folder, first)
    assert load(there) == first
    copy = tmp_path / "elsewhere" / "a copy of #2"
    within = load(CONFIGS / "demo.yaml", [f"results={tmp_path / 'results'}", f"start_from={first.folder / 'models/x'}"])
    moved = load(stored(copy, within))
    assert moved.folder == copy and moved.place("raw") == copy / "raw" and moved.data_root == copy / "raw"
    assert moved.start_from == copy / "models/x" and moved.name == "demo"
    assert pickle.loads(pickle.dumps(moved)).folder == moved.model_copy(update={"seed": 3}).folder == copy
    # who says where it shall go is obeyed, and a file that merely has the name is of the place that it names
    assert load(copy / "experiment.yaml", [f"results={tmp_path}"]).folder == tmp_path / "demo"
    (copy / "config.schema.json").unlink()
    assert load(copy / "experiment.yaml").folder == first.folder


def test_a_relative_path_is_of_the_folder_from_wherever_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    there = stored(Path("results/demo"), load(CONFIGS / "demo.yaml", ["results=results"]))
    assert load(there).folder == Path("results/demo")
    monkeypatch.chdir(tmp_path / "results" / "demo")
    assert load("experiment.yaml").folder == tmp_path / "results" / "demo"


def test_a_part_of_a_moved_sweep_reuses_what_lies_beside_it(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    reuse = {"data": str(old / "data-1"), "stages": {"stage1": str(old / "gone"), "stage2": str(old / "stage2-1")}}
    part = load(
        CONFIGS / "demo.yaml",
        ["name=run-1", f"results={old}", f"reuse={yaml.safe_dump(reuse, default_flow_style=True)}"],
    )
    for name in ("data-1", "stage2-1"):
        (new / name).mkdir(parents=True)
    moved = load(stored(new / "run-1", part))
    assert moved.place("corpus/corpus.h5") == new / "data-1/corpus/corpus.h5"
    assert moved.reuse.of("stage2") == new / "stage2-1" and moved.reuse.of("stage1") == old / "gone"


def test_a_results_path_that_can_be_no_folder_is_named(tmp_path: Path) -> None:
    write(tmp_path / "file", "")
    with pytest.raises(ConfigError, match=rf"results: {tmp_path}/file is a file\. Name a folder"):
        load(CONFIGS / "demo.yaml", [f"results={tmp_path}/file"])
    write(tmp_path / "demo", "")
    with pytest.raises(ConfigError, match=rf"results: {tmp_path}/demo is a file"):
        load(CONFIGS / "demo.yaml", [f"results={tmp_path}"])
    with pytest.raises(ConfigError, match=r"results: .*File name too long"):
        load(CONFIGS / "demo.yaml", [f"results={tmp_path}/{'a' * 300}"])
    with pytest.raises(ConfigError, match="is no path"):
        load(CONFIGS / "demo.yaml", [f'results="{tmp_path}/a\\0b"'])


@pytest.mark.parametrize("name", ["..", ".", "-rf", "a b", "a\n", "a/b", "x;touch y", "$(id)", "", ".hidden", "a\x00"])
@pytest.mark.parametrize("key", ["name", "data.name", "data.sets", "launch.pretraining.partition"])
def test_what_becomes_a_folder_or_an_option_is_a_plain_name(key: str, name: str) -> None:
    value = read(CONFIGS / "paper.yaml", ["data.root=here", "regions.tsv=there"])
    inner = value
    *way, last = key.split(".")
    for part in way:
        inner = inner.setdefault(part, {})
    inner[last] = {name: None} if key == "data.sets" else name
    with pytest.raises(ConfigError, match=rf"{key}"):
        build(value, "x")


@pytest.mark.parametrize("word", ["gpu", "a100&nvme", "[rack1|rack2]", "gpu,long", "team_1@x"])
def test_what_sbatch_knows_is_taken(word: str) -> None:
    assert build(read(CONFIGS / "smoke.yaml", [f"launch.pretraining.constraint='{word}'"]), "x")
