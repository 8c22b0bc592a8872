"""The project is what CONTRIBUTING.md says: folders, rooms, and imports that go one way."""

import ast
import gzip
import re
import subprocess
import sys

import pytest

from lesion_utils.paths import PROJECT

PACKAGE = PROJECT / "lesion_utils"
HOUSE = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def rooms() -> list[str]:
    """The rooms of the package in the order of the table in CONTRIBUTING.md."""
    return re.findall(r"^\| `(\w+)(?:\.py|/)` \|", HOUSE, flags=re.MULTILINE)


def tracked() -> list[str]:
    listed = subprocess.run(["git", "-C", str(PROJECT), "ls-files"], capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return listed.stdout.splitlines()


def room_imports(path):
    """Rooms that a file of the package imports, function-level imports included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "lesion_utils":
            names = [f"lesion_utils.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        yield from (name.split(".")[1] for name in names if name.startswith("lesion_utils."))


def test_the_house_lists_every_room():
    there = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert set(rooms()) == there - {"__init__", "__main__"}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_rooms_above_it(path):
    order = rooms()
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if room in ("__init__", "__main__"):
        return
    for imported in room_imports(path):
        assert order.index(imported) <= order.index(room), f"{room} imports {imported}, which stands below it"


def test_the_top_level_is_what_the_folder_list_says():
    lines = re.findall(r"^    (\S.*?) {2,}", HOUSE.split("## Folders")[1].split("##")[0], flags=re.MULTILINE)
    listed = {name.rstrip("/") for line in lines for name in line.split()}
    assert {name.split("/")[0] for name in tracked() if not name.startswith(".")} == listed - {"runs", "data"}


def test_what_readers_get_names_no_home_folder():
    """A report or an executed notebook must not tell who made it, and where."""
    home = re.compile(r"/(?:root|home|Users)/\w")
    pages = [name for name in tracked() if name.startswith(("reports/", "notebooks/", "docs/", "README"))]
    texts = [name for name in pages if not name.endswith((".gz", ".svg"))]
    assert len(texts) > 100
    assert [name for name in texts if home.search((PROJECT / name).read_text(encoding="utf-8"))] == []


def lines_of(path) -> int:
    files = path.rglob("*.py") if path.is_dir() else [path]
    return sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)


@pytest.mark.parametrize(("path", "limit"), re.findall(r"^\| `([\w./]+)` \| ([\d,]+) lines \|", HOUSE, re.MULTILINE))
def test_nothing_grows_beyond_its_limit(path, limit):
    assert lines_of(PROJECT / path) <= int(limit.replace(",", ""))


def test_the_readme_is_short():
    assert (PROJECT / "README.md").stat().st_size <= 9_000


PAGES = [*PROJECT.glob("*.md"), *(PROJECT / "docs").glob("*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert not [target for target in targets if not (page.parent / target).exists()]


def test_links_of_tracked_reports_lead_to_what_is_tracked():
    there = {PROJECT / name for name in tracked()}
    lost = set()
    for page in (path for path in there if path.suffix == ".html" and path.is_relative_to(PROJECT / "reports")):
        for target in set(re.findall(r'href="([^"#:]+)(?:#[^"]*)?"', page.read_text(encoding="utf-8"))):
            if (page.parent / target).resolve() not in there:
                lost.add(f"{page.relative_to(PROJECT)}: {target}")
    assert not lost


@pytest.mark.slow
def test_nothing_tracked_names_a_machine_or_holds_a_picture():
    bad = re.compile(r"/(?:home|root|work|Users)/\w|https?://[^ ]*(?:pypi|pythonhosted)", flags=re.IGNORECASE)
    for name in tracked():
        assert not re.search(r"\.(?:jpe?g|png|gif|bmp|tiff?|npy|npz|h5|keras)$", name), name
        path = PROJECT / name
        if path.is_file() and name != "tests/test_layout.py":
            data = path.read_bytes()
            found = bad.search((gzip.decompress(data) if path.suffix == ".gz" else data).decode())
            assert not found, f"{name}: {found[0]}"


@pytest.mark.slow
def test_what_reads_parameters_and_cases_needs_no_tensorflow():
    code = "import sys; import lesion_utils.cli, lesion_utils.figures; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
