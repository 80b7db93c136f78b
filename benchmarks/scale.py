"""Large stores: processor time and peak memory of the commands that read them, against another revision.

    python -m benchmarks.scale                                  # 20,000 and 200,000 records, this build alone
    python -m benchmarks.scale --against DIR                    # the ratio to the checkout in DIR, on the same stores
    python -m benchmarks.scale --records 20000 --keep /tmp/big  # keeps the stores, and uses them again

The stores are written from the record of a real run (trained for 20 steps): its line with another spec, seed and id,
and with accuracies that fall along the ladder. The runs are those that ``attnlab sweep`` plans, so their ids are the
true ones and the sweep finds all of them done. Two layouts:

    many seeds   10 attentions on 5 levels, RECORDS / 50 seeds each
    many cells   10 attentions on 4 levels with RECORDS / 400 numbers of training sequences, 10 seeds each

A store has the plan of its sweep, as one that was swept has. The first command reads the journal and leaves its index,
if the build has one; the others read the index. The finished sweep is run twice: ``sweep, planned`` finds no experiment
in the store and plans, as after an update of attnlab; ``sweep, all done`` is the same command again.

Each command is a process of its own; processor time is user and system time, so that other programs on the machine
change little. A checkout of another revision comes from ``git worktree add DIR REVISION``. A command that runs longer
than ``--limit`` is given up and printed as such.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from attnlab.specs import RunSpec

HERE = Path(__file__).resolve().parent.parent
ATTENTIONS = "softmax,linear,gla,delta,retention,sigmoid,expressive,gpam,selective,stick-breaking"
CODE = """
import resource, sys
from attnlab.cli import main
place = sys.argv.pop()
status = 0
try:
    main()
except SystemExit as end:
    status = end.code or 0
own = resource.getrusage(resource.RUSAGE_SELF)
# The peak of ru_maxrss is that of the process that was copied, if it was larger.
peak = [int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(status, own.ru_utime + own.ru_stime, (peak or [own.ru_maxrss])[0] / 1024, file=open(place, "w"))
"""


@dataclass(frozen=True)
class Layout:
    """What the runs of a store are."""

    name: str
    levels: str
    seeds: int
    grid: Sequence[str] = ()

    @property
    def words(self) -> list[str]:
        """The words of the sweep that has these runs."""
        varied = [word for one in self.grid for word in ("--grid", one)]
        return ["sweep", "--task", "recall", "--attn", ATTENTIONS, "--complexity", self.levels, *varied,
                "--seeds", str(self.seeds), "--width", "16", "--steps", "20", "--executor", "inline"]  # fmt: skip


GOALS: dict[int, dict[str, tuple[float, int]]] = {
    20_000: {"ls results": (1.5, 250), "report": (1.5, 0)},
    200_000: {
        "ls results": (5, 1000),
        "report": (8, 1000),
        "sweep, all done": (5, 1000),
        "sweep --dry-run": (5, 1000),
    },
}
"""Seconds and megabytes (0: no goal) by number of records and command."""


@dataclass(frozen=True)
class Cost:
    """What a command took."""

    seconds: float
    megabytes: float


def layouts(records: int) -> list[Layout]:
    """The layouts of a number of records."""
    numbers = ",".join(str(1000 + index) for index in range(records // 400))
    return [
        Layout("many seeds", "1,2,4,8,16", records // 50),
        Layout("many cells", "2,4,8,16", 10, (f"train_examples={numbers}",)),
    ]


def template(folder: Path) -> str:
    """Train one tiny run and read its line."""
    words = ["train", "--task", "recall", "--width", "16", "--steps", "20", "--store", str(folder)]
    subprocess.run(
        [sys.executable, "-m", "attnlab", *words], check=True, capture_output=True, cwd=folder.parent, env=_path(HERE)
    )
    return (folder / "records.jsonl").read_text().splitlines()[-1]


def planned(layout: Layout) -> list[RunSpec]:
    """The runs of a layout."""
    from attnlab.config.inline_experiment import inline_experiment, parse_grid, parse_levels
    from attnlab.experiments.expand import expand

    experiment = inline_experiment(
        "recall",
        attention=ATTENTIONS,
        complexity=parse_levels(layout.levels),
        grid=parse_grid(layout.grid),
        seeds=layout.seeds,
        settings={"model": {"width": 16}, "train": {"max_steps": 20}},
    )
    return expand(experiment)


def lines(specs: Sequence[RunSpec], real: str, seed: int = 0) -> Iterator[str]:
    """Write the line of every run: the real one's, with another spec, id and outcome."""
    random = np.random.default_rng(seed)
    data = json.loads(real)
    questions, sequences = data["accuracy"]["total"], data["accuracy"]["sequences"]["count"]
    per_sequence = questions // sequences
    texts: dict[int, str] = {}
    variants: dict[str, int] = {}
    for spec in specs:
        parts = []
        for section in (spec.task, spec.model, spec.train):
            if id(section) not in texts:
                texts[id(section)] = section.model_dump_json()
            parts.append(texts[id(section)])
        strength = variants.setdefault(spec.variant, len(variants))
        center = 6.0 * (strength + 1) / 10 - np.log2(spec.task.level) + random.normal(0, 1)
        share = 1.0 if center > 2 else 1 / (1 + np.exp(-center))
        right = round(sequences * share)
        squares = _sums(sequences, right, per_sequence**2)
        one = _sums(sequences, right, 1)
        data |= {
            "accuracy": _score(right * per_sequence, questions, 1 / spec.task.level, squares),
            "exact_match": _score(right, sequences, 1 / spec.task.level**per_sequence, one),
            "loss": round(float(random.gamma(2.0)), 6),
        }
        head = (
            f'{{"id":"{spec.id}","spec":{{"task":{parts[0]},"model":{parts[1]},"train":{parts[2]},"seed":{spec.seed}}}'
        )
        rest = json.dumps(
            {key: value for key, value in data.items() if key not in ("id", "spec")}, separators=(",", ":")
        )
        yield f"{head},{rest[1:]}\n"


def _sums(sequences: int, right: int, squared: int) -> dict[str, int]:
    """The sums over sequences of which some are wholly right and the others wholly wrong."""
    own = {"count": sequences, "correct_squared": right * squared, "correct_questions": right * squared}
    return {**own, "questions_squared": sequences * squared}


def _score(correct: int, total: int, chance: float, sequences: dict[str, int]) -> dict[str, object]:
    own = {"correct": correct, "total": total, "chance": chance, "sequences": sequences}
    return {**own, "mean": correct / total, "interval_over": "sequences"}


def make_store(folder: Path, layout: Layout, real: str) -> None:
    """Write a store, unless it is there; without an index."""
    (folder / "records.index").unlink(missing_ok=True)
    (folder / "experiment.json").unlink(missing_ok=True)  # the first sweep plans
    if (folder / "store.json").exists():
        return
    folder.mkdir(parents=True)
    from attnlab.storage.status import write_plan

    specs = planned(layout)
    with (folder / "records.jsonl").open("w") as file:
        file.writelines(lines(specs, real))
    write_plan(folder, specs)
    (folder / "store.json").write_text('{"format": 2}\n')


def cost(words: Sequence[str], checkout: Path, limit: float) -> Cost | None:
    """Run a command of a checkout; None if it is not over in time."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "cost"
        command = [sys.executable, "-c", CODE, *words, str(place)]
        try:
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder,
                           env=_path(checkout), preexec_fn=lambda: _limited(limit), check=False)  # fmt: skip
            status, seconds, megabytes = place.read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        if status not in ("0", "1"):
            raise SystemExit(f"attnlab {' '.join(words)} ended with status {status}.")
        return Cost(float(seconds), float(megabytes))


def _limited(seconds: float) -> None:
    """End this process when it has used so much processor time."""
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds) + 5))


def _path(checkout: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}


def text(one: Cost | None, other: Cost | None, limit: float) -> str:
    """The cost of a command in this build, beside that in the other."""
    if one is None:
        return f"more than {limit:.0f} s"
    own = f"{one.seconds:7.2f} s {one.megabytes:6.0f} MB"
    if other is None:
        return own
    ratios = f"{one.seconds / other.seconds:.2f} of its time, {one.megabytes / other.megabytes:.2f} of its memory"
    return f"{own}   before {other.seconds:7.2f} s {other.megabytes:6.0f} MB: {ratios}"


def goal(records: int, name: str, one: Cost | None) -> str:
    """The goal of a command, and whether it is reached; empty where it has none."""
    if name not in GOALS.get(records, {}):
        return ""
    seconds, megabytes = GOALS[records][name]
    reached = one is not None and one.seconds < seconds and (not megabytes or one.megabytes < megabytes)
    wanted = f"{seconds} s" + (f", {megabytes:,} MB" if megabytes else "")
    return f"   [{wanted}: {'reached' if reached else 'missed'}]"


def commands(folder: Path, layout: Layout) -> dict[str, list[str]]:
    """The measured commands of a store."""
    return {
        "ls, no index": ["ls", "results", str(folder)],
        "ls results": ["ls", "results", str(folder)],
        "report": ["report", str(folder)],
        "sweep, planned": [*layout.words, "--store", str(folder)],
        "sweep, all done": [*layout.words, "--store", str(folder)],
        "sweep --dry-run": [*layout.words, "--store", str(folder), "--dry-run"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Commands on large stores: processor time and memory.")
    parser.add_argument("--records", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--against", type=Path, help="a checkout of another revision")
    parser.add_argument("--keep", type=Path, help="a folder where the stores stay")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds after which a command is given up")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        real = template(Path(temporary) / "real")
        for records in args.records:
            for layout in layouts(records):
                folder = (args.keep or Path(temporary)) / f"{layout.name.replace(' ', '-')}-{records}"
                make_store(folder, layout, real)
                size = (folder / "records.jsonl").stat().st_size / 1e6
                print(f"{records:,} records, {layout.name}, {size:,.0f} MB of journal", flush=True)
                for name, words in commands(folder, layout).items():
                    own = cost(words, HERE, args.limit)
                    other = cost(words, args.against, args.limit) if args.against else None
                    late = f"   before: more than {args.limit:.0f} s" if args.against and other is None else ""
                    print(f"  {name:<18}{text(own, other, args.limit)}{late}{goal(records, name, own)}", flush=True)


if __name__ == "__main__":
    main()
