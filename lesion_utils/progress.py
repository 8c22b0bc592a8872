"""How long work shows itself: a bar in a terminal, a line now and then in a log, nothing if it is to be quiet.

Never on standard output, which may be a result.
"""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from shutil import get_terminal_size
from typing import TypeVar

from tqdm import tqdm

QUIET = "LESION_QUIET"  # set by --quiet, for this process and those that it starts
LOG = "LESION_LOG"  # the log of the job that runs this notebook: in a kernel, output would become part of the notebook
EVERY = 10  # seconds between two lines
IN_JUPYTERLAB = "JPY_SESSION_NAME" in os.environ  # set by the Jupyter server, not by papermill or nbval
_LINE = "{desc}: {n_fmt} of {total_fmt}, about {remaining} left"
T = TypeVar("T")


def is_quiet() -> bool:
    return bool(os.environ.get(QUIET))


def steps(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """``items``, of which there are ``total``, one after another; shows how many are done, and the time left."""
    total = len(items) if total is None else total  # type: ignore[arg-type]
    log, in_kernel = os.environ.get(LOG), type(sys.stderr).__module__.startswith("ipykernel")
    if is_quiet() or (in_kernel and not IN_JUPYTERLAB and not log):
        yield from items
    elif not log and not os.environ.get("LESION_RUN_BY") and (IN_JUPYTERLAB or sys.stderr.isatty()):
        width, height = get_terminal_size()  # tqdm shows nothing where a terminal does not know its size
        size = {"ncols": width - 1, "nrows": height}
        yield from tqdm(items, what, total, file=sys.stderr, delay=1, leave=False, **size)
    else:
        start = last = time.monotonic()
        for done, item in enumerate(items, 1):
            yield item
            if (now := time.monotonic()) - last >= EVERY and done < total:
                last = now
                line = tqdm.format_meter(done, total, now - start, prefix=what, bar_format=_LINE)
                with open(log, "a", encoding="utf-8") if log else nullcontext(sys.stderr) as file:
                    print(line, file=file, flush=True)
