"""The benchmark of this machine: what it measures, and its file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from attnlab.errors import InvalidFileError
from attnlab.experiments import machine_bench
from attnlab.experiments.bench_result import BenchResult, last_medians, measurement
from attnlab.tasks import IGNORE
from attnlab.tasks.io.streams import Source

CPU = torch.device("cpu")


def test_steps_are_measured_for_every_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_bench, "ROUNDS", 2)
    monkeypatch.setattr(machine_bench, "STEPS", 1)
    monkeypatch.setattr(machine_bench, "ATTENTIONS", ("softmax", "linear"))
    rates = list(machine_bench.step_rates("textbook shape", machine_bench.textbook_task(), CPU))
    assert [one.name for one in rates] == ["softmax, textbook shape", "linear, textbook shape"]
    assert all(one.rounds == 2 and 0.01 < one.low <= one.median <= one.high for one in rates)
    assert rates[0].unit == "steps/s"
    assert rates[0].note == "textbook shape: batch 64, T 64, V 64, 2 layers, width 64, 2 heads"


def test_the_textbook_task_has_a_target_at_every_position_but_the_first() -> None:
    targets_BT = Source(machine_bench.textbook_task(), 0).training(0, 3).targets_BT
    assert targets_BT.shape == (3, 64)
    assert ((targets_BT != IGNORE).sum(1) >= 63).all()


@pytest.mark.slow
def test_memory_and_start_up_are_those_of_whole_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_bench, "START_ROUNDS", 1)
    (memory,) = machine_bench.memory(CPU)
    assert memory.unit == "MB"
    assert 100 < memory.median < 1000
    assert [one.name for one in machine_bench.start_up()] == [
        "attnlab --help",
        "attnlab ls tasks",
        "attnlab train, one step",
    ]


def test_the_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "results" / "bench.json"
    assert last_medians(path) == {}
    lines = [measurement("one", [1.5, 2.5, 3.5], "s"), measurement("two", [7.0], "MB")]
    BenchResult(lines, {"device": "cpu"}).save(path)
    assert last_medians(path) == {"one": 2.5, "two": 7.0}


@pytest.mark.parametrize("content", ["", "[]", '{"lines": [{}]}'])
def test_another_file_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(InvalidFileError, match="not a benchmark result"):
        last_medians(path)
