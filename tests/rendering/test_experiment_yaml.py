from __future__ import annotations

from pathlib import Path

import pytest

from attnlab import resources
from attnlab.config.experiment import experiment, read_experiment
from attnlab.rendering.experiment_yaml import experiment_yaml


@pytest.mark.parametrize("name", resources.names("experiments"))
def test_every_shipped_experiment_reads_as_it_was(name: str, tmp_path: Path) -> None:
    before = experiment(name)
    path = tmp_path / f"{name}.yaml"
    path.write_text(experiment_yaml(before))
    assert read_experiment(path).model_dump() == before.model_dump()
