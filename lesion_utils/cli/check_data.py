"""Reading a study's data before it runs. Exit codes: 0 done, 2 unusable input."""

import typer

from lesion_utils import pipeline
from lesion_utils.cases import data_digest, data_folder, layout, read_pictures
from lesion_utils.cli.options import takes_study
from lesion_utils.paths import run_folder, write_json
from lesion_utils.study import StudyParams


@takes_study
def check_data(params: StudyParams) -> None:
    """Read the case table of a study and every image."""
    cases = read_pictures(params)
    facts = {"images": len(cases), "data digest": data_digest(params)}
    write_json(run_folder(params.study) / pipeline.checked("data"), facts)
    groups = f"{cases['lesion_id'].nunique():,} {layout(params).grouped_by}s"
    typer.echo(f"checked {len(cases):,} images of {groups} in {data_folder(params).name}")
