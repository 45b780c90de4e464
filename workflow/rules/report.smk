# Predictions to results, results to the report.
NAMES = [
    (task, fine_tuning(task, variant, seed, EXPERIMENT.seed))
    for task in TASKS
    for variant in VARIANTS[task]
    for seed in EXPERIMENT.seeds_of(task)
]
NAMES += [
    (task, f"{task}.pretrained") for task in TASKS if task in EXPERIMENT.zero_shot
]
PREDICTIONS = [
    at(f"predictions/{name}.{split}.parquet")
    for task, name in NAMES
    for split in SETTINGS["tasks"][task]["splits"]
]


# What grounding can reach at best with these regions is known before anything is trained.
BOUNDS = [at("bounds.csv")] if STORE and "grounding" in TASKS else []
QUALITY = [at("regions/quality.json")] if STORE else []

if BOUNDS:

    rule bound:
        input:
            phrases=at("tables/phrase_boxes.parquet"),
            regions=WATCHED_STORE,
        output:
            BOUNDS,
        log:
            at("logs/bound.log"),
        conda:
            "../../envs/vlp.yaml"
        params:
            **CALL,
            part=part("data.name", "lengths", "tasks.grounding", "seed"),
            tables=subpath(input.phrases, parent=True),
            store=region_store,
        shell:
            "{params.vlp} regions bound {params.store} --config {params.config} --tables {params.tables} "
            "--out {output} > {log} 2>&1"


rule results:
    input:
        PREDICTIONS,
        expand(at("tables/{table}.parquet"), table=TABLES),
        images=at("tables/images.parquet"),
        leaks=LEAKS,
        regions=REGIONS_READ,
        quality=QUALITY,
        bounds=BOUNDS,
        server=[p for p in [at("server.json")] if Path(p).exists()],
    output:
        results=at("results.csv"),
        costs=at("costs.csv"),
        statistics=at("statistics.json"),
    log:
        at("logs/results.log"),
    conda:
        "../../envs/vlp.yaml"
    params:
        **CALL,
        part=part("tasks", "seed"),
        predictions=subpath(input[0], parent=True),
        regions=" ".join([REGIONS_OPTION, *(f"--quality {path}" for path in QUALITY)]),
        models=at("models"),
        tables=subpath(input.images, parent=True),
        leaks=lambda wildcards, input: Path(input.leaks[0]).parent,
        bounds=" ".join(f"--bounds {path}" for path in BOUNDS),
    shell:
        "{params.vlp} report results --config {params.config} --predictions {params.predictions} {params.regions} "
        "--models {params.models} --tables {params.tables} --leaks {params.leaks} --out {output.results} "
        "--costs {output.costs} --statistics {output.statistics} {params.bounds} > {log} 2>&1"


# Figures that a method draws of its own.
FIGURES = [at("figures.json")] if facts.of(EXPERIMENT.model.method).figures else []

if FIGURES:

    rule probe:
        input:
            at("corpus/corpus.h5"),
            REGIONS_READ,
            VOCABULARY[0],
            expand(at("tables/{table}.parquet"), table=TABLES),
            model=PRETRAINED,
        output:
            FIGURES,
        log:
            at("logs/probe.log"),
        conda:
            "../../envs/vlp.yaml"
        params:
            **CALL,
            inputs=INPUTS,
            part=part(*(["lengths"] if "lengths" in SETTINGS else [])),
            model=subpath(input.model, parent=True),
        shell:
            "{params.vlp} report probe --config {params.config} {params.inputs} --model {params.model} --out {output} > {log} 2>&1"


rule report:
    input:
        FIGURES,
        results=at("results.csv"),
        costs=at("costs.csv"),
        statistics=at("statistics.json"),
    output:
        report(at("report.html"), category="Results", caption="../report/report.rst"),
    log:
        at("logs/report.log"),
    conda:
        "../../envs/vlp.yaml"
    params:
        **CALL,
    shell:
        "{params.vlp} report html --config {params.config} --results {input.results} --out {output} > {log} 2>&1"
