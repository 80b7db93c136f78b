"""What is kept of a benchmark: JSON that is found again, a table with the last medians, a file that holds none."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from attnlab.errors import InvalidValueError
from benchmarks.timing.pairs import line
from benchmarks.timing.saved import Benchmark, last


def test_what_is_kept_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "results" / "bench.json"
    assert last(path) == {}
    Benchmark([line("one", [1.5, 2.5, 3.5]), line("two", [7.0])], {"device": "cpu"}).save(path)
    assert last(path) == {"one": 2.5, "two": 7.0}


def test_the_table_shows_goal_and_last_time() -> None:
    measured = Benchmark(
        [line("one", [1.5, 2.5, 3.5], goal=2.0), line("start", [0.5], goal=0.3, below=True, unit="s")], {}
    )
    console = Console(width=100, record=True, file=StringIO())
    console.print(measured.table({"one": 1.25}))
    rows = [row.split() for row in console.export_text().splitlines()]
    assert rows[1] == ["one", "2.5", "x", "2..3", ">", "2", "1.25", "3"]
    assert rows[2] == ["start", "0.5", "s", "0.5..0.5", "<", "0.3", "1"]


@pytest.mark.parametrize("content", ["", "[]", '{"lines": [{}]}'])
def test_another_file_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(InvalidValueError, match="holds no benchmark"):
        last(path)
