"""``attnlab sweep``: run an experiment over the levels of its tasks, in parallel; run it again to resume it."""

from __future__ import annotations

import gc
import json
import re
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attnlab.choices import PresetName
from attnlab.cli import completion, slurm
from attnlab.cli.options import (
    AllowLeak,
    AsJson,
    Attention,
    Batch,
    Curriculum,
    Device,
    Heads,
    Layers,
    Lr,
    Match,
    Plugin,
    Quiet,
    Recipe,
    Rollout,
    Settings,
    Steps,
    SweepPosition,
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

if TYPE_CHECKING:
    from attnlab.config.experiment import Experiment
    from attnlab.execution.jobs import Executor
    from attnlab.experiments.run_sweep import SweepOutcome
    from attnlab.records import Record
    from attnlab.specs import RunSpec
    from attnlab.storage import Store

DRY_RUN_SECONDS = 8.0
"""Processor time in which a dry run starts, plans and times steps."""
SHORTEST_TIMING, LONGEST_TIMING = 1.0, 2.5
"""Seconds in which a dry run times steps: whatever planning took, and where there is time for more."""


def sweep(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[EXPERIMENT]",
            help="A built-in experiment or a YAML file.",
            autocompletion=completion.experiments,
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", help="Ladders, such as [b]recall,copy[/b].", autocompletion=completion.tasks)
    ] = None,
    attn: Attention = None,
    model: WholeModel = None,
    pos: SweepPosition = None,
    complexity: Annotated[
        str | None, typer.Option("--complexity", metavar="LEVELS", help="Levels, such as 2,4,8; left out, all.")
    ] = None,
    curriculum: Curriculum = None,
    layers: Layers = None,
    width: Width = None,
    heads: Heads = None,
    steps: Steps = None,
    batch: Batch = None,
    lr: Lr = None,
    recipe: Recipe = None,
    grid: Annotated[
        list[str] | None, typer.Option("--grid", metavar="KEY=A,B", help="Values of any field, such as lr=1e-3,3e-3.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", min=0, help="The first seed; left out, 0.")] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", metavar="N", min=1, help="Number of seeds, counted up from the first.")
    ] = None,
    match: Match = None,
    watch: Watch = None,
    rollout: Rollout = None,
    allow_leak: AllowLeak = None,
    preset: Annotated[PresetName | None, typer.Option("--preset", help="A budget of the experiment.")] = None,
    settings: Settings = None,
    executor: Annotated[
        str,
        typer.Option(
            "--executor",
            help="[b]processes:N[/b], [b]inline[/b], [b]ray[/b] or [b]slurm:N[/b].",
            autocompletion=completion.executors,
        ),
    ] = "processes",
    ray_address: Annotated[str | None, typer.Option("--ray-address", help="An existing Ray cluster.")] = None,
    device: Device = "auto",
    vmap: Vmap = "auto",
    until: Annotated[
        str | None,
        typer.Option(
            "--until",
            metavar="decided",
            help="Run only what it takes to decide how every variant compares with the first.",
        ),
    ] = None,
    budget: Annotated[
        str | None, typer.Option("--budget", metavar="TIME", help="With --until: the time after which it ends: 20m.")
    ] = None,
    equal: Annotated[
        float | None,
        typer.Option(
            "--equal",
            metavar="X",
            help="With --until: accuracies that differ by no more are alike. [dim]\\[default: 0.02][/dim]",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and its cost; run nothing.")] = False,
    store: Annotated[
        Path | None, typer.Option("--store", metavar="DIR", help="Folder of results; left out, results/NAME.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait while another sweep uses the store.")] = False,
    weights: Annotated[bool, typer.Option("--weights/--no-weights", help="Store the weights of every run.")] = True,
    plugins: Plugin = None,
    track: Track = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    slurm_file: slurm.Config = None,
    slurm_partition: slurm.Partition = None,
    slurm_time: slurm.Time = None,
    slurm_mem: slurm.Memory = None,
    slurm_cpus: slurm.Cpus = None,
    slurm_gpus: slurm.Gpus = None,
    slurm_account: slurm.Account = None,
    slurm_qos: slurm.Qos = None,
    slurm_constraint: slurm.Constraint = None,
    slurm_setup: slurm.Setup = None,
    slurm_groups: slurm.Groups = None,
    slurm_cancel: slurm.Cancel = None,
    slurm_set: slurm.Set = None,
) -> None:
    """Run several attentions or whole models over the levels of a task; run it again, and only what is missing runs.

    The exit status is 1 if a run failed or a claim does not hold.
    """
    from attnlab.experiments.finished_sweep import planned_from
    from attnlab.rendering.console import Console
    from attnlab.rendering.waiting import waiting
    from attnlab.storage import Store

    load_plugins(plugins)
    trackers = tracker_names(track)
    job: dict[str, Any] = {"partition": slurm_partition, "time": slurm_time, "mem": slurm_mem, "cpus": slurm_cpus}
    job |= {"gpus": slurm_gpus, "account": slurm_account, "qos": slurm_qos, "constraint": slurm_constraint}
    job |= {"setup": slurm_setup, "groups": slurm_groups, "cancel": slurm_cancel}
    job = slurm.slurm_options(executor, slurm_file, slurm_set, **job)
    fields = {"layers": layers, "width": width, "heads": heads, "steps": steps, "batch": batch, "lr": lr}
    nested = field_settings(
        settings, watch=watch, curriculum=curriculum, rollout=rollout, allow_leak=allow_leak, **fields
    )
    words: dict[str, Any] = {
        "task": task,
        "attention": attn,
        "modules": model,
        "position": pos,
        "complexity": complexity,
    }
    words |= {"grid": grid, "match": match}
    asked = {"seed": seed, "until": until, "equal": equal, "budget": budget, "recipe": recipe}
    experiment = _experiment(name, preset, seeds, words, nested, asked)
    runs_per_program = parse_vmap(vmap)
    folder = store or Path("results") / experiment.name
    results = Store(folder)
    command, digest = shlex.join(["attnlab", *sys.argv[1:]]), planned_from(experiment)
    plain = re.fullmatch(r"inline|processes(:[1-9]\d{0,3})?", executor) and device in ("auto", "cpu") and vmap == "auto"
    if plain and not (dry_run or trackers or plugins or ray_address):
        _report_finished(experiment, results, digest, command, wait=wait, as_json=as_json, quiet=quiet)

    from attnlab.execution.executors import make_executor
    from attnlab.execution.worker_parts import worker_parts
    from attnlab.experiments.expand import expand, with_resolved_parts
    from attnlab.training.events import Event, Notice

    imported = time.process_time()
    experiment = with_resolved_parts(experiment)
    finished = results.finished()
    gc.freeze()  # what was read stays; looking for cycles in it takes seconds
    stderr, notices = Console(stderr=True, quiet=quiet), list[Notice]()
    with waiting(stderr) as progress:

        def take(event: Event) -> None:
            if isinstance(event, Notice):
                notices.append(event)
            progress(event)

        specs = expand(experiment, take, finished)
    for notice in notices:
        stderr.print(notice.text, highlight=False, markup=False, soft_wrap=True)
    refuse_unvmappable(specs, runs_per_program)
    resources: dict[str, Any] = {"runs": len(specs), "vmap": runs_per_program, "address": ray_address}
    resources |= {"store": folder, "options": job}
    workers = make_executor(executor, device, worker_parts(specs, plugins or []), weights=weights, **resources)
    try:
        if dry_run:
            from attnlab.experiments.cost_estimate import Planning, estimate_cost
            from attnlab.rendering.cost_estimate import CostTable

            planning = Planning(imported, time.process_time())
            seconds = min(LONGEST_TIMING, max(SHORTEST_TIMING, DRY_RUN_SECONDS - planning.total))
            times: dict[str, Any] = {"planning": planning, "seconds": seconds, "opened": results}
            estimate = estimate_cost(specs, folder, workers, experiment.expected_steps, **times)
            if as_json:
                sys.stdout.write(f"{json.dumps(estimate.as_data())}\n")
            else:
                Console().print(CostTable(estimate))
                if experiment.until:
                    ends = f", and it ends after {experiment.budget}" if experiment.budget else ""
                    text = f"These are the most runs: until decided, fewer may be enough{ends}."
                    Console().print(text, highlight=False)
            return
        more: dict[str, Any] = {"wait": wait, "opened": results, "planned_from": digest, "command": command}
        outcome = run_with_progress(Console(stderr=True), experiment, specs, folder, workers, quiet, more, trackers)
    finally:
        workers.close()
    remark, ended = _remark(outcome), outcome.search is not None
    held = _summarize(experiment, outcome.records, len(outcome.specs), folder, remark, ended, as_json=as_json)
    raise typer.Exit(0 if held and not outcome.failed else 1)


def _report_finished(
    experiment: Experiment, results: Store, digest: str, command: str, *, wait: bool, as_json: bool, quiet: bool
) -> None:
    """Report a sweep of which all runs are finished, without planning it, and exit; return where it is another."""
    from attnlab.config.experiment import stored_experiment
    from attnlab.experiments.finished_sweep import finished_records
    from attnlab.rendering.console import Console
    from attnlab.storage.journal import uncollected
    from attnlab.storage.locks import sweep_lock
    from attnlab.storage.provenance import Provenance, write_provenance

    with uncollected():
        records = finished_records(experiment, results, digest)
        gc.freeze()  # what was read stays; looking for cycles in it takes seconds
    if records is None:
        return
    results.open()
    with sweep_lock(results.path, wait):
        write_provenance(results.path, Provenance(command, *experiment.file))
        results.drop_finished(record.id for record in records)
    heading = _heading(experiment.name, len(records), len(records), "", results.path)
    Console(stderr=True, quiet=quiet).print(heading, highlight=False, markup=False, soft_wrap=True)
    stored = stored_experiment(results.path)  # it names parts as records do
    held = _summarize(stored or experiment, records, len(records), results.path, as_json=as_json)
    raise typer.Exit(0 if held else 1)


def _summarize(
    experiment: Experiment,
    records: Sequence[Record],
    planned: int,
    folder: Path,
    remark: str = "",
    ended: bool = False,
    *,
    as_json: bool,
) -> bool:
    """Show the result of a sweep; tell whether its claims hold."""
    from attnlab.rendering.console import Console
    from attnlab.rendering.sweep_progress import SweepSummary
    from attnlab.storage.journal import uncollected

    summary = SweepSummary(experiment, records, planned, remark, ended)
    if as_json:
        sys.stdout.writelines(f"{record.model_dump_json()}\n" for record in records)
    else:
        with uncollected():
            Console().print(summary, highlight=False)
        runs = f"The runs and their ids: attnlab ls results --store {shlex.quote(str(folder))}"
        Console().print(runs, highlight=False, markup=False, soft_wrap=True)
    with uncollected():
        return summary.claims_hold


def _heading(name: str, planned: int, done: int, executor: str, folder: Path) -> str:
    """What a sweep is about to do, in one line."""
    runs = "1 run" if planned == 1 else f"{planned} runs"
    return f"{name}: {runs}, {done} done already; {executor if done < planned else 'nothing to run'}; {folder}/"


def run_with_progress(
    stderr: Any,
    experiment: Experiment,
    specs: list[RunSpec],
    folder: Path,
    executor: Executor,
    quiet: bool,
    more: dict[str, Any],
    trackers: tuple[str, ...] = (),
) -> SweepOutcome:
    """Run the missing runs of an experiment.

    Args:
        stderr: The console for the progress.
        experiment: The experiment.
        specs: Its runs.
        folder: The store.
        executor: The executor of the runs.
        quiet: Whether to show no progress.
        more: Further arguments of :func:`attnlab.experiments.run_sweep.run_sweep`.

        trackers: Trackers that mirror the runs, as one group.

    Returns:
        The specs that were planned and their records.

    Raises:
        StoreError: The store belongs to another experiment, or another sweep is using it.
        InterruptedTraining: The user pressed Ctrl-C; records and checkpoints are stored.
    """
    from attnlab.experiments.run_sweep import run_sweep
    from attnlab.rendering.sweep_progress import sweep_progress
    from attnlab.storage import Store

    if quiet:
        with tracked(None, trackers, folder, experiment.name) as events:
            return run_sweep(experiment, specs, folder, executor, progress=events, **more)
    finished = (more.get("opened") or Store(folder)).finished()
    done = sum(spec.id in finished for spec in specs)
    heading = _heading(experiment.name, len(specs), done, executor.description, folder)
    stderr.print(heading, highlight=False, markup=False, soft_wrap=True)
    with (
        sweep_progress(stderr, specs, done) as progress,
        tracked(progress, trackers, folder, experiment.name) as events,
    ):
        return run_sweep(experiment, specs, folder, executor, progress=events, **more)


def _remark(outcome: SweepOutcome) -> str:
    """Tell what a sweep that ends by itself ran, and in which order; empty for other sweeps."""
    from attnlab.rendering.answer import rounds_text

    search = outcome.search
    if search is None:
        return ""
    ended = f"{len(search.records)} of at most {search.planned} runs; {outcome.num_run} of them now."
    if search.spent and search.undecided:
        ended += " The budget is spent; the same command continues."
    elif search.undecided:
        ended += " The plan has no further seeds that would decide; --seeds allows more."
    order = rounds_text(search.rounds)
    return f"{ended} Chosen in this order: {order}." if order else ended


def _experiment(
    name: str | None,
    preset: PresetName | None,
    seeds: int | None,
    words: dict[str, Any],
    settings: dict[str, Any],
    asked: dict[str, Any],
) -> Experiment:
    """Read the experiment of a name, or make one from the options."""
    from attnlab.config.experiment import experiment, with_changes
    from attnlab.config.inline_experiment import check_sections, inline_experiment, parse_grid, parse_levels
    from attnlab.config.inline_parts import merged
    from attnlab.errors import InvalidValueError

    given = {key: value for key, value in words.items() if value is not None and value != []}
    check_sections(settings)
    if name is None:
        if "task" not in given:
            hint = "Name an experiment (attnlab ls experiments), or give --task."
            raise InvalidValueError("There is nothing to sweep.", hint, where="sweep")
        if preset:
            problem = "An experiment without a file has no presets."
            raise InvalidValueError(problem, "Name an experiment to use --preset.", where="--preset")
        levels, grid = parse_levels(given.pop("complexity", None)), parse_grid(given.pop("grid", []))
        return inline_experiment(**given, complexity=levels, grid=grid, seeds=seeds, settings=settings, **asked)
    if given:
        word = next(iter(given))
        hint = "Copy it with attnlab cp and edit the copy, or leave its name out."
        flag = {"attention": "attn", "modules": "model", "position": "pos"}.get(word, word)
        raise InvalidValueError(f"The experiment '{name}' sets that itself.", hint, where=f"--{flag}")
    result = experiment(name).with_preset(preset)
    if "task" in settings:
        problem = "The ladders of an experiment set the options of their tasks."
        raise InvalidValueError(problem, "Copy it with attnlab cp and edit the copy.", where="--set task")
    update: dict[str, Any] = {section: merged(getattr(result, section), data) for section, data in settings.items()}
    given_here = {key: value for key, value in {"seeds": seeds, **asked}.items() if value is not None}
    return with_changes(result, update | given_here)
