"""A headless Chromium for the tests that need one; it asks nothing of the network."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from selenium import webdriver

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --no-proxy-server --window-size=1280,1000"
)

needs_chromium = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")),
    reason="chromium or chromedriver is not installed (Debian: apt-get install chromium chromium-driver)",
)


@contextmanager
def chromium(profile: Path) -> Iterator[webdriver.Chrome]:
    """A browser window 1280 px wide whose traces lie in the folder ``profile``; gone at the end, also on failure."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in [*FLAGS.split(), f"--user-data-dir={profile}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))  # given, so that Selenium fetches none
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "localhost,127.0.0.1")
        driver = webdriver.Chrome(options, service)
        family = family_of(service.process.pid)
        try:
            # Without a user a page has no focus, and JupyterLab then has no current notebook.
            driver.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": True})
            yield driver
        finally:
            driver.quit()
            end(family)


def family_of(pid: int) -> list[psutil.Process]:
    """A process and all that it has started; nothing if it is gone."""
    if not psutil.pid_exists(pid):
        return []
    process = psutil.Process(pid)
    return [*process.children(recursive=True), process]


def end(family: list[psutil.Process]) -> None:
    """Kills those that still live and waits until they are gone."""
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive, f"could not be ended: {alive}"
