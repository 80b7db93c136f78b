from __future__ import annotations

import sys
from html.parser import HTMLParser

import pytest

from attnlab.analysis.statistics import Sample, intervals
from attnlab.config.experiment import Claim, Experiment, LadderLevels
from attnlab.formatting import between
from attnlab.rendering.html import html_page
from attnlab.rendering.report import report
from tests.rendering.fake_runs import CHANCE, seeds

VOID = {"meta", "br", "hr", "img"}


class Reader(HTMLParser):
    """The text of a page; asserts that all tags close, and lists what the page fetches."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def page(question: str = "Is a < b?") -> Reader:
    environment = {"torch": "2.13.0", "ended": "2026-11-22T01:00:00Z"}
    records = [
        one.model_copy(update={"environment": environment})
        for pairs in (2, 4)
        for one in seeds([0.9, 1.0, 1.0], pairs=pairs)
    ]
    claim = Claim(says="It is <b>.", of={}, expect="greater", bound=0.4)
    shown = report(
        records, Experiment(name="x", question=question, ladders=(LadderLevels(ladder="recall"),), claims=(claim,))
    )
    reader = Reader()
    reader.feed(html_page(shown, "attnlab report x --html y.html", "attnlab sweep x").decode())
    return reader


def test_a_page_is_complete_and_fetches_nothing() -> None:
    result = page()
    text = " ".join(result.words)
    assert result.open == []
    assert [link for link in result.fetched if "http" in link] == []
    assert "<script" not in text
    below = f"{between(intervals([Sample((0.9, 1.0, 1.0), (CHANCE, 1.0))])[0], 'accuracy')}, n=3, solved 2/3: 9-99"
    for phrase in (
        "Is a < b?",
        "It is <b>.",
        "96.7",
        below,
        "holds",
        "2.13.0",
        "attnlab sweep x",
    ):
        assert phrase in text, phrase
    assert "6, 2026-11-22T01:00:00Z to 2026-11-22T01:00:00Z" in text
    assert "--html y.html" in text


def test_without_the_plotting_libraries_it_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "altair", None)
    assert "pip install 'attnlab[plots]'" in " ".join(page().words)
