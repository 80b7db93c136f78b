"""``attnlab bench`` with a stand-in for the measuring: what is printed, written and compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from attnlab.cli.app import app
from attnlab.experiments.bench_result import BenchResult, measurement
from tests.cli.conftest import Command


def stand_in(monkeypatch: pytest.MonkeyPatch, value: float) -> list[object]:
    """Replace the measuring; the devices it was called with are appended to the list."""
    devices: list[object] = []

    def measure(device: object) -> BenchResult:
        devices.append(device)
        rates = measurement("softmax, recall", [value] * 3, "steps/s", "recall: batch 64")
        return BenchResult([rates], {"device": "cpu", "cores": 2})

    monkeypatch.setattr("attnlab.experiments.machine_bench.measure_machine", measure)
    return devices


def test_it_is_written_and_shown_beside_the_last_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = ["bench", "--device", "cpu", "--out", str(tmp_path / "b.json")]
    devices = stand_in(monkeypatch, 1.25)
    first = CliRunner().invoke(app, words)
    assert first.exit_code == 0
    assert "1.25 steps/s" in first.stdout
    assert "recall: batch 64" in first.stdout
    assert str(devices) == "[device(type='cpu')]"
    stand_in(monkeypatch, 2.5)
    second = CliRunner().invoke(app, words)
    row = next(row for row in second.stdout.splitlines() if "softmax" in row)
    assert row.split() == ["softmax,", "recall", "2.5", "steps/s", "2.5..2.5", "1.25"]
    plain = CliRunner().invoke(app, [*words, "--json"])
    assert json.loads(plain.stdout)["lines"][0]["median"] == 2.5


def test_threads_are_those_of_torch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before, threads = torch.get_num_threads(), list[int]()
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    stand_in(monkeypatch, 1.0)
    result = CliRunner().invoke(app, ["bench", "--threads", "3", "--device", "cpu", "--out", str(tmp_path / "b.json")])
    assert result.exit_code == 0
    assert threads == [3, before]  # they are put back afterwards


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: Command
) -> None:
    devices = stand_in(monkeypatch, 1.0)
    (tmp_path / "file").write_text("")
    result = command("bench", "--device", "cpu", "--out", "file/b.json")
    assert (result.status, devices) == (2, [])
    assert result.error.startswith("attnlab: file/b.json\n  It cannot be written: ")
    result = command("diagnose", "rank-collapse", "--layers", "2", "--csv", "file/b.csv")
    assert result.status == 2
    assert result.error.startswith("attnlab: file/b.csv\n  It cannot be written: ")
