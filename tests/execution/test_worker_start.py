"""A worker ends with its driver from its first moment on, whatever operation it is in."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.experiments.sweeps import drive

DRIVER = """\
import ctypes, multiprocessing, os, sys, time
from attnlab.execution.worker_start import end_with_driver

def loop():
    while True:
        pass

def hold_the_interpreter():
    ctypes.PyDLL(None).sleep(600)  # no other thread of this process runs meanwhile

def work(by_main_thread, operation):
    assert "torch" not in sys.modules
    end_with_driver(by_main_thread)
    print(os.getpid(), flush=True)
    operation()

if __name__ == "__main__":
    arguments = sys.argv[1] == "main", globals()[sys.argv[2]]
    multiprocessing.get_context("spawn").Process(target=work, args=arguments).start()
    time.sleep(600)
"""
ENDLESS = """\
import ctypes, multiprocessing, os, pathlib
import torch
from attnlab import Attention, register_attention

@register_attention("endless", source="tests")
class Endless(Attention):
    def score(self, qkv):
        if multiprocessing.parent_process() is not None:  # a worker, not the driver that tries the plan
            stacked = torch._C._functorch.is_batchedtensor(qkv.queries_BHTC)
            if stacked is STACKED and torch.is_grad_enabled():  # in a step
                pathlib.Path("begun.tmp").write_text(str(os.getpid()))
                os.rename("begun.tmp", "begun")
                ctypes.PyDLL(None).sleep(600)  # no other thread of this process runs meanwhile
        return super().score(qkv)
"""
LATE = 2.0
"""Seconds that a worker may outlive its driver."""
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")


@pytest.mark.parametrize(
    ("thread", "operation"),
    [("other", "loop"), ("main", "loop"), pytest.param("main", "hold_the_interpreter", marks=LINUX)],
)
def test_a_worker_ends_with_its_killed_driver(tmp_path: Path, thread: str, operation: str) -> None:
    (tmp_path / "driver.py").write_text(DRIVER)
    command = [sys.executable, str(tmp_path / "driver.py"), thread, operation]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        worker = psutil.Process(int(driver.stdout.readline()))
        driver.kill()
    _, alive = psutil.wait_procs([worker], timeout=60)
    for process in alive:
        process.kill()
    assert not alive


@LINUX
@pytest.mark.parametrize("runs", [1, 3])
def test_a_worker_ends_with_its_killed_driver_in_the_midst_of_a_step_of_one_run_and_of_a_vmapped_group(
    tmp_path: Path, runs: int
) -> None:
    (tmp_path / "endless.py").write_text(ENDLESS.replace("STACKED", str(runs > 1)))
    words = ["sweep", "--plugin", "endless.py", "--task", "copy", "--complexity", "1", "--attn", "endless"]
    words += ["--seeds", str(runs), "--vmap", str(runs), "--executor", "processes:1", "--width", "8", "--layers", "1"]
    words += ["--steps", "2", "--batch", "2", "--device", "cpu", "--store", "store", "--quiet"]
    driver = drive(f"import sys; sys.argv[1:] = {words}; from attnlab.cli import main; main()", tmp_path)
    begun, deadline = tmp_path / "begun", time.monotonic() + 300
    try:
        while not begun.exists():
            assert driver.poll() is None, driver.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        worker = psutil.Process(int(begun.read_text()))
    finally:
        driver.kill()
    driver.communicate(timeout=60)
    _, alive = psutil.wait_procs([worker], timeout=LATE)
    for process in alive:
        process.kill()
    assert not alive
