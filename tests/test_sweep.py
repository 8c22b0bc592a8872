"""A sweep: its variants, keys and values that are refused, and the comparison, which is of validation alone."""

import json

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from lesion_utils import sweep
from lesion_utils.cli import app
from lesion_utils.errors import InputError
from lesion_utils.paths import output_root, report_folder
from lesion_utils.study import StudyParams, load_study

CNN = {"hidden": 8, "phases": [{"epochs": 2, "learning_rate": 0.01}]}
STUDY = StudyParams(study="tiny", resamples=100, baseline={"cnn": CNN})


def test_variants_are_studies_that_differ_from_theirs_in_the_given_values_only():
    rate = "baseline.cnn.phases.0.learning_rate"
    names = sweep.write_variants(STUDY, [f"{rate}=1e-3,1e-4", "seed=0,7"])
    folder = "tiny_by_cnn_phases_0_learning_rate_and_seed"
    assert names == [f"{folder}/{values}" for values in ("1e_3_0", "1e_3_7", "1e_4_0", "1e_4_7")]
    for name, (value, seed) in zip(names, [(1e-3, 0), (1e-3, 7), (1e-4, 0), (1e-4, 7)], strict=True):
        variant = load_study(name)
        assert variant.baseline["cnn"].phases[0].learning_rate == value and variant.seed == seed
        expected = STUDY.model_dump()
        expected["baseline"]["cnn"]["phases"][0]["learning_rate"] = value
        assert variant == StudyParams(**expected | {"study": name, "seed": seed})
        assert variant.command == f"make study STUDY={name}"


def test_values_may_be_lists_sections_and_keys_at_their_default():
    (name,) = sweep.write_variants(STUDY, ["baseline.cnn.backbone.image_size=[24, 32]"])
    assert load_study(name).baseline["cnn"].backbone.image_size == (24, 32)
    names = sweep.write_variants(STUDY, ["baseline.cnn.reduce_lr=null,{patience: 3}", "baseline.cnn.sampler=over"])
    plain, with_patience = (load_study(name).baseline["cnn"].reduce_lr for name in names)
    assert plain is None and with_patience.patience == 3


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("sed=0,1", "Did you mean `seed`"),
        ("baseline.cn.hidden=1,2", "Did you mean `cnn`"),
        ("baseline.cnn.phases.1.epochs=1", "no `1`.*Expected one of: 0"),
        ("baseline.cnn.reduce_lr.patience=1", "`baseline.cnn.reduce_lr` is None"),
        ("baseline.cnn.smpler=over", "Did you mean `sampler`"),
        ("baseline.cnn.sampler=none,ovr", "'ovr'.*'over'"),
        ("runs=0", "runs.*greater than or equal to 1"),
        ("study=a,b", "unknown key `study`"),
        ("seed", "no.* a key with values|not a key with values"),
        ("seed=", "not a key with values"),
        ("seed=[1", "not a key with values"),
        ("seed=1,1", "given|named"),
        ("seed=" + ",".join(map(str, range(300))), "600 variants"),
    ],
)
def test_a_wrong_key_or_value_is_refused_before_anything_is_written(setting, message):
    with pytest.raises(InputError, match=message) as refused:
        sweep.write_variants(STUDY, ["resamples=100,200", setting])
    assert "Fix: " in str(refused.value) and not output_root().exists()


def test_the_command_refuses_with_exit_code_2(tmp_path):
    (tmp_path / "tiny.yml").write_text(yaml.safe_dump({"study": "tiny", "baseline": {"cnn": CNN}}))
    done = CliRunner().invoke(app, ["sweep", str(tmp_path / "tiny.yml"), "sed=1,2"])
    assert done.exit_code == 2 and "Did you mean `seed`" in done.output and not (output_root() / "runs").exists()


@pytest.fixture
def names() -> list[str]:
    """Two variants with results: the second is better on validation, the first on test."""
    names = ["tiny_by_seed/0", "tiny_by_seed/1"]
    for number, name in enumerate(names):
        rows = []
        for split, value in (("validation", 0.6 + number / 10), ("test", 0.987 - number / 10)):
            for metric in ("balanced accuracy", "log loss", "melanoma sensitivity"):
                row = {"recipe": "cnn", "split": split, "metric": metric, "value": value}
                rows.append(row | {"low": value - 0.05, "high": value + 0.06, "n": 400, "lesions": 300})
        report_folder(name).mkdir(parents=True)
        (report_folder(name) / "results.json").write_text(json.dumps({"rows": rows}))
    return names


def test_variants_are_compared_and_chosen_on_validation_alone(names):
    rows = sweep.compare_variants(names)
    assert list(rows["value"]) == [0.6, 0.6, 0.7, 0.7] and set(rows["metric"]) == {"balanced accuracy", "log loss"}
    assert sweep.choice(rows).startswith("Highest balanced accuracy on validation: 1, cnn, 0.70 (0.65-0.76). ")
    assert "of 1 of the 1 others overlap" in sweep.choice(rows)
    page = sweep.write_table_and_page(STUDY, names, rows)
    shown = [page.read_text(), (page.parent / "sweep.csv").read_text(), sweep.as_text(rows)]
    assert not any("0.98" in text or "0.88" in text for text in shown)
    assert 'href="1/index.html"' in shown[0] and "n = 400 images" in " ".join(shown[0].split())
    assert list(pd.read_csv(page.parent / "sweep.csv")["variant"]) == [0, 0, 1, 1]


def test_a_leaky_variant_is_never_chosen(names):
    rows = sweep.compare_variants(names)
    rows.loc[rows["variant"] == "1", "leaky"] = True
    assert sweep.choice(rows).startswith("Highest balanced accuracy on validation: 0, cnn")
    assert "leaky" in sweep.as_text(rows)
    rows["leaky"] = True
    assert "No variant can be ranked" in sweep.choice(rows)
