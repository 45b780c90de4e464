# Captions to phrases.
scattergather:
    phrases=EXPERIMENT.phrases.shards,


if EXPERIMENT.phrases.shards == 1:

    rule phrases:
        input:
            TEXT_TABLES,
        output:
            at("phrases/phrases.parquet"),
        log:
            at("logs/phrases.log"),
        conda:
            "../../envs/vlp.yaml"
        threads: threads_alone("phrases", SETTINGS["phrases"]["processes"])
        params:
            **CALL,
            part=depends("phrases"),
            tables=subpath(input[0], parent=True),
        shell:
            "{params.vlp} phrases mine --config {params.config} --tables {params.tables} --out {output} > {log} 2>&1"

else:

    rule phrases_shard:
        input:
            TEXT_TABLES,
        output:
            temp(at("phrases/shards/{scatteritem}.parquet")),
        log:
            at("logs/phrases-shard.{scatteritem}.log"),
        conda:
            "../../envs/vlp.yaml"
        threads: threads_alone("phrases", SETTINGS["phrases"]["processes"])
        params:
            **CALL,
            part=depends("phrases_shard"),
            tables=subpath(input[0], parent=True),
            shard=lambda wildcards: wildcards.scatteritem.replace("-of-", "/"),
        shell:
            "{params.vlp} phrases mine --config {params.config} --tables {params.tables} --shard {params.shard} "
            "--out {output} > {log} 2>&1"

    rule phrases:
        input:
            gather.phrases(at("phrases/shards/{scatteritem}.parquet")),
        output:
            at("phrases/phrases.parquet"),
        log:
            at("logs/phrases.log"),
        conda:
            "../../envs/vlp.yaml"
        params:
            **CALL,
        shell:
            "{params.vlp} phrases merge {input} --config {params.config} --out {output} > {log} 2>&1"


# Tables 5 and 8 of the paper beside ours: no part of `all`, a target of its own (docs/phrases.md).
rule phrase_tables:
    input:
        TEXT_TABLES,
        phrases=at("phrases/phrases.parquet"),
        vocabulary=at("vocabulary/phrases.json"),
    output:
        at("phrases/tables.json"),
    log:
        at("logs/phrase_tables.log"),
    conda:
        "../../envs/vlp.yaml"
    params:
        **CALL,
        tables=subpath(input[0], parent=True),
    shell:
        "{params.vlp} phrases tables --config {params.config} --tables {params.tables} --phrases {input.phrases} "
        "--vocabulary {input.vocabulary} --out {output} > {log} 2>&1"
