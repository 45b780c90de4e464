# Images to regions: a detector trained in the chain, or published feature files.
if EXPERIMENT.regions.source == "detector":

    rule detector:
        input:
            at("tables/images.parquet"),
            at("tables/objects.parquet"),
        output:
            weights=at("detector/detector.safetensors"),
            facts=at("detector/detector.json"),
        log:
            at("logs/detector.log"),
        conda:
            "../../envs/vlp.yaml"
        threads: SETTINGS["launch"]["cpu_threads"]
        params:
            **CALL,
            part=part("regions", "seed", "launch.cpu_threads"),
            tables=subpath(input[0], parent=True),
        shell:
            "{params.vlp} regions train --config {params.config} --tables {params.tables} --out {output.weights} > {log} 2>&1"

    rule regions:
        input:
            at("tables/images.parquet"),
            at("tables/objects.parquet"),
            detector=at("detector/detector.safetensors"),
        output:
            store=at("regions/regions.h5"),
            quality=at("regions/quality.json"),
        log:
            at("logs/regions.log"),
        conda:
            "../../envs/vlp.yaml"
        threads: SETTINGS["launch"]["cpu_threads"]
        params:
            **CALL,
            part=part("regions", "launch.cpu_threads"),
            tables=subpath(input[0], parent=True),
        shell:
            "{params.vlp} regions extract --config {params.config} --tables {params.tables} --detector {input.detector} "
            "--out {output.store} --quality {output.quality} > {log} 2>&1"

else:

    rule regions:
        input:
            at("tables/images.parquet"),
            EXPERIMENT.regions.tsv / "features.tsv",
            EXPERIMENT.regions.tsv / "predictions.tsv",
        output:
            store=at("regions/regions.h5"),
            quality=at("regions/quality.json"),
        log:
            at("logs/regions.log"),
        conda:
            "../../envs/vlp.yaml"
        params:
            **CALL,
            part=part("regions"),
            tables=subpath(input[0], parent=True),
        shell:
            "{params.vlp} regions import --config {params.config} --tables {params.tables} "
            "--out {output.store} --quality {output.quality} > {log} 2>&1"
