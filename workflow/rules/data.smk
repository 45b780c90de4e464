# Raw data to tables.
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
            part=part("data.generator"),
            raw=subpath(output[0], parent=True),
        shell:
            "{params.vlp} data shapes --config {params.config} --out {params.raw} > {log} 2>&1"


rule tables:
    input:
        raw_files(),
    output:
        expand(at("tables/{table}.parquet"), table=TABLES),
        at("tables/summary.json"),
    log:
        at("logs/tables.log"),
    conda:
        "../../envs/vlp.yaml"
    params:
        **CALL,
        part=part("data"),
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
        part=part("data"),
        tables=subpath(input[0], parent=True),
        leaks=subpath(output[0], parent=True),
    shell:
        "{params.vlp} data leaks --config {params.config} --tables {params.tables} --out {params.leaks} > {log} 2>&1"
