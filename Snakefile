"""The study as a graph: each job one execution of a notebook, or one report.

Snakemake sees only what it is told: `params` hold all that a job's result depends on, such as the parameters that a
notebook uses and digests of data, weights and code. Run it through `make study`, which checks the input first.
"""

import os
import shlex

from lesion_utils import pipeline
from lesion_utils.cases import data_folder
from lesion_utils.paths import report_folder, resolve, run_folder
from lesion_utils.predictions import STAGE_NOTEBOOKS, TEST_READS
from lesion_utils.stopping import STOPPING
from lesion_utils.study import STAGES, load_study

PARAMS = load_study(**{key: value for key, value in config.items() if key != "tables"})
JOBS = pipeline.plan(PARAMS)
REPORTS = pipeline.reports_from_runs(PARAMS.study)
PAGES = [pipeline.INDEX, pipeline.CARD, pipeline.ITEMS]
ALL_STUDIES = os.path.relpath(report_folder("") / pipeline.INDEX, run_folder(PARAMS.study))
LESION = shlex.join([sys.executable, "-m", "lesion_utils"])


def options(*names):
    given = {name: getattr(PARAMS, name) for name in names}
    words = [f"--{name}={value}" for name, value in given.items() if value is not None]
    return shlex.join([config["study"], *words, *(["--full"] if config.get("full") else [])])


EVERYTHING = options(*pipeline.PLACES, "threads")

# Recipes that export their model, with the notebook that trains them, and the images on which models are reported.
# The digest of the tracked prediction tables if they are taken instead of training; no model is tracked.
TABLES = config.get("tables")
EXPORTED = {
    name: STAGE_NOTEBOOKS[PARAMS.stage_of(name)]
    for name, recipe in PARAMS.recipes.items()
    if recipe.exports and TABLES is None
}
FOLDERS = [data_folder(PARAMS), *([resolve(PARAMS.isic2018)] if PARAMS.isic2018 else [])] if EXPORTED else []
IMAGES = shlex.join(f"--data={folder}" for folder in FOLDERS)

# On a cluster a job gets what profiles/slurm/config.yaml asks for; of its GPUs, only jobs that train get any.
ONLY_CPU = {"gpu": 0}


onerror:
    if not STOPPING.is_set():
        shell("{LESION} pages {EVERYTHING}")


rule all:
    input:
        [f"{REPORTS}/{page}" for page in PAGES],
        [job.outputs for job in JOBS],  # what is missing is made again, also where nothing later needs it
        [f"evaluated/{recipe}/{name}" for recipe in EXPORTED for name in pipeline.EVALUATED],


# Before any notebook: every image is decoded, every weights file loaded.
rule check_data:
    output:
        pipeline.checked("data"),
        pipeline.checked("pixels"),
    params:
        data=pipeline.data_digest(PARAMS),
        code=pipeline.module_digest("audit/images.py"),
    priority: 2
    threads: PARAMS.threads
    resources:
        **ONLY_CPU,
    shell:
        "{LESION} check-data {EVERYTHING}"


for stage in STAGES:
    if pipeline.wants_weights(PARAMS, stage):

        rule:
            name:
                f"check_weights_{stage}"
            output:
                pipeline.checked(stage),
            params:
                backbones=[recipe.backbone.model_dump() for recipe in getattr(PARAMS, stage).values()],
                weights=[
                    recipe.backbone.weights_digest(PARAMS.weights)
                    for recipe in getattr(PARAMS, stage).values()
                ],
                code=pipeline.module_digest("models.py"),
                stage=stage,
            priority: 2
            threads: PARAMS.threads
            resources:
                **ONLY_CPU,
            shell:
                "{LESION} check-weights {params.stage} {EVERYTHING}"


for job in JOBS:

    rule:
        name:
            job.name
        input:
            job.inputs,
        output:
            [update(path) if path.endswith(TEST_READS) else path for path in job.outputs],
        params:
            depends_on=job.depends_on,
            notebook=job.notebook,
            run=job.run,
            tables=TABLES if "/predictions/" in str(job.outputs) else None,
        priority: 1 if job.notebook == pipeline.EDA else 0
        threads: PARAMS.threads
        resources:
            **({} if job.notebook in STAGE_NOTEBOOKS.values() else ONLY_CPU),
        shell:
            "{LESION} notebook {params.notebook} {EVERYTHING} --run {params.run}"


# One process for all pages: to start another for each costs more than to write a page anew. No cluster is asked: pages
# take seconds.
rule reports:
    localrule: True
    input:
        [f"executed/{job.name}.ipynb" for job in JOBS],
        [f"stamps/{job.name}.json" for job in JOBS],
    output:
        [f"{REPORTS}/{job.name}.html" for job in JOBS],
        [f"{REPORTS}/{page}" for page in (*PAGES, "pages.json", "predictions/README.md")],
        update(ALL_STUDIES),  # a page that studies share: not removed before it is written
    params:
        digest=pipeline.report_digest(),
    shell:
        "{LESION} pages {EVERYTHING}"


# An exported model is judged again by the command that its users have, from its folder and the images alone.
for recipe, notebook in EXPORTED.items():

    rule:
        name:
            f"evaluate_{recipe}"
        input:
            f"stamps/{notebook}.json",  # the model is no output: Snakemake removes those before it runs a job anew
        output:
            [f"evaluated/{recipe}/{name}" for name in pipeline.EVALUATED],
        params:
            code=pipeline.module_digest("cli/models.py"),
            recipe=recipe,
        threads: PARAMS.threads
        resources:
            **ONLY_CPU,
        shell:
            "{LESION} evaluate models/{params.recipe}/r0 {IMAGES} --output evaluated/{params.recipe}"
            " --threads {PARAMS.threads}"
