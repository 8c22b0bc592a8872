"""How a command ends when a person or the system stops it: soon, with all that it started, and with one line."""

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import NoReturn

STOPPED = 130  # the exit code after Ctrl-C (SIGINT) and SIGTERM
STOPPING = threading.Event()
SECONDS = 0.8  # after which the command ends even if something still waits; a study on a cluster takes more
_ending = threading.Lock()


def listen() -> None:
    """From now on SIGINT and SIGTERM stop this process, unless it was started to ignore them."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)


def stop(*_: object) -> NoReturn:
    """Ends the processes that this one started; the caller of the command catches its exit and calls ``end``."""
    STOPPING.set()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_family, daemon=True).start()
    raise SystemExit(STOPPED)


def _end_family() -> None:
    """Kills for some seconds: a thread may just be starting a process. Clients of a cluster, such as scancel, and what
    removes the semaphores of Python's processes, end by themselves.
    """
    import psutil  # not needed before

    last = time.monotonic() + SECONDS
    while time.monotonic() < last:
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):  # it may have ended
                words = process.cmdline()
                if words[:1] == [sys.executable] and "resource_tracker" not in " ".join(words):
                    for member in (process, *process.children(recursive=True)):
                        member.kill()
        time.sleep(0.1)
    end()


def end() -> NoReturn:
    """Says how to go on and ends this process at once: threads of libraries may crash in the usual end of a program."""
    _ending.acquire()  # never released: it is said once
    with suppress(OSError):  # the terminal may be gone
        after_bar = b"\n" if os.isatty(2) else b""  # or after the ^C that the terminal shows
        os.write(2, after_bar + b"stopped. To go on, run the same command again.\n")
    os._exit(STOPPED)
