"""Numbers are rounded once, in one place, with the digits that decide."""

import json
import math
import re

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesion_utils.claims.results import write_results
from lesion_utils.evaluation.sentences import cell
from lesion_utils.paths import PROJECT
from lesion_utils.rounding import as_written, number, percent, span, with_interval
from lesion_utils.study import StudyParams

SHARES = st.floats(0, 1, allow_nan=False)


def test_numbers_as_readers_get_them():
    assert with_interval(0.6921, 0.6429, 0.7402) == "0.69 (0.64-0.74)"
    assert with_interval(-0.0001, -0.0042, 0.0031) == "0.000 (-0.004 to 0.003)"
    assert with_interval(0.03, 0.0101, 0.0499, sign="+") == "+0.03 (+0.01 to +0.05)"
    assert with_interval(0.6921, 0.6429, 0.7402, before="95% CI ") == "0.69 (95% CI 0.64-0.74)"
    assert [number(value) for value in (0.41123, 58.304, 10015, 0.00042, -0.5, 0)] == [
        *("0.411", "58.3", "10,015", "0.00042", "-0.5", "0")
    ]
    assert (number(math.nan), number(math.inf)) == ("nan", "inf")
    assert with_interval(0.41123, None, None) == with_interval(0.41123, math.nan, math.nan) == "0.411"
    assert (percent(0.36684), percent(0.69, 0.641, 0.738, "95% CI ")) == ("36.7%", "69% (95% CI 64-74%)")
    assert as_written(0.7057 - 0.03) == "0.6757" and as_written(10000) == "10,000"


@given(st.tuples(SHARES, SHARES).map(sorted), st.floats(-0.1, 1.1).map(lambda edge: round(edge, 4)))
def test_a_reader_sees_on_which_side_of_an_edge_an_interval_ends(ends, edge):
    low, high = (round(end, 5) for end in ends)
    shown = [float(end) for end in re.findall(r"-?\d\.\d+", span(low, high, [edge]).replace(" to ", " "))]
    shown = [abs(end) for end in shown]  # the dash between shares is no sign
    for end, text in zip((low, high), shown, strict=True):
        assert (end > edge, end < edge) == (text > edge, text < edge)


def test_an_edge_costs_digits_only_where_it_decides():
    assert span(0.7597, 0.81, [0.76]) == "0.7597-0.8100"
    assert span(0.757, 0.81, [0.76]) == "0.757-0.810"
    assert span(0.76, 0.81, [0.76]) == span(0.76, 0.81) == "0.76-0.81"
    assert span(0.004, 0.06, [0]) == "0.004-0.060" and span(0.004, 0.06) == "0.00-0.06"
    assert (number(0.70574), number(0.70574, edges=[0.70565, 0.70575])) == ("0.706", "0.7057")


@given(SHARES, st.floats(0, 0.2))
def test_a_number_read_from_a_file_of_results_is_printed_as_the_report_prints_it(value, width):
    value = round(value, 12)  # files have 15 decimals
    row = {"value": value, "low": value - width, "high": value + width, "metric": "accuracy", "kind": "overall"}
    row |= {"n": 9, "lesions": 9, "leaky": False, "few": False, "note": ""}
    index = pd.MultiIndex.from_tuples([("a", "test", "accuracy")])
    written = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lesion_utils.claims.results.write_json", lambda path, content: written.update(content))
        write_results(StudyParams(study="tiny"), pd.DataFrame([row], index), "a")
    (read,) = json.loads(json.dumps(written))["rows"]
    assert cell(read) == cell(row)


def test_nothing_else_in_the_package_rounds_for_readers():
    files = [path for path in (PROJECT / "lesion_utils").rglob("*") if path.suffix in (".py", ".j2", ".yml")]
    rounds = re.compile(r":[+z,]*\.\d[fg%]|%\+?\.\d[fg]|\.round\(\d\)")
    found = {
        f"{path.relative_to(PROJECT / 'lesion_utils')}: {line.strip()}"
        for path in files
        for line in path.read_text(encoding="utf-8").splitlines()
        if rounds.search(line) and path.name != "rounding.py" and "style=" not in line
    }
    machine = (
        "/training.py",
        "handover.py",
        "progress.py",
        "tables.py",
        "notebook_html.py",
        "/predictions.py",
    )  # logs, messages, CSS
    rest = [line for line in found if not f"/{line.split(':')[0]}".endswith(machine) and ".0f}" not in line]
    assert not rest, rest
