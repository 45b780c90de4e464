# Stage 1 (MCR + VSC) and stage 2 (all six losses). Only the model is an output: checkpoints stay in runs/ when a job
# fails, and the next try goes on from them.
INPUTS = (
    f"--tables {at('tables')} --corpus {at('corpus/corpus.h5')} --regions {STORE} "
    f"--vocabulary {at('vocabulary')}"
)
# What trains or is evaluated knows which images evaluations have.
WATCHED = f"{INPUTS} --leaks {at('leaks')}"
PRETRAINING_PARTS = (
    "seed",
    "lengths",
    "masking",
    "model",
    "pretraining.tag_source",
)


# The detector goes along in the model directories: the first stage takes it in, later models have it from their `init`.
DETECTOR = (
    {"detector": at("detector/detector.safetensors")}
    if EXPERIMENT.regions.source == "detector"
    else {}
)


TWO_STAGES = EXPERIMENT.pretraining.stage1 is not None
START = {"init": at(f"models/stage1/{MODEL}")} if TWO_STAGES else DETECTOR


if TWO_STAGES and EXPERIMENT.reuse.stage1 is None:

    rule stage1:
        input:
            at("corpus/corpus.h5"),
            WATCHED_STORE,
            at("vocabulary/phrases.json"),
            LEAKS,
            **DETECTOR,
        output:
            at(f"models/stage1/{MODEL}"),
        log:
            at("logs/stage1.log"),
        conda:
            "../../envs/vlp.yaml"
        threads: threads_of("pretraining")
        params:
            **CALL,
            inputs=WATCHED,
            part=part("pretraining.stage1", *PRETRAINING_PARTS),
            processes=processes("pretraining"),
            model=subpath(output[0], parent=True),
            run=at("runs/stage1"),
            detector="".join(f"--detector {path}" for path in DETECTOR.values()),
        shell:
            "{params.vlp} pretrain run --stage stage1 --config {params.config} {params.inputs} --out {params.model} "
            "--run-dir {params.run} {params.detector} > {log} 2>&1"


if EXPERIMENT.reuse.stage2 is None:

    rule stage2:
        input:
            at("corpus/corpus.h5"),
            WATCHED_STORE,
            at("vocabulary/phrases.json"),
            LEAKS,
            **START,
        output:
            at(f"models/stage2/{MODEL}"),
        log:
            at("logs/stage2.log"),
        conda:
            "../../envs/vlp.yaml"
        threads: threads_of("pretraining")
        params:
            **CALL,
            inputs=WATCHED,
            part=part("pretraining.stage2", *PRETRAINING_PARTS),
            processes=processes("pretraining"),
            start=lambda wildcards, input: (
                f"--init {Path(input.init).parent}"
                if "init" in input.keys()
                else " ".join(f"--detector {path}" for path in DETECTOR.values())
            ),
            model=subpath(output[0], parent=True),
            run=at("runs/stage2"),
        shell:
            "{params.vlp} pretrain run --stage stage2 --config {params.config} {params.inputs} {params.start} "
            "--out {params.model} --run-dir {params.run} > {log} 2>&1"
