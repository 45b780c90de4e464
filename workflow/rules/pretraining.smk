# The stages of pre-training, each from the model of the one before. Only the model is an output: checkpoints stay in
# runs/ when a job fails, and the next try goes on from them.
INPUTS = (
    f"--tables {at('tables')} --corpus {at('corpus/corpus.h5')} {REGIONS_OPTION} "
    f"--vocabulary {at('vocabulary')}"
)
# What trains or is evaluated knows which images evaluations have.
WATCHED = f"{INPUTS} --leaks {at('leaks')}"
# A stage depends on all that is set but for what comes before it as files, what comes after it, where things stand, and
# what is only looked at on the way.
OTHERS = "name results data regions phrases vocabulary tasks report launch tracking reuse sources start_from pretraining"
OF_STAGES = [*(stage.name for stage in EXPERIMENT.stage_facts), "alignment"]
PRETRAINING_PARTS = [name for name in SETTINGS if name not in OTHERS.split()]
PRETRAINING_PARTS += [
    f"pretraining.{name}" for name in SETTINGS["pretraining"] if name not in OF_STAGES
]


# The detector goes along in the model directories: the first stage takes it in, later models have it from their `init`.
TRAINED_DETECTOR = "regions" in NEEDS and EXPERIMENT.regions.source == "detector"
DETECTOR = {"detector": at("detector/detector.safetensors")} if TRAINED_DETECTOR else {}


def start_of(wildcards, input):
    """The option that names what a stage starts with."""
    if "init" in input.keys():
        return f"--init {Path(input.init).parent}"
    return " ".join(f"--detector {path}" for path in DETECTOR.values())


before = None
for stage in EXPERIMENT.stages:
    if EXPERIMENT.reuse.of(stage) is None:

        rule:
            name:
                stage
            input:
                at("corpus/corpus.h5"),
                REGIONS_READ,
                VOCABULARY[0],
                LEAKS,
                **(
                    DETECTOR
                    if before is None
                    else {"init": at(f"models/{before}/{MODEL}")}
                ),
            output:
                at(f"models/{stage}/{MODEL}"),
            log:
                at(f"logs/{stage}.log"),
            conda:
                "../../envs/vlp.yaml"
            threads: threads_of("pretraining")
            params:
                **CALL,
                stage=stage,
                inputs=WATCHED,
                part=part(f"pretraining.{stage}", *PRETRAINING_PARTS),
                processes=processes("pretraining"),
                start=start_of,
                model=subpath(output[0], parent=True),
                run=at(f"runs/{stage}"),
            shell:
                "{params.vlp} pretrain run --stage {params.stage} --config {params.config} {params.inputs} {params.start} "
                "--out {params.model} --run-dir {params.run} > {log} 2>&1"

    before = stage
