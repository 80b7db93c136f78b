"""Published values are about runs of the plan, and name their parts in any form; a store keeps them resolved."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnlab.config.experiment import read_experiment, stored_experiment
from attnlab.execution._inline import Inline
from attnlab.execution.jobs import WorkerSettings
from attnlab.experiments.expand import expand, with_resolved_parts
from attnlab.experiments.run_sweep import run_sweep
from attnlab.rendering.report import report
from attnlab.storage import Store
from tests.experiments.test_expand import message_of, written

AT = "8: published[0].values[0]"


def published(of: str, more: str = "") -> str:
    values = f"values: [{{of: {of}, value: 0.5, as: Theirs}}]"
    return f"published: [{{table: T1, source: arXiv:1, quantity: q, differs: sizes, {more}{values}}}]"


@pytest.mark.parametrize(
    ("of", "message"),
    [
        ("{attention: gpm}", f"{AT}.of.attention\n  No run of this sweep has attention 'gpm'; did you mean "),
        ("{attenton: gpam}", f"{AT}.of.attenton\n  There is no field 'attenton'; did you mean 'attention'"),
        (
            "{attention: gpam, level: 3}",
            f"{AT}.of.level\n  No run of this sweep has level '3'.\n  Its values: 1, 4, 2.",
        ),
        ("{level: 1}", f"{AT}\n  level 1: this matches more than one variant.\n  Name attention too: "),
        ("{attention: gpam, level: 4}", f"{AT}\n  attention gpam, level 4: this matches more than one variant."),
    ],
)
def test_runs_that_are_not_planned_are_refused(of: str, message: str, tmp_path: Path) -> None:
    assert message_of(written(tmp_path, published(of))).startswith(f"mine.yaml:{message}")


def test_a_metric_that_no_run_has_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, published("{attention: gpam, level: 1}", "metric: eror, "))
    message = "mine.yaml:8: published[0].metric\n  There is no metric 'eror'; did you mean 'error'?"
    assert message_of(path).startswith(message)


def test_fields_that_no_single_run_has_together_are_refused(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "zip: [{width: [8, 16], max_steps: [3, 6]}]",
        published("{width: 8, max_steps: 6}"),
        changed=("max_steps: 3, ", ""),
    )
    assert message_of(path).startswith(
        "mine.yaml:9: published[0].values[0].of\n  No run of this sweep is width 8, max_steps 6."
    )


@pytest.mark.parametrize(
    "of",
    [
        "{attention: gpam, level: [1, 2]}",
        "{attention: {name: softmax}, level: 1}",
        "{model.attention: gpam, level: 4, trained: 2}",
    ],
)
def test_planned_runs_are_accepted(of: str, tmp_path: Path) -> None:
    assert len(expand(read_experiment(written(tmp_path, published(of, "metric: normalized_accuracy, "))))) == 8


def test_parts_are_resolved_as_those_of_claims(tmp_path: Path) -> None:
    line = published("{attention: [[softmax, gpam], {name: gpam}], position: {name: rope}, level: [1, 2]}")
    resolved = with_resolved_parts(read_experiment(written(tmp_path, line)))
    assert resolved.published[0].values[0].of == {
        "attention": ["softmax+gpam", "gpam"],
        "position": "rotary",
        "level": [1, 2],
    }


def test_a_store_keeps_them_for_its_report(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        published("{attention: {name: gpam}, level: [1, 2]}"),
        changed=("batch_size: 4", "batch_size: 4, test_examples: 8, validation_examples: 4"),
    )
    experiment, store = read_experiment(path), tmp_path / "store"
    run_sweep(experiment, expand(experiment), store, Inline(WorkerSettings(weights=False)))
    stored = stored_experiment(store)
    assert stored is not None
    assert stored.published[0].values[0].of == {"attention": "gpam", "level": [1, 2]}
    records = Store(store).records()
    own = [one for one in records if one.spec.variant == "gpam"]
    (row,) = report(records, stored).published[0].rows
    assert row.label == "gpam, level 1, 2 (Theirs)"
    assert row.mean == pytest.approx(sum(one.accuracy.mean for one in own) / len(own))
    assert row.seeds == 2
