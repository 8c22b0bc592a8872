"""The worked examples of the docs: their commands run again, on what the page shows, and print what it shows."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lesion_utils.paths import PROJECT

PAGE = (PROJECT / "docs" / "worked_examples.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
COMMANDS = [text for kind, text in BLOCK.findall(PAGE) if not kind and text.startswith("$ ")]


def run(command: str, folder: Path) -> str:
    """What the command of this environment prints in ``folder``."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, shell=True, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True
    )
    return done.stdout + done.stderr


def test_the_page_has_its_examples():
    assert len(COMMANDS) == 4


@pytest.mark.slow
@pytest.mark.parametrize("text", [text for text in COMMANDS if "report" in text.splitlines()[0]])
def test_the_report_gives_what_the_page_shows(text, tmp_path):
    (report,) = [content for kind, content in BLOCK.findall(PAGE) if kind == "text"]
    (tmp_path / "report.txt").write_text(report)
    command, _, printed = text.removeprefix("$ ").partition("\n")
    assert run(command, tmp_path) == printed


def test_the_split_gives_what_the_page_shows(real_ham, tmp_path):
    (code,) = [content for kind, content in BLOCK.findall(PAGE) if kind == "python"]
    shutil.copy(real_ham / "HAM10000_metadata.csv", tmp_path)
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    for text in COMMANDS:
        command, _, printed = text.removeprefix("$ ").partition("\n")
        if "leakcheck" in command:
            assert run(command, tmp_path) == printed
