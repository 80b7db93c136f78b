"""Ctrl-C, SIGTERM and SIGHUP end any command with one line and the status that shells expect."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from attnlab.experiments import machine_bench, run_train
from attnlab.tasks.io import export
from tests.cli.conftest import TINY, Command
from tests.training.runs import interrupt_at

SIGNALS = [(signal.SIGINT, "Ctrl-C", 130), (signal.SIGTERM, "SIGTERM", 143), (signal.SIGHUP, "SIGHUP", 129)]


@pytest.mark.parametrize(("number", "name", "status"), SIGNALS)
def test_a_command_without_an_answer_of_its_own_says_what_stopped_it(
    number: signal.Signals, name: str, status: int, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine_bench, "measure_machine", lambda device: signal.raise_signal(number))
    result = command("bench", "--device", "cpu", "--out", "b.json")
    assert (result.status, result.out, result.error) == (status, "", f"attnlab: Stopped by {name}.\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "name", "status"), SIGNALS)
def test_sequences_that_are_being_written_leave_nothing(
    number: signal.Signals, name: str, status: int, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(export, "fingerprint", lambda path: signal.raise_signal(number))
    result = command("generate", "copy", "--sequences", "5", "--out", "a.npz", "--quiet")
    assert result.error == f"attnlab: a.npz\n  Stopped by {name}; nothing was written.\n"
    assert result.status == status
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "name", "status"), SIGNALS[1:])
def test_a_training_saves_its_checkpoint(
    number: signal.Signals, name: str, status: int, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt = interrupt_at(10, number)
    run = run_train.run_train
    monkeypatch.setattr(run_train, "run_train", lambda request, **more: run(request, **{**more, "progress": interrupt}))
    result = command("train", *TINY, "--steps", "20", "--quiet")
    assert result.status == status
    assert "Interrupted at step 10 of 20" in result.error
    assert len(list(Path("results/checkpoints").iterdir())) == 1


def test_an_ignored_hangup_is_not_heard(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """``nohup attnlab`` outlives its terminal."""

    def hang_up(path: Path) -> str:
        signal.raise_signal(signal.SIGHUP)
        return "0" * 64

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        monkeypatch.setattr(export, "fingerprint", hang_up)
        result = command("generate", "copy", "--sequences", "5", "--out", "a.npz", "--quiet")
        assert result.status == 0, result.error
    finally:
        signal.signal(signal.SIGHUP, before)
