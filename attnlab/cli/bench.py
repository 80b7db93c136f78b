"""``attnlab bench``: how fast is it here, against what one would write by hand and against peers?"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from attnlab.cli.options import AsJson
from attnlab.cli.train import Device


def bench(
    peers: Annotated[bool, typer.Option("--peers", help="Time the peers too that are installed.")] = False,
    long: Annotated[
        bool, typer.Option("--long", help="Also a sweep of eight runs, and how costs grow: some twenty minutes.")
    ] = False,
    device: Annotated[Device, typer.Option("--device")] = Device.auto,
    rounds: Annotated[int, typer.Option("--rounds", min=2, help="Interleaved rounds of each comparison.")] = 5,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Where it is kept, and the last one found.")
    ] = Path("results/bench.json"),
    as_json: AsJson = False,
) -> None:
    """Measure speed as ratios, a few minutes long; keep them, and show what they were last time."""
    from rich.console import Console

    from benchmarks.timing.saved import last

    before = last(out)

    from attnlab.training.environment import device as place
    from benchmarks.timing.bench import bench as measure

    where = place(device.value)
    with Console(stderr=True).status(f"Measuring on {where}, {rounds} rounds"):
        found = measure(where, rounds, peers, long)
    found.save(out)
    if as_json:
        sys.stdout.write(json.dumps(found.data()) + "\n")
        return
    console = Console()
    console.print(found.table(before))
    for sentence in (*found.left_out, f"Kept in {out}."):
        console.print(sentence, highlight=False, soft_wrap=True)
