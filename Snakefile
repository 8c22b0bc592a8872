"""The study as a graph: each job one execution of a notebook, or one report.

Snakemake sees only what it is told: `params` carry digests of the data, the weights, the parameters that a notebook
uses, the notebook, and the modules it imports. Run it through `make study`, which checks the input first.
"""

import shlex

from lesion_utils import notebooks
from lesion_utils.params import load_study

PARAMS = load_study(**config)
JOBS = notebooks.plan(PARAMS)
REPORTS = notebooks.reports_from_runs(PARAMS.study)
LESION = shlex.join([sys.executable, "-m", "lesion_utils"])


def options(*names):
    given = {name: getattr(PARAMS, name) for name in names}
    return shlex.join([config["study"], *(f"--{name}={value}" for name, value in given.items() if value is not None)])


EVERYTHING = options("data", "weights", "threads")


onerror:
    shell("{LESION} index {EVERYTHING}")


rule all:
    input:
        f"{REPORTS}/index.html",


rule check:
    output:
        "checked.json",
    params:
        digest=notebooks.check_digest(PARAMS),
    shell:
        "{LESION} check {EVERYTHING}"


for job in JOBS:

    rule:
        name:
            job.name
        input:
            job.inputs,
            [ancient(name) for name in job.after],
        output:
            job.outputs,
        params:
            digest=job.digest,
            notebook=job.notebook,
            repeat=job.repeat,
        threads: PARAMS.threads
        shell:
            "{LESION} notebook {params.notebook} {EVERYTHING} --repeat {params.repeat}"

    rule:
        name:
            f"report_{job.name}"
        input:
            f"executed/{job.name}.ipynb",
            f"stamps/{job.name}.json",
        output:
            f"{REPORTS}/{job.name}.html",
        params:
            digest=notebooks.report_digest(),
            name=job.name,
        shell:
            "{LESION} report {params.name} {EVERYTHING}"


rule index:
    input:
        [f"stamps/{job.name}.json" for job in JOBS],
        [f"{REPORTS}/{job.name}.html" for job in JOBS],
    output:
        f"{REPORTS}/index.html",
    params:
        digest=notebooks.report_digest(),
    shell:
        "{LESION} index {EVERYTHING}"
