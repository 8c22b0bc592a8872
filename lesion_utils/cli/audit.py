"""The audit of anybody's folder of pictures."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from lesion_utils.checks.any_folder import EXPECTED
from lesion_utils.cli.common import Json, finish, refuse_page, unusable_input_exits_2
from lesion_utils.errors import InputError
from lesion_utils.paths import atomic_write, require_suffix

MOST_PAIRS = 25  # on the sheet
MOST_SHOWN = {False: 10, True: 200}  # rows of a list in the terminal, and on the page


def audit(
    folder: Annotated[Path, typer.Argument(help="pictures; folders of it may be their classes")],
    metadata: Annotated[Path | None, typer.Option(help=f"CSV of {EXPECTED}")] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="out-of-fold prediction table, to rank the labels by")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="write a page; it shows no picture")] = None,
    sheet: Annotated[Path | None, typer.Option(help="write a .png with the pairs that show one lesion")] = None,
    as_json: Json = False,
    threads: Annotated[int, typer.Option(min=1, help="threads that open and compare pictures")] = 2,
) -> None:
    with unusable_input_exits_2():
        refuse_page(html, metadata, predictions)
        if sheet:
            require_suffix(sheet, ".png", "the sheet")
        from lesion_utils.checks.audit_folder import audit_folder  # slow
        from lesion_utils.checks.predictions import read_predictions
        from lesion_utils.rendering import write_page

        table = None if predictions is None else read_predictions(predictions).frame
        audited = audit_folder(folder, metadata, table, threads)
        if html:
            write_page(html, "audit.html.j2", audited=audited, folder=folder.name, most=MOST_SHOWN[True])
        if sheet:
            _write_sheet(sheet, audited)
    shown = {"audited": audited, "folder": folder.name, "most": MOST_SHOWN[False]}
    finish(audited.as_dict(), "audit.txt.j2", as_json, int(not audited.is_clean), **shown)


def _write_sheet(sheet: Path, audited: Any) -> None:
    import matplotlib.pyplot as plt

    from lesion_utils.audit import open_image
    from lesion_utils.figures import pictures

    if not len(audited.twins):
        raise InputError(f"--sheet {sheet}: no pair seems to show one lesion. Fix: leave it out.")
    paths = audited.cases.set_index("image_id")["path"]
    rows: dict[str, list] = {}
    for pair in audited.twins.head(MOST_PAIRS).itertuples():
        sides = (pair.first, pair.second)
        name = f"{len(rows) + 1}: {pair.keypoints} keypoints"
        rows[name] = [(np.asarray(open_image(paths[side])), side) for side in sides]
    figure = pictures(rows, f"The first {len(rows)} of {len(audited.twins):,} pairs", 2.4, 1.8)
    with atomic_write(sheet) as new:
        figure.savefig(new, format="png")
    plt.close(figure)
