"""``attnlab diagnose``: the effect of an attention on the residual stream and on the gradients, layer by layer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from attnlab.choices import DIAGNOSED_SEQUENCES, DiagnosisKind, NormPlace
from attnlab.cli import completion
from attnlab.cli.options import (
    AsJson,
    Attention,
    Complexity,
    Heads,
    Plugin,
    Position,
    Recipe,
    Seed,
    Store,
    WholeModel,
    Width,
    field_settings,
    load_plugins,
    write_file,
)

DEFAULT_LAYERS = 12


def diagnose(
    kind: Annotated[DiagnosisKind, typer.Argument(help="What to measure.", show_default=False)],
    attn: Attention = None,
    whole: WholeModel = None,
    pos: Position = None,
    layers: Annotated[
        int | None, typer.Option("--layers", help=f"Number of layers; left out, {DEFAULT_LAYERS}.", show_default=False)
    ] = None,
    width: Width = None,
    heads: Heads = None,
    recipe: Recipe = None,
    residual: Annotated[
        bool | None, typer.Option("--residual/--no-residual", help="Whether blocks have residual connections.")
    ] = None,
    mlp: Annotated[bool | None, typer.Option("--mlp/--no-mlp", help="Whether blocks have an MLP.")] = None,
    norm: Annotated[
        NormPlace | None, typer.Option("--norm", help="Layer norm before each branch, after each sum, or none.")
    ] = None,
    branch_gain: Annotated[
        float | None,
        typer.Option(
            "--branch-gain",
            metavar="X",
            min=0,
            help="Initialize the last map of every branch with this scale over sqrt(inputs).",
        ),
    ] = None,
    control: Annotated[
        Literal["gain"] | None,
        typer.Option(
            "--control",
            help="gain: add a softmax with the same branch gain as each other variant (gain-matched control).",
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option("--task", help="Task of the sequences; left out, recall.", autocompletion=completion.tasks),
    ] = None,
    noise: Annotated[
        Literal["gaussian"] | None, typer.Option("--input", help="gaussian: independent tokens instead of a task.")
    ] = None,
    complexity: Complexity = None,
    length: Annotated[int | None, typer.Option("--length", metavar="N", min=2, help="Tokens per sequence.")] = None,
    sequences: Annotated[
        int, typer.Option("--sequences", metavar="N", min=1, help="Number of sequences.")
    ] = DIAGNOSED_SEQUENCES,
    seed: Seed = 0,
    seeds: Annotated[int, typer.Option("--seeds", metavar="N", min=1, help="Number of models of each variant.")] = 5,
    run: Annotated[
        str | None,
        typer.Option(
            "--run",
            metavar="ID,ID",
            help="Finished runs, instead of fresh variants.",
            autocompletion=completion.runs,
        ),
    ] = None,
    only: Annotated[
        str | None, typer.Option("--only", metavar="METRIC,..", help="Metrics; left out, all of this diagnosis.")
    ] = None,
    attention_map: Annotated[
        str,
        typer.Option(
            "--attention-map", metavar="LAYER.HEAD", help="Draw the attention map of this head; both count from 1."
        ),
    ] = "",
    all_layers: Annotated[
        bool, typer.Option("--all-layers", help="Show every layer, in several blocks where they do not fit.")
    ] = False,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write the numbers to a CSV file.")] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Write the map as .png, .svg or .html; needs the plots extra."),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any field, such as model.norm=post.")
    ] = None,
    store: Store = Path("results"),
    plugins: Plugin = None,
    as_json: AsJson = False,
) -> None:
    """Diagnose attentions at initialization, or finished runs: rank collapse, gradients, attention patterns."""
    from attnlab.config.inline_parts import merged
    from attnlab.errors import InvalidValueError
    from attnlab.files import check_output
    from attnlab.rendering.console import Console
    from attnlab.rendering.diagnosis import DiagnosisView, as_csv
    from attnlab.rendering.diagnosis import as_json as to_json
    from attnlab.rendering.waiting import waiting

    load_plugins(plugins)
    _refuse_noise_with_task(task, noise, complexity)
    if run:
        own = {
            "--attn": attn,
            "--model": whole,
            "--pos": pos,
            "--task": task,
            "--input": noise,
            "--branch-gain": branch_gain,
        }
        own |= {"--layers": layers, "--width": width, "--heads": heads, "--residual": residual, "--recipe": recipe}
        _refuse_with_run({**own, "--norm": norm, "--mlp": mlp})
    elif whole and not attn:
        inside = {"--residual": residual, "--mlp": mlp, "--norm": norm, "--branch-gain": branch_gain}
        _refuse_with_model({**inside, "--control": control})
    if plot and not attention_map:
        raise InvalidValueError("There is no map to plot.", "Choose a head: --attention-map 1.1.", where="--plot")
    for file in filter(None, (csv, plot)):
        check_output(file)
    model = {"residual": residual, "norm": norm, "mlp_ratio": None if mlp is None else 4.0 if mlp else 0.0}
    fields = {"layers": DEFAULT_LAYERS, **{name: value for name, value in model.items() if value is not None}}
    nested = merged({"model": fields}, field_settings(settings, layers=layers, width=width, heads=heads))

    from attnlab.diagnosis.diagnose import diagnose as run_diagnosis
    from attnlab.diagnosis.subjects import diagnosis_request

    request = diagnosis_request(
        attn,
        pos,
        modules=whole,
        task="recall" if task is None and noise is None else task,
        complexity=complexity,
        length=length,
        batch=sequences,
        seeds=range(seed, seed + seeds),
        settings=nested,
        recipe=recipe,
        control=control is not None,
        branch_gain=branch_gain,
    )
    words: dict[str, Any] = {"runs": _names(run), "only": _names(only), "attention_map": attention_map}
    with waiting(Console(stderr=True)) as progress:
        diagnosis = run_diagnosis(kind, request, store=store, progress=progress, **words)
    if csv:
        write_file(csv, as_csv(diagnosis))
    if plot:
        from attnlab.rendering.attention_map_plot import plot_maps

        write_file(plot, plot_maps(diagnosis.maps, plot.suffix))
    if as_json:
        sys.stdout.write(to_json(diagnosis))
    elif not csv:
        Console().print(
            DiagnosisView(diagnosis, all_layers), highlight=False, crop=False
        )  # names longer than a line are not cut


def _refuse_noise_with_task(task: str | None, noise: str | None, complexity: str | None) -> None:
    """Refuse a task or a complexity together with noise."""
    from attnlab.errors import InvalidValueError

    if noise and (task or complexity):
        problem = f"Noise has no {'task' if task else 'complexity'}: --input replaces the task."
        hint = "Leave one of them out. --length sets the length of noise."
        raise InvalidValueError(problem, hint, where="--input gaussian")


def _refuse_with_run(options: dict[str, Any]) -> None:
    """Refuse options that a finished run determines."""
    from attnlab.errors import InvalidValueError

    option = next((name for name, value in options.items() if value is not None), None)
    if option:
        hint = "Options that can be combined with --run: --complexity, --length, --sequences, --only, --attention-map."
        raise InvalidValueError("A finished run has its own variant, sizes and task.", hint, where=option)


def _refuse_with_model(options: dict[str, Any]) -> None:
    """Refuse options of blocks where there are whole models alone."""
    from attnlab.errors import InvalidValueError

    option = next((name for name, value in options.items() if value is not None), None)
    if option:
        hint = "Leave it out, or name attentions beside it with --attn."
        raise InvalidValueError("A whole model has blocks of its own.", hint, where=option)


def _names(text: str | None) -> list[str]:
    """Split names at commas."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]
