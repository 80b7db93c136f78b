"""A sweep: only missing runs are run, whatever has happened before, and nothing is lost."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

import attnlab
from attnlab.config.experiment import LadderLevels, stored_experiment
from attnlab.errors import InterruptedTraining, LostStoreError, StoreError
from attnlab.execution._inline import Inline
from attnlab.execution.jobs import WorkerSettings
from attnlab.experiments.expand import expand
from attnlab.experiments.run_sweep import SweepOutcome, run_sweep
from attnlab.records import Record
from attnlab.specs import RunSpec
from attnlab.storage import Store
from attnlab.storage.status import store_status
from attnlab.training.events import Event, StepsTaken, no_callback
from tests.experiments.sweeps import TINY, Fake, drive, numbers, shown, tiny

CHECKPOINT_EVERY_STEP = WorkerSettings(checkpoint_seconds=0.0)


def sweep(
    store: Path, *attentions: str, executor: Any = None, progress: Any = no_callback, **more: Any
) -> SweepOutcome:
    experiment = tiny(*attentions, **more)
    return run_sweep(experiment, expand(experiment), store, executor or Fake(), progress=progress)


def test_it_runs_the_plan_and_stores_it(tmp_path: Path) -> None:
    fake = Fake()
    outcome = sweep(tmp_path / "deep" / "here", "softmax", "gpam", executor=fake)
    assert fake.given == list(outcome.specs)
    assert not fake.closed
    assert [record.spec for record in outcome.records] == list(outcome.specs)
    assert (outcome.num_run, outcome.failed, outcome.search) == (8, [], None)
    assert Store(tmp_path / "deep" / "here").records() == list(outcome.records)
    assert json.loads((tmp_path / "deep" / "here" / "experiment.json").read_text())["name"] == "copy"


def test_the_store_has_the_levels_of_the_ladder_of_that_day(tmp_path: Path) -> None:
    """A report waits for the levels of the plan, and not for one that the ladder was given later."""
    experiment = tiny().model_copy(update={"ladders": (LadderLevels(ladder="copy", options={"alphabet": 3}),)})
    run_sweep(experiment, expand(tiny()), tmp_path, Fake(shown))
    stored = stored_experiment(tmp_path)
    assert stored is not None
    assert stored.ladders[0].levels == (4, 8, 16, 32, 64)


def test_only_missing_runs_are_run(tmp_path: Path) -> None:
    first = sweep(tmp_path, "softmax", seeds=1)
    fake = Fake()
    outcome = sweep(tmp_path, "softmax", "gpam", seeds=2, executor=fake)
    assert {spec.id for spec in fake.given} == {spec.id for spec in outcome.specs} - {
        record.id for record in first.records
    }
    assert (outcome.num_run, len(outcome.records)) == (6, 8)
    again = Fake()
    assert sweep(tmp_path, "softmax", "gpam", seeds=2, executor=again).num_run == 0
    assert again.given == []


def test_a_failed_run_is_a_record_and_is_tried_again(tmp_path: Path) -> None:
    outcome = sweep(tmp_path, executor=Fake(lambda spec: None if spec.seed == 1 else shown(spec)))
    assert [(record.spec.seed, record.status) for record in outcome.records] == [(0, "done"), (1, "failed")] * 2
    assert [record.reason for record in outcome.failed] == ["a planned failure"] * 2
    experiment = tiny()
    without = run_sweep(experiment, expand(experiment), tmp_path, Fake(), again=False)
    assert (without.num_run, len(without.failed)) == (0, 2)
    fake = Fake()
    second = sweep(tmp_path, executor=fake)
    assert [spec.seed for spec in fake.given] == [1, 1]
    assert second.failed == []
    assert len(Store(tmp_path).records()) == 4


def test_a_diverged_run_is_a_result_and_is_not_tried_again(tmp_path: Path) -> None:
    sweep(tmp_path, executor=Fake(lambda spec: shown(spec, status="diverged")))
    assert sweep(tmp_path).num_run == 0


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_the_first_ctrl_c_saves_a_checkpoint_and_the_same_command_goes_on(kind: signal.Signals, tmp_path: Path) -> None:
    interrupted_at: list[int] = []

    def press(event: Event) -> None:
        if isinstance(event, StepsTaken) and event.spec.seed == 1 and not interrupted_at:
            interrupted_at.append(event.step)
            signal.raise_signal(kind)

    with pytest.raises(InterruptedTraining) as caught:
        sweep(tmp_path / "cut", max_steps=30, executor=Inline(CHECKPOINT_EVERY_STEP), progress=press)
    assert caught.value.problem == "Interrupted: 1 of 4 runs are done."
    assert caught.value.status == 128 + kind
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    store = Store(tmp_path / "cut")
    assert [record.spec.seed for record in store.records()] == [0]
    (checkpoint,) = (tmp_path / "cut" / "checkpoints").iterdir()
    assert store_status(tmp_path / "cut").checkpoints.keys() == {checkpoint.stem}
    steps: list[int] = []

    def note(event: Event) -> None:
        if isinstance(event, StepsTaken):
            steps.append(event.step)

    outcome = sweep(tmp_path / "cut", max_steps=30, executor=Inline(WorkerSettings()), progress=note)
    assert steps[0] > interrupted_at[0]
    whole = sweep(tmp_path / "whole", max_steps=30, executor=Inline(WorkerSettings()))
    assert numbers(outcome.records) == numbers(whole.records)
    assert list((tmp_path / "cut" / "checkpoints").iterdir()) == []


def test_the_second_ctrl_c_stops_at_once_and_finished_runs_are_stored(tmp_path: Path) -> None:
    def press(event: Event) -> None:
        if isinstance(event, StepsTaken) and event.spec.seed == 1:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path, executor=Inline(WorkerSettings()), progress=press)
    assert [record.spec.seed for record in Store(tmp_path).records()] == [0]
    assert sweep(tmp_path).num_run == 3


def test_the_store_of_another_experiment_is_refused(tmp_path: Path) -> None:
    sweep(tmp_path, levels=(1,), seeds=1)
    other = tiny(levels=(1,), seeds=1).model_copy(update={"name": "other"})
    fake = Fake()
    with pytest.raises(StoreError) as caught:
        run_sweep(other, expand(other), tmp_path, fake)
    assert str(caught.value) == (
        f"{tmp_path}\n  This store belongs to the experiment 'copy'.\n"
        "  Choose another folder with --store; left out, it is results/other."
    )
    assert fake.given == []
    (tmp_path / "experiment.json").write_text("[]")
    with pytest.raises(StoreError, match="This is no experiment of attnlab"):
        run_sweep(other, expand(other), tmp_path, fake)


def test_a_second_driver_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    sweep(tmp_path, levels=(1,), seeds=1)
    before = (tmp_path / "plan.jsonl").read_bytes()
    with FileLock(tmp_path / "sweep.lock"), pytest.raises(StoreError) as caught:
        sweep(tmp_path, levels=(1, 2), seeds=2)
    assert str(caught.value) == (
        f"{tmp_path}\n  Another sweep is running here.\n"
        "  Wait for it with --wait, or choose another folder with --store."
    )
    assert (tmp_path / "plan.jsonl").read_bytes() == before


def test_a_second_driver_may_wait_and_then_runs_only_what_the_first_did_not_finish(tmp_path: Path) -> None:
    waiting, experiment, fake = threading.Event(), tiny(), Fake()
    outcome: list[SweepOutcome] = []

    def second() -> None:
        waiting.wait()
        outcome.append(run_sweep(experiment, expand(experiment), tmp_path, fake, wait=True))

    thread = threading.Thread(target=second)
    thread.start()

    def show(spec: RunSpec) -> Record | None:
        waiting.set()
        return None if spec.seed else shown(spec)

    first = sweep(tmp_path, executor=Fake(show))
    thread.join(60)
    assert len(first.failed) == 2
    assert [spec.seed for spec in fake.given] == [1, 1]
    assert outcome[0].failed == []


@pytest.mark.parametrize("bytes_left", [0, 1500])
def test_a_full_disk_is_reported_and_the_journal_can_still_be_read(bytes_left: int, tmp_path: Path) -> None:
    sweep(tmp_path, levels=(1,), seeds=1)
    size = (tmp_path / "records.jsonl").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    script = (
        "import resource; from pathlib import Path\n"
        "from attnlab.storage import Store; from attnlab.storage.journal import Journal\n"
        "from tests.experiments.sweeps import planned, shown\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size + bytes_left}, {before[1]}))\n"
        "try: Journal(Path('records.jsonl')).append([shown(spec) for spec in planned(levels=(2, 3, 4))])\n"
        "except Exception as error: print(type(error).__name__, error)\n"
        "print(len(Store(Path('.')).records()))\n"
    )
    result = drive(script, tmp_path)
    out, error = result.communicate(timeout=120)
    assert out.splitlines() == [
        "StoreError records.jsonl",
        "  It cannot be written: File too large.",
        "  Make room, then run it again; what was there before is unchanged.",
        "2" if bytes_left else "1",
    ], error
    assert sweep(tmp_path, levels=(1, 2, 3, 4)).num_run == (6 if bytes_left else 7)
    assert len({record.id for record in Store(tmp_path).records()}) == 8
    assert len((tmp_path / "records.jsonl").read_bytes().splitlines()) == 8


def test_a_plan_that_cannot_be_written_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("attnlab.storage.status.write_whole", full)
    with pytest.raises(StoreError, match=r"It cannot be written: No space left on device\."):
        sweep(tmp_path)


def test_a_checkpoint_of_a_run_in_the_journal_is_removed(tmp_path: Path) -> None:
    first = sweep(tmp_path, levels=(1,), seeds=2)
    Store(tmp_path).save(first.specs[0].id, {}, {})
    Store(tmp_path).save("of-another", {}, {})
    sweep(tmp_path, levels=(1,), seeds=2)
    assert [path.stem for path in (tmp_path / "checkpoints").iterdir()] == ["of-another"]


def test_in_python_it_is_one_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data: dict[str, Any] = {"model": TINY["model"], "train": TINY["train"], "options": TINY["task"]}
    records = attnlab.sweep(
        "copy", "softmax,gpam", complexity=[1, 2], grid={"lr": [1e-3]}, seeds=2, executor="inline", device="cpu", **data
    )
    assert [(record.spec.task.level, record.spec.variant, record.spec.seed) for record in records] == [
        (level, name, seed) for level in (1, 2) for name in ("softmax", "gpam") for seed in (0, 1)
    ]
    assert Store(Path("results/copy")).records() == records


def test_a_store_that_is_removed_during_a_sweep_is_told_and_stays_removed(tmp_path: Path) -> None:
    store = tmp_path / "store"

    def remove(event: Event) -> None:
        if isinstance(event, StepsTaken):
            shutil.rmtree(store, ignore_errors=True)

    with pytest.raises(LostStoreError, match="This store was removed or moved while runs were stored in it"):
        sweep(store, executor=Inline(WorkerSettings()), progress=remove)
    assert not store.exists()


KILLED = """\
import os, random, signal, sys, time
from pathlib import Path
from attnlab.storage import Store
from attnlab.experiments.expand import expand
from attnlab.execution._inline import Inline
from attnlab.execution.jobs import WorkerSettings
from attnlab.experiments.run_sweep import run_sweep
from tests.experiments.sweeps import numbers, tiny

experiment = tiny("softmax", "gpam", levels=(1, 2), seeds=10, max_steps=60, eval_every=20)
specs, store, moments = expand(experiment), Path("store"), random.Random(0)
began = time.perf_counter()
whole = run_sweep(experiment, specs, Path("whole"), Inline(WorkerSettings(checkpoint_seconds=0.1)))
span = (time.perf_counter() - began) / 18
kills = torn = 0
while kills < 20:
    child = os.fork()
    if not child:
        run_sweep(experiment, specs, store, Inline(WorkerSettings(checkpoint_seconds=0.1)))
        os._exit(0)
    time.sleep(moments.uniform(0.0, span))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    kills += os.WIFSIGNALED(status)
    assert os.WIFSIGNALED(status), "it ended before it was killed 20 times"
    path = store / "records.jsonl"
    text = path.read_bytes() if path.exists() else b""
    torn += bool(text) and not text.endswith(b"\\n")
    print("records after each kill:", len(Store(store).records()), flush=True)
left = run_sweep(experiment, specs, store, Inline(WorkerSettings())).num_run
lines = (store / "records.jsonl").read_text().splitlines()
assert numbers(Store(store).records()) == numbers(whole.records)
assert len(list((store / "checkpoints").glob("*.safetensors"))) == 0
print(kills, len(lines), len(set(lines)), left, torn)
"""


@pytest.mark.slow
def test_a_driver_killed_at_twenty_random_moments_loses_and_repeats_nothing(tmp_path: Path) -> None:
    out, error = drive(KILLED, tmp_path).communicate(timeout=1200)
    assert out, error[-2000:]
    kills, lines, distinct, left, _torn = map(int, out.splitlines()[-1].split())
    assert (kills, lines, distinct) == (20, 40, 40), out + error[-2000:]
    assert left > 0
