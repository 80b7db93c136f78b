"""Are verdicts right? Small runs made to fail, each of a known cause, against what they are said to have failed of.

    python -m benchmarks.verdicts                 # eight causes by eight seeds: a Markdown confusion table
    python -m benchmarks.verdicts --seeds 2       # quicker
    python -m benchmarks.verdicts --first 100     # other seeds: the bounds were set on seeds from 100 on

Every run is watched. Rows are causes, columns verdicts; a perfect rule fills the diagonal.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from typing import Any

SMALL = {"layers": 2, "width": 32, "heads": 2}
PLAN: dict[str, Any] = {
    "steps": 300,
    "batch": 32,
    "validate_every": 20,
    "log_diagnostics": ["rank", "gradients", "attention"],
    "test": 512,
    "examples": None,
    "lr": 3e-3,
}
CAUSES: dict[str, tuple[str, dict[str, Any]]] = {
    "an easy level": ("solved", {"complexity": 3}),
    "40 steps": ("undertrained", {"complexity": 6, "train": {"max_steps": 40, "eval_every": 5}}),
    "learning rate 10": ("optimization failure", {"complexity": 4, "train": {"lr": 10.0, "max_steps": 100}}),
    "10 layers without skips": (
        "rank collapse",
        {"complexity": 8, "model": {"layers": 10, "residual": False}, "train": {"max_steps": 60, "batch_size": 16}},
    ),
    "scores times 300": (
        "entropy collapse",
        {"complexity": 8, "attention": "ssmax:start=300", "train": {"max_steps": 80}},
    ),
    "64 sequences": (
        "overfit",
        {"complexity": 12, "options": {"alphabet": 64}, "train": {"train_examples": 64, "max_steps": 120}},
    ),
    "one layer, sees 4 of 32 bits": (
        "capacity",
        {"task": "majority", "complexity": 32, "attention": "window:window=4,sinks=0", "model": {"layers": 1}},
    ),
    "tested four times as long": ("length only", {"complexity": 3, "evaluate": (12,)}),
}
"""Cause -> the verdict it should get, and how it is brought about."""


def outcome(cause: str, seed: int) -> tuple[str, str]:
    """The verdict on one run, and its evidence."""
    from attnlab.analysis.failure_modes import failure_mode
    from attnlab.config.inline_parts import parse_part
    from attnlab.specs import ModelSpec, RunSpec, TrainSpec
    from attnlab.tasks.io.ladders import find_ladder, task_spec
    from attnlab.training.run import train_runs

    how = CAUSES[cause][1]
    ladder = find_ladder(how.get("task", "copy"))
    task = task_spec(ladder, how.get("options", {}), how["complexity"], how.get("evaluate", ()))
    sizes = {**SMALL, "position": "rotary", **how.get("model", {})}
    model = ModelSpec.model_validate({**sizes, "attention": parse_part(how.get("attention", "softmax"))})
    train = TrainSpec.model_validate({**PLAN, **how.get("train", {})})
    (record,) = train_runs([RunSpec(task=task, model=model, train=train, seed=seed)])
    mode = failure_mode(record)
    return mode.name, f"{mode} [{record.environment['seconds']} s]"


def main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--loud", action="store_true", help="the evidence of every run")
    parser.add_argument("--only", choices=CAUSES, nargs="*", default=list(CAUSES), help="these causes")
    args = parser.parse_args()
    table: dict[str, Counter[str]] = {}
    for cause in args.only:
        table[cause] = Counter()
        for seed in range(args.first, args.first + args.seeds):
            name, words = outcome(cause, seed)
            table[cause][name] += 1
            if args.loud:
                print(f"{cause}, seed {seed}: {words}", flush=True)
    heads = [wanted for wanted, _ in CAUSES.values()]
    heads += sorted({name for counts in table.values() for name in counts} - set(heads))
    print(f"| cause | {' | '.join(heads)} |")
    print(f"| --- |{' ---: |' * len(heads)}")
    for cause, counts in table.items():
        print(f"| {cause} | {' | '.join(str(counts[head] or '') for head in heads)} |")
    right = sum(counts[CAUSES[cause][0]] for cause, counts in table.items())
    print(f"\n{right} of {sum(counts.total() for counts in table.values())} as made.")


if __name__ == "__main__":
    main()
