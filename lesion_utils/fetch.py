"""Datasets and weights from where they are published, into ``data/<name>``; ``sources.yml`` says what and from where.

Files are loaded into ``data/downloads/<name>``: one that a person puts there counts as loaded. ``fetched.json`` beside
the data holds where each file came from, its SHA-256, and what it gave, so that nothing is loaded twice.
"""

import fcntl
import io
import os
import shutil
import stat
import sys
import textwrap
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
import pooch
import requests
import yaml
from tqdm import tqdm
from urllib3.exceptions import (
    ConnectTimeoutError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
)

from lesion_utils.datasets import LAYOUTS, ham10000, isic2018
from lesion_utils.datasets.case_table import image_paths, jpegs, one_hot_labels, read_published
from lesion_utils.errors import InputError, first_ten
from lesion_utils.paths import PICTURES, content_digest, data_root, from_working_folder, read_json, remove, write_json
from lesion_utils.progress import is_quiet
from lesion_utils.rounding import number
from lesion_utils.tables import require_one_of

# Dataverse refuses the name under which the package requests asks. What is packed on the way cannot be continued.
HEADERS = {"User-Agent": "lesion-utils (loads datasets for a study)", "Accept-Encoding": "identity"}
EVERY = 30  # seconds between two lines in a log
CHUNK = 2**18  # bytes that are written at once; an end in between loses them
CONNECT, TIMEOUT = 10, 60  # seconds until a host answers, and without a byte, after which a try has failed
WAITS = (1, 5, 15)  # seconds before each further try; all are left again once a try has brought something
TRY_AGAIN = (408, 416, 429, 500, 502, 503, 504)  # answers that may be others next time
STARTS = {".zip": b"PK", ".h5": b"\x89HDF"}  # of a file of this kind
KEPT = (*PICTURES, ".csv", ".txt")  # what is unpacked from an archive
RECORD, NOTE = "fetched.json", "LICENCE_AND_CITATION.txt"
NO_PICTURE = (
    "ISIC_0035068"  # a row of the ISIC 2018 truth; Dataverse lacks its image, and the challenge does not score it
)
ISIC2019_MARKS = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK")
DX_TYPES = {  # of the ISIC Archive: of HAM10000
    "histopathology": "histo",
    "serial imaging showing no change": "follow_up",
    "single image expert consensus": "consensus",
    "confocal microscopy with consensus dermoscopy": "confocal",
}


class _Refused(Exception):
    """Why a source does not give a file; the next one is asked. ``is_down``: nor will this host give another."""

    def __init__(self, why: str, who: str = "", is_down: bool = False) -> None:
        super().__init__(f"{who}: {why}" if who else why)
        self.why, self.who, self.is_down = why, who, is_down


@dataclass(frozen=True)
class File:
    megabytes: float
    url: str = ""
    kagglehub: str = ""  # the name of a dataset there, instead of a url
    name: str = ""  # by default the last part of the url
    md5: str = ""
    into: str = ""

    @property
    def saved_as(self) -> str:
        return self.name or (self.url or self.kagglehub).rpartition("/")[2]

    @property
    def by_hand(self) -> str:
        """The file where a person finds it, and the name to save it under where the source has another."""
        return f"{self.url} as {self.name}" if self.name else self.saved_as

    @property
    def most_bytes(self) -> float:  # of all that an archive holds: pictures do not shrink, tables are small
        return 2e6 * self.megabytes + 20e6


@dataclass(frozen=True)
class Source:
    """One entry of ``sources.yml``."""

    name: str
    title: str
    licence: str
    cite: list[str]
    page: str  # where a person finds the files
    then: str  # what can be done with them
    parts: dict[str, list[list[File]]]  # of each part, one of the choices is loaded
    # how many it has of what; several numbers where releases differ
    announced: dict[str, list[int]] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return data_root() / self.name

    @property
    def downloads(self) -> Path:
        return data_root() / "downloads" / self.name

    @property
    def next_command(self) -> str:
        return self.then.format(folder=from_working_folder(self.folder))

    def command(self, mirror: str | None) -> str:
        """The command that loads it, from the same ``mirror``."""
        return f"lesion fetch {self.name}{f' --source {mirror}' if mirror else ''}"

    def differences(self, cases: pd.DataFrame, leave_out: tuple[str, ...] = ()) -> str:
        """Where ``cases`` are not as many as announced, in words; "" if nowhere."""
        splits = cases["published_split"].value_counts() if "published_split" in cases else {}
        found = {"images": len(cases), "lesions": cases["lesion_id"].nunique()}
        found |= {"training images": splits.get("train", 0), "test images": splits.get("test", 0)}
        return ", ".join(
            f"{found[what]:,} instead of {' or '.join(f'{number:,}' for number in numbers)} {what}"
            for what, numbers in self.announced.items()
            if what not in leave_out and found[what] not in numbers
        )

    def missing(self) -> dict[str, list[list[File]]]:
        """The parts of which no choice is there as it was loaded."""
        whole = {name for name, kept in _record(self.folder).items() if _is_whole(self.folder, kept["files"])}
        return {
            part: choices
            for part, choices in self.parts.items()
            if not any(whole >= {file.saved_as for file in files} for files in choices)
        }

    def megabytes(self) -> tuple[float, float]:
        """About what the missing parts have at their first sources, and how much of it was loaded before."""
        files = [file for choices in self.missing().values() for file in choices[0]]
        paths = [self.downloads / file.saved_as for file in files]
        return sum(file.megabytes for file in files), sum(_size(path) or _size(_part(path)) for path in paths) / 1e6


def sources() -> dict[str, Source]:
    """All that can be loaded, by name."""
    described = yaml.safe_load(Path(__file__).with_name("sources.yml").read_text("utf-8"))
    parts = {
        name: {part: [[File(**file) for file in files] for files in choices] for part, choices in of["parts"].items()}
        for name, of in described.items()
    }
    return {name: Source(name, **of | {"parts": parts[name]}) for name, of in described.items()}


def fetch(source: Source, mirror: str | None = None) -> tuple[str, str]:
    """Loads what is missing of ``source`` and returns in words what is there, and what differs from what is announced.

    Of a ``mirror`` each ``https://host/path`` is asked as ``<mirror>/host/path``. Raises InputError if a part cannot be
    had, if the files do not fit each other, and for a folder of another origin.
    """
    folder, downloads = source.folder, source.downloads
    if folder.is_dir() and any(folder.iterdir()) and not (folder / RECORD).is_file():
        problem = f"{folder} has files that `lesion fetch` did not put there; studies use them as they are"
        raise InputError(f"{problem}. Fix: to load the published files, rename this folder first.")
    if not source.missing():
        return _finish(source)
    downloads.mkdir(parents=True, exist_ok=True)
    whole, begun = source.megabytes()
    if (free := shutil.disk_usage(downloads).free / 1e6) < (need := 2 * whole - begun):
        raise InputError(f"{downloads}: {free:,.0f} MB are free, loading and unpacking needs about {need:,.0f} MB.")
    with _only_one(downloads):
        loaded = _load_parts(source, mirror)
        _put_in_place(source, loaded)
        said = _finish(source)
        _write_record(source, loaded)
        for unfinished in downloads.glob("*.part"):
            unfinished.unlink()
        for about in downloads.glob("*.json"):  # what a person put there has none, and stays
            about.with_suffix("").unlink(missing_ok=True)
            about.unlink()
    return said


@contextmanager
def _only_one(downloads: Path) -> Iterator[None]:
    with (downloads / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"another `lesion fetch` writes to {downloads} now. Fix: wait until it ends.") from error
        yield


def _load_parts(source: Source, mirror: str | None) -> dict[File, Path]:
    """The files of the first choice of each missing part that can be had; one that was begun comes first."""

    def is_begun(files: list[File]) -> bool:
        paths = [source.downloads / file.saved_as for file in files]
        return any(_size(path) or _size(_part(path)) for path in paths)

    loaded, failed, down = dict[File, Path](), list[str](), dict[str, _Refused]()
    causes: dict[str, dict[str, None]] = {}  # of each, whom it hit
    for part, choices in source.missing().items():
        for left, files in enumerate(sorted(choices, key=lambda files: not is_begun(files)), 1 - len(choices)):
            try:
                loaded |= {file: _load(source, file, mirror, down) for file in files}
                break
            except _Refused as reason:
                if left and not (reason.is_down and reason.why in causes):
                    end = "" if reason.why.endswith("?") else "."
                    print(f"{reason}{end} The next source is asked.", file=sys.stderr, flush=True)
                causes.setdefault(reason.why, {})[reason.who] = None
        else:
            names = [" and ".join(file.by_hand for file in files) for files in choices if files[0].url]
            failed.append(f"  {part}: {', or '.join(dict.fromkeys(names))}")
    if failed:
        tried = "\n".join(f"  {', '.join(hit)}: {why}" if any(hit) else f"  {why}" for why, hit in causes.items())
        missing = first_ten(line.strip().partition(": ")[0] for line in failed)
        again = f"{source.command(mirror)} (later: it goes on where it ended)"
        by_hand = f"Or save in a browser, to {source.downloads}, from {source.page}"
        raise InputError(
            f"{source.name}: no source gives: {missing}. Tried:\n{tried}\n"
            f"Fix: {again}. {by_hand}, then run it again:\n" + "\n".join(failed)
        )
    return loaded


def _load(source: Source, file: File, mirror: str | None, down: dict[str, _Refused]) -> Path:
    """The file, or the folder that kagglehub has made, checked; raises _Refused if this source does not give it."""
    if file.kagglehub:
        return _from_kagglehub(file, mirror)
    path, known = source.downloads / file.saved_as, _record(source.folder).get(file.saved_as, {}).get("sha256")
    url = file.url if mirror is None else f"{mirror.rstrip('/')}/{file.url.partition('://')[2]}"
    if path.is_file():
        try:
            _check(path, file, known)
        except _Refused as reason:
            raise InputError(f"{path} cannot be used: {reason}. Fix: remove it, and run this again.") from reason
        if _part(path).is_file():  # begun, then given by a person
            _part(path).unlink()
            _about(path).unlink(missing_ok=True)
        return path
    _download(url, path, down)
    try:
        _check(_part(path), file, known)
    except _Refused as reason:
        _part(path).unlink()
        _about(path).unlink()
        raise _Refused(reason.why, url) from reason
    os.replace(_part(path), path)
    if not is_quiet():
        print(f"loaded {path.name} ({number(_size(path) / 1e6)} MB)", file=sys.stderr, flush=True)
    return path


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _about(path: Path) -> Path:
    """The file that says from where ``path`` is loaded, and how the server marks its version."""
    return path.with_name(f"{path.name}.json")


def _from_kagglehub(file: File, mirror: str | None) -> Path:
    if mirror is not None:
        raise _Refused("kagglehub has no mirror")
    try:
        import kagglehub  # not a dependency

        return Path(kagglehub.dataset_download(file.kagglehub))
    except ImportError as error:
        raise _Refused("the package kagglehub is not installed (pip install kagglehub adds this source)") from error
    except Exception as error:  # it has many, of several packages
        raise _Refused(_reason(error), f"kagglehub {file.kagglehub}") from error


def _download(url: str, path: Path, down: dict[str, _Refused]) -> None:
    """Brings the part file of ``path`` to its end, in several tries; raises _Refused with the last reason. A host that
    is ``down`` is not asked again.
    """
    host = urlsplit(url).netloc.rpartition("@")[2]
    if host in down:
        raise down[host]
    part, tries, was_up = _part(path), 0, False
    while True:
        before = _size(part)
        try:
            return _try(url, path)
        except requests.RequestException as error:
            answer = error.response
            status = None if answer is None else answer.status_code
            if status == 416:
                part.unlink(missing_ok=True)
            if _size(part) > before:
                tries, was_up = 0, True
            is_down = isinstance(_cause(error), (NewConnectionError, ConnectTimeoutError, ProxyError))
            waits = WAITS[:1] if is_down and not was_up else WAITS  # without a network, all hosts are soon through
            if tries >= len(waits) or (status and status not in TRY_AGAIN):
                reason = _Refused(_reason(error), host if answer is None else url, is_down)
                if is_down:
                    down[host] = reason
                raise reason from error
            asked = "" if answer is None else answer.headers.get("Retry-After", "")
            time.sleep(max(waits[tries], min(60, int(asked)) if asked.isdigit() else 0))
            tries += 1


def _try(url: str, path: Path) -> None:
    """Asks once for what is missing of the part file, and drops what is there if the server has another file."""
    part, about = _part(path), read_json(_about(path), missing={})
    begun = _size(part) if about.get("mark") and _size(part) <= (about["bytes"] or 0) else 0
    if begun and begun == about["bytes"]:
        return
    rest = {"Range": f"bytes={begun}-", "If-Range": about["mark"]} if begun else {}

    def answered(response: requests.Response, **_: Any) -> None:
        if response.status_code not in (200, 206):  # a redirect or an error
            return
        mark, length = _mark(response), response.headers.get("Content-Length", "")
        if response.status_code == 206:
            expected = f"bytes {begun}-{about['bytes'] - 1}/{about['bytes']}"
            if response.headers.get("Content-Range") != expected or mark != about["mark"]:
                part.unlink()
                raise requests.ConnectionError("the file has changed since it was begun")
        else:
            file.truncate(0)
            size = int(length) if length.isdigit() and "Content-Encoding" not in response.headers else None
            about.update(url=url, mark=mark, bytes=size)
            write_json(_about(path), about)

    name = f"the rest of {path.name}" if begun else path.name
    with part.open("ab") as file, _Bar.of(name) as bar:
        options = {"headers": HEADERS | rest, "timeout": (CONNECT, TIMEOUT), "hooks": {"response": answered}}
        pooch.HTTPDownloader(bar, CHUNK, **options)(url, file, None)
    if about["bytes"] not in (None, _size(part)):
        raise requests.ConnectionError(f"the connection ended after {_size(part):,} of {about['bytes']:,} bytes")


def _mark(response: requests.Response) -> str:
    """What tells this version of a file from others: a strong ETag, or the time of its last change."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _cause(error: Exception) -> object:
    """The error of urllib3 that an error of requests holds, or None."""
    below = error.args[0] if error.args else None
    return getattr(below, "reason", below)


def _reason(error: Exception) -> str:
    """Why a request failed, in one line, with the message that Dataverse sends, as for a guestbook."""
    answer, cause = getattr(error, "response", None), _cause(error)
    if answer is not None:
        try:
            said = str(answer.json()["message"])
        except (ValueError, LookupError, TypeError):
            said = answer.reason
        text = f"{answer.status_code} {''.join(filter(str.isprintable, said))}"
    else:
        words = {
            ProxyError: "cannot be reached through the proxy of this machine",
            NameResolutionError: "host name not found; is this machine online?",
            NewConnectionError: "cannot be reached",
            ConnectTimeoutError: f"did not answer within {CONNECT} s",  # the two above are of this kind, too
            ReadTimeoutError: f"did not answer within {TIMEOUT} s",
            ProtocolError: "the connection broke",
        }
        text = next((text for kind, text in words.items() if isinstance(cause, kind)), str(error))
    return textwrap.shorten(text, 200, placeholder=" …")


class _Lines(io.StringIO):
    """Where tqdm writes if nobody looks: each state as a line."""

    def write(self, text: str, /) -> int:
        if line := text.strip():
            print(line, file=sys.stderr, flush=True)
        return len(text)


class _Bar(tqdm):
    """A bar as pooch takes it: it asks for its truth, and counts anew at the end."""

    @classmethod
    def of(cls, name: str) -> "_Bar":
        usual: dict[str, Any] = {"desc": name, "unit": "B", "unit_scale": True, "disable": is_quiet(), "delay": 1}
        if sys.stderr.isatty():
            return cls(**usual)
        line = "{desc}: {percentage:.0f}% of {total_fmt}, about {remaining} left"
        return cls(**usual, file=_Lines(), mininterval=EVERY, maxinterval=EVERY, bar_format=line)

    def __bool__(self) -> bool:
        return True

    def reset(self, total: float | None = None) -> None:
        self.n = self.last_print_n = 0


def _check(path: Path, file: File, known: str | None) -> None:
    """Raises _Refused for a file that is not the one that it should be, and for an archive that is not safe."""
    kind = Path(file.saved_as).suffix
    with path.open("rb") as opened:
        start = opened.read(8)
    if not start.startswith(STARTS.get(kind, b"")) or start.lstrip().startswith(b"<"):  # a page with a message
        raise _Refused(f"not a {kind} file: it starts with {start!r}")
    if file.md5 and (found := pooch.file_hash(str(path), "md5")) != file.md5:
        raise _Refused(f"its MD5 is {found}, that of the published file is {file.md5}")
    if known and (found := pooch.file_hash(str(path), "sha256")) != known:
        raise _Refused(f"its SHA-256 is {found}, that of the file that was loaded first is {known}")
    if kind == ".zip":
        _members(path, file.most_bytes)


def _members(archive: Path, most_bytes: float) -> dict[str, zipfile.ZipInfo]:
    """The pictures, tables and texts in a zip file, by their path below the folder that holds all of them.

    Raises _Refused for a member whose path leaves the folder, for a link, and for more than ``most_bytes``.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise _Refused(f"not a whole .zip file ({error})") from error
    for member in members:
        parts = member.filename.replace("\\", "/").split("/")
        if parts[0] == "" or ".." in parts or ":" in parts[0] or stat.S_ISLNK(member.external_attr >> 16):
            raise _Refused(f"its member {member.filename!r} would leave the folder")
    if (size := sum(member.file_size for member in members)) > most_bytes:
        raise _Refused(
            f"it unpacks to {size / 1e6:,.0f} MB, more than the {most_bytes / 1e6:,.0f} MB that may be in it"
        )
    paths = _below_common({PurePosixPath(member.filename): member for member in members})
    if not paths:
        raise _Refused("it holds no picture and no table")
    return paths


def _below_common(files: Mapping[PurePosixPath, Any]) -> dict[str, Any]:
    """What is kept of ``files``, by its path below the innermost folder with all pictures and tables."""
    kept = {
        path: found
        for path, found in files.items()
        if path.suffix.lower() in KEPT and not any(part.startswith((".", "__MACOSX")) for part in path.parts)
    }
    if not (data := [path.parent for path in kept if path.suffix.lower() != ".txt"]):
        return {}
    top = PurePosixPath(os.path.commonpath(data))
    return {
        str(path.relative_to(top)) if path.is_relative_to(top) else path.name: found for path, found in kept.items()
    }


def _put_in_place(source: Source, loaded: dict[File, Path]) -> None:
    """Unpacks what was loaded beside the data, then moves it there."""
    unpacked, folder = source.downloads / "unpacked", source.folder
    shutil.rmtree(unpacked, ignore_errors=True)
    for file, path in loaded.items():
        into = unpacked / file.into
        into.mkdir(parents=True, exist_ok=True)
        if path.is_dir():  # of kagglehub
            files = {PurePosixPath(found.relative_to(path).as_posix()): found for found in path.rglob("*")}
            for name, found in _below_common(files).items():
                (into / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(found, into / name)
        elif path.suffix == ".zip":
            _unpack(path, file, into)
        else:
            shutil.copyfile(path, into / path.name)
    folder.mkdir(exist_ok=True)
    write_json(folder / RECORD, _record(folder))  # from now on the folder is known to be of this command
    for choices in source.missing().values():  # what another source gave before
        for former in {file.into for files in choices for file in files if file.into}:
            remove(folder / former)
    for entry in unpacked.iterdir():
        remove(folder / entry.name)
        os.replace(entry, folder / entry.name)
    unpacked.rmdir()


def _unpack(archive: Path, file: File, into: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as opened:
            for name, member in _members(archive, file.most_bytes).items():
                (into / name).parent.mkdir(parents=True, exist_ok=True)
                with opened.open(member) as read, (into / name).open("wb") as write:
                    shutil.copyfileobj(read, write)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise InputError(f"{archive} is damaged ({error}). Fix: remove it, and run this again.") from error


def _finish(source: Source) -> tuple[str, str]:
    """Makes of the published files what readers expect; returns what ``fetch`` does. InputError where they disagree."""
    folder = source.folder
    if source.name == "ham10000":
        _ham10000_table(folder)
    elif source.name == "isic2018":
        _isic2018_table(folder)
    if source.name == "isic2019":
        cases = _isic2019_table(folder)
    elif source.name in LAYOUTS:
        cases = LAYOUTS[source.name].module.read(folder, None)
    else:
        return f"{len(list(folder.glob('*.h5')))} files", ""
    return f"{len(cases):,} images", source.differences(cases)


def _ham10000_table(folder: Path) -> None:
    """HAM10000's table from those of the ISIC challenge, which know no age, sex and site."""
    groups, truth = (folder / f"ISIC2018_Task3_Training_{name}.csv" for name in ("LesionGroupings", "GroundTruth"))
    if ham10000.metadata_files(folder) or not groups.is_file():
        return
    table = read_published(groups, ("image", "lesion_id", "diagnosis_confirm_type"), ("image", "lesion_id"))
    labels = one_hot_labels(truth, isic2018.MARKS)
    require_one_of(groups, table["image"], labels.index, "image", "Fix: use the two tables of one release.")
    made = {
        "lesion_id": table["lesion_id"],
        "image_id": table["image"],
        "dx": table["image"].map(labels),
        "dx_type": table["diagnosis_confirm_type"].replace(DX_TYPES),
        **dict.fromkeys(("age", "sex", "localization"), ""),
    }
    pd.DataFrame(made).to_csv(folder / ham10000.NAMES[0], index=False)
    print("age, sex and site are not known: only the table of Dataverse has them", file=sys.stderr, flush=True)


def _isic2018_table(folder: Path) -> None:
    """The truth as a one-hot table whose images are those of the folder; one image is only in some releases."""
    path, other = folder / f"{isic2018.TRUTH}.csv", folder / "ISIC2018_Task3_Test_metadata.csv"
    if other.is_file():
        table = read_published(other, ("image_id", "dx"), ("image_id",))
        require_one_of(other, table["dx"], isic2018.CLASSES, "diagnosis")
        labels = table.set_index("image_id")["dx"]
    else:
        labels = one_hot_labels(path, isic2018.MARKS)
    images = {file.stem: file for file in isic2018.image_files(folder)}
    if NO_PICTURE in labels.index and NO_PICTURE not in images:
        labels = labels.drop(NO_PICTURE)
        print(f"{NO_PICTURE} has no image in this release: its row was left out", file=sys.stderr, flush=True)
    elif NO_PICTURE in images and NO_PICTURE not in labels.index:
        images[NO_PICTURE].unlink()
        print(f"{NO_PICTURE} has no label in this release: its image was left out", file=sys.stderr, flush=True)
    made = {mark: (labels == mark.lower()).astype(float) for mark in isic2018.MARKS}
    pd.DataFrame(made).rename_axis("image").to_csv(path)


def _isic2019_table(folder: Path) -> pd.DataFrame:
    """``ISIC_2019_Training.csv``: the label of each image with its metadata, as `lesion audit` reads it."""
    truth, about = (folder / f"ISIC_2019_Training_{name}.csv" for name in ("GroundTruth", "Metadata"))
    labels = one_hot_labels(truth, ISIC2019_MARKS)
    table = read_published(about, ("image", "age_approx", "sex", "anatom_site_general", "lesion_id"), ("image",))
    require_one_of(about, table["image"], labels.index, "image", "Fix: use the two tables of one release.")
    images = jpegs(folder, "ISIC_2019_Training_Input", "<image>")
    image_paths(truth, labels.index.to_series(), images, folder, "<image>.jpg in ISIC_2019_Training_Input")
    columns = {"image": "image_id", "age_approx": "age", "anatom_site_general": "localization"}
    made = table.rename(columns=columns).assign(label=table["image"].map(labels))
    made = made[["image_id", "label", "lesion_id", "age", "sex", "localization"]]
    made.to_csv(folder / "ISIC_2019_Training.csv", index=False)
    return made


def _record(folder: Path) -> dict[str, Any]:
    return read_json(folder / RECORD, missing={})


def _is_whole(folder: Path, files: dict[str, int]) -> bool:
    return all(_size(folder / name) == size for name, size in files.items())


def _write_record(source: Source, loaded: dict[File, Path]) -> None:
    """What was loaded, from where, its digest, and the files that it gave; beside it licence and citations."""
    folder, record = source.folder, _record(source.folder)
    for file, path in loaded.items():
        given = [folder / file.into] if file.into else _given(folder, file, path)
        files = [found for place in given for found in (sorted(place.rglob("*")) if place.is_dir() else [place])]
        record[file.saved_as] = {
            "from": file.kagglehub or read_json(_about(path), missing={}).get("url", "by hand"),
            "sha256": content_digest(path) if path.is_dir() else pooch.file_hash(str(path), "sha256"),
            "files": {str(found.relative_to(folder)): _size(found) for found in files if found.is_file()},
        }
    text = [source.title, f"Licence: {source.licence}", f"From: {source.page}", "", "Cite:", *source.cite]
    (folder / NOTE).write_text("\n".join(text) + "\n", encoding="utf-8")
    write_json(folder / RECORD, record)


def _given(folder: Path, file: File, path: Path) -> list[Path]:
    """The files that a file without a folder of its own has given."""
    return [folder / name for name in (_members(path, file.most_bytes) if path.suffix == ".zip" else [path.name])]
