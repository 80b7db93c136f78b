"""Every experiment of the shelf: it reads, it plans, its claims are about what it plans, and its smoke budget runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnlab import resources
from attnlab.config.experiment import Experiment, experiment
from attnlab.execution._inline import Inline
from attnlab.execution.jobs import WorkerSettings
from attnlab.experiments.expand import expand
from attnlab.experiments.run_sweep import run_sweep
from attnlab.rendering.report import report

NAMES = resources.names("experiments")
every_experiment = pytest.mark.parametrize("name", NAMES)


@pytest.fixture
def asked(name: str) -> Experiment:
    return experiment(name)


@every_experiment
def test_it_asks_a_question_and_claims_something(experiment: Experiment, name: str) -> None:
    assert experiment.name == name
    assert experiment.question.endswith("?")
    assert experiment.source
    assert experiment.claims
    assert all(claim.says.endswith(".") for claim in experiment.claims)


@every_experiment
def test_its_plan_has_the_seeds_that_intervals_need(experiment: Experiment) -> None:
    specs = expand(experiment)
    assert {spec.seed for spec in specs} == set(range(experiment.seeds))
    assert experiment.seeds >= 2
    assert len({spec.id for spec in specs}) == len(specs)


@every_experiment
def test_its_smoke_budget_runs_to_a_report(experiment: Experiment, tmp_path: Path) -> None:
    small = experiment.with_preset("smoke")
    specs = expand(small)
    assert len(specs) <= 16
    outcome = run_sweep(small, specs, tmp_path, Inline(WorkerSettings(weights=False)))
    assert [record.status for record in outcome.records] == ["done"] * len(specs)
    said = report(outcome.records, small)
    assert said.panels
    assert not said.claims


@every_experiment
def test_what_a_scale_leaves_out_is_what_the_question_says(experiment: Experiment) -> None:
    for scale in experiment.presets:
        assert experiment.with_preset(scale).question == experiment.question
