"""``attnlab bench``: the speed of attnlab on this machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from attnlab.cli.options import AsJson, Device


def bench(
    device: Device = "auto",
    threads: Annotated[
        int | None,
        typer.Option("--threads", metavar="N", min=1, help="Threads of torch; without it, torch's own choice."),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="JSON file of the result; its last result is shown beside.")
    ] = Path("results/bench.json"),
    as_json: AsJson = False,
) -> None:
    """Measure this machine: training steps per second by attention, memory of a run, start-up seconds."""
    from attnlab.experiments.bench_result import last_medians
    from attnlab.files import check_output
    from attnlab.rendering.console import Console

    last = last_medians(out)
    check_output(out)

    from attnlab.experiments.machine_bench import measure_machine
    from attnlab.rendering.machine_bench import BenchTable
    from attnlab.training.environment import device as find_device
    from attnlab.training.environment import torch_threads

    chosen = find_device(device)
    status = Console(stderr=True).status(f"Measuring on {chosen}; this takes about half a minute")
    with torch_threads(threads), status:
        result = measure_machine(chosen)
    result.save(out)
    if as_json:
        sys.stdout.write(json.dumps(result.data()) + "\n")
        return
    console = Console()
    console.print(BenchTable(result, last))
    console.print(f"Written to {out}.", highlight=False, markup=False, soft_wrap=True)
