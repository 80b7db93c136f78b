"""The published records of the built-in experiments: every table of experiments/README.md is rebuilt from them."""

from __future__ import annotations

import gzip
import hashlib
import re

import pytest

from attnlab import resources
from attnlab.config.experiment import experiment
from attnlab.experiments.expand import expand
from attnlab.specs import RunSpec
from attnlab.storage.published import read_published
from attnlab.storage.published_file import MACHINE, OF_A_RUN
from benchmarks.experiments import README, section, sections_of

NAMES = resources.published_names()
MOST_BYTES = 5_000_000
"""Bytes of all files together."""
PERSONAL = re.compile(r"/(?:home|root|Users|tmp|work|mnt|private)/|\\\\Users|[\w.]+@[\w.]+\.\w")
"""Folders of a machine, and addresses."""
every_published = pytest.mark.parametrize("name", NAMES)


def test_the_first_experiments_are_published() -> None:
    assert {"gpam-collapse", "quickstart"} <= set(NAMES)


@every_published
def test_its_section_is_rebuilt_from_its_records(name: str) -> None:
    # Another wording of the report: python -m benchmarks.experiments --write
    assert section(read_published(name)).strip() == sections_of(README.read_text("utf-8"))[name].strip()


@every_published
def test_its_records_are_the_runs_of_the_present_experiment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attnlab.experiments.plan.preflight_run", lambda *_, **__: None)  # wide models take long
    records = read_published(name).records
    planned = [_of_any_library(spec) for spec in expand(experiment(name))]
    assert [_of_any_library(record.spec) for record in records] == planned
    assert {record.status for record in records} <= {"done", "diverged"}


def _of_any_library(spec: RunSpec) -> RunSpec:
    """A run without the digest of its text, which is that of another standard library in each version of Python."""
    if spec.task.name != "text":
        return spec
    options = {name: value for name, value in spec.task.options.items() if name != "digest"}
    return spec.model_copy(update={"task": spec.task.model_copy(update={"options": options})})


@every_published
def test_its_header_tells_what_was_run(name: str) -> None:
    found = read_published(name)
    assert found.header.yaml_sha256 == hashlib.sha256(found.header.yaml.encode()).hexdigest()
    assert found.header.runs == len(found.records)
    assert found.header.command.startswith(f"attnlab sweep {name}")
    assert {"attnlab", "torch", "numpy", "device", "processor", "threads"} <= found.header.machine.keys()
    for record in found.records:
        assert record.environment.keys() <= {*MACHINE, *OF_A_RUN}
        assert found.header.machine.items() <= record.environment.items()


@every_published
def test_it_holds_nothing_personal(name: str) -> None:
    text = gzip.decompress(resources.published_path(name).read_bytes()).decode()
    assert not PERSONAL.search(text)


def test_all_files_are_small() -> None:
    assert sum(resources.published_path(name).stat().st_size for name in NAMES) < MOST_BYTES


def test_every_experiment_is_published() -> None:
    assert sorted(NAMES) == sorted(resources.names("experiments"))
