"""Where the time of a step goes: every operation of torch's that it is made of, with its share.

    python -m benchmarks.operations [--width 128 --length 128 --batch 64] [--threads 2] [--by-hand]

Operations of equal shapes are one row. The floor is what the products alone would take at the rate of a large matrix
product, measured here; a row tells what its operations take, and what they would take at that rate. What rows do not
add up to is the interpreter.
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

from benchmarks.timing.textbook import Shape, by_hand, ours

SIZE, STEPS = 1024, 10


class Clocked(TorchDispatchMode):
    """Seconds, calls and operations of whatever runs within it, by name and shapes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rows: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        began = time.perf_counter()
        result = func(*args, **(kwargs or {}))
        spent = time.perf_counter() - began
        shapes = ", ".join("x".join(map(str, one.shape)) for one in args[:2] if isinstance(one, torch.Tensor))
        count = flop_registry.get(func.overloadpacket)
        row = self.rows[func.overloadpacket.__name__, shapes]
        row[0] += spent
        row[1] += 1
        row[2] += count(*args, **(kwargs or {}), out_val=result) if count else 0
        return result


def rate() -> float:
    """Operations per second of a large matrix product, the median of several."""
    one, other = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE)
    spent = []
    for _ in range(30):
        began = time.perf_counter()
        one @ other
        spent.append(time.perf_counter() - began)
    return 2 * SIZE**3 / sorted(spent)[15]


def seconds(step: Callable[[], object]) -> float:
    """Of a step, the median of several."""
    spent = []
    for _ in range(2 * STEPS):
        began = time.perf_counter()
        step()
        spent.append(time.perf_counter() - began)
    return sorted(spent)[STEPS]


def main() -> None:
    parser = argparse.ArgumentParser(description="Where the time of a step goes.")
    for name, size in (("width", 128), ("length", 128), ("batch", 64), ("vocabulary", 64)):
        parser.add_argument(f"--{name}", type=int, default=size)
    parser.add_argument("--attn", default="softmax")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--by-hand", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    shape = Shape(width=args.width, length=args.length, batch=args.batch, vocabulary=args.vocabulary)
    device = torch.device("cpu")
    step = by_hand(shape, device) if args.by_hand else ours(shape, device, attention=args.attn)
    for _ in range(STEPS):
        step()
    pace, whole = rate(), seconds(step)
    with Clocked() as clocked:
        for _ in range(STEPS):
            step()
    floor = shape.operations / pace
    print(f"{args.threads} threads, {pace / 1e9:.0f} GFLOP/s; a step takes {1e3 * whole:.1f} ms, its floor is")
    print(f"{1e3 * floor:.1f} ms, {floor / whole:.2f} of it")
    print("\n| operation | shapes | calls | ms | at the rate of a product |\n|---|---|---|---|---|")
    rows = sorted(clocked.rows.items(), key=lambda row: -row[1][0])
    least = 0.002 * whole * STEPS
    for (name, shapes), (spent, calls, operations) in rows:
        if spent > least:
            ideal = f"{1e3 * operations / pace / STEPS:.2f}" if operations else ""
            print(f"| `{name}` | {shapes} | {calls / STEPS:.0f} | {1e3 * spent / STEPS:.2f} | {ideal} |")
    rest = sum(spent for _, (spent, _, _) in rows if spent <= least)
    print(f"| others | | | {1e3 * rest / STEPS:.2f} | |")
    data = 1e3 * sum(spent for _, (spent, _, _) in rows) / STEPS
    print(f"| **all** | | | {data:.1f} | {1e3 * floor:.1f} |")


if __name__ == "__main__":
    main()
