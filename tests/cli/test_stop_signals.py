"""Ctrl-C, SIGTERM and SIGHUP end any command with one line and the status that shells expect."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from attnlab.experiments import machine_bench, run_train
from attnlab.records import Record
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


MEASURING = {
    "attnlab.evaluation._levels.score": ("evaluate", "RUN", "--sequences", "8", "--quiet"),
    "attnlab.diagnosis.diagnose._measure": ("diagnose", "gradients", "--layers", "2", "--csv", "out.csv"),
    "attnlab.diagnosis.run_subject.rebuild_model": ("diagnose", "reach", "--run", "RUN"),
    "attnlab.testing.check_attention.check_attention": ("check", "softmax"),
    "attnlab.analysis.records.records": ("report", "results", "--html", "out.html"),
    "attnlab.files.writing.os.fsync": ("report", "results", "--html", "out.html"),
}
"""What is called while a command measures or writes -> the command."""


@pytest.mark.parametrize(("number", "name", "status"), SIGNALS)
@pytest.mark.parametrize("called", MEASURING)
def test_a_command_that_measures_ends_with_one_line_and_leaves_nothing(
    called: str,
    number: signal.Signals,
    name: str,
    status: int,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    run = Record.from_line(command("train", *TINY, "--quiet", "--json").out).id
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setattr(called, lambda *words, **more: signal.raise_signal(number))
    result = command(*(word.replace("RUN", run) for word in MEASURING[called]))
    assert (result.status, result.out) == (status, "")
    assert result.error.splitlines()[-1] == f"attnlab: Stopped by {name}."
    assert result.error.count("attnlab: ") == 1
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(("number", "name", "status"), SIGNALS)
@pytest.mark.parametrize("called", ["attnlab.cli._one_line_for_each_warning", "typer.core.TyperGroup.make_context"])
def test_a_command_that_has_not_begun_ends_with_one_line(
    called: str, number: signal.Signals, name: str, status: int, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(called, lambda *words, **more: signal.raise_signal(number))
    result = command("ls", "tasks")
    assert (result.status, result.out, result.error) == (status, "", f"attnlab: Stopped by {name}.\n")


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
