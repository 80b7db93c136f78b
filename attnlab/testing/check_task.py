"""The audit of a task: each rung of its ladder measured on samples, without any model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from attnlab.config.ladder import Ladder
from attnlab.errors import AttnlabError
from attnlab.tasks.io.ladders import task_spec
from attnlab.testing._level_audit import Rung, measured
from attnlab.testing._rules import around, judged, share
from attnlab.testing._samples import materials
from attnlab.testing.finding import STYLES, Finding

SAMPLES = 2048
"""Sequences of the training and of the test sample."""


@dataclass(frozen=True)
class Audited:
    """One rung, and what is to be said of it."""

    rung: Rung
    findings: Sequence[Finding]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return all(finding.outcome != "fail" for finding in self.findings)


@dataclass(frozen=True)
class Audit:
    """All rungs of a ladder."""

    ladder: str
    knob: str
    rungs: Sequence[Audited]

    @property
    def passed(self) -> bool:
        """Whether no rung failed."""
        return all(one.passed for one in self.rungs)

    def __rich__(self) -> RenderableType:
        """A row for each rung, then the findings in sentences, those of several rungs once."""
        columns = {name: cell for name, cell in COLUMNS.items() if name in ALWAYS or self._worth(cell)}
        title = Text.assemble(
            (self.ladder, "bold"), ("  chance, guess, ceiling, solver and shortcut in percent", "dim")
        )
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
        table.add_column(self.knob, no_wrap=True)
        for name in columns:
            last = name == "best shortcut"
            table.add_column(
                name, justify="left" if last else "right", no_wrap=not last, min_width=15 if last else None
            )
        table.add_column("", no_wrap=True)
        for one in self.rungs:
            verdict = "pass" if one.passed else "fail"
            cells = [cell(one.rung) for cell in columns.values()]
            table.add_row(Text(one.rung.name), *map(Text, cells), Text(verdict, STYLES[verdict]))
        return Group(title, table, *self._sentences(), "")

    def data(self) -> dict[str, Any]:
        """Measurements and findings as plain data."""
        rungs = [
            {**one.rung.data(), "passed": one.passed, "findings": [vars(finding) for finding in one.findings]}
            for one in self.rungs
        ]
        return {"ladder": self.ladder, "complexity": self.knob, "passed": self.passed, "rungs": rungs}

    def _worth(self, cell: Callable[[Rung], str]) -> bool:
        """Whether a column says anything that goes without saying."""
        return len({cell(one.rung) for one in self.rungs} | {""}) > 1

    def _sentences(self) -> list[RenderableType]:
        where: dict[Finding, list[str]] = {}
        for one in self.rungs:
            for finding in one.findings:
                where.setdefault(finding, []).append(one.rung.name)
        lines = [
            Text.assemble((f"{self.knob} {', '.join(names)}: ", STYLES[finding.outcome]), finding.evidence)
            for finding, names in where.items()
        ]
        meant = any(one.rung.best[0] == one.rung.task.intended for one in self.rungs)
        return [*lines, *([Text("* The shortcut that is the point of the task.", "dim")] if meant else [])]


def audit(
    climbed: Ladder, options: Mapping[str, Any], complexity: Any = None, *, samples: int = SAMPLES, seed: int = 0
) -> Audit:
    """Every rung of a ladder, the further ones that trained models are tested on included, or a single one.

    Args:
        climbed: The ladder.
        options: What the user sets over its options.
        complexity: The only rung; none takes them all.
        samples: Sequences of the training and of the test sample, as far as they are not too long.
        seed: What the streams are drawn from.

    Raises:
        UnknownName: an option that the task does not have.
        BadValue: an option that it does not accept.
    """
    given = complexity is not None or climbed.complexity in options
    rungs: Sequence[Any] = (complexity,) if given else tuple(dict.fromkeys((*climbed.rungs, *climbed.evaluate)))
    found = []
    for rung in rungs:
        spec = task_spec(climbed, dict(options), rung)
        try:
            drawn = materials(spec, seed, samples)
        except AttnlabError as error:
            raise error.at(climbed.name) from None
        for member, material in drawn.items():
            one = measured(material, spec.complexity, member, seed)
            found.append(Audited(one, judged(one)))
    return Audit(climbed.name, climbed.complexity, found)


def _percent(part: float) -> str:
    return share(part).removesuffix(" %")


def _guess(rung: Rung) -> str:
    _, score = rung.guess
    return "-".join(f"{100 * end:.1f}" for end in around(score.mean, score.total))


def _ceiling(rung: Rung) -> str:
    ceiling = rung.task.ceiling
    return "?" if math.isnan(ceiling) else "" if ceiling == 1 else _percent(ceiling)


def _shortcut(rung: Rung) -> str:
    name, score = rung.best
    return f"{name} {_percent(score.mean)}{'*' if name == rung.task.intended else ''}"


COLUMNS: dict[str, Callable[[Rung], str]] = {
    "T": lambda rung: str(rung.task.length),
    "V": lambda rung: str(rung.task.vocabulary),
    "chance": lambda rung: _percent(rung.task.chance),
    "guess": _guess,
    "ceiling": _ceiling,
    "solver": lambda rung: _percent(rung.labels.share) if rung.labels.sequences else "none",
    "unasked": lambda rung: str(rung.labels.unasked or ""),
    "leak": lambda rung: f"{rung.repeats.found}/{rung.repeats.expected:.0f}",
    "best shortcut": _shortcut,
}
ALWAYS = ("T", "V", "chance", "guess", "solver", "leak", "best shortcut")
"""The others are shown where a rung has something to say."""
