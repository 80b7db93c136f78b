"""The time of a step by operation of torch.

    python -m benchmarks.operations [--width 128 --length 128 --batch 64] [--threads 2] [--hand-written]

Operations of equal shapes are one row. A row shows the time of its operations, and the time that its matrix products
would take at the rate of one large product, which is measured here. The lower bound of a step is that time for all its
products. The rest of the step, beyond the sum of the rows, is the interpreter.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.timing.textbook import Shape, hand_written, ours

SIZE, STEPS = 1024, 10


class OperationTimer(TorchDispatchMode):
    """Measures seconds, calls and floating-point operations of what runs within it, by name and shapes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rows: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        start = time.perf_counter()
        result = func(*args, **(kwargs or {}))
        spent = time.perf_counter() - start
        shapes = ", ".join("x".join(map(str, one.shape)) for one in args[:2] if isinstance(one, torch.Tensor))
        count = flop_registry.get(func.overloadpacket)
        row = self.rows[func.overloadpacket.__name__, shapes]
        row[0] += spent
        row[1] += 1
        row[2] += count(*args, **(kwargs or {}), out_val=result) if count else 0
        return result


def rate() -> float:
    """Measure the operations per second of a large matrix product, the median of several."""
    left, right = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE)
    spent = []
    for _ in range(30):
        start = time.perf_counter()
        left @ right
        spent.append(time.perf_counter() - start)
    return 2 * SIZE**3 / sorted(spent)[15]


def seconds(step: Callable[[], object]) -> float:
    """Measure the seconds of a step, the median of several."""
    spent = []
    for _ in range(2 * STEPS):
        start = time.perf_counter()
        step()
        spent.append(time.perf_counter() - start)
    return sorted(spent)[STEPS]


def main() -> None:
    parser = argparse.ArgumentParser(description="The time of a step by operation of torch.")
    for name, size in (("width", 128), ("length", 128), ("batch", 64), ("vocabulary", 64)):
        parser.add_argument(f"--{name}", type=int, default=size)
    parser.add_argument("--attn", default="softmax")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--hand-written", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    shape = Shape(width=args.width, length=args.length, batch=args.batch, vocabulary=args.vocabulary)
    device = torch.device("cpu")
    step = hand_written(shape, device) if args.hand_written else ours(shape, device, attention=args.attn)
    for _ in range(STEPS):
        step()
    peak, whole = rate(), seconds(step)
    with OperationTimer() as timer:
        for _ in range(STEPS):
            step()
    bound = shape.operations / peak
    print(f"{args.threads} threads, {peak / 1e9:.0f} GFLOP/s; a step takes {1e3 * whole:.1f} ms, its lower bound is")
    print(f"{1e3 * bound:.1f} ms, {bound / whole:.2f} of it")
    print("\n| operation | shapes | calls | ms | at the rate of a product |\n|---|---|---|---|---|")
    rows = sorted(timer.rows.items(), key=lambda row: -row[1][0])
    threshold = 0.002 * whole * STEPS
    for (name, shapes), (spent, calls, operations) in rows:
        if spent > threshold:
            ideal = f"{1e3 * operations / peak / STEPS:.2f}" if operations else ""
            print(f"| `{name}` | {shapes} | {calls / STEPS:.0f} | {1e3 * spent / STEPS:.2f} | {ideal} |")
    rest = sum(spent for _, (spent, _, _) in rows if spent <= threshold)
    print(f"| others | | | {1e3 * rest / STEPS:.2f} | |")
    total = 1e3 * sum(spent for _, (spent, _, _) in rows) / STEPS
    print(f"| **all** | | | {total:.1f} | {1e3 * bound:.1f} |")


if __name__ == "__main__":
    main()
