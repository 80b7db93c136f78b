"""The built manual as its readers have it: opened from a disk in headless Chromium, without a network."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from manual.build import build_site, write_pages

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
HAS_ZENSICAL = importlib.util.find_spec("zensical") is not None
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromium-driver are not installed"),
    pytest.mark.skipif(not HAS_ZENSICAL, reason="pip install 'attnlab[docs]'"),
]
SWITCHES = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking")
PATIENCE = 60.0
"""Seconds to wait for the index of the search, on a busy machine."""
SEARCH = """
const inner = [...document.querySelectorAll('*')].map(one => one.shadowRoot).find(one => one?.querySelector('input'));
return [inner.querySelector('input').value, inner.textContent];
"""
"""What stands in the field of the search, and its results."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("manual")
    write_pages(folder)
    build_site(folder)
    return folder / "site"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for switch in (*SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}", "--window-size=1400,1000"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    environment = {**os.environ, "SE_AVOID_STATS": "true", "SE_OFFLINE": "true"}
    driver = Chrome(options=options, service=Service(str(DRIVER), env=environment))
    yield driver
    driver.quit()


def outside(browser: Chrome) -> list[str]:
    """The addresses that the page asked for and that are no file."""
    messages: list[Any] = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]
    own = ("file:", "data:", "blob:", "about:", "chrome:")  # chrome: the empty tab that the browser begins with
    return [address for address in sent if not address.startswith(own)]


@pytest.mark.parametrize(
    "page", ["index.html", "tutorial.html", "reference/attention/gated-delta.html", "architecture.html"]
)
def test_a_page_asks_no_server_and_logs_nothing(page: str, site: Path, browser: Chrome) -> None:
    browser.get((site / page).as_uri())
    assert browser.find_element(By.TAG_NAME, "h1").is_displayed()
    assert outside(browser) == []
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("page", ["tutorial.html", "reference/attention/index.html", "reference/api/running.html"])
def test_a_narrow_page_is_not_wider_than_the_screen(page: str, site: Path, browser: Chrome) -> None:
    metrics = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        browser.get((site / page).as_uri())
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_search_finds_a_page_that_is_opened_from_a_disk(site: Path, browser: Chrome) -> None:
    browser.get((site / "index.html").as_uri())
    browser.find_element(By.TAG_NAME, "body").send_keys("/")
    time.sleep(1)
    for letter in "rotary":
        browser.switch_to.active_element.send_keys(letter)
        time.sleep(0.2)
    end = time.monotonic() + PATIENCE
    while "results" not in browser.execute_script(SEARCH)[1] and time.monotonic() < end:
        time.sleep(0.5)
    field, results = browser.execute_script(SEARCH)
    assert field == "rotary"
    assert "rotaryCatalogPositionsrotary" in "".join(results.split())
    assert outside(browser) == []
