"""``attnlab train``: variants on one level of a task."""

from __future__ import annotations

import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attnlab.cli.options import AsJson, Complexity, Seed, Settings, Store, With, load
from attnlab.cli.vmap import LanesWord, lanes_of, refuse_unstackable

if TYPE_CHECKING:
    from attnlab.experiments.request import Request


class Device(StrEnum):
    """Where to train."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class Compile(StrEnum):
    """Whether steps are compiled, those of a run that stands alone, and on a GPU recorded."""

    auto = "auto"
    never = "never"
    always = "always"


class Match(StrEnum):
    """What variants are to have in common."""

    parameters = "parameters"
    flops = "flops"
    state = "state"


def train(
    task: Annotated[
        str, typer.Option("--task", help="A ladder's name or file: see [b]attnlab ls tasks[/b].")
    ] = "recall",
    attn: Annotated[
        str | None, typer.Option("--attn", help="Attentions, as [b]softmax,dape:kernel=3[/b]; + stacks over layers.")
    ] = None,
    pos: Annotated[str | None, typer.Option("--pos", help="Positions, as [b]learned,rotary[/b].")] = None,
    complexity: Complexity = None,
    layers: Annotated[int | None, typer.Option("--layers")] = None,
    width: Annotated[int | None, typer.Option("--width", help="Width of the stream.")] = None,
    heads: Annotated[int | None, typer.Option("--heads")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Most steps; a solved run stops sooner.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", help="Sequences per step.")] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="Peak learning rate.")] = None,
    seed: Seed = 0,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many seeds, counted up from the first.")] = 1,
    match: Annotated[
        Match | None, typer.Option("--match", help="Give every other variant the budget of the first.")
    ] = None,
    watch: Annotated[
        str | None,
        typer.Option("--watch", help="Record along the training: [b]rank,gradients,attention[/b], or some of them."),
    ] = None,
    device: Annotated[Device, typer.Option("--device")] = Device.auto,
    lanes: LanesWord = "auto",
    compile: Annotated[
        Compile, typer.Option("--compile", help="Compile steps, and record them on a GPU; auto: where it pays.")
    ] = (Compile.auto),
    settings: Settings = None,
    store: Store = Path("results"),
    with_files: With = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from checkpoints; skip what is done.")] = False,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Train attentions on one level of a task, and tell what they learned."""
    from rich.console import Console

    from attnlab.config.inline_parts import merged
    from attnlab.config.inline_parts import parse_settings as read_settings
    from attnlab.rendering.record_table import RecordTable
    from attnlab.rendering.train_progress import train_progress
    from attnlab.training.events import no_callback

    load(with_files)
    given: dict[str, dict[str, Any]] = {
        "model": {"layers": layers, "width": width, "heads": heads},
        "train": {
            "max_steps": steps,
            "batch_size": batch,
            "lr": lr,
            "log_diagnostics": watch.split(",") if watch else None,
        },
    }
    asked = {section: {k: v for k, v in data.items() if v is not None} for section, data in given.items()}
    settled = merged(asked, read_settings(settings or []))
    wanted = request(task, attn, pos, complexity, range(seed, seed + seeds), settled)
    if match:
        wanted = replace(wanted, match=match.value)

    stacked = lanes_of(lanes)
    if stacked != "auto":
        from attnlab.experiments.plan import plan

        refuse_unstackable(plan(wanted), stacked)

    from attnlab.experiments.run_train import run_train as run

    how: dict[str, Any] = {"store": store, "device_name": device, "resume": resume, "vmap": stacked}
    how["compile"] = compile.value
    screen = Console(stderr=True)
    if quiet:
        records = run(wanted, progress=no_callback, **how)
    else:
        with train_progress(screen) as progress:
            records = run(wanted, progress=progress, **how)
    if as_json:
        sys.stdout.writelines(f"{record.model_dump_json()}\n" for record in records)
        return
    console = Console()
    console.print(RecordTable(records))
    kept = f"Kept in {store}{'/' if not str(store).endswith('/') else ''}: records.jsonl, weights/."
    console.print(kept, highlight=False, soft_wrap=True)


def request(
    task: str, attn: str | None, pos: str | None, complexity: str | None, seeds: range, settings: dict[str, Any]
) -> Request:
    """What the options ask for."""
    from attnlab.config.inline_parts import parse_part, parse_variants
    from attnlab.config.yaml import scalar
    from attnlab.experiments.request import Request

    return Request(
        task=parse_part(task),
        attentions=parse_variants(attn) if attn is not None else (),
        positions=[one for stack in parse_variants(pos) for one in stack] if pos is not None else (),
        complexity=None if complexity is None else scalar(complexity),
        seeds=seeds,
        settings=settings,
    )
