"""Ray: the same numbers as inline, on one node and on two, one of which dies in the middle."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from attnlab.errors import InvalidValueError
from attnlab.execution._inline import Inline
from attnlab.execution._ray import answers, connected
from attnlab.execution.jobs import WorkerSettings
from attnlab.experiments.expand import expand
from attnlab.experiments.run_sweep import run_sweep
from attnlab.storage import Store
from tests.experiments.sweeps import drive, numbers, tiny

# Ray is started by a process of its own, so that what it warns of and what it leaves open is no matter of this one.
ALONE = """\
import os, sys
from pathlib import Path
from attnlab.errors import AttnlabError
from attnlab.registry import load
from attnlab.execution._ray import Cluster
from attnlab.experiments.expand import expand
from attnlab.execution.jobs import WorkerSettings
from attnlab.experiments.run_sweep import sweep
from tests.experiments.sweeps import tiny

mine = Path("mine.py").resolve()
load(mine)
staff = Cluster(WorkerSettings(files=(mine,), pause=0.0), 1, None)
mine.unlink()  # its text has traveled already
print(staff.words)
experiment = tiny("mine", "raising", seeds=2, levels=(1,))
found = sweep(experiment, expand(experiment), Path("store"), staff)
print(*(record.status for record in found.records))
again = sweep(experiment, expand(experiment), Path("store"), staff)
print(again.run, len(staff.staff))
staff.close()
mine.write_text("raise RuntimeError('not there')")
staff = Cluster(WorkerSettings(files=(mine,)), 1, None)
try:
    sweep(experiment, expand(experiment), Path("other"), staff)
except AttnlabError as error:
    print(error)
staff.close()
"""
MINE = """\
from attnlab.attention import Attention, register

@register("mine", source="me")
class Mine(Attention):
    "Mine."
    def score(self, heads):
        return super().score(heads) * 2

@register("raising", source="me")
class Raising(Attention):
    "Raises on a worker."
    def score(self, heads):
        if "attnlab-" in __file__:
            raise ArithmeticError("it does not add up")
        return super().score(heads)
"""

TWO = """\
import sys, time
from pathlib import Path
import ray
from ray.cluster_utils import Cluster as Nodes
from attnlab.execution._ray import Cluster
from attnlab.experiments.expand import expand
from attnlab.execution.jobs import WorkerSettings
from attnlab.experiments.run_sweep import sweep
from attnlab.training.events import RunFinished, StepsTaken
from tests.experiments.sweeps import tiny

nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
second = nodes.add_node(num_cpus=1)
nodes.wait_for_nodes()
staff = Cluster(WorkerSettings(pause=0.0), None, nodes.address)
print(staff.words, flush=True)
places, steps, killed = {}, {}, []

def watch(event):
    here = [member for member in staff.staff if member.here]
    if killed or len(here) < 2 or not isinstance(event, StepsTaken):
        return
    steps[event.spec.id] = event.step
    if len(steps) >= 2 and event.step >= 50:
        killed.append(event.step)
        nodes.remove_node(second, allow_graceful=False)

experiment = tiny(max_steps=400, eval_every=100, seeds=4)
found = sweep(experiment, expand(experiment), Path("store"), staff, progress=watch)
print(len(killed), *(record.status for record in found.records), flush=True)
print(sum(node["Alive"] for node in ray.nodes()), flush=True)
staff.close()
nodes.shutdown()
"""


def whole(folder: Path, **more: Any) -> dict[str, Any]:
    """The numbers of the same sweep, inline."""
    experiment = tiny(**more)
    return numbers(run_sweep(experiment, expand(experiment), folder, Inline(WorkerSettings())).records)


def test_a_port_where_nobody_listens_is_told_at_once_with_how_to_start_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(InvalidValueError) as caught:
            connected(address)
    assert str(caught.value) == (
        f"--ray-address {address}\n  No Ray cluster answers: nothing listens at {address}.\n"
        "  Start one with: ray start --head --port=6379; then give --ray-address HOST:6379."
    )


def test_whether_anything_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert answers(f"127.0.0.1:{port}")
        assert answers(f"ray://127.0.0.1:{port}")
    assert not answers(f"127.0.0.1:{port}")
    assert not answers("127.0.0.1:99999")
    assert answers("auto")


def test_without_ray_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InvalidValueError, match="Ray is not installed here") as caught:
        connected(None)
    assert caught.value.hint == "Install it with: pip install 'attnlab[ray]'."


def test_on_one_node_files_travel_as_text_and_a_failure_is_a_record(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    driver = drive(ALONE, tmp_path)
    out, error = driver.communicate(timeout=580)
    lines = out.splitlines()
    assert lines[:2] == ["1 workers on 1 Ray node", "done done failed failed"], error
    assert lines[2] == "2 1"
    assert lines[3].startswith("--with ")
    assert lines[4] == "  A worker of the cluster: RuntimeError: not there"
    reasons = {record.reason for record in Store(tmp_path / "store").records() if record.status == "failed"}
    assert len(reasons) == 1
    assert next(iter(reasons)).startswith("ArithmeticError: it does not add up at ")
    assert Store(tmp_path / "other").records() == []


@pytest.mark.slow
def test_a_node_that_dies_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    driver = drive(TWO, tmp_path)
    out, error = driver.communicate(timeout=900)
    lines = [line for line in out.splitlines() if "Ray node" in line or line[:1].isdigit()]
    assert lines == ["2 workers on 2 Ray nodes", f"1{' done' * 8}", "1"], error[-3000:]
    store = Store(tmp_path / "store")
    assert len(store.journal.path.read_bytes().splitlines()) == 8
    assert numbers(store.records()) == whole(tmp_path / "here", steps=400, validate_every=100, seeds=4)
