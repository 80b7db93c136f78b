"""All built-in experiments: the file is valid, the plan contains the runs of the claims, and the smoke preset runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnlab import resources
from attnlab.config.experiment import Experiment
from attnlab.config.experiment import experiment as load_experiment
from attnlab.execution._inline import Inline
from attnlab.execution.jobs import WorkerSettings
from attnlab.experiments.expand import expand
from attnlab.experiments.run_sweep import run_sweep
from attnlab.rendering.report import report

NAMES = resources.names("experiments")
every_experiment = pytest.mark.parametrize("name", NAMES)


@pytest.fixture
def experiment(name: str) -> Experiment:
    return load_experiment(name)


@every_experiment
def test_it_has_a_question_and_claims(experiment: Experiment, name: str) -> None:
    assert experiment.name == name
    assert experiment.question.endswith("?")
    assert experiment.source
    assert experiment.claims
    assert all(claim.says.endswith(".") for claim in experiment.claims)


@every_experiment
def test_its_plan_has_the_seeds_that_intervals_need(experiment: Experiment) -> None:
    specs = expand(experiment)
    assert {spec.seed for spec in specs} == set(range(experiment.seed, experiment.seed + experiment.seeds))
    assert experiment.seeds >= 2
    assert len({spec.id for spec in specs}) == len(specs)


@every_experiment
def test_its_smoke_preset_runs_to_a_report(experiment: Experiment, tmp_path: Path) -> None:
    small = experiment.with_preset("smoke")
    specs = expand(small)
    assert len(specs) <= 16
    outcome = run_sweep(small, specs, tmp_path, Inline(WorkerSettings(weights=False)))
    assert [record.status for record in outcome.records] == ["done"] * len(specs)
    summary = report(outcome.records, small)
    assert summary.panels
    assert not summary.claims


@every_experiment
def test_a_preset_keeps_the_question(experiment: Experiment) -> None:
    for preset in experiment.presets:
        assert experiment.with_preset(preset).question == experiment.question


@every_experiment
def test_every_preset_has_the_runs_of_its_claims(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attnlab.experiments.plan.preflight_run", lambda *_, **__: None)  # wide models take long
    for preset in experiment.presets:
        assert expand(experiment.with_preset(preset))
