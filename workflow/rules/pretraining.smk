# The stages of pre-training, each from the model of the one before. Only the model is an output: checkpoints stay in
# runs/ when a job fails, and the next try goes on from them.
INPUTS = (
    f"--tables {at('tables')} --corpus {at('corpus/corpus.h5')} {REGIONS_OPTION} "
    f"--vocabulary {at('vocabulary')}"
)
# What trains or is evaluated knows which images evaluations have.
WATCHED = f"{INPUTS} --leaks {at('leaks')}"

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
                part=part(f"pretraining.{stage}", *EXPERIMENT.parts_of_stages),
                processes=processes("pretraining"),
                start=start_of,
                model=subpath(output[0], parent=True),
                run=at(f"runs/{stage}"),
            shell:
                "{params.vlp} pretrain run --stage {params.stage} --config {params.config} {params.inputs} {params.start} "
                "--out {params.model} --run-dir {params.run} > {log} 2>&1"

    before = stage
