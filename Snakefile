"""Studies as one graph: each job one execution of a notebook, or one report.

Snakemake sees only what it is told: `params` hold all that a job's result depends on, such as the parameters that a
notebook uses and digests of data, weights and code. It works in `runs/`, however many studies it runs. Run it through
`make study`, which checks the input first.
"""

import os
import shlex

from lesion_utils import pipeline
from lesion_utils.cases import data_folder
from lesion_utils.paths import resolve
from lesion_utils.predictions import STAGE_NOTEBOOKS, TEST_READS
from lesion_utils.stopping import STOPPING
from lesion_utils.study import STAGES, load_study

STUDIES = [load_study(study, **config["options"]) for study in config["studies"]]
GIVEN = dict(zip((study.study for study in STUDIES), config["studies"], strict=True))
PAGES = [pipeline.INDEX, pipeline.CARD, pipeline.ITEMS]
LESION = shlex.join([sys.executable, "-m", "lesion_utils"])
# The digest of the tracked prediction tables if they are taken instead of training.
TABLES = config.get("tables", {})
# On a cluster a job gets what profiles/slurm/config.yaml asks for; of its GPUs, only jobs that train get any.
ONLY_CPU = {"gpu": 0}


def choice_of(study):
    """What gives a study to a job, for a shell command of Snakemake, which reads braces."""
    given = {name: getattr(study, name) for name in (*pipeline.PLACES, "threads")}
    given |= {name: resolve(given[name]) for name in pipeline.PLACES if given.get(name)}
    options = [f"--{name}={value}" for name, value in given.items() if value is not None]
    full = ["--full"] if config["options"].get("full") else []
    return shlex.join([GIVEN[study.study], *options, *full]).replace("{", "{{").replace("}", "}}")


def named(study, job):
    return pipeline.rule_name(study.study, job, several=len(STUDIES) > 1)


def at(study, path):
    """A path that starts in the run folder of a study, from the folder of all runs, where Snakemake works."""
    return os.path.normpath(f"{study.study}/{path}")


def exported(study):
    """Recipes that export their model, with the notebook that trains them; no model is tracked."""
    recipes = {} if study.study in TABLES else study.recipes
    return {name: STAGE_NOTEBOOKS[study.stage_of(name)] for name, recipe in recipes.items() if recipe.exports}


def targets(study):
    yield from [at(study, f"{pipeline.reports_from_runs(study.study)}/{page}") for page in PAGES]
    # What is missing is made again, also where nothing later needs it.
    yield from [at(study, path) for job in pipeline.plan(study) for path in job.outputs]
    yield from [at(study, f"evaluated/{name}/{file}") for name in exported(study) for file in pipeline.EVALUATED]


onerror:
    if not STOPPING.is_set():
        for study in STUDIES:
            if os.path.isdir(at(study, "executed")):  # it has begun
                shell("{LESION} pages " + choice_of(study))


rule all:
    input:
        [path for study in STUDIES for path in targets(study)],


def rules_of(study):
    choice, jobs = choice_of(study), pipeline.plan(study)
    reports = pipeline.reports_from_runs(study.study)

    # Before any notebook: every image is decoded, every weights file loaded.
    rule:
        name:
            named(study, "check_data")
        output:
            at(study, pipeline.checked("data")),
            at(study, pipeline.checked("pixels")),
        params:
            data=pipeline.data_digest(study),
            code=pipeline.module_digest("audit/images.py"),
        priority: 2
        threads: study.threads
        resources:
            **ONLY_CPU,
        shell:
            "{LESION} check-data " + choice

    for stage in STAGES:
        if pipeline.wants_weights(study, stage):

            rule:
                name:
                    named(study, f"check_weights_{stage}")
                output:
                    at(study, pipeline.checked(stage)),
                params:
                    backbones=[recipe.backbone.model_dump() for recipe in getattr(study, stage).values()],
                    weights=[
                        recipe.backbone.weights_digest(study.weights) for recipe in getattr(study, stage).values()
                    ],
                    code=pipeline.module_digest("models.py"),
                    stage=stage,
                priority: 2
                threads: study.threads
                resources:
                    **ONLY_CPU,
                shell:
                    "{LESION} check-weights {params.stage} " + choice

    for job in jobs:

        rule:
            name:
                named(study, job.name)
            input:
                [at(study, path) for path in job.inputs],
            output:
                [
                    update(at(study, path)) if path.endswith(TEST_READS) else at(study, path)
                    for path in job.outputs
                ],
            params:
                depends_on=job.depends_on,
                notebook=job.notebook,
                run=job.run,
                tables=TABLES.get(study.study) if "/predictions/" in str(job.outputs) else None,
            priority: 1 if job.notebook == pipeline.EDA else 0
            threads: study.threads
            resources:
                **({} if job.notebook in STAGE_NOTEBOOKS.values() else ONLY_CPU),
            shell:
                "{LESION} notebook {params.notebook} " + choice + " --run {params.run}" + config["limits"]

    # One process for all pages: to start another for each costs more than to write a page anew. No cluster is asked:
    # pages take seconds.
    rule:
        name:
            named(study, "reports")
        localrule: True
        input:
            [at(study, f"executed/{job.name}.ipynb") for job in jobs],
            [at(study, f"stamps/{job.name}.json") for job in jobs],
        output:
            [at(study, f"{reports}/{job.name}.html") for job in jobs],
            [at(study, f"{reports}/{page}") for page in (*PAGES, "pages.json", "predictions/README.md")],
        params:
            digest=pipeline.report_digest(),
        shell:
            "{LESION} pages " + choice

    # An exported model is judged again by the command that its users have, from its folder and the images alone.
    folders = [data_folder(study), *([resolve(study.isic2018)] if study.isic2018 else [])] if exported(study) else []
    images = shlex.join(f"--data={folder}" for folder in folders).replace("{", "{{").replace("}", "}}")
    for recipe, notebook in exported(study).items():

        rule:
            name:
                named(study, f"evaluate_{recipe}")
            input:
                # The model is no output: Snakemake removes those before it runs a job anew.
                at(study, f"stamps/{notebook}.json"),
            output:
                [at(study, f"evaluated/{recipe}/{name}") for name in pipeline.EVALUATED],
            params:
                code=pipeline.module_digest("cli/models.py"),
                recipe=recipe,
            threads: study.threads
            resources:
                **ONLY_CPU,
            shell:
                f"{{LESION}} evaluate {study.study}/models/{{params.recipe}}/r0 {images}"
                f" --output {study.study}/evaluated/{{params.recipe}} --threads {study.threads}"


for each in STUDIES:
    rules_of(each)
