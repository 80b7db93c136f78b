"""From a word to an executor."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from attnlab.errors import AttnlabError
from attnlab.execution import processes
from attnlab.execution._inline import Inline
from attnlab.execution.executors import make_executor
from attnlab.execution.processes import Processes, device_of_rank, workers


def test_words_name_executors(tmp_path: Path) -> None:
    here = make_executor("inline", "cpu")
    assert isinstance(here, Inline)
    assert (here.num_workers, here.settings.threads, here.description) == (1, None, "here, one after the other")
    three = make_executor("processes:3", "cpu", [Path("x.py")], weights=False)
    assert isinstance(three, Processes)
    assert (three.num_workers, three.settings.threads, three.description) == (3, 1, "3 processes")
    assert three.settings.files == (Path("x.py").resolve(),)
    assert not three.settings.weights
    assert three.workers == []


def test_without_a_number_cores_and_memory_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attnlab.execution.executors.workers", lambda place: 7)
    assert make_executor("processes", "cpu").num_workers == 7
    assert make_executor("processes", "cpu", runs=3).num_workers == 3
    assert make_executor("processes", "cpu", runs=0).num_workers == 7
    assert make_executor("processes:9", "cpu", runs=1).description == "1 process"


@pytest.mark.parametrize(("pages", "count"), [(10**9, 5), (3 * processes.MEMORY // 4096, 3), (1, 1)])
def test_no_more_workers_than_memory_allows(pages: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"SC_AVPHYS_PAGES": pages, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(5)), raising=False)
    assert workers() == count


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("proceses", "--executor\n  There is no executor 'proceses'; did you mean 'processes'?"),
        ("processes:0", "--executor processes:0\n  '0' is no number of workers.\n  Write processes:2."),
        ("processes:many", "--executor processes:many\n  'many' is no number of workers."),
        ("ray:-1", "--executor ray:-1\n  '-1' is no number of workers.\n  Write ray:2."),
    ],
)
def test_a_slip_is_told(word: str, told: str) -> None:
    with pytest.raises(AttnlabError) as caught:
        make_executor(word, "cpu")
    assert str(caught.value).startswith(told)


def test_a_cluster_is_not_inline() -> None:
    with pytest.raises(AttnlabError, match="A cluster is not inline"):
        make_executor("inline", "cpu", address="127.0.0.1:6379")


def test_a_device_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(AttnlabError, match="There is no device 'cuda' here"):
        make_executor("processes", "cuda")


def test_several_gpus_have_a_worker_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    assert workers("cuda") == 3
    assert [device_of_rank("cuda", seat) for seat in range(5)] == ["cuda:0", "cuda:1", "cuda:2", "cuda:0", "cuda:1"]
    assert workers("mps") == 1
    assert [device_of_rank(device, 4) for device in ("cpu", "mps")] == ["cpu", "mps"]
