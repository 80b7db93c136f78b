"""The HTML page as its readers have it: opened from a file in headless Chromium, without a network."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from attnlab.config.experiment import Claim, Experiment, LadderLevels
from attnlab.diagnosis.result import AttentionMap
from attnlab.records import Record
from attnlab.rendering.html import RunMaps, html_page
from attnlab.rendering.report import report
from tests.rendering.fake_runs import run
from tests.rendering.learned_runs import learned_runs

pytest.importorskip("vl_convert")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromium-driver are not installed"),
]
SWITCHES = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
LARGEST_BYTES, LONGEST_SECONDS = 3_000_000, 2.0
"""Bounds of the page of 500 runs."""
HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">'\"&{{7*7}}"
PATIENCE = 20.0
"""Seconds to wait for what is drawn when it comes into view, on a busy machine."""


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


def page_of(records: list[Record], question: str = "Which recalls more?", **more: Any) -> bytes:
    claim = Claim(says="Softmax recalls more.", of={"attention": "softmax", "level": 8}, expect="greater", bound=0.5)
    experiment = Experiment(name="x", question=question, ladders=(LadderLevels(ladder="recall"),), claims=(claim,))
    return html_page(report(records, experiment), "attnlab report x --html x.html", "attnlab sweep x", **more)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    records = learned_runs()
    weights = tuple(tuple(1 / (query + 1) if key <= query else 0.0 for key in range(6)) for query in range(6))
    maps = [RunMaps(records[0], (AttentionMap("softmax", 1, 1, weights),))]
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_bytes(page_of(records, maps=maps, about_maps="Queries down, keys across."))
    return path.as_uri()


@pytest.fixture
def page(browser: Chrome, address: str) -> Iterator[Chrome]:
    """The page, opened anew at 1400 pixels; after each test nothing was requested and nothing was logged."""
    sized(browser, 1400)
    opened(browser, address)
    yield browser
    assert quiet(browser)


def sized(browser: Chrome, width: int, scheme: str = "light") -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def opened(browser: Chrome, address: str) -> None:
    browser.get("about:blank")
    browser.get_log("performance")
    browser.get_log("browser")
    browser.get(address)


def quiet(browser: Chrome) -> bool:
    """Whether nothing but the file was requested, and nothing was written to the console."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [event["params"] for event in events if event["method"].startswith("Network.requestWillBeSent")]
    addresses = [one["request"]["url"] for one in requests if "request" in one]
    assert addresses, "the log of requests has the page itself"
    assert [url for url in addresses if not url.startswith(("file://", "data:", "about:"))] == []
    assert len({url for url in addresses if url.startswith("file://")}) <= 1
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    return True


def waited(found: Callable[[], Any]) -> Any:
    """What a function finds, once it finds it."""
    end = time.monotonic() + PATIENCE
    while not (result := found()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return result


def drawn(browser: Chrome, section: str) -> Any:
    """The first chart of a section, scrolled into view and drawn."""
    browser.execute_script(f"document.querySelector('#{section} .chart').scrollIntoView({{block: 'center'}})")
    return waited(lambda: browser.find_elements(By.CSS_SELECTOR, f"#{section} .plot svg.marks, #{section} canvas"))[0]


def visible_runs(browser: Chrome) -> list[list[str]]:
    script = """
      return [...document.querySelectorAll('#table tbody tr')].filter((row) => !row.hidden)
        .map((row) => [...row.cells].map((cell) => cell.textContent));
    """
    return [list(row) for row in browser.execute_script(script)]


@pytest.mark.parametrize("section", ["accuracy", "seeds", "curves", "diagnostics", "maps"])
def test_every_section_draws_its_charts(page: Chrome, section: str) -> None:
    drawn(page, section)
    assert page.find_elements(By.CSS_SELECTOR, f"#{section} .plot .about") == []


def test_hovering_a_mark_shows_its_numbers(page: Chrome) -> None:
    drawn(page, "accuracy")
    mark = page.find_element(By.CSS_SELECTOR, "#accuracy .mark-symbol path")

    def hovered() -> str:
        """The tooltip; a chart that is still moving needs the pointer to follow."""
        ActionChains(page).move_to_element_with_offset(mark, 1, 1).move_to_element(mark).perform()
        return page.find_element(By.ID, "tip").text

    tip = waited(hovered)
    assert tip.startswith("softmax")
    assert "95 % interval" in tip
    assert "seeds" in tip


def test_the_legend_hides_a_variant_in_every_chart(page: Chrome) -> None:
    drawn(page, "curves")
    drawn(page, "accuracy")

    def marks(section: str) -> int:
        return len(page.find_elements(By.CSS_SELECTOR, f"#{section} .mark-symbol path"))

    before = {section: marks(section) for section in ("accuracy", "curves")}
    button = page.find_element(By.CSS_SELECTOR, ".legend [data-variant='1']")
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    waited(lambda: all(marks(section) == count // 2 for section, count in before.items()))
    page.find_element(By.CSS_SELECTOR, ".legend [data-variant='0']").click()
    waited(lambda: not any(marks(section) for section in before))
    page.find_element(By.ID, "all").click()
    waited(lambda: all(marks(section) == count for section, count in before.items()))


def test_the_measure_of_the_curves_is_chosen(page: Chrome) -> None:
    drawn(page, "curves")
    page.find_element(By.CSS_SELECTOR, "input[value='loss']").click()
    plot = page.find_element(By.CSS_SELECTOR, "#curves .plot")
    waited(lambda: str(plot.get_attribute("data-drawn")).endswith("|loss"))
    assert "%" not in plot.text


def test_runs_are_filtered_and_sorted(page: Chrome) -> None:
    assert len(visible_runs(page)) == 18
    page.find_element(By.ID, "filter").send_keys("linear recall")
    waited(lambda: len(visible_runs(page)) == 9)
    assert page.find_element(By.ID, "count").text == "9 of 18 runs"
    head = next(one for one in page.find_elements(By.CSS_SELECTOR, "#table th") if one.text.startswith("accuracy"))
    column = page.execute_script("return arguments[0].cellIndex", head)

    def accuracies() -> list[float]:
        return [float(cells[column].removesuffix(" %")) for cells in visible_runs(page)]

    head.find_element(By.TAG_NAME, "button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert accuracies() == sorted(accuracies()) != sorted(accuracies(), reverse=True)
    head.find_element(By.TAG_NAME, "button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert accuracies() == sorted(accuracies(), reverse=True)


def test_the_panel_of_a_run_opens_and_closes_by_keyboard(page: Chrome) -> None:
    link = page.find_element(By.CSS_SELECTOR, "#table tbody a")
    page.execute_script("arguments[0].focus()", link)
    link.send_keys(Keys.ENTER)
    dialog = page.find_element(By.ID, "run")
    waited(lambda: dialog.is_displayed())
    waited(lambda: dialog.find_elements(By.CSS_SELECTOR, "svg.marks"))
    assert "softmax" in dialog.find_element(By.ID, "run-title").text
    assert "recall, pairs 2" in dialog.text
    dialog.send_keys(Keys.ESCAPE)
    waited(lambda: not dialog.is_displayed())
    assert page.execute_script("return document.activeElement === arguments[0]", link)


def test_a_mark_opens_its_run_and_an_address_does(page: Chrome, address: str) -> None:
    drawn(page, "seeds")
    mark = page.find_element(By.CSS_SELECTOR, "#seeds .mark-symbol path")
    ActionChains(page).move_to_element(mark).click().perform()
    waited(lambda: page.find_element(By.ID, "run").is_displayed())
    run = page.execute_script("return location.hash")
    opened(page, address + run)
    waited(lambda: page.find_element(By.ID, "run").is_displayed())


def test_everything_is_reached_by_keyboard_and_has_a_name(page: Chrome) -> None:
    body = page.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    first = page.switch_to.active_element
    assert first.text == "Skip to the results"
    unnamed = page.execute_script(
        "return [...document.querySelectorAll('button, input, select, a, summary, [role=region], [role=group]')]"
        ".filter(e => !(e.textContent.trim() || e.ariaLabel || e.labels?.length)).map(e => e.outerHTML)",
    )
    assert unnamed == []
    tree = page.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    buttons = [one for one in tree if one.get("role", {}).get("value") == "button"]
    assert buttons
    assert all(one["name"]["value"] for one in buttons)
    headings = page.execute_script("return [...document.querySelectorAll('h1, h2, h3')].map(e => e.tagName)")
    assert headings[0] == "H1"
    assert headings.count("H1") == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_are_legible(page: Chrome, address: str, scheme: str) -> None:
    sized(page, 1400, scheme)
    opened(page, address)
    drawn(page, "accuracy")
    script = """
      const light = (color) => {
        const parts = color.match(/[0-9.]+/g).slice(0, 3).map((part) => part / 255);
        const [r, g, b] = parts.map((part) => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4);
        return .2126 * r + .7152 * g + .0722 * b;
      };
      const paper = light(getComputedStyle(document.body).backgroundColor);
      const ratio = ([selector, property]) => {
        const ink = light(getComputedStyle(document.querySelector(`main ${selector}`))[property]);
        return (Math.max(ink, paper) + .05) / (Math.min(ink, paper) + .05);
      };
      const texts = [['p.about', 'color'], ['h1', 'color'], ['a', 'color'], ['.role-axis-label text', 'fill']];
      return [paper, ...texts.map(ratio)];
    """
    paper, *ratios = page.execute_script(script)
    assert (paper > 0.5) == (scheme == "light")
    assert min(ratios) >= 4.5  # the contrast of WCAG 2, AA


def test_the_theme_is_chosen_by_a_button(page: Chrome) -> None:
    def background() -> str:
        return str(page.find_element(By.TAG_NAME, "body").value_of_css_property("background-color"))

    light, button = background(), page.find_element(By.ID, "theme")
    button.click()
    assert button.text == "Theme: dark"
    assert background() != light
    button.click()
    assert background() == light


@pytest.mark.parametrize("width", [390, 768, 1400, 2200])
def test_no_width_needs_scrolling_to_the_side(page: Chrome, address: str, width: int) -> None:
    sized(page, width)
    opened(page, address)
    for section in ("accuracy", "curves", "diagnostics", "maps"):
        drawn(page, section)
    shown, full = page.execute_script(
        "return [document.documentElement.clientWidth, document.documentElement.scrollWidth]"
    )
    assert full <= shown
    script = """
      return [...document.querySelectorAll('.chart svg.marks')]
        .filter((chart) => chart.getBoundingClientRect().right > innerWidth).length;
    """
    assert page.execute_script(script) == 0


def test_hostile_names_are_text(browser: Chrome, tmp_path: Path) -> None:
    records = [
        record.model_copy(update={"reason": HOSTILE, "environment": {"torch": HOSTILE}})
        for seed in (0, 1)
        for record in (run(HOSTILE, 2, seed), run("softmax", 2, seed), run(HOSTILE, HOSTILE, seed, task=HOSTILE))
    ]
    path = tmp_path / "hostile.html"
    path.write_bytes(
        page_of(records, HOSTILE, run_commands={one.id: HOSTILE for one in records}, texts=[(HOSTILE, HOSTILE)])
    )
    sized(browser, 1400)
    opened(browser, path.as_uri())
    assert browser.title == HOSTILE
    drawn(browser, "accuracy")
    drawn(browser, "curves")
    assert HOSTILE in browser.find_element(By.CSS_SELECTOR, ".legend").text
    browser.get(f"{path.as_uri()}#run-{records[0].id}")
    dialog = browser.find_element(By.ID, "run")
    waited(lambda: dialog.is_displayed())
    assert dialog.text.count("onerror") >= 3
    time.sleep(0.3)
    assert browser.title == HOSTILE
    assert browser.find_elements(By.CSS_SELECTOR, "img") == []
    assert quiet(browser)


def test_the_policy_forbids_requests_and_other_scripts(page: Chrome) -> None:
    """What a hole would try fails: the console, which the fixture reads, tells of both refusals here."""
    script = """
      const done = arguments[0], made = document.createElement('script');
      made.textContent = 'window.stranger = "ran"';
      document.body.append(made);
      fetch('https://example.org/').then(() => done('fetched'), () => done(window.stranger ?? 'refused'));
    """
    outcome = page.execute_async_script(script)
    assert outcome == "refused"
    assert all("Content Security Policy" in entry["message"] for entry in page.get_log("browser"))


def test_a_browser_without_what_the_script_needs_says_so_and_has_the_tables(browser: Chrome, address: str) -> None:
    sized(browser, 1400)
    old = {"source": "delete window.DecompressionStream"}
    identifier = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", old)["identifier"]
    try:
        opened(browser, address)
        notice = waited(lambda: browser.find_elements(By.CSS_SELECTOR, "main .notice"))[-1]
        assert "DecompressionStream" in notice.text
        assert len(visible_runs(browser)) == 18
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", {"identifier": identifier})


def test_500_runs_are_small_and_open_quickly(browser: Chrome, tmp_path: Path) -> None:
    records = learned_runs(("softmax", "linear", "delta", "gla", "mamba2"), (2, 4, 8, 16, 32), 20)
    assert len(records) == 500
    content = page_of(records)
    assert len(content) < LARGEST_BYTES
    path = tmp_path / "many.html"
    path.write_bytes(content)
    sized(browser, 1400)
    opened(browser, path.as_uri())
    waited(lambda: browser.find_elements(By.CSS_SELECTOR, "#accuracy svg.marks"))
    script = "return performance.getEntriesByName('drawn')[0].startTime / 1000"
    assert browser.execute_script(script) < LONGEST_SECONDS
    assert quiet(browser)
