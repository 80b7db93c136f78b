"""MLflow, read back with a client of its own where the package is installed."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest

import attnlab
from attnlab.specs import RunSpec, TaskSpec
from attnlab.tracking import TRACKERS, Tracker
from attnlab.tracking.mlflow import metric_name
from attnlab.tracking.points import tracked_run
from attnlab.tracking.replay import Replayed, replay

INSTALL = "mlflow is absent: pip install 'attnlab[mlflow]'"
pytest.importorskip("mlflow", reason=INSTALL)
pytest.importorskip("sqlalchemy", reason=INSTALL)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's own use of SQLAlchemy
RUN = tracked_run(RunSpec(task=TaskSpec(name="copy")), "mine", {"parameters": 7})
OTHER = tracked_run(RUN.spec.model_copy(update={"seed": 1}))
MODEL = {"layers": 1, "width": 8, "heads": 1}
FAST = {"max_steps": 20, "batch_size": 4, "validation_examples": 4, "test_examples": 4, "eval_every": 10}


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An empty database: making one takes seconds."""
    store = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        TRACKERS.entry("mlflow").cls(store, "").close()
    return (store / "mlflow" / "mlflow.db").read_bytes()


@pytest.fixture
def store(tmp_path: Path, empty: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "mlflow.db").write_bytes(empty)
    return tmp_path


def tracker_of(store: Path, group: str = "mine") -> Tracker:
    return TRACKERS.entry("mlflow").cls(store, group)


def client_of(store: Path) -> Any:
    import mlflow

    return mlflow.MlflowClient(tracking_uri=f"sqlite:///{store}/mlflow/mlflow.db")


def runs_of(store: Path, experiment: str) -> dict[str, Any]:
    """The runs of an experiment by attnlab's id."""
    client = client_of(store)
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    assert len({run.data.tags["attnlab.run"] for run in found}) == len(found)
    return {run.data.tags["attnlab.run"]: run for run in found}


def points(store: Path, run: Any, name: str) -> list[tuple[int, float]]:
    history = client_of(store).get_metric_history(run.info.run_id, name)
    return sorted((metric.step, metric.value) for metric in history)


def test_the_reader_has_numbers_config_and_results(store: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tracker = tracker_of(store)
    tracker.start(RUN, 0)
    tracker.log(RUN.spec.id, 1, {"train/loss": 2.5, "test/level=8,x/é": 0.25})
    tracker.log(RUN.spec.id, 1, {"other": 4.0})
    tracker.log(RUN.spec.id, 2, {"train/loss": math.nan})
    tracker.log(RUN.spec.id, 3, {"train/loss": -math.inf})
    assert not tracker.has_finished(RUN)
    tracker.finish(RUN.spec.id, 3, {"test/accuracy": 0.5}, "| a |\n|---|")
    assert tracker.has_finished(RUN)
    run = runs_of(store, "mine")[RUN.spec.id]
    assert (run.info.run_name, run.info.status) == (RUN.name, "FINISHED")
    config = {"task": "copy", "parameters": "7", "seed": "0", "run": RUN.spec.id, "group": "mine"}
    assert config.items() <= run.data.params.items()
    first, second, third = points(store, run, "train/loss")
    assert (first, third) == ((1, 2.5), (3, -sys.float_info.max))  # MLflow has no infinities
    assert second[0] == 2
    assert math.isnan(second[1])
    assert points(store, run, metric_name("test/level=8,x/é")) == [(1, 0.25)]
    assert points(store, run, "test/accuracy") == [(3, 0.5)]
    assert run.data.tags["mlflow.note.content"] == "| a |\n|---|"
    (file,) = (store / "mlflow" / "artifacts").rglob("results.md")
    assert file.read_text() == "| a |\n|---|"
    assert capfd.readouterr() == ("", "")


def test_names_that_would_collide_stay_apart() -> None:
    names = ["a=b", "a:b", "a_b", "a,b", "a@b", "a%b", "[a]b", "a b", "x" * 300, "x" * 301]
    assert len({metric_name(name) for name in names}) == len(names)
    assert max(map(len, map(metric_name, names))) <= 250


def test_mlflow_takes_every_name(store: Path) -> None:
    from mlflow.utils.validation import _validate_metric_name

    for name in ("a=b", "a:b", "a,b", "a@b", "a%b", "[a]b", "a b", "é", "x" * 300):
        _validate_metric_name(metric_name(name))


def test_runs_that_are_open_at_once_do_not_mix(store: Path) -> None:
    tracker = tracker_of(store)
    for run in (RUN, OTHER):
        tracker.start(run, 0)
    for run, loss in ((RUN, 1.0), (OTHER, 2.0), (RUN, 3.0)):
        tracker.log(run.spec.id, int(loss), {"train/loss": loss})
    tracker.flush()
    tracker.close()
    runs = runs_of(store, "mine")
    assert points(store, runs[RUN.spec.id], "train/loss") == [(1, 1.0), (3, 3.0)]
    assert points(store, runs[OTHER.spec.id], "train/loss") == [(2, 2.0)]
    assert {run.info.status for run in runs.values()} == {"KILLED"}
    assert not tracker.has_finished(RUN)


def test_a_resumed_run_goes_on_and_another_device_is_not_refused(store: Path) -> None:
    first = tracker_of(store)
    first.start(RUN, 0)
    first.log(RUN.spec.id, 10, {"train/loss": 10.0})
    first.close()
    second = tracker_of(store)
    second.start(tracked_run(RUN.spec, "mine", {"parameters": 8, "new": "x"}), 10)
    second.log(RUN.spec.id, 20, {"train/loss": 20.0})
    second.finish(RUN.spec.id, 20, {}, "")
    run = runs_of(store, "mine")[RUN.spec.id]
    assert points(store, run, "train/loss") == [(10, 10.0), (20, 20.0)]
    assert (run.data.params["parameters"], run.data.params["new"], run.info.status) == ("7", "x", "FINISHED")


def test_a_run_that_is_trained_again_replaces_all(store: Path) -> None:
    for loss in (1.0, 2.0):
        tracker = tracker_of(store)
        tracker.start(RUN, 0)
        tracker.log(RUN.spec.id, 10, {"train/loss": loss})
        tracker.finish(RUN.spec.id, 10, {}, "")
    assert points(store, runs_of(store, "mine")[RUN.spec.id], "train/loss") == [(10, 2.0)]


def test_a_sweep_is_one_experiment_with_every_number(store: Path) -> None:
    how: dict[str, Any] = {"model": MODEL, "train": FAST, "executor": "inline", "device": "cpu", "track": ["mlflow"]}
    records = attnlab.sweep("copy", "softmax", complexity=[2], seeds=2, store=store, **how)
    runs = runs_of(store, "copy")
    assert runs.keys() == {record.id for record in records}
    for record in records:
        run = runs[record.id]
        history = [(point.step, point.accuracy) for point in record.history]
        assert points(store, run, "validation/accuracy") == history
        assert points(store, run, "test/accuracy") == [(20, record.accuracy.mean)]
        for name in ("train/loss", "train/learning_rate", "train/gradient_norm"):
            assert [step for step, _ in points(store, run, name)] == [10, 20]


def test_a_replay_leaves_alone_what_is_there(store: Path) -> None:
    records = attnlab.train("copy", model=MODEL, train=FAST, store=store, device="cpu")
    assert replay(records, "mlflow", store, "") == Replayed(written=1, there=0)
    assert replay(records, "mlflow", store, "") == Replayed(written=0, there=1)


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "mlflow").write_text("a file")
    words: dict[str, Any] = {"model": MODEL, "train": FAST, "device": "cpu", "track": ["mlflow"]}
    with pytest.warns(UserWarning, match="mlflow failed: .* The runs go on without it") as warned:
        (record,) = attnlab.train("copy", store=tmp_path, **words)
    assert (record.status, len(warned)) == ("done", 1)
