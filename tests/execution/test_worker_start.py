"""A worker ends with its driver from its first moment on, whatever operation it is in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

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
