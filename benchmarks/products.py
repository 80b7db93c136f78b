"""The rate of products of small matrices in compiled loops, beside that of BLAS as scipy brings it.

    python -m benchmarks.products

Each product is made many times by one compiled function, so that no call from Python is counted; both take turns, and
the least processor time of several rounds is shown.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from llvmlite import binding
from numba import njit, types
from numba.extending import get_cython_function_address

from attnlab.attention.ops.loop_math import ONE, ZERO, product

SIZES = (
    (16, 32, 16),
    (16, 16, 32),
    (16, 32, 32),
    (32, 32, 32),
    (32, 32, 64),
    (32, 64, 32),
    (32, 256, 32),
    (64, 64, 64),
    (128, 128, 128),
)
"""R, S and C of R x S times S x C."""
ROUNDS, OPERATIONS = 15, 2e8
NAME = "benchmark_sgemm"
binding.add_symbol(NAME, get_cython_function_address("scipy.linalg.cython_blas", "sgemm"))
sgemm = types.ExternalFunction(NAME, types.void(*[types.uintp] * 13))


@njit
def by_loops(left: Any, right: Any, out: Any, times: int) -> None:
    """Multiply by the product of the loops."""
    for _ in range(times):
        product(left, right, ONE, ZERO, out)


@njit
def by_blas(left: Any, right: Any, out: Any, times: int, sizes: Any, factors: Any, letter: Any) -> None:
    """Multiply by BLAS, which counts along columns: the transposes are multiplied. Arguments are addresses."""
    size, factor, plain = sizes.ctypes.data, factors.ctypes.data, letter.ctypes.data
    a, b, c = right.ctypes.data, left.ctypes.data, out.ctypes.data
    for _ in range(times):
        sgemm(plain, plain, size, size + 4, size + 8, factor, a, size, b, size + 8, factor + 4, c, size)


def main() -> None:
    random = np.random.default_rng(0)
    print("| R x S times S x C | loops, GFLOP/s | BLAS, GFLOP/s | ratio |")
    print("|---|---|---|---|")
    for rows, inner, columns in SIZES:
        left, right = random.random((rows, inner), np.float32), random.random((inner, columns), np.float32)
        out = np.empty((rows, columns), np.float32)
        blas = np.array([columns, rows, inner], np.int32), np.array([1, 0], np.float32), np.array([ord("N")], np.int8)
        operations = 2 * rows * inner * columns
        times = int(OPERATIONS / operations)
        best = [float("inf")] * 2
        for round in range(ROUNDS + 1):
            for which in range(2):
                start = time.process_time()
                if which:
                    by_blas(left, right, out, times, *blas)
                else:
                    by_loops(left, right, out, times)
                if round:  # the first compiles
                    best[which] = min(best[which], time.process_time() - start)
            np.testing.assert_allclose(out, left @ right, rtol=1e-5)
        loops, others = (operations * times / seconds / 1e9 for seconds in best)
        print(f"| {rows} x {inner} x {columns} | {loops:.0f} | {others:.0f} | {loops / others:.1f} |")


if __name__ == "__main__":
    main()
