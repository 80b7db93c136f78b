"""The time of a training step of attentions as a multiple of that of softmax, at the textbook shape.

    python -m benchmarks.times_softmax wall deltaformer differential:version=2
    python -m benchmarks.times_softmax --no-loops delta     # also by torch's operations alone
    python -m benchmarks.times_softmax --mixing wall        # the mixing of the tokens alone, over torch's fused softmax
    python -m benchmarks.times_softmax --mixing softmax --position kerple --tokens 256

The steps take turns in one process on one thread, and the order rotates: median and quartiles of the ratio in each
round, by processor time. Goals stand in ``benchmarks.timing.goals``; those over `delta` are shown where it is measured.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.timing.pairs import Seconds


def without_loops(program: Callable[[], object]) -> Callable[[], object]:
    """Make a program that runs another one without compiled loops."""
    from attnlab.attention.ops.loops import no_loops

    def run() -> None:
        with no_loops():
            program()

    return run


def goal(name: str, seconds: Seconds) -> str:
    """The goal of an attention, and whether it is reached; empty without one."""
    from benchmarks.timing.goals import MOST_TIMES_DELTA, MOST_TIMES_SOFTMAX
    from benchmarks.timing.pairs import ratio

    if most := MOST_TIMES_SOFTMAX.get(name):
        reached = ratio(name, seconds[name], seconds["softmax"]).median <= most
        return f"{most}{'' if reached else ', **not reached**'}"
    if "delta" in seconds and (most := MOST_TIMES_DELTA.get(name)):
        times = ratio(name, seconds[name], seconds["delta"]).median
        return f"{most} times `delta`: {times:.2f}{'' if times <= most else ', **not reached**'}"
    return ""


def main() -> None:
    import torch

    from benchmarks.timing import mixing
    from benchmarks.timing.pairs import interleaved, ratio
    from benchmarks.timing.textbook import Shape, ours

    parser = argparse.ArgumentParser(description="The time of a step as a multiple of that of softmax.")
    parser.add_argument("names", nargs="+", help="attentions with their options")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--tokens", type=int, default=64, help="T; batches have 4,096 tokens")
    parser.add_argument("--mixing", action="store_true", help="only the mixing of the tokens, forward and backward")
    parser.add_argument("--position", default="none", help="with --mixing: a position that adds a bias to the scores")
    parser.add_argument("--no-loops", action="store_true", help="also each attention by torch's operations alone")
    args = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device("cpu")
    if args.mixing:
        base = "torch's fused softmax"
        programs = {base: mixing.fused(args.tokens, device)}
        make = partial(mixing.ours, length=args.tokens, device=device, position_name=args.position)
    else:
        shape = Shape(length=args.tokens, batch=max(1, 4096 // args.tokens))
        make = partial(ours, shape, device, "never")
        base, programs = "softmax", {"softmax": make("softmax")}
    programs |= {name: make(name) for name in args.names}
    if args.no_loops:
        programs |= {f"{name}, no loops": without_loops(make(name)) for name in args.names}
    seconds = interleaved(programs, args.rounds, clock=time.process_time)
    print("| attention | times softmax | quartiles | ms | goal |")
    print("|---|---|---|---|---|")
    for name in programs:
        measured = ratio(name, seconds[name], seconds[base])
        milliseconds = 1e3 * sorted(seconds[name])[len(seconds[name]) // 2]
        numbers = f"{measured.median:.2f} | {measured.low:.2f}-{measured.high:.2f} | {milliseconds:.1f}"
        print(f"| `{name}` | {numbers} | {'' if args.mixing else goal(name, seconds)} |")


if __name__ == "__main__":
    main()
