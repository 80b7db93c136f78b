"""``attnlab diagnose``: what an attention does to the signal and its gradient, layer by layer."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from attnlab.cli.options import AsJson, Complexity, Plugin, Seed, Settings, Store, load_plugins


class Kind(StrEnum):
    """What to look at."""

    rank_collapse = "rank-collapse"
    gradients = "gradients"
    attention = "attention"
    tokens = "tokens"
    reach = "reach"


class Norm(StrEnum):
    """Where the layer norm stands."""

    pre = "pre"
    post = "post"
    none = "none"


class Input(StrEnum):
    """What is shown in the place of a task."""

    gaussian = "gaussian"


class Control(StrEnum):
    """What stands beside each variant."""

    gain = "gain"


def diagnose(
    kind: Annotated[Kind, typer.Argument(help="What to look at.", show_default=False)],
    attn: Annotated[
        str | None, typer.Option("--attn", help="Attentions, as [b]softmax,dagpam[/b]; + stacks over layers.")
    ] = None,
    pos: Annotated[str | None, typer.Option("--pos", help="Positions, as [b]none,rotary[/b].")] = None,
    layers: Annotated[int | None, typer.Option("--layers", help="Left out, 12.", show_default=False)] = None,
    width: Annotated[int | None, typer.Option("--width", help="Width of the stream.")] = None,
    heads: Annotated[int | None, typer.Option("--heads")] = None,
    skip: Annotated[
        bool | None, typer.Option("--skip/--no-skip", help="Whether the stream runs past branches.")
    ] = None,
    mlp: Annotated[bool | None, typer.Option("--mlp/--no-mlp", help="Whether blocks have an MLP.")] = None,
    norm: Annotated[Norm | None, typer.Option("--norm")] = None,
    gain: Annotated[
        float | None,
        typer.Option("--gain", min=0, help="Every branch writes with weights of this scale over sqrt(inputs)."),
    ] = None,
    control: Annotated[
        Control | None, typer.Option("--control", help="gain: a softmax as loud as each other variant beside it.")
    ] = None,
    task: Annotated[str | None, typer.Option("--task", help="Whose sequences to show; left out, recall.")] = None,
    noise: Annotated[Input | None, typer.Option("--input", help="gaussian: independent tokens, no task.")] = None,
    complexity: Complexity = None,
    length: Annotated[int | None, typer.Option("--length", min=2, help="Tokens of a sequence.")] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Sequences.")] = 16,
    seed: Seed = 0,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Fresh models of each variant.")] = 5,
    run: Annotated[
        str | None, typer.Option("--run", metavar="ID,ID", help="Finished runs in the place of fresh variants.")
    ] = None,
    only: Annotated[
        str | None, typer.Option("--only", metavar="METRIC,..", help="Left out, all that belong here.")
    ] = None,
    head: Annotated[str, typer.Option("--map", metavar="LAYER.HEAD", help="Draw this head; both count from 1.")] = "",
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write the numbers.")] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Write the map as .png, .svg or .html: the plots extra."),
    ] = None,
    settings: Settings = None,
    store: Store = Path("results"),
    plugins: Plugin = None,
    as_json: AsJson = False,
) -> None:
    """Diagnose variants at random initialization, or finished runs: why it fails, layer by layer."""
    from rich.console import Console

    from attnlab.config.inline_parts import merged
    from attnlab.config.inline_parts import parse_settings as read_settings
    from attnlab.errors import InvalidValueError
    from attnlab.rendering.diagnosis import DiagnosisView, as_csv
    from attnlab.rendering.diagnosis import as_json as data
    from attnlab.storage.files import write_whole

    load_plugins(plugins)
    model: dict[str, Any] = {"layers": layers, "width": width, "heads": heads, "skip": skip}
    model |= {"norm": norm.value if norm else None, "mlp": None if mlp is None else 4.0 if mlp else 0.0}
    given = {key: value for key, value in model.items() if value is not None}
    refuse_both(task, noise, complexity)
    if run:
        refuse_beside_run(
            {"--attn": attn, "--pos": pos, "--task": task, "--input": noise, "--gain": gain, **_flags(model)}
        )
    if plot and not head:
        raise InvalidValueError("There is no map to plot.", "Say of which head: --map 1.1.", where="--plot")
    settled = merged({"model": {"layers": 12}}, merged({"model": given}, read_settings(settings or [])))

    from attnlab.diagnosis.diagnose import diagnose as find
    from attnlab.diagnosis.subjects import diagnosis_request

    asked = diagnosis_request(
        attn,
        pos,
        task="recall" if task is None and noise is None else task,
        complexity=complexity,
        length=length,
        batch=batch,
        seeds=range(seed, seed + seeds),
        settings=settled,
        control=control is not None,
        gain=gain,
    )
    found = find(kind.value, asked, runs=_words(run), store=store, only=_words(only), at=head)
    if csv:
        write_whole(csv, as_csv(found))
    if plot:
        from attnlab.rendering.attention_map_plot import plot_maps

        write_whole(plot, plot_maps(found.maps, plot.suffix))
    if as_json:
        sys.stdout.write(data(found))
    elif not csv:
        Console().print(DiagnosisView(found), highlight=False, crop=False)  # a name longer than the screen stays whole


def refuse_both(task: str | None, noise: Input | None, complexity: str | None) -> None:
    """Refuse a task beside noise."""
    from attnlab.errors import InvalidValueError

    if noise and (task or complexity):
        found = f"Noise has no {'task' if task else 'complexity'}: --input stands in the place of one."
        raise InvalidValueError(
            found, "Leave one of them out; --length says how long noise is.", where="--input gaussian"
        )


def refuse_beside_run(given: dict[str, Any]) -> None:
    """Refuse what a finished run has of its own."""
    from attnlab.errors import InvalidValueError

    asked = next((option for option, value in given.items() if value is not None), None)
    if asked:
        hint = "With --run go: --complexity, --length, --batch, --only, --map."
        raise InvalidValueError("A finished run has its own variant, sizes and task.", hint, where=asked)


def _flags(model: dict[str, Any]) -> dict[str, Any]:
    return {f"--{key}": value for key, value in model.items()}


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]
