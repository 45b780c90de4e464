# A fine-tuned model per task and variant, then its predictions.
rule finetune:
    input:
        at("corpus/corpus.h5"),
        REGIONS_READ,
        VOCABULARY[0],
        LEAKS,
        expand(at("tables/{table}.parquet"), table=TABLES),
        init=PRETRAINED,
    output:
        at(f"models/{{task}}.{{variant}}{{again}}/{MODEL}"),
    log:
        at("logs/finetune-{task}.{variant}{again}.log"),
    conda:
        "../../envs/vlp.yaml"
    threads: threads_of("finetuning")
    params:
        **CALL,
        inputs=WATCHED,
        part=part("seed"),
        processes=processes("finetuning"),
        task=training_of,
        init=subpath(input.init, parent=True),
        model=subpath(output[0], parent=True),
        run=at("runs/{task}.{variant}{again}"),
        again=seed_of,
    shell:
        "{params.vlp} task finetune --task {wildcards.task} --variant {wildcards.variant} --config {params.config} {params.inputs} "
        "--init {params.init} --out {params.model} --run-dir {params.run} {params.again} > {log} 2>&1"


rule predict:
    input:
        at("corpus/corpus.h5"),
        REGIONS_READ,
        LEAKS,
        expand(at("tables/{table}.parquet"), table=TABLES),
        model=model_of,
    output:
        at("predictions/{task}.{variant}{again}.{split}.parquet"),
    log:
        at("logs/predict-{task}.{variant}{again}.{split}.log"),
    conda:
        "../../envs/vlp.yaml"
    threads: threads_alone("prediction", SETTINGS["launch"]["cpu_threads"])
    params:
        **CALL,
        inputs=WATCHED,
        part=part("launch.cpu_threads"),
        task=prediction_of,
        model=subpath(input.model, parent=True),
        again=seed_of,
    shell:
        "{params.vlp} task predict --task {wildcards.task} --variant {wildcards.variant} --split {wildcards.split} "
        "--config {params.config} {params.inputs} --model {params.model} --out {output} {params.again} > {log} 2>&1"
