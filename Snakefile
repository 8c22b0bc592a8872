"""The study as a graph: each job one execution of a notebook, or one report.

Snakemake sees only what it is told: `params` carry digests of the data, the weights, the parameters that a notebook
uses, the notebook, and the modules it imports. Run it through `make study`, which checks the input first.
"""

import shlex

from lesion_utils import pipeline
from lesion_utils.study import STAGES, load_study

PARAMS = load_study(**config)
JOBS = pipeline.plan(PARAMS)
REPORTS = pipeline.reports_from_runs(PARAMS.study)
LESION = shlex.join([sys.executable, "-m", "lesion_utils"])


def options(*names):
    given = {name: getattr(PARAMS, name) for name in names}
    return shlex.join([config["study"], *(f"--{name}={value}" for name, value in given.items() if value is not None)])


EVERYTHING = options(*pipeline.PLACES, "threads")

IMAGES = shlex.join(f"--data={folder}" for folder in pipeline.exported_images(PARAMS))


onerror:
    shell("{LESION} report {EVERYTHING}")


rule all:
    input:
        f"{REPORTS}/index.html",
        [job.outputs for job in JOBS],  # what is missing is made again, also where nothing later needs it
        [f"evaluated/{recipe}/{name}" for recipe in pipeline.exported(PARAMS) for name in pipeline.EVALUATED],


# Before any notebook: every image is decoded, every weights file loaded.
rule check_data:
    output:
        pipeline.CHECKED_DATA,
    params:
        digest=pipeline.check_digest(PARAMS),
    priority: 2
    threads: workflow.cores
    shell:
        "{LESION} check-data {EVERYTHING}"


for stage in STAGES:
    if pipeline.wants_weights(PARAMS, stage):

        rule:
            name:
                f"check_weights_{stage}"
            output:
                pipeline.checked_weights(stage),
            params:
                digest=pipeline.check_digest(PARAMS, stage),
                stage=stage,
            priority: 2
            threads: workflow.cores
            shell:
                "{LESION} check-weights {params.stage} {EVERYTHING}"


for job in JOBS:

    rule:
        name:
            job.name
        input:
            job.inputs,
        output:
            job.outputs,
        params:
            digest=job.digest,
            notebook=job.notebook,
            repeat=job.repeat,
        priority: 1 if job.notebook == pipeline.EDA else 0
        threads: PARAMS.threads
        shell:
            "{LESION} notebook {params.notebook} {EVERYTHING} --run {params.repeat}"


# One process for all pages: to start another for each costs more than to write a page anew.
rule reports:
    input:
        [f"executed/{job.name}.ipynb" for job in JOBS],
        [f"stamps/{job.name}.json" for job in JOBS],
    output:
        [f"{REPORTS}/{job.name}.html" for job in JOBS],
        f"{REPORTS}/index.html",
    params:
        digest=pipeline.report_digest(),
    shell:
        "{LESION} report {EVERYTHING}"


# An exported model is judged again by the command that its users have, from its folder and the images alone.
for recipe, notebook in pipeline.exported(PARAMS).items():

    rule:
        name:
            f"evaluate_{recipe}"
        input:
            f"stamps/{notebook}.json",  # the model is no output: Snakemake removes those before it runs a job anew
        output:
            [f"evaluated/{recipe}/{name}" for name in pipeline.EVALUATED],
        params:
            digest=pipeline.evaluate_digest(),
            recipe=recipe,
        threads: PARAMS.threads
        shell:
            "{LESION} evaluate models/{params.recipe}/r0 {IMAGES} --output evaluated/{params.recipe}"
            " --threads {PARAMS.threads}"
