# Images to regions: a detector trained in the chain, one with weights of its own, or published feature files.
REGIONS = EXPERIMENT.regions
if REGIONS.source == "detector":
    WEIGHTS = [at("detector/detector.safetensors")]
else:
    WEIGHTS = [str(p.weights) for p in [REGIONS.pretrained] if p and p.weights]
EXTRACTION_THREADS = (
    SETTINGS["launch"]["cpu_threads"] + SETTINGS["regions"]["extraction"]["workers"]
)
TRUTH = "ground_truth_tags"  # they go into the store where the method asks for them


scattergather:
    regions=REGIONS.extraction.shards,


if REGIONS.source == "detector":

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
            part=depends("detector"),
            tables=subpath(input[0], parent=True),
        shell:
            "{params.vlp} regions train --config {params.config} --tables {params.tables} --out {output.weights} > {log} 2>&1"


if REGIONS.source != "vinvl_tsv" and REGIONS.extraction.shards == 1:

    rule regions:
        input:
            at("tables/images.parquet"),
            at("tables/objects.parquet"),
            weights=WEIGHTS,
        output:
            store=WATCHED_STORE,
            quality=at("regions/quality.json"),
        log:
            at("logs/regions.log"),
        conda:
            "../../envs/vlp.yaml"
        threads: threads_alone("extraction", EXTRACTION_THREADS)
        params:
            **CALL,
            part=depends("regions", TRUTH),
            tables=subpath(input[0], parent=True),
            weights=" ".join(f"--weights {path}" for path in WEIGHTS),
        shell:
            "{params.vlp} regions extract --config {params.config} --tables {params.tables} {params.weights} "
            "--out {output.store} --quality {output.quality} > {log} 2>&1"

elif REGIONS.source != "vinvl_tsv":

    KEPT, SHARD = REGIONS.extraction.keep_shards, "regions/shards/{scatteritem}.h5"

    rule regions_shard:
        input:
            at("tables/images.parquet"),
            [at("tables/objects.parquet"), at("tables/labels.parquet")] if KEPT else [],
            weights=WEIGHTS,
        output:
            # gone when merged: the features would stand on the disk twice
            store=at(SHARD) if KEPT else temp(at(SHARD)),
            record=at("regions/shards/{scatteritem}.json"),
        log:
            at("logs/regions-shard.{scatteritem}.log"),
        conda:
            "../../envs/vlp.yaml"
        threads: threads_alone("extraction", EXTRACTION_THREADS)
        params:
            **CALL,
            part=depends("regions", *([TRUTH] if KEPT else [])),
            tables=subpath(input[0], parent=True),
            weights=" ".join(f"--weights {path}" for path in WEIGHTS),
            shard=lambda wildcards: wildcards.scatteritem.replace("-of-", "/"),
        shell:
            "{params.vlp} regions extract --config {params.config} --tables {params.tables} {params.weights} "
            "--shard {params.shard} --out {output.store} --quality {output.record} > {log} 2>&1"

    rule regions:
        input:
            at("tables/images.parquet"),
            at("tables/objects.parquet"),
            stores=gather.regions(at(SHARD)),
            records=gather.regions(at("regions/shards/{scatteritem}.json")),
        output:
            store=WATCHED_STORE,
            quality=at("regions/quality.json"),
        log:
            at("logs/regions.log"),
        conda:
            "../../envs/vlp.yaml"
        params:
            **CALL,
            part=depends("regions_merge", TRUTH),
            tables=subpath(input[0], parent=True),
            out="--keep" if KEPT else f"--out {STORE}",
        shell:
            "{params.vlp} regions merge {input.stores} --config {params.config} --tables {params.tables} "
            "{params.out} --quality {output.quality} > {log} 2>&1"

else:

    rule regions:
        input:
            at("tables/images.parquet"),
            at("tables/objects.parquet"),
            at("tables/labels.parquet"),
            present(
                "region features",
                [
                    folder / f"{kind}.tsv"
                    for folder in EXPERIMENT.tsv_folders.values()
                    for kind in ("features", "predictions")
                ],
            ),
        output:
            store=WATCHED_STORE,
            quality=at("regions/quality.json"),
        log:
            at("logs/regions.log"),
        conda:
            "../../envs/vlp.yaml"
        params:
            **CALL,
            part=depends("regions_import", TRUTH),
            tables=subpath(input[0], parent=True),
        shell:
            "{params.vlp} regions import --config {params.config} --tables {params.tables} "
            "--out {output.store} --quality {output.quality} > {log} 2>&1"
