"""Events of a training reach trackers; one that fails or is slow neither stops nor holds a run."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from attnlab.records import DiagnosticsPoint, Evaluation, HistoryPoint, Record, Score
from attnlab.specs import RunSpec, TaskSpec
from attnlab.tracking import TRACKERS, _feed, mirror
from attnlab.tracking.mirror import mirrored
from attnlab.training.events import (
    DiagnosticsLogged,
    Event,
    Notice,
    RunFinished,
    RunStarted,
    StepsTaken,
    Validated,
    no_callback,
)
from attnlab.training.schedule import learning_rate
from tests.tracking.conftest import Memory

SPEC = RunSpec(task=TaskSpec(name="copy", options={"symbols": 4}, complexity="symbols"))
HALF = Score(correct=2, total=4, chance=0.25)
RECORD = Record(
    id=SPEC.id,
    spec=SPEC,
    status="done",
    steps=20,
    accuracy=HALF,
    exact_match=HALF,
    loss=math.inf,
    evaluations=(Evaluation(level=8, length=16, accuracy=HALF, exact_match=HALF, loss=None),),
    diagnostics={"rank.last": 3.0},
)
EVENTS: list[Event] = [
    Notice("something"),
    RunStarted(SPEC, 0, 7, "cpu"),
    StepsTaken(SPEC, 10, 1.5, 100),
    DiagnosticsLogged(SPEC, DiagnosticsPoint(step=16, values={"rank": (2.0, math.nan)})),
    Validated(SPEC, HistoryPoint(step=20, loss=1.25, accuracy=0.5)),
    RunFinished(RECORD),
]


def passed_on(events: list[Event], store: Path, *, group: str = "") -> tuple[list[Event], list[str]]:
    """What the callback received and what was told."""
    received: list[Event] = []
    told: list[str] = []
    with mirrored(received.append, ["memory"], store, group, told.append) as progress:
        for event in events:
            progress(event)
    return received, told


def test_a_tracker_gets_every_number_on_a_thread_of_its_own(memory: type[Memory], tmp_path: Path) -> None:
    received, told = passed_on(EVENTS, tmp_path, group="sweep-1")
    assert received == EVENTS
    assert told == []
    assert memory.groups == ["sweep-1"]
    assert memory.threads.isdisjoint({threading.get_ident()})
    steps, diagnostics, validation, results = memory.points[SPEC.id]
    assert steps == (10, {"train/loss": 1.5, "train/learning_rate": learning_rate(SPEC.train, 9)})
    assert diagnostics[0] == 16
    assert diagnostics[1]["diagnostics/rank/0"] == 2.0
    assert math.isnan(diagnostics[1]["diagnostics/rank/1"])
    assert validation == (20, {"train/mean_loss": 1.25, "validation/accuracy": 0.5})
    assert results[0] == 20
    assert (results[1]["test/accuracy"], results[1]["test/chance"], results[1]["test/loss"]) == (0.5, 0.25, math.inf)
    assert results[1]["test/level=8/accuracy"] == 0.5
    assert results[1]["final/rank.last"] == 3.0
    (start, (kind, table), end) = memory.calls
    assert (start, kind, end) == (("start", 0), "finish", ("close", None))
    assert "| test/accuracy | 0.5 |" in str(table).splitlines()
    config = memory.runs[SPEC.id].config
    assert (config["task"], config["level"], config["seed"], config["attention"]) == ("copy", 4, 0, "softmax")
    assert (config["group"], config["parameters"], config["device"], config["run"]) == ("sweep-1", 7, "cpu", SPEC.id)


def test_nothing_is_opened_before_a_run_starts(memory: type[Memory], tmp_path: Path) -> None:
    passed_on([Notice("refused")], tmp_path)
    assert memory.groups == []


def test_a_run_whose_worker_was_lost_is_opened_for_its_record(memory: type[Memory], tmp_path: Path) -> None:
    empty = Score(correct=0, total=0, chance=math.nan)
    failed = RECORD.model_copy(
        update={"status": "failed", "reason": "a|b", "accuracy": empty, "evaluations": (), "diagnostics": {}}
    )
    passed_on([RunFinished(failed)], tmp_path)
    assert memory.points[SPEC.id] == [(20, {})]
    assert "| reason | a\\|b |" in str(memory.calls[1][1])


@pytest.mark.parametrize("where", ["init", "start", "log", "finish"])
def test_a_tracker_that_fails_is_told_once_with_what_to_do(memory: type[Memory], tmp_path: Path, where: str) -> None:
    memory.fail_in = where
    received, told = passed_on([*EVENTS, *EVENTS], tmp_path)
    assert received == [*EVENTS, *EVENTS]
    assert told == [
        "memory failed: OSError: [Errno 28] No space left on device. The runs go on without it. "
        f"Later: attnlab track {tmp_path} --to memory"
    ]


def test_an_absent_package_is_told_with_the_command_that_installs_it(
    memory: type[Memory], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "error", ModuleNotFoundError("No module named 'memory.x'", name="memory.x"))
    memory.fail_in = "init"
    _, (told,) = passed_on(EVENTS, tmp_path)
    assert told.startswith("memory is not installed. Install it: pip install 'attnlab[memory]'. The runs go on")


def test_another_absent_module_is_no_absent_package(
    memory: type[Memory], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "error", ModuleNotFoundError("No module named 'other'", name="other"))
    memory.fail_in = "init"
    _, (told,) = passed_on(EVENTS, tmp_path)
    assert told.startswith("memory failed: ModuleNotFoundError: No module named 'other'.")


def test_a_slow_tracker_holds_nobody_and_misses_losses_first(
    memory: type[Memory], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_feed, "MOST_STEPS", 3)
    memory.hold.clear()
    told: list[str] = []
    with mirrored(no_callback, ["memory"], tmp_path, "", told.append) as progress:
        for event in [EVENTS[1], *[EVENTS[2]] * 10, *EVENTS[4:]]:
            progress(event)
        memory.hold.set()
    steps = [step for step, _ in memory.points[SPEC.id]]
    losses = steps.count(10)
    assert losses in (2, 3)  # the start waits too, unless the thread had taken it already
    assert steps[losses:] == [20, 20]
    assert told == [
        f"memory is slower than the runs; {10 - losses} events were left out there. "
        f"Later: attnlab track {tmp_path} --to memory"
    ]


def test_a_tracker_that_hangs_is_left_behind(
    memory: type[Memory], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "CLOSE_SECONDS", 0.0)
    memory.hold.clear()
    _, (told,) = passed_on(EVENTS, tmp_path)
    assert told.startswith("memory is slower than the runs; ")
    assert memory.points == {}


def test_of_two_trackers_one_may_fail(memory: type[Memory], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Memory):
        def start(self, run: object, step: int) -> None:
            raise RuntimeError("not\nlogged in")

    TRACKERS.register("broken", source="ours")(Broken)
    told: list[str] = []
    with mirrored(no_callback, ["broken", "memory"], tmp_path, "", told.append) as progress:
        for event in EVENTS:
            progress(event)
    assert len(memory.points[SPEC.id]) == 4
    assert [line.partition(" The")[0] for line in told] == ["broken failed: RuntimeError: not logged in."]


def written_batches(memory: type[Memory], tmp_path: Path, events: list[Event], wait: Callable[[], bool]) -> list[int]:
    """How many calls of ``log`` were made between two flushes, while the run goes on."""
    batches = [0]

    class Counting(Memory):
        def log(self, run: str, step: int, values: Mapping[str, float]) -> None:
            super().log(run, step, values)
            batches[-1] += 1

        def flush(self) -> None:
            batches.append(0)

    TRACKERS.register("counting", source="ours")(Counting)
    feed = _feed.Feed(TRACKERS.entry("counting"), tmp_path, "")
    for event in events:
        feed.put(event)
        time.sleep(0.001)  # the other thread may write
    end = time.monotonic() + 30
    while not wait() and time.monotonic() < end:
        time.sleep(0.001)
    found = [count for count in batches if count]
    feed.end()
    feed.join(30)
    assert feed.failure == ""
    return found


def test_events_wait_for_those_of_their_batch(memory: type[Memory], tmp_path: Path) -> None:
    events = [EVENTS[1], *[EVENTS[2]] * 30]
    batches = written_batches(memory, tmp_path, events, lambda: len(memory.points.get(SPEC.id, [])) == 30)
    assert batches == [30], "the thread woke once for all that came within the time of a batch"


def test_a_full_batch_does_not_wait(memory: type[Memory], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_feed, "BATCH", 5)
    monkeypatch.setattr(_feed, "BATCH_SECONDS", 600.0)
    events = [EVENTS[1], *[EVENTS[2]] * 4]
    assert written_batches(memory, tmp_path, events, lambda: len(memory.points.get(SPEC.id, [])) == 4) == [4]


def test_the_end_of_a_run_is_written_without_waiting_for_a_batch(
    memory: type[Memory], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_feed, "BATCH_SECONDS", 600.0)
    start = time.monotonic()
    passed_on(EVENTS, tmp_path)
    assert time.monotonic() - start < mirror.CLOSE_SECONDS
    assert len(memory.points[SPEC.id]) == 4


def test_an_event_alone_waits_for_others(memory: type[Memory], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_feed, "BATCH_SECONDS", 600.0)
    start = time.monotonic()
    assert written_batches(memory, tmp_path, [EVENTS[1], EVENTS[2]], lambda: time.monotonic() - start > 0.3) == []
    assert len(memory.points[SPEC.id]) == 1, "the end writes it"
