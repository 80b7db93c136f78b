"""``attnlab sweep``: an experiment over the ladder of a task, planned, parallel and resumed by running it again."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attnlab.cli.options import AsJson, Settings, With, load
from attnlab.cli.train import Device, Match
from attnlab.cli.vmap import LanesWord, lanes_of, refuse_unstackable

if TYPE_CHECKING:
    from rich.console import Console

    from attnlab.config.experiment import Experiment
    from attnlab.execution.jobs import Executor
    from attnlab.experiments.run_sweep import SweepOutcome
    from attnlab.specs import RunSpec


class Scale(StrEnum):
    """How large the budget is."""

    smoke = "smoke"
    laptop = "laptop"
    paper = "paper"


def sweep(
    name: Annotated[
        str | None, typer.Argument(metavar="[EXPERIMENT]", help="A shipped experiment or a YAML file.")
    ] = None,
    task: Annotated[str | None, typer.Option("--task", help="Ladders to climb, as [b]recall,copy[/b].")] = None,
    attn: Annotated[str | None, typer.Option("--attn", help="Attentions, as [b]softmax,dape:kernel=3[/b].")] = None,
    pos: Annotated[str | None, typer.Option("--pos", help="Positions, as [b]learned,rotary[/b].")] = None,
    complexity: Annotated[
        str | None, typer.Option("--complexity", metavar="LEVELS", help="Levels, as 2,4,8; left out, all.")
    ] = None,
    vary: Annotated[
        list[str] | None, typer.Option("--vary", metavar="KEY=A,B", help="Any field, such as lr=1e-3,3e-3.")
    ] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="How many seeds, counted up from 0.")] = None,
    match: Annotated[
        Match | None, typer.Option("--match", help="Give every other variant the budget of the first.")
    ] = None,
    scale: Annotated[Scale | None, typer.Option("--scale", help="Which budget of the experiment.")] = None,
    settings: Settings = None,
    executor: Annotated[
        str,
        typer.Option("--executor", help="[b]processes:N[/b], [b]inline[/b] or [b]ray[/b]."),
    ] = "processes",
    ray_address: Annotated[str | None, typer.Option("--ray-address", help="An existing cluster.")] = None,
    device: Annotated[Device, typer.Option("--device")] = Device.auto,
    lanes: LanesWord = "auto",
    adaptive: Annotated[
        bool, typer.Option("--adaptive", help="Run only what it takes to find each variant's reach and C50.")
    ] = False,
    narrow: Annotated[
        float, typer.Option("--narrow", min=0.0, help="With --adaptive: how narrow C50's interval shall be, in levels.")
    ] = 1.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and what it costs; run nothing.")] = False,
    store: Annotated[
        Path | None, typer.Option("--store", metavar="DIR", help="Folder of results; left out, results/NAME.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait while another sweep drives the store.")] = False,
    weights: Annotated[bool, typer.Option("--weights/--no-weights", help="Keep the weights of every run.")] = True,
    with_files: With = None,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """LadderLevels a ladder with several attentions and seeds; run it again and only what is missing runs."""
    from rich.console import Console

    from attnlab.execution.executors import make_executor
    from attnlab.experiments.expand import expand
    from attnlab.rendering.sweep_progress import SweepSummary

    load(with_files)
    words = {"task": task, "attention": attn, "position": pos, "complexity": complexity, "vary": vary}
    words["match"] = match.value if match else None
    chosen = _experiment(name, scale, seeds, words, settings or [])
    specs, stacked = expand(chosen), lanes_of(lanes)
    refuse_unstackable(specs, stacked)
    place = store or Path("results") / chosen.name
    files = with_files or []
    how: dict[str, Any] = {"weights": weights, "address": ray_address, "runs": len(specs), "vmap": stacked}
    staff = make_executor(executor, device, files, **how)
    try:
        if dry_run:
            from attnlab.experiments.cost_estimate import estimate_cost

            Console().print(estimate_cost(specs, place, staff, chosen.expected_steps))
            return
        how = {"wait": wait, "adaptive": narrow if adaptive else None}
        found = run_watched(Console(stderr=True), chosen, specs, place, staff, quiet, how)
    finally:
        staff.close()
    outcome = SweepSummary(chosen, found.records, len(found.records if adaptive else found.specs), _saved(found))
    if as_json:
        sys.stdout.writelines(f"{record.model_dump_json()}\n" for record in found.records)
    else:
        Console().print(outcome, highlight=False)
    raise typer.Exit(0 if outcome.claims_hold and not found.failed else 1)


def run_watched(
    screen: Console,
    chosen: Experiment,
    specs: list[RunSpec],
    place: Path,
    staff: Executor,
    quiet: bool,
    how: dict[str, Any],
) -> SweepOutcome:
    """Run what is missing, watched."""
    from attnlab.experiments.run_sweep import run_sweep as run
    from attnlab.rendering.sweep_progress import sweep_progress
    from attnlab.storage import Store

    if quiet:
        return run(chosen, specs, place, staff, **how)
    there = {record.id for record in Store(place).records() if record.status != "failed"}
    done = sum(spec.id in there for spec in specs)
    screen.print(
        f"{chosen.name}: {len(specs)} runs, {done} done already; {staff.description}; {place}/", highlight=False
    )
    with sweep_progress(screen, len(specs), done) as progress:
        return run(chosen, specs, place, staff, progress=progress, **how)


def _saved(found: SweepOutcome) -> str:
    """How an adaptive sweep went, in a sentence."""
    if found.search is None:
        return ""
    climbed = found.search
    ladders = len(climbed.searches)
    return (
        f"Adaptive: {len(climbed.records)} runs instead of {climbed.planned}; {climbed.saved} saved. "
        f"C50 is as narrow as asked for {climbed.decided} of {ladders} variants."
    )


def _experiment(
    name: str | None, scale: Scale | None, seeds: int | None, inline_words: dict[str, Any], settings: list[str]
) -> Experiment:
    """The experiment that is named, or the one that the words write."""
    from attnlab.config import inline_experiment
    from attnlab.config.experiment import experiment
    from attnlab.config.inline_parts import merged
    from attnlab.config.inline_parts import parse_settings as read_settings
    from attnlab.errors import InvalidValueError, unknown

    given = read_settings(settings)
    said = {key: value for key, value in inline_words.items() if value is not None and value != []}
    if name is None:
        if "task" not in said:
            raise InvalidValueError(
                "Nothing to sweep.", "Name an experiment (attnlab ls experiments), or give --task.", where="sweep"
            )
        if scale:
            raise InvalidValueError(
                "An inline sweep has one budget.", "Name an experiment to use --scale.", where="--scale"
            )
        rungs, vary = (
            inline_experiment.parse_levels(said.pop("complexity", None)),
            inline_experiment.parse_grid(said.pop("vary", [])),
        )
        return inline_experiment.inline_experiment(
            **said, complexity=rungs, grid=vary, seeds=seeds or 3, settings=given
        )
    if said:
        word = next(iter(said))
        hint = "Copy it with attnlab cp and edit the copy, or leave its name out."
        raise InvalidValueError(f"The experiment '{name}' says that itself.", hint, where=f"--{FLAGS.get(word, word)}")
    found = experiment(name).with_preset(scale.value if scale else None)
    for section, data in given.items():
        if section == "task":
            raise InvalidValueError("The ladders of an experiment say their options themselves.", where="--set task")
        if section not in inline_experiment.SECTIONS:
            raise unknown("section", section, inline_experiment.SECTIONS, where=f"--set {section}")
        if not isinstance(data, dict):
            raise InvalidValueError(
                f"'{section}' is a section.", f"Set what is in it: {section}.KEY.", where=f"--set {section}"
            )
    update = {section: merged(getattr(found, section), data) for section, data in given.items()}
    return found.model_copy(update={**update, **({"seeds": seeds} if seeds else {})})


FLAGS = {"attention": "attn", "position": "pos"}
