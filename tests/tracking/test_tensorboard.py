"""TensorBoard, read back with its own reader where the package is installed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from attnlab.specs import RunSpec, TaskSpec
from attnlab.tracking import TRACKERS, TrackedRun, Tracker
from attnlab.tracking.points import tracked_run

pytest.importorskip("tensorboard", reason="tensorboard is absent: pip install 'attnlab[tensorboard]'")

RUN = tracked_run(RunSpec(task=TaskSpec(name="copy")), "", {"parameters": 7})


def tracker_of(store: Path) -> Tracker:
    return TRACKERS.entry("tensorboard").cls(store, "")


def read(store: Path, run: TrackedRun = RUN) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(store / "tensorboard" / run.name), size_guidance={"scalars": 0, "tensors": 0})
    reader.Reload()
    return reader


def points(store: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in read(store).Scalars(tag)]


def test_the_reader_has_numbers_config_and_results(tmp_path: Path) -> None:
    tracker = tracker_of(tmp_path)
    tracker.start(RUN, 0)
    tracker.log(RUN.spec.id, 1, {"train/loss": 2.5, "a b=1/é": 0.25})
    tracker.log(RUN.spec.id, 2, {"train/loss": math.nan})
    tracker.log(RUN.spec.id, 3, {"train/loss": -math.inf})
    assert not tracker.has_finished(RUN)
    tracker.finish(RUN.spec.id, 3, {"test/accuracy": 0.5}, "| a |\n|---|")
    assert tracker.has_finished(RUN)
    (first, second, third) = points(tmp_path, "train/loss")
    assert (first, third) == ((1, 2.5), (3, -math.inf))
    assert second[0] == 2
    assert math.isnan(second[1])
    assert points(tmp_path, "a b=1/é") == [(1, 0.25)]
    assert points(tmp_path, "test/accuracy") == [(3, 0.5)]
    (results,) = read(tmp_path).Tensors("results/text_summary")
    assert results.tensor_proto.string_val[0] == b"| a |\n|---|"


def test_the_config_is_what_the_plugin_of_hyperparameters_reads(tmp_path: Path) -> None:
    from tensorboard.plugins.hparams import metadata

    tracker = tracker_of(tmp_path)
    tracker.start(RUN, 0)
    tracker.close()
    summary = read(tmp_path).SummaryMetadata(metadata.SESSION_START_INFO_TAG)
    hparams = metadata.parse_session_start_info_plugin_data(summary.plugin_data.content).hparams
    assert hparams["task"].string_value == "copy"
    assert hparams["parameters"].number_value == 7
    assert hparams["run"].string_value == RUN.spec.id


def test_a_resumed_run_replaces_what_is_beyond_its_checkpoint(tmp_path: Path) -> None:
    first = tracker_of(tmp_path)
    first.start(RUN, 0)
    for step in (10, 20, 30):
        first.log(RUN.spec.id, step, {"train/loss": float(step)})
    first.close()
    second = tracker_of(tmp_path)
    second.start(RUN, 20)
    second.log(RUN.spec.id, 30, {"train/loss": 31.0})
    second.close()
    assert points(tmp_path, "train/loss") == [(10, 10.0), (20, 20.0), (30, 31.0)]


def test_a_run_that_is_trained_again_replaces_all(tmp_path: Path) -> None:
    for loss in (1.0, 2.0):
        tracker = tracker_of(tmp_path)
        tracker.start(RUN, 0)
        tracker.log(RUN.spec.id, 10, {"train/loss": loss})
        tracker.finish(RUN.spec.id, 10, {}, "")
    assert points(tmp_path, "train/loss") == [(10, 2.0)]


def test_runs_that_are_open_at_once_do_not_mix(tmp_path: Path) -> None:
    other = tracked_run(RUN.spec.model_copy(update={"seed": 1}))
    tracker = tracker_of(tmp_path)
    for run in (RUN, other):
        tracker.start(run, 0)
    for run, loss in ((RUN, 1.0), (other, 2.0)):
        tracker.log(run.spec.id, 1, {"train/loss": loss})
    tracker.flush()
    assert [event.value for event in read(tmp_path, RUN).Scalars("train/loss")] == [1.0]
    assert [event.value for event in read(tmp_path, other).Scalars("train/loss")] == [2.0]
    tracker.close()


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    import attnlab

    (tmp_path / "tensorboard").write_text("a file")
    model = {"layers": 1, "width": 8, "heads": 1}
    fast = {"max_steps": 2, "batch_size": 4, "validation_examples": 4, "test_examples": 4}
    words = {"model": model, "train": fast, "store": tmp_path, "device": "cpu", "track": ["tensorboard"]}
    with pytest.warns(UserWarning, match="tensorboard failed: .* The runs go on without it") as warned:
        (record,) = attnlab.train("copy", **words)  # type: ignore[arg-type]
    assert (record.status, len(warned)) == ("done", 1)
    assert (tmp_path / "tensorboard").read_text() == "a file"


def test_a_replay_is_read_back_and_is_left_alone_when_it_is_there(tmp_path: Path) -> None:
    import attnlab
    from attnlab.tracking.replay import Replayed, replay

    model = {"layers": 1, "width": 8, "heads": 1}
    fast = {"max_steps": 4, "batch_size": 4, "validation_examples": 4, "test_examples": 4, "eval_every": 2}
    (record,) = attnlab.train("copy", model=model, train=fast, store=tmp_path, device="cpu")
    assert replay([record], "tensorboard", tmp_path, "") == Replayed(written=1, there=0)
    assert replay([record], "tensorboard", tmp_path, "") == Replayed(written=0, there=1)
    accuracies = [event.value for event in read(tmp_path, tracked_run(record.spec)).Scalars("validation/accuracy")]
    assert accuracies == pytest.approx([point.accuracy for point in record.history])
    assert len(accuracies) == 2
