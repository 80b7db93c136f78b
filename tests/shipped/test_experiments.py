"""Every experiment of the shelf: it reads, it plans, its claims are about what it plans, and its smoke budget runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnlab import resources
from attnlab.config.experiment import Experiment, experiment
from attnlab.execution._inline import Inline
from attnlab.execution.jobs import Setting
from attnlab.experiments.expand import expand
from attnlab.experiments.run_sweep import sweep
from attnlab.rendering.report import report

NAMES = resources.names("experiments")
every_experiment = pytest.mark.parametrize("name", NAMES)


@pytest.fixture
def asked(name: str) -> Experiment:
    return experiment(name)


@every_experiment
def test_it_asks_a_question_and_claims_something(asked: Experiment, name: str) -> None:
    assert asked.name == name
    assert asked.question.endswith("?")
    assert asked.source
    assert asked.claims
    assert all(claim.says.endswith(".") for claim in asked.claims)


@every_experiment
def test_its_plan_has_the_seeds_that_intervals_need(asked: Experiment) -> None:
    specs = expand(asked)
    assert {spec.seed for spec in specs} == set(range(asked.seeds))
    assert asked.seeds >= 2
    assert len({spec.id for spec in specs}) == len(specs)


@every_experiment
def test_its_smoke_budget_runs_to_a_report(asked: Experiment, tmp_path: Path) -> None:
    small = asked.at("smoke")
    specs = expand(small)
    assert len(specs) <= 16
    found = sweep(small, specs, tmp_path, Inline(Setting(weights=False)))
    assert [record.status for record in found.records] == ["done"] * len(specs)
    said = report(found.records, small)
    assert said.panels
    assert not said.verdicts


@every_experiment
def test_what_a_scale_leaves_out_is_what_the_question_says(asked: Experiment) -> None:
    for scale in asked.scales:
        assert asked.at(scale).question == asked.question
