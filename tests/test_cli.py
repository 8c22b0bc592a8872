"""The command ``lesion``: every subcommand is there, and a study's many processes import no more than they need."""

import importlib.metadata
import json
import os
import subprocess
import sys
from importlib.metadata import version
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from lesion_utils import cli
from lesion_utils.cli import GROUPS, MODULES, RENAMED, app
from lesion_utils.digests import commit
from lesion_utils.paths import PROJECT
from lesion_utils.study import STAGES

HEAVY = {"tensorflow", "matplotlib", "papermill", "nbconvert", "lark"}


def imported(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_help_shows_every_command_in_its_group():
    shown = CliRunner().invoke(app, ["--help"]).output
    for (title, commands), following in zip(GROUPS.items(), [*list(GROUPS)[1:], None], strict=True):
        section = shown.split(f"{title}:")[1].split(f"{following}:")[0]
        assert [line.split()[0] for line in section.splitlines() if line.startswith("  ") and line[2] != " "] == list(
            commands
        )


def test_the_help_imports_no_command():
    assert not {f"lesion_utils.cli.{module}" for module in MODULES.values()} & imported(
        "from typer.testing import CliRunner\nfrom lesion_utils.cli import app\nCliRunner().invoke(app, ['--help'])"
    )


@pytest.mark.parametrize("command", MODULES)
def test_every_command_says_what_it_does(command):
    done = CliRunner().invoke(app, [command, "--help"])
    assert done.exit_code == 0 and f"{command} [OPTIONS]" in done.output
    assert "Exit codes: 0 " in done.output and f"  lesion {command}" in done.output.split("Example")[1]


@pytest.mark.parametrize(("typed", "meant"), [("stdy", "study"), ("page", "pages"), ("leak-check", "leakcheck")])
def test_a_misspelt_command_gets_a_suggestion(typed, meant):
    done = CliRunner().invoke(app, [typed])
    assert done.exit_code == 2 and typed in done.output and f"Did you mean '{meant}'" in done.output


def test_a_misspelt_option_gets_a_suggestion():
    done = CliRunner().invoke(app, ["study", "--weigths", "w"])
    assert done.exit_code == 2 and "--weights" in done.output


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_old_command_is_refused_with_its_new_name(old, new):
    done = CliRunner().invoke(app, [old])
    assert done.exit_code == 2 and f"Fix: lesion {new}" in done.output and new in MODULES


@pytest.mark.slow
def test_the_commands_of_a_study_start_light():
    assert not HEAVY & imported("import lesion_utils.cli.study, lesion_utils.cli.jobs")


def test_the_command_builds_no_grammar_of_web_addresses_and_the_package_changes_nothing():
    notebooks = "import nbformat, nbconvert, papermill"
    assert "lark" not in imported(f"import lesion_utils.cli\n{notebooks}")
    assert "rfc3987_syntax" not in imported("import lesion_utils")


def test_the_version_is_that_of_the_package_and_of_the_checkout():
    words = CliRunner().invoke(app, ["--version"]).output.split()
    assert words[:2] == ["lesion-utils", f"{version('lesion-utils')},"] and commit().split()[0] in words


def completed(*words: str) -> list[str]:
    """What a shell offers for the last of ``words``."""
    asked = {"_LESION_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    code = "import sys; sys.argv = ['lesion']; from lesion_utils.cli import main; main()"
    call = [sys.executable, "-c", code]
    return subprocess.run(call, cwd=PROJECT, env=os.environ | asked, capture_output=True, text=True).stdout.split()


@pytest.mark.slow
def test_a_shell_completes_commands_and_options():
    assert completed("lesion", "refresh") == ["refresh-notebooks", "refresh-readme"]
    assert completed("lesion", "score", "--mela") == ["--melanoma"]
    assert "--version" in completed("lesion", "--")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (None, "'lesion-utils[study]'"),
        ({"url": "file:///a%20b", "dir_info": {}}, "'/a b[study]'"),
        ({"url": "file:///a", "dir_info": {"editable": True}}, "-e '/a[study]'"),
        (
            {"url": "https://host/x.git", "vcs_info": {"vcs": "git"}},
            "'lesion-utils[study] @ git+https://host/x.git'",
        ),
    ],
)
def test_a_missing_package_of_the_extra_is_no_error_of_the_program(monkeypatch, capsys, source, words):
    def app():
        raise ModuleNotFoundError("No module named 'snakemake'", name="snakemake")

    installed = SimpleNamespace(read_text=lambda _: source and json.dumps(source))
    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: installed)
    monkeypatch.setattr(cli, "app", app)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    message = capsys.readouterr().err
    assert ended.value.code == 2 and "snakemake" in message and message.endswith(f"-m pip install {words}\n")


def test_an_unknown_stage_is_refused_with_those_there_are():
    done = CliRunner().invoke(app, ["check-weights", "nope", "quick"])
    assert done.exit_code == 2 and all(stage in done.output for stage in ("'nope'", *STAGES))


def test_an_error_of_the_program_does_not_exit_like_a_finding():
    code = "from lesion_utils import cli; cli.app = lambda: 1 / 0; cli.main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 70 and "ZeroDivisionError" in done.stderr and "report it" in done.stderr
