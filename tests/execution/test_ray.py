"""Ray: the same numbers as inline, on one node and on two, one of which dies in the middle."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import Any

import pytest

from attnlab.attention import ATTENTIONS
from attnlab.errors import InvalidValueError
from attnlab.execution._inline import Inline
from attnlab.execution._ray import RayWorker, connect, is_listening, own_sigterm, signals_afterwards
from attnlab.execution.jobs import Finished, Job, Ready, WorkerSettings
from attnlab.execution.worker_parts import WorkerParts
from attnlab.experiments.expand import expand
from attnlab.experiments.run_sweep import run_sweep
from attnlab.part_code import files_with
from attnlab.plugins import load_plugin
from attnlab.stop_signals import STOP_SIGNALS, StopRequest
from attnlab.storage import Store
from tests.experiments.sweeps import drive, numbers, tiny

# Ray runs in a process of its own, so that its warnings and open files do not affect this process.
ALONE = """\
import os, sys
from pathlib import Path
from attnlab.errors import AttnlabError
from attnlab.plugins import load_plugin
from attnlab.execution._ray import RayCluster
from attnlab.execution.worker_parts import WorkerParts
from attnlab.experiments.expand import expand
from attnlab.execution.jobs import WorkerSettings
from attnlab.experiments.run_sweep import run_sweep
from tests.experiments.sweeps import tiny

mine = Path("mine.py").resolve()
load_plugin(mine)
executor = RayCluster(WorkerSettings(parts=WorkerParts((mine,)), checkpoint_seconds=0.0), 1, None)
experiment = tiny("mine", "raising", seeds=2, levels=(1,))
specs = expand(experiment)
mine.unlink()  # its text was sent already, with that of the module beside it
Path("beside.py").unlink()
print(executor.description)
outcome = run_sweep(experiment, specs, Path("store"), executor)
print(*(record.status for record in outcome.records))
again = run_sweep(experiment, specs, Path("store"), executor)
print(again.num_run, len(executor.workers))
executor.close()
mine.write_text("raise RuntimeError('not there')")
executor = RayCluster(WorkerSettings(parts=WorkerParts((mine,))), 1, None)
try:
    run_sweep(experiment, specs, Path("other"), executor)
except AttnlabError as error:
    print(error)
executor.close()
"""
MINE = """\
from attnlab.attention import Attention, register

@register("mine", source="me")
class Mine(Attention):
    "Mine."
    def score(self, qkv):
        return super().score(qkv) * 2

@register("raising", source="me")
class Raising(Attention):
    "Raises on a worker."
    def score(self, qkv):
        if "attnlab-" in __file__:
            raise ArithmeticError("it does not add up")
        return super().score(qkv)
"""

TWO = """\
import sys, time
from pathlib import Path
import ray
from ray.cluster_utils import Cluster as Nodes
from attnlab.execution._ray import RayCluster
from attnlab.experiments.expand import expand
from attnlab.execution.jobs import WorkerSettings
from attnlab.experiments.run_sweep import run_sweep
from attnlab.training.events import RunFinished, StepsTaken
from tests.experiments.sweeps import tiny

nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
second = nodes.add_node(num_cpus=1)
nodes.wait_for_nodes()
executor = RayCluster(WorkerSettings(checkpoint_seconds=0.0), None, nodes.address)
print(executor.description, flush=True)
steps, killed = {}, []

def watch(event):
    ready = [worker for worker in executor.workers if worker.ready]
    if killed or len(ready) < 2 or not isinstance(event, StepsTaken):
        return
    steps[event.spec.id] = event.step
    if len(steps) >= 2 and event.step >= 50:
        killed.append(event.step)
        nodes.remove_node(second, allow_graceful=False)

experiment = tiny(max_steps=400, eval_every=100, seeds=4)
outcome = run_sweep(experiment, expand(experiment), Path("store"), executor, progress=watch)
print(len(killed), *(record.status for record in outcome.records), flush=True)
print(sum(node["Alive"] for node in ray.nodes()), flush=True)
executor.close()
nodes.shutdown()
"""


def inline_numbers(folder: Path, **more: Any) -> dict[str, Any]:
    """The numbers of the same sweep, inline."""
    experiment = tiny(**more)
    return numbers(run_sweep(experiment, expand(experiment), folder, Inline(WorkerSettings())).records)


def test_an_unreachable_address_is_an_error_that_shows_how_to_start_a_cluster() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(InvalidValueError) as caught:
            connect(address)
    assert str(caught.value) == (
        f"--ray-address {address}\n  No Ray cluster was found: nothing listens at {address}.\n"
        "  Start one with: ray start --head --port=6379; then give --ray-address HOST:6379."
    )


LATE = """\
from pathlib import Path
from attnlab.attention import Attention, register

@register("late", source="me")
class Late(Attention):
    "Imports and reads when it is called."
    def score(self, qkv):
        from beside import FACTOR
        return FACTOR * super().score(qkv) + float((Path(__file__).parent / "shift.txt").read_text())
"""


def test_the_files_of_a_plugin_stay_while_its_worker_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ATTENTIONS, "_entries", dict(ATTENTIONS._entries))
    for name, text in (("late.py", LATE), ("beside.py", "FACTOR = 3.0"), ("shift.txt", "0.5")):
        (tmp_path / name).write_text(text)
    load_plugin(tmp_path / "late.py")
    (spec,) = expand(tiny("late", seeds=1, levels=(1,)))
    ATTENTIONS._entries.pop("late")
    files = [("late.py", files_with(tmp_path / "late.py"))]
    worker = RayWorker(WorkerSettings(parts=WorkerParts((tmp_path / "late.py",))), files, SimpleQueue())
    assert worker.ready()[1] == Ready()
    message = worker.work(Job("late", (spec,)))
    assert isinstance(message, Finished), message
    assert [record.status for record in message.records] == ["done"]
    assert Path(worker.folder.name).is_dir()
    worker.close()
    assert not Path(worker.folder.name).exists()


def test_whether_anything_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert is_listening(f"127.0.0.1:{port}")
        assert is_listening(f"ray://127.0.0.1:{port}")
    assert not is_listening(f"127.0.0.1:{port}")
    assert not is_listening("127.0.0.1:99999")
    assert is_listening("auto")


def test_without_ray_the_error_shows_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InvalidValueError, match="Ray is not installed here") as caught:
        connect(None)
    assert caught.value.hint == "Install it with: pip install 'attnlab[ray]'."


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that can be sent")
@pytest.mark.parametrize("comes", ["in the start", "after the start"])
def test_the_handler_of_sigterm_stays_over_the_start_of_ray(comes: str) -> None:
    def exit_without_a_word(number: int, frame: FrameType | None) -> None:
        sys.exit(number)

    def handle(number: int, frame: FrameType | None) -> None:
        raise StopRequest(number)

    def start(number: int) -> None:
        with own_sigterm():
            signal.signal(signal.SIGTERM, exit_without_a_word)  # as ray.init does
            if comes == "in the start":
                signal.raise_signal(number)
        signal.raise_signal(number)

    before = signal.signal(signal.SIGTERM, handle)
    try:
        with pytest.raises(StopRequest) as caught:
            start(signal.SIGTERM)
        assert caught.value.number == signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM) is handle
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_signals_that_come_while_ray_ends_are_heard_afterwards(number: signal.Signals) -> None:
    done: list[str] = []

    def handle(number: int, frame: FrameType | None) -> None:
        raise StopRequest(number)

    def end() -> None:
        with signals_afterwards():
            signal.raise_signal(number)
            done.append("ended")

    before = signal.signal(number, handle)
    try:
        with pytest.raises(StopRequest) as caught:
            end()
        assert (caught.value.number, done) == (number, ["ended"])
        assert signal.getsignal(number) is handle
    finally:
        signal.signal(number, before)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that can be sent")
def test_sigterm_is_heard_after_the_end_of_ray(tmp_path: Path) -> None:
    script = (
        "import os, signal\n"
        "from attnlab.execution._ray import RayCluster\n"
        "from attnlab.execution.jobs import WorkerSettings\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGTERM, lambda number, frame: print('heard', flush=True))\n"
        "    RayCluster(WorkerSettings(), 1, None).close()\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('alive', flush=True)\n"
    )
    driver = drive(script, tmp_path)
    assert driver.communicate(timeout=300)[0].split() == ["heard", "alive"]
    assert driver.returncode == 0


def test_on_one_node_plugins_are_sent_as_text_and_a_failure_is_a_record(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from beside import NAME\n" + MINE)
    (tmp_path / "beside.py").write_text("NAME = 1")
    driver = drive(ALONE, tmp_path)
    out, error = driver.communicate(timeout=580)
    lines = out.splitlines()
    assert lines[:2] == ["1 worker on 1 Ray node", "done done failed failed"], error
    assert lines[2] == "2 1"
    assert lines[3].startswith("--plugin ")
    assert lines[4] == "  A worker of the cluster: RuntimeError: not there"
    reasons = {record.reason for record in Store(tmp_path / "store").records() if record.status == "failed"}
    (reason,) = reasons
    assert reason.startswith("ArithmeticError: it does not add up at ")
    assert reason.endswith('raise ArithmeticError("it does not add up")')
    assert Store(tmp_path / "other").records() == []


@pytest.mark.slow
def test_the_loss_of_a_node_loses_no_run(tmp_path: Path) -> None:
    driver = drive(TWO, tmp_path)
    out, error = driver.communicate(timeout=900)
    lines = [line for line in out.splitlines() if "Ray node" in line or line[:1].isdigit()]
    assert lines == ["2 workers on 2 Ray nodes", f"1{' done' * 8}", "1"], error[-3000:]
    store = Store(tmp_path / "store")
    assert len(store.journal.path.read_bytes().splitlines()) == 8
    assert numbers(store.records()) == inline_numbers(tmp_path / "here", max_steps=400, eval_every=100, seeds=4)
