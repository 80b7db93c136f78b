"""``attnlab train``: train variants at one level of a task."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from attnlab.cli import completion
from attnlab.cli.options import (
    AllowLeak,
    AsJson,
    Attention,
    Batch,
    CompileSteps,
    Complexity,
    Curriculum,
    Device,
    Heads,
    Layers,
    Lr,
    Match,
    Plugin,
    Position,
    Quiet,
    Recipe,
    Rollout,
    Seed,
    Settings,
    Steps,
    Store,
    Track,
    Vmap,
    Watch,
    WholeModel,
    Width,
    field_settings,
    load_plugins,
    tracker_names,
)
from attnlab.cli.tracking import tracked
from attnlab.cli.vmap import parse_vmap, refuse_unvmappable


def train(
    task: Annotated[
        str,
        typer.Option(
            "--task", help="A ladder's name or file: see [b]attnlab ls tasks[/b].", autocompletion=completion.tasks
        ),
    ] = "recall",
    attn: Attention = None,
    model: WholeModel = None,
    pos: Position = None,
    complexity: Complexity = None,
    curriculum: Curriculum = None,
    layers: Layers = None,
    width: Width = None,
    heads: Heads = None,
    steps: Steps = None,
    batch: Batch = None,
    lr: Lr = None,
    recipe: Recipe = None,
    seed: Seed = 0,
    seeds: Annotated[
        int, typer.Option("--seeds", metavar="N", min=1, help="Number of seeds, counted up from the first.")
    ] = 1,
    match: Match = None,
    watch: Watch = None,
    rollout: Rollout = None,
    allow_leak: AllowLeak = None,
    device: Device = "auto",
    vmap: Vmap = "auto",
    compile: CompileSteps = "auto",
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads", metavar="N", min=1, help="Threads of torch; without it, torch's own choice. A sweep uses one."
        ),
    ] = None,
    settings: Settings = None,
    store: Store = Path("results"),
    plugins: Plugin = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from checkpoints; skip finished runs.")] = False,
    continue_from: Annotated[
        str | None,
        typer.Option(
            "--continue-from",
            metavar="RUN",
            help="Begin with weights, optimizer state and step of a finished run.",
            autocompletion=completion.runs,
        ),
    ] = None,
    track: Track = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train attentions, or whole models, at one level of a task, and report what they learned."""
    from attnlab.experiments.request import parse_request
    from attnlab.rendering.console import Console
    from attnlab.rendering.record_table import RecordTable
    from attnlab.rendering.train_progress import train_progress

    load_plugins(plugins)
    trackers = tracker_names(track)
    fields = {"layers": layers, "width": width, "heads": heads, "steps": steps, "batch": batch, "lr": lr}
    nested = field_settings(
        settings, watch=watch, curriculum=curriculum, rollout=rollout, allow_leak=allow_leak, **fields
    )
    seeds_range = range(seed, seed + seeds)
    request = parse_request(
        task,
        attn,
        pos,
        modules=model,
        complexity=complexity,
        seeds=seeds_range,
        match=match,
        settings=nested,
        recipe=recipe,
    )
    runs_per_program = parse_vmap(vmap)
    if runs_per_program != "auto":
        from attnlab.experiments.plan import plan

        refuse_unvmappable(plan(request), runs_per_program)

    from attnlab.experiments.run_train import run_train

    arguments: dict[str, Any] = {"store": store, "device_name": device, "resume": resume}
    arguments |= {"continue_from": continue_from or ""}
    arguments |= {"vmap": runs_per_program, "compile": compile, "threads": threads}
    shown = nullcontext(None) if quiet else train_progress(Console(stderr=True))
    with shown as display, tracked(display, trackers, store) as progress:
        records = run_train(request, progress=progress, **arguments)
    if as_json:
        sys.stdout.writelines(f"{record.model_dump_json()}\n" for record in records)
        return
    console = Console()
    console.print(RecordTable(records))
    folder = f"{str(store).rstrip('/')}/"
    console.print(
        f"Stored in {folder}: records.jsonl, weights/, optimizer/.", highlight=False, markup=False, soft_wrap=True
    )
