"""Functions that loops call by name: their code is compiled once, in whatever process, and results are returned."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from attnlab.attention.ops import loops
from attnlab.attention.ops.sdpa import sdpa
from attnlab.tensors import QKV

pytestmark = pytest.mark.skipif(not loops.works(), reason="numba is the optional extra fast")

MODULE = """\
import numpy as np
from attnlab.attention.ops.loops import called, loop

@called("int64(float32[:, :], int64)")
def doubled(numbers, count):
    if count > 4:
        raise ValueError("there are four rows")
    for row in range(count):
        for column in range(numbers.shape[1]):
            numbers[row, column] *= np.float32(2)
    return count + 1

@loop("void(float32[:, :, :], int64[::1])")
def double_each(numbers, counts):
    for place in range(len(numbers)):
        counts[place] = doubled(numbers[place].T, counts[place])

numbers, counts = np.ones((2, 3, 4), np.float32), np.array([1, 4])
double_each(numbers, counts)
print(counts.tolist(), numbers.sum(axis=1).tolist())
assert doubled(numbers[0], 2) == 3
print(numbers.sum())
try:
    double_each(numbers, np.array([4, 5]))
except ValueError as error:
    print(error)
"""


def test_a_function_of_a_loop_is_called_by_its_name_in_this_process_and_the_next(tmp_path: Path) -> None:
    (tmp_path / "by_name.py").write_text(MODULE)
    printed = "[2, 5] [[6.0, 3.0, 3.0, 3.0], [6.0, 6.0, 6.0, 6.0]]\n49.0\nthere are four rows\n"
    for _ in range(2):  # compiled, and then from the code on disk
        done = subprocess.run([sys.executable, "by_name.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.stderr, done.stdout) == ("", printed)


def test_a_loop_does_not_hold_the_code_of_what_it_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    from numba.core.caching import CacheImpl

    from attnlab.attention.ops import loop_math, small_products

    monkeypatch.setattr(CacheImpl, "_locator_classes", [])  # code that is kept cannot be looked at
    product: Any = loop_math.product_with_rows
    caller = loops._njit(product.py_func, "void(float32[:, :], float32[:, :], f4, f4, float32[:, :])")
    code = caller.inspect_llvm(caller.signatures[0])
    name = f"{small_products.__name__}.fill"
    assert f'declare i32 @"{name}"' in code or f"declare i32 @{name}" in code
    assert code.count("llvm.fmuladd") == 0  # those of micro-tiles


def test_what_is_called_gives_numbers_of_python_too() -> None:
    from attnlab.attention.ops.small_transposes import transpose

    out = np.zeros((3, 2), np.float32)
    transpose(np.arange(6, dtype=np.float32).reshape(2, 3), out)
    assert out.tolist() == [[0, 3], [1, 4], [2, 5]]


def test_a_loop_is_compiled_where_a_folder_has_no_room_for_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    from numba.core.caching import IndexDataCacheFile

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def double(numbers: np.ndarray) -> None:
        numbers[0] *= 2

    monkeypatch.setattr(IndexDataCacheFile, "save", full)
    numbers = np.ones(2, np.float32)
    loops._njit(double, "void(float32[:])")(numbers)
    assert numbers.tolist() == [2, 1]


@pytest.mark.filterwarnings("ignore")  # a trace is deprecated, and warns of every size
def test_tensors_without_memory_and_traced_calls_are_left_to_torch() -> None:
    queries, keys, values = (torch.randn(1, 1, 70, 4) for _ in range(3))
    bias = torch.zeros(1, 70, 70)

    def mix(queries: Tensor) -> Tensor:
        return sdpa(QKV(queries, keys, values), bias, None)

    expected = mix(queries)
    traced = torch.jit.trace(mix, (queries,), check_trace=False)
    assert (traced(queries) - expected).abs().max() <= 1e-6
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        assert mix(mode.from_tensor(queries)).shape == expected.shape
