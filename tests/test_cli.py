"""The command ``lesion``: every subcommand is there, and a study's many processes import no more than they need."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from lesion_utils.cli import MODULES, app
from lesion_utils.paths import PROJECT

HEAVY = {"tensorflow", "sklearn", "scipy", "matplotlib", "papermill", "nbconvert", "lark"}


def imported(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_help_names_every_command_in_order():
    shown = CliRunner().invoke(app, ["--help"]).output.split("Commands:")[1]
    assert [line.split()[0] for line in shown.splitlines() if line.strip()] == list(MODULES)


@pytest.mark.parametrize("command", MODULES)
def test_every_command_says_what_it_does(command):
    done = CliRunner().invoke(app, [command, "--help"])
    assert done.exit_code == 0 and f"{command} [OPTIONS]" in done.output


def test_a_command_that_does_not_exist_is_refused():
    done = CliRunner().invoke(app, ["reports"])
    assert done.exit_code == 2 and "No such command 'reports'" in done.output


def test_the_commands_of_a_study_start_light():
    assert not HEAVY & imported("import lesion_utils.cli.study")


def test_reading_notebooks_builds_no_grammar_of_web_addresses():
    assert "lark" not in imported("import lesion_utils\nimport nbformat, nbconvert, papermill")
