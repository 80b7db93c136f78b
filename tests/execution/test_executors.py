"""From a name to an executor."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from attnlab.errors import AttnlabError
from attnlab.execution._inline import Inline
from attnlab.execution.executors import make_executor
from attnlab.execution.processes import WORKER_MEMORY, Processes, default_workers, device_of_rank
from attnlab.execution.worker_parts import WorkerParts
from attnlab.sizes import available_memory


def test_each_name_makes_its_executor(tmp_path: Path) -> None:
    inline = make_executor("inline", "cpu")
    assert isinstance(inline, Inline)
    assert (inline.num_workers, inline.settings.threads) == (1, None)
    assert inline.description == "this process, one run after the other"
    processes = make_executor("processes:3", "cpu", WorkerParts((Path("x.py"),)), weights=False)
    assert isinstance(processes, Processes)
    assert (processes.num_workers, processes.settings.threads, processes.description) == (3, 1, "3 processes")
    assert processes.settings.parts.files == (Path("x.py"),)
    assert not processes.settings.weights
    assert processes.workers == []


def test_without_a_number_cores_and_memory_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attnlab.execution.processes.default_workers", lambda device: 7)
    assert make_executor("processes", "cpu").num_workers == 7
    assert make_executor("processes", "cpu", runs=3).num_workers == 3
    assert make_executor("processes", "cpu", runs=0).num_workers == 7
    assert make_executor("processes:9", "cpu", runs=1).description == "1 process"


@pytest.mark.parametrize(("available", "count"), [(10**13, 5), (3 * WORKER_MEMORY, 3), (4096, 1)])
def test_no_more_workers_than_available_memory_allows(
    available: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = SimpleNamespace(total=10**14, free=0, available=available)
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(5)), raising=False)
    assert available_memory() == available
    assert default_workers() == count


def test_available_memory_includes_what_the_system_can_give_up() -> None:
    memory = psutil.virtual_memory()
    assert 0 < available_memory() <= memory.total


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("proceses", "--executor\n  There is no executor 'proceses'; did you mean 'processes'?"),
        (
            "processes:0",
            "--executor processes:0\n  '0' is not a number of workers of at least 1.\n  Write processes:2.",
        ),
        ("processes:many", "--executor processes:many\n  'many' is not a number of workers of at least 1."),
        ("ray:-1", "--executor ray:-1\n  '-1' is not a number of workers of at least 1.\n  Write ray:2."),
    ],
)
def test_a_wrong_name_is_an_error(name: str, message: str) -> None:
    with pytest.raises(AttnlabError) as caught:
        make_executor(name, "cpu")
    assert str(caught.value).startswith(message)


def test_inline_takes_no_cluster_address() -> None:
    with pytest.raises(AttnlabError, match="'inline' does not run on a Ray cluster"):
        make_executor("inline", "cpu", address="127.0.0.1:6379")


def test_a_device_that_does_not_exist_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(AttnlabError, match="There is no device 'cuda' here"):
        make_executor("processes", "cuda")


def test_several_gpus_have_a_worker_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    assert default_workers("cuda") == 3
    assert [device_of_rank("cuda", rank) for rank in range(5)] == ["cuda:0", "cuda:1", "cuda:2", "cuda:0", "cuda:1"]
    assert default_workers("mps") == 1
    assert [device_of_rank(device, 4) for device in ("cpu", "mps")] == ["cpu", "mps"]
