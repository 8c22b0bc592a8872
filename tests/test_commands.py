"""Every command in the pages and in the help is one that the programs take: commands, options, targets, variables."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer
from typer.exceptions import TyperException

from lesion_utils.cli import app
from lesion_utils.paths import PROJECT

PAGES = [PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES += [*sorted((PROJECT / "docs").glob("*.md")), *sorted((PROJECT / "lesion_utils" / "cli" / "help").glob("*.txt"))]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PROGRAM = re.compile(r"(?:lesion|make|\.venv/bin/\S+) +\S|make$")
ON_REQUEST = {"pre-commit"}  # the page installs it in the same line
MAKEFILE = (PROJECT / "Makefile").read_text(encoding="utf-8")


def commands(text: str) -> Iterator[tuple[str, bool]]:
    """The commands in a page, and whether each is shown to be called as it is: a mention in a sentence may be short."""
    prose = FENCED.sub("", text)
    for kind, block in FENCED.findall(text):
        lines = block.splitlines()
        yield from ((line.removeprefix("$ "), True) for line in lines if kind in ("", "sh") and line.startswith("$ "))
    joined = prose.replace("\\\n", " ")
    yield from ((line, True) for line in re.findall(r"^(?: {4}| {2}(?=lesion ))(\S.*)$", joined, re.MULTILINE))
    yield from ((code, False) for code in re.findall(r"`([^`]+)`", re.sub(r"\s+", " ", prose)))


def calls(text: str) -> Iterator[tuple[list[str], bool]]:
    for command, is_whole in commands(text):
        for part in re.split(r"&&|\|\||\||(?<!-) {2,}#.*", command):
            plain = re.sub(r"<[^<>]*>", "given", part.strip().replace("<command>", "score"))
            plain = re.sub(r"^(?:[A-Z_]+=\S+ )+", "", re.sub(r" [<>] ?\S+$", "", plain))  # without what is read
            if PROGRAM.match(plain):
                words = [word for word in shlex.split(plain) if word.strip("….") and word != "…"]
                yield words, is_whole


def problem(words: list[str], is_whole: bool) -> str:
    """Why the call would be refused; "" if it is fine."""
    program, *arguments = words
    name = Path(program).name
    if name == "lesion":
        return of_lesion(arguments, is_whole)
    if name == "make":
        return of_make(arguments)
    if name not in ON_REQUEST and not (Path(sys.executable).parent / name).is_file():
        return f"no program {name}"
    if arguments[:1] == ["-m"] and find_spec(arguments[1]) is None:
        return f"no module {arguments[1]}"
    files = [word for word in arguments if re.match(r"(?:notebooks|params|tests|benchmarks)/?", word)]
    return ", ".join(f"no file {file}" for file in files if not (PROJECT / file).exists())


def of_lesion(arguments: list[str], is_whole: bool) -> str:
    group = typer.main.get_command(app)
    try:
        context = group.make_context("lesion", arguments[:1])
        name, command, _ = group.resolve_command(context, arguments)
        command.make_context(name, arguments[1:], parent=context)
    except (typer.Exit, SystemExit):  # of --help and --install-completion
        return ""
    except TyperException as error:
        return "" if not is_whole and "Missing" in error.format_message() else error.format_message()
    return ""


def of_make(arguments: list[str]) -> str:
    unknown = [word for word in arguments if "=" in word and f"$({word.split('=')[0]})" not in MAKEFILE]
    if unknown:
        return f"no variable {unknown}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    call = ["make", "--dry-run", "--directory", PROJECT, *arguments]
    done = subprocess.run(call, env=environment, capture_output=True, text=True)
    if done.returncode:
        return done.stderr
    started = re.findall(r"^(?:exec )?\.venv/bin/lesion (.*)$", done.stdout, re.MULTILINE)
    return "".join(of_lesion(shlex.split(line), True) for line in started)


@pytest.fixture(autouse=True)
def own_home(monkeypatch, tmp_path):
    """Options that install something do so in a folder of the test."""
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_is_one_that_the_programs_take(page):
    found = {" ".join(words): problem(words, whole) for words, whole in calls(page.read_text(encoding="utf-8"))}
    assert {call: why for call, why in found.items() if why} == {}


def test_the_pages_have_commands():
    texts = {page.name: page.read_text(encoding="utf-8") for page in PAGES}
    shown = [" ".join(words) for words, is_whole in calls(texts["README.md"]) if is_whole]
    assert {"make study", "make test", "make study STUDY=isic9 DATA=given HAM10000=given"} <= set(shown)
    assert sum(len([*calls(text)]) for text in texts.values()) > 100


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("    lesion scor a.csv", "score"),
        ("    lesion score a.csv --weigths w", "--weigths"),
        ("    lesion compare a.csv", "B.csv"),
        ("Call `lesion compare a.csv --nope`.", "--nope"),
        ("    make stdy", "stdy"),
        ("    make study DTA=<folder>", "DTA"),
        ("    .venv/bin/papermil notebooks/x.ipynb", "papermil"),
        ("    .venv/bin/papermill notebooks/x.ipynb", "notebooks/x.ipynb"),
        ("```\n$ lesion report\n```", "FILE"),
    ],
)
def test_a_command_that_would_be_refused_is_found(text, fact):
    ((words, is_whole),) = calls(text)
    assert fact in problem(words, is_whole)
