"""Processes of a pool end with their driver, even if it is killed."""

from __future__ import annotations

import subprocess
import sys

import psutil

DRIVER = """
import multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor
from attnlab.execution.worker_parts import WorkerParts
from attnlab.execution.worker_start import pool_arguments, start_in_pool

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    begin = {"initializer": start_in_pool, "initargs": pool_arguments(WorkerParts())}
    with ProcessPoolExecutor(1, mp_context=context, **begin) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        time.sleep(600)
"""


def test_a_killed_driver_leaves_no_process_of_a_pool() -> None:
    with subprocess.Popen([sys.executable, "-c", DRIVER], stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        worker = psutil.Process(int(driver.stdout.readline()))
        driver.kill()
    _, alive = psutil.wait_procs([worker], timeout=60)
    assert alive == []
