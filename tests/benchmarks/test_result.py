"""The result of a benchmark: a table with goals and last medians, and JSON that is read again."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

from rich.console import Console

from attnlab.experiments.bench_result import last_medians
from benchmarks.timing.pairs import summarize
from benchmarks.timing.result import Benchmark


def test_the_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "results" / "bench.json"
    Benchmark([summarize("one", [1.5, 2.5, 3.5]), summarize("two", [7.0])], {"device": "cpu"}).save(path)
    assert last_medians(path) == {"one": 2.5, "two": 7.0}


def test_the_table_shows_goal_and_last_median() -> None:
    measured = Benchmark(
        [summarize("one", [1.5, 2.5, 3.5], goal=2.0), summarize("start", [0.5], goal=0.3, below=True, unit="s")], {}
    )
    console = Console(width=100, record=True, file=StringIO())
    console.print(measured.table({"one": 1.25}))
    rows = [row.split() for row in console.export_text().splitlines()]
    assert rows[1] == ["one", "2.5", "x", "2..3", ">", "2", "1.25", "3"]
    assert rows[2] == ["start", "0.5", "s", "0.5..0.5", "<", "0.3", "1"]
