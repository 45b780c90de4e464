# Texts to word pieces and, where a method reads phrases, to their vocabulary; everything to the corpus.
rule vocabulary:
    input:
        TEXT_TABLES,
        [PRETRAINED] if STARTED else [],
        PHRASES_READ,
        REGIONS_READ,
    output:
        VOCABULARY,
    log:
        at("logs/vocabulary.log"),
    conda:
        "../../envs/vlp.yaml"
    params:
        **CALL,
        part=depends("vocabulary"),
        tables=subpath(input[0], parent=True),
        vocabulary=lambda wildcards, output: Path(output[-1]).parents[1],
        read=f"{PHRASES_OPTION} {REGIONS_OPTION}",
    shell:
        "{params.vlp} phrases vocabulary --config {params.config} --tables {params.tables} {params.read} "
        "--out {params.vocabulary} > {log} 2>&1"


rule corpus:
    input:
        TEXT_TABLES,
        PHRASES_READ,
        REGIONS_READ,
        vocabulary=VOCABULARY,
    output:
        at("corpus/corpus.h5"),
    log:
        at("logs/corpus.log"),
    conda:
        "../../envs/vlp.yaml"
    params:
        **CALL,
        tables=subpath(input[0], parent=True),
        vocabulary=lambda wildcards, input: Path(input.vocabulary[-1]).parents[1],
        read=f"{PHRASES_OPTION} {REGIONS_OPTION}",
    shell:
        "{params.vlp} corpus build --config {params.config} --tables {params.tables} {params.read} "
        "--vocabulary {params.vocabulary} --out {output} > {log} 2>&1"
