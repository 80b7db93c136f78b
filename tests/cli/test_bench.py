"""``attnlab bench``, with the measuring itself replaced: what is printed, kept and compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from attnlab.cli.app import app
from benchmarks.timing import bench
from benchmarks.timing.pairs import line
from benchmarks.timing.saved import Benchmark


def measured(monkeypatch: pytest.MonkeyPatch, value: float) -> list[object]:
    requested: list[object] = []

    def stand_in(*args: object) -> Benchmark:
        requested.append(args)
        return Benchmark([line("one / other", [value] * 3)], {"device": "cpu"}, ["Nothing else was measured."])

    monkeypatch.setattr(bench, "bench", stand_in)
    return requested


def test_it_is_kept_and_compared_with_the_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = ["bench", "--device", "cpu", "--rounds", "3", "--peers", "--out", str(tmp_path / "b.json")]
    requested = measured(monkeypatch, 1.25)
    first = CliRunner().invoke(app, words)
    assert first.exit_code == 0
    assert "1.25 x" in first.stdout
    assert "Nothing else was measured." in first.stdout
    assert str(requested[0]) == "(device(type='cpu'), 3, True, False)"
    measured(monkeypatch, 2.5)
    second = CliRunner().invoke(app, words)
    row = next(row for row in second.stdout.splitlines() if "one / other" in row)
    assert row.split()[3:] == ["2.5", "x", "2.5..2.5", "1.25", "3"]
    requested = measured(monkeypatch, 2.5)
    assert CliRunner().invoke(app, [*words, "--long"]).exit_code == 0
    assert str(requested[0]) == "(device(type='cpu'), 3, True, True)"
    plain = CliRunner().invoke(app, [*words, "--json"])
    assert json.loads(plain.stdout)["lines"][0]["median"] == 2.5
