"""A page for every attention, position, task, metric and so on, from what ``attnlab show`` and ``attnlab ls`` know."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from attnlab.cli.cards import experiment_card, metric_card, part_card, part_registry, task_card
from attnlab.cli.catalog import listing
from attnlab.config.ladder import Ladder
from attnlab.diagnosis.quantities import all_metrics
from attnlab.errors import AttnlabError
from attnlab.formatting import percent, thousands
from attnlab.rendering.catalog import LEGENDS, Card
from attnlab.rendering.console import Console
from attnlab.rendering.sequences import Sequences
from attnlab.resources import names
from attnlab.tasks import TASKS
from attnlab.tasks.io.ladders import builtin_ladders, find_ladder, task_spec
from attnlab.tasks.io.streams import Source
from manual.markdown import block, code, documentation, escape, facts, inline, table

FOLDER = "reference"
CODE = ("cost", "complexity", "point")
"""Columns of code in the lists."""
WORDS = ("summary", "question", "source")
"""Columns of sentences in the lists."""


@dataclass(frozen=True)
class Kind:
    """One kind of what is registered."""

    name: str
    """What ``attnlab ls`` calls it."""
    title: str
    option: str
    """What chooses one of it on the command line."""
    intro: str


KINDS = (
    Kind("attention", "Attentions", "--attn {}", "What mixes the tokens of a layer."),
    Kind("position", "Positions", "--pos {}", "How a model knows the order of the tokens."),
    Kind("tasks", "Tasks", "--task {}", "Ladders of difficulty, and the registered tasks behind them."),
    Kind("metrics", "Metrics", "--only {}", "What a diagnosis measures inside a model."),
    Kind("norm", "Norms", "--set model.norm_layer={}", "What normalizes the input or the sum of a branch."),
    Kind("mlp", "MLPs", "--set model.mlp={}", "What each token passes through by itself."),
    Kind("block", "Blocks", "--set model.block={}", "How the attention and the MLP of a layer are put together."),
    Kind(
        "residual-stream",
        "Residual streams",
        "--set model.residual_stream={}",
        "How the branches read from the residual stream and write to it.",
    ),
    Kind("scorer", "Scorers", "attnlab report --metric {}", "How the answers of a sequence are compared as a whole."),
    Kind("experiments", "Experiments", "attnlab sweep {}", "Questions with the runs and the claims that answer them."),
)
"""Every kind, in the order of the navigation."""


def part_names(kind: str) -> list[str]:
    """List what has a page.

    Args:
        kind: A kind, as ``attnlab ls`` calls it.

    Returns:
        The names: all that is registered, and of tasks the ladders too.
    """
    if kind == "tasks":
        return sorted({*names("tasks"), *(entry.name for entry in TASKS)})
    if kind == "metrics":
        return list(all_metrics())
    if kind == "experiments":
        return names("experiments")
    return [entry.name for entry in part_registry(kind)]


def part_pages() -> Iterator[tuple[str, str]]:
    """Write the pages of all kinds.

    Yields:
        Path and Markdown: of each kind its list first, then its pages in order.
    """
    for kind in KINDS:
        yield f"{FOLDER}/{kind.name}/index.md", _list_page(kind)
        for name in part_names(kind.name):
            yield f"{FOLDER}/{kind.name}/{name}.md", _page(kind, name)


def _list_page(kind: Kind) -> str:
    """The list of ``attnlab ls KIND``, with links; sentences and sources share the second column."""
    listed = listing(kind.name, [])
    heads = [head for head in listed.heads if head not in ("family", *WORDS)]
    rows = []
    for row in listed.data():
        cells = [code(row[head]) if head in CODE else inline(row[head]) for head in heads[1:]]
        words = " · ".join(inline(row[head]) for head in WORDS if row.get(head))
        rows.append([f"[{escape(row[heads[0]])}]({row[heads[0]]}.md)", words, *cells])
    legend = [f"- {escape(line)}" for line in LEGENDS.get(heads[0], ()) if line]
    lines = [f"# {kind.title}", kind.intro, f"`attnlab ls {kind.name}` prints this list."]
    lines.append(table((heads[0], "what it is", *heads[1:]), rows))
    return "\n\n".join([*lines, *(["\n".join(legend)] if legend else [])]) + "\n"


def _page(kind: Kind, name: str) -> str:
    """The page of one part."""
    if kind.name == "metrics":
        body = _metric(name)
    elif kind.name == "experiments":
        body = _experiment(name)
    else:
        card = task_card(name, _ladders()) if kind.name == "tasks" else part_card(f"{kind.name}:{name}")
        assert isinstance(card, Card)
        body = _card(kind, name, card)
    return "\n\n".join([f"# {name}", *filter(None, body)]) + "\n"


def _card(kind: Kind, name: str, card: Card) -> list[str]:
    """Summary, documentation, options, size, and of a task its ladders and some sequences."""
    entry = card.entry
    words = [f"{card.kind} {code(entry.name)}" if entry.name != name else card.kind, f"version {entry.version}"]
    words += [f"also {', '.join(map(code, entry.aliases))}"] if entry.aliases else []
    usage = kind.option.format(name + "".join(f":{option}=..." for option in entry.required[:1]))
    known = [("On the command line", code(usage))]
    known += _listed(kind, name)
    if card.parameters is not None:
        known.append(("Weights of the default model", thousands(card.parameters)))
    if card.chance is not None:
        known.append(("Chance", f"{percent(card.chance)} at the default options"))
    parts = [f"{', '.join(words)}.", inline(entry.summary), facts(known)]
    ladders = [f"- {inline(line)}" for line in card.ladder_lines()]
    if ladders:
        parts += ["## Ladders", "\n".join(ladders), *map(inline, card.scoring_lines())]
    parts += ["## Options", _options(card) if entry.options else "There are none."]
    parts += ["## Description", documentation(card.text())]
    return [*parts, *_sequences(name)] if card.kind == "task" else parts


def _listed(kind: Kind, name: str) -> Iterator[tuple[str, str]]:
    """What the list of attentions says beside name and summary."""
    if kind.name == "attention":
        row = _attention_rows()[name]
        yield "Rows of its matrix", row["rows"]
        yield "Cost", code(row["cost"])
        yield "Weights of a layer", f"{row['parameters']} at width 64 with 2 heads"


@cache
def _ladders() -> list[Ladder]:
    return builtin_ladders()


@cache
def _attention_rows() -> dict[str, dict[str, str]]:
    return {row["attention"]: row for row in listing("attention", []).data()}


def _options(card: Card) -> str:
    rows = [(code(one.name), inline(one.meaning), code(one.default), code(one.accepts)) for one in card.options()]
    return table(("option", "meaning", "default", "accepts"), rows)


def _sequences(name: str) -> list[str]:
    """Two sequences of a task at the easiest level, as ``attnlab sample`` prints them; none of a task of files."""
    ladder = find_ladder(name)
    level = ladder.levels[0] if ladder.levels else None
    try:
        source = Source(task_spec(ladder, {}, level), 0)
        sequences = Sequences(source.task, source.training(0, 2))
    except AttnlabError:  # it needs a file
        return []
    console = Console(file=io.StringIO(), width=78, color_system=None)
    with console.capture() as written:
        console.print(sequences)
    command = f"attnlab sample {name}" + (f" --complexity {level}" if level is not None else "")
    lines = "\n".join(line.rstrip() for line in written.get().splitlines())
    return ["## Sequences", f"{code(f'{command} --sequences 2')} prints:", block(lines.strip("\n"))]


def _metric(name: str) -> list[str]:
    card = metric_card(name)
    rows = [
        ("Measured", escape(card.point)),
        ("Under rank collapse", escape(card.collapse)),
        ("Mean", f"{card.mean}, over the sequences of a batch, then over seeds"),
        ("Source", inline(card.source)),
        ("On the command line", code(f"attnlab diagnose {card.diagnosis} --only {card.name}")),
    ]
    return [f"metric of the diagnosis {code(card.diagnosis)}.", inline(card.summary), block(card.formula), facts(rows)]


def _experiment(name: str) -> list[str]:
    card = experiment_card(name)
    assert card is not None
    rows = [(label, inline(value)) for label, value in card.fields() if label != "File"]
    claims = [f"- {inline(claim.says)}" for claim in card.experiment.claims]
    parts = [f"**{escape(card.experiment.question)}**", facts(rows)]
    parts += ["## Claims", "\n".join(claims)] if claims else []
    published = [f"- {inline(text)}" for text in card.published_values()]
    parts += ["## Published values", "\n".join(published)] if published else []
    run = f"{code(f'attnlab sweep {name}')} runs it, and {code(f'attnlab cp {name}')} copies it to be edited."
    if card.published:
        run += f" {code(f'attnlab report {name} --published')} shows its published records, without a run."
    return [*parts, "## File", run, block(card.path.read_text(), "yaml")]
