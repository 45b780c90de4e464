# Raw data to tables.
import re

TEXT_TABLES = [
    at(f"tables/{t}.parquet")
    for t in ("captions", "questions", "entailment", "phrase_boxes", "referring")
]

if EXPERIMENT.data.generator is not None:

    rule shapes:
        output:
            at("raw/manifest.json"),
        log:
            at("logs/shapes.log"),
        conda:
            "../../envs/vlp.yaml"
        params:
            **CALL,
            part=depends("shapes"),
            raw=subpath(output[0], parent=True),
        shell:
            "{params.vlp} data shapes --config {params.config} --out {params.raw} > {log} 2>&1"


# Texts for images that have none.
if CAPTIONED:

    wildcard_constraints:
        captioned="|".join(map(re.escape, CAPTIONED)),

    rule caption_images:
        input:
            lambda wildcards: raw_files(wildcards.captioned),
        output:
            at("captions/{captioned}/images.parquet"),
        log:
            at("logs/caption_images.{captioned}.log"),
        conda:
            "../../envs/vlp.yaml"
        params:
            **CALL,
            part=captioner_of,
            folder=subpath(output[0], parent=True),
        shell:
            "{params.vlp} data images --config {params.config} --dataset {wildcards.captioned} --out {params.folder} "
            "> {log} 2>&1"

    rule caption_shard:
        input:
            at("captions/{captioned}/images.parquet"),
        output:
            at("captions/{captioned}/{shard}-of-{shards}.jsonl"),
            at("captions/{captioned}/{shard}-of-{shards}.json"),
        log:
            at("logs/caption.{captioned}.{shard}-of-{shards}.log"),
        conda:
            "../../envs/vlp.yaml"
        threads: threads_alone("captioning", SETTINGS["launch"]["cpu_threads"])
        params:
            **CALL,
            part=captioner_of,
            tables=subpath(input[0], parent=True),
        shell:
            "{params.vlp} data caption --config {params.config} --dataset {wildcards.captioned} --tables {params.tables} "
            "--shard {wildcards.shard}/{wildcards.shards} --out {output[0]} > {log} 2>&1"

    rule caption:
        input:
            caption_shards,
        output:
            at("captions/{captioned}.jsonl"),
            at("captions/{captioned}.json"),
        log:
            at("logs/caption.{captioned}.log"),
        conda:
            "../../envs/vlp.yaml"
        params:
            **CALL,
        shell:
            "{params.vlp} data merge-captions {input} --config {params.config} --out {output[0]} > {log} 2>&1"


rule tables:
    input:
        raw_files(),
        [at(f"captions/{name}.jsonl") for name in CAPTIONED],
    output:
        expand(at("tables/{table}.parquet"), table=TABLES),
        at("tables/summary.json"),
    log:
        at("logs/tables.log"),
    conda:
        "../../envs/vlp.yaml"
    params:
        **CALL,
        part=depends("tables"),
        tables=subpath(output[0], parent=True),
    shell:
        "{params.vlp} data read --config {params.config} --out {params.tables} > {log} 2>&1"


# Images of pre-training that are images of an evaluation: pre-training leaves them out, or the rule fails with the list.
rule leaks:
    input:
        expand(at("tables/{table}.parquet"), table=TABLES),
    output:
        LEAKS,
        at("leaks/leaks.json"),
    log:
        at("logs/leaks.log"),
    conda:
        "../../envs/vlp.yaml"
    params:
        **CALL,
        part=depends("leaks"),
        tables=subpath(input[0], parent=True),
        leaks=subpath(output[0], parent=True),
    shell:
        "{params.vlp} data leaks --config {params.config} --tables {params.tables} --out {params.leaks} > {log} 2>&1"
