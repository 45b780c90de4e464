# Captions to phrases, phrases to a vocabulary, everything to the corpus.
TEXT_TABLES = [
    at(f"tables/{t}.parquet")
    for t in ("captions", "questions", "entailment", "phrase_boxes", "referring")
]


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
            part=part("phrases.parser"),
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
            part=part("phrases.parser", "phrases.shards"),
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


rule vocabulary:
    input:
        TEXT_TABLES,
        [PRETRAINED] if STARTED else [],
        phrases=at("phrases/phrases.parquet"),
        regions=WATCHED_STORE,
    output:
        at("vocabulary/phrases.json"),
        at("vocabulary/tokenizer/tokenizer.json"),
    log:
        at("logs/vocabulary.log"),
    conda:
        "../../envs/vlp.yaml"
    params:
        **CALL,
        part=part("phrases", "vocabulary", "start_from"),
        tables=subpath(input[0], parent=True),
        vocabulary=subpath(output[0], parent=True),
        store=region_store,
    shell:
        "{params.vlp} phrases vocabulary --config {params.config} --tables {params.tables} --phrases {input.phrases} "
        "--regions {params.store} --out {params.vocabulary} > {log} 2>&1"


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


rule corpus:
    input:
        TEXT_TABLES,
        phrases=at("phrases/phrases.parquet"),
        vocabulary=at("vocabulary/phrases.json"),
        tokenizer=at("vocabulary/tokenizer/tokenizer.json"),
        regions=WATCHED_STORE,
    output:
        at("corpus/corpus.h5"),
    log:
        at("logs/corpus.log"),
    conda:
        "../../envs/vlp.yaml"
    params:
        **CALL,
        tables=subpath(input[0], parent=True),
        vocabulary=subpath(input.vocabulary, parent=True),
        store=region_store,
    shell:
        "{params.vlp} corpus build --config {params.config} --tables {params.tables} --phrases {input.phrases} "
        "--vocabulary {params.vocabulary} --regions {params.store} --out {output} > {log} 2>&1"
