"""Failure modes of small runs that are made to fail by a known cause: a confusion table.

    python -m benchmarks.failure_modes                 # eight causes by eight seeds: a Markdown table
    python -m benchmarks.failure_modes --seeds 2       # faster
    python -m benchmarks.failure_modes --first 100     # other seeds; the thresholds were chosen on seeds from 100 on

Every run logs diagnostics. Rows are causes, columns are failure modes; a perfect rule fills the diagonal.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from typing import Any

SMALL = {"layers": 2, "width": 32, "heads": 2}
TRAIN: dict[str, Any] = {
    "max_steps": 300,
    "batch_size": 32,
    "eval_every": 20,
    "log_diagnostics": ["rank", "gradients", "attention"],
    "test_examples": 512,
    "train_examples": None,
    "lr": 3e-3,
}
CAUSES: dict[str, tuple[str, dict[str, Any]]] = {
    "an easy level": ("solved", {"complexity": 3}),
    "40 steps": ("undertrained", {"complexity": 6, "train": {"max_steps": 40, "eval_every": 5}}),
    "learning rate 10": ("optimization failure", {"complexity": 4, "train": {"lr": 10.0, "max_steps": 100}}),
    "10 layers without residual": (
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
    "one layer, window of 4 of 32 bits": (
        "capacity",
        {"task": "majority", "complexity": 32, "attention": "window:window=4,sinks=0", "model": {"layers": 1}},
    ),
    "tested at four times the length": ("no length generalization", {"complexity": 3, "evaluate": (12,)}),
}
"""Cause -> the expected failure mode, and the options that bring it about."""


def outcome(cause: str, seed: int) -> tuple[str, str]:
    """Train one run: its failure mode, and the evidence."""
    from attnlab.analysis.failure_modes import failure_mode
    from attnlab.config.inline_parts import parse_part
    from attnlab.specs import ModelSpec, RunSpec, TrainSpec
    from attnlab.tasks.io.ladders import find_ladder, task_spec
    from attnlab.training.run import train_runs

    options = CAUSES[cause][1]
    ladder = find_ladder(options.get("task", "copy"))
    task = task_spec(ladder, options.get("options", {}), options["complexity"], options.get("evaluate", ()))
    sizes = {**SMALL, "position": "rotary", **options.get("model", {})}
    model = ModelSpec.model_validate({**sizes, "attention": parse_part(options.get("attention", "softmax"))})
    train = TrainSpec.model_validate({**TRAIN, **options.get("train", {})})
    (record,) = train_runs([RunSpec(task=task, model=model, train=train, seed=seed)])
    mode = failure_mode(record)
    return mode.name, f"{mode} [{record.environment['seconds']} s]"


def main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--verbose", action="store_true", help="print the evidence of every run")
    parser.add_argument("--only", choices=CAUSES, nargs="*", default=list(CAUSES), help="only these causes")
    args = parser.parse_args()
    table: dict[str, Counter[str]] = {}
    for cause in args.only:
        table[cause] = Counter()
        for seed in range(args.first, args.first + args.seeds):
            name, evidence = outcome(cause, seed)
            table[cause][name] += 1
            if args.verbose:
                print(f"{cause}, seed {seed}: {evidence}", flush=True)
    modes = [expected for expected, _ in CAUSES.values()]
    modes += sorted({name for counts in table.values() for name in counts} - set(modes))
    print(f"| cause | {' | '.join(modes)} |")
    print(f"| --- |{' ---: |' * len(modes)}")
    for cause, counts in table.items():
        print(f"| {cause} | {' | '.join(str(counts[mode] or '') for mode in modes)} |")
    correct = sum(counts[CAUSES[cause][0]] for cause, counts in table.items())
    print(f"\n{correct} of {sum(counts.total() for counts in table.values())} as expected.")


if __name__ == "__main__":
    main()
