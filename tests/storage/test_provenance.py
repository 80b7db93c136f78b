"""Where the runs of a store come from, as it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import attnlab
from attnlab.config.experiment import stored_experiment
from attnlab.errors import StoreError
from attnlab.execution.executors import make_executor
from attnlab.execution.worker_parts import worker_parts
from attnlab.experiments.expand import expand
from attnlab.experiments.run_sweep import run_sweep
from attnlab.storage import Store
from attnlab.storage.provenance import NAME, Provenance, read_provenance, write_provenance


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    origin = Provenance("attnlab sweep 'my file.yaml'", "my file.yaml", "name: é\n# why\n")
    write_provenance(tmp_path, origin)
    assert read_provenance(tmp_path) == origin


@pytest.mark.parametrize("content", [None, b"{", b"[]", b'{"command": 3}', b"\xff"])
def test_a_store_without_it_has_none(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / NAME).write_bytes(content)
    assert read_provenance(tmp_path) == Provenance()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(StoreError, match="It cannot be written"):
        write_provenance(tmp_path / "taken", Provenance())


FAST = {"max_steps": 2, "batch_size": 4, "validation_examples": 4, "test_examples": 4}
TINY = {"layers": 1, "width": 8, "heads": 1}
HOW: dict[str, Any] = {"seeds": 1, "model": TINY, "train": FAST, "executor": "inline", "device": "cpu"}


def test_a_sweep_from_python_keeps_a_call_that_runs_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    records = attnlab.sweep("copy", ["softmax", "linear"], complexity=[np.int64(4), 8], store=Path("out"), **HOW)
    command = read_provenance(Path("out")).command
    assert command.startswith("import attnlab; attnlab.sweep('copy', ['softmax', 'linear'], complexity=[4, 8], seeds=1")
    (tmp_path / "out").rename(tmp_path / "first")
    exec(command, {})
    assert [record.id for record in Store(tmp_path / "out").records()] == [record.id for record in records]


def test_a_sweep_that_names_no_command_keeps_the_one_that_is_there(tmp_path: Path) -> None:
    attnlab.sweep("copy", complexity=[4], store=tmp_path, **HOW)
    write_provenance(tmp_path, Provenance("attnlab sweep --task copy"))
    experiment = stored_experiment(tmp_path)
    assert experiment is not None
    specs = expand(experiment)
    workers = make_executor("inline", "cpu", worker_parts(specs), runs=len(specs))
    run_sweep(experiment, specs, tmp_path, workers)
    assert read_provenance(tmp_path) == Provenance("attnlab sweep --task copy")
