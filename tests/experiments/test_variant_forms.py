"""Every form of a variant is accepted in a grid and in a claim, and the report of the stored sweep judges the claim."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from attnlab.analysis.claims import ClaimOutcome
from attnlab.config.experiment import Experiment, read_experiment, stored_experiment
from attnlab.errors import AttnlabError
from attnlab.experiments.expand import expand
from attnlab.experiments.run_sweep import run_sweep
from attnlab.records import Evaluation, Record, Score
from attnlab.rendering.report import report
from attnlab.specs import RunSpec
from attnlab.storage import Store
from tests.experiments.sweeps import Fake, shown

EXPERIMENT = """\
name: forms
question: Does it?
ladders: [{ladders}]
grid: {grid}
seeds: 3
model: {{width: 8, layers: 2, mlp_ratio: 1.0}}
train: {{max_steps: 3, batch_size: 4}}
claims:
"""
COPY = "{ladder: copy, levels: [1, 2], options: {alphabet: 3}}"
EVEN_PAIRS = "{ladder: even-pairs, training: {bits: 2..40}, evaluate: [50]}"
HIGH, LOW = 0.9, 0.5
"""The loss of the variant that a claim is about, and that of the other one.

All seeds agree, and the interval of an unbounded metric is then the value itself: the outcome tells which runs matched.
"""

DAPE_3 = [
    "dape:kernel=3",
    {"name": "dape", "kernel": 3},
    {"name": "dape", "options": {"kernel": 3}},
    "dape:kernel=3,width=32",
    {"name": "dape", "width": 32, "kernel": 3},
]
"""Forms of one variant; the last two have an option at its default."""
DAPE_WIDE = ["dape:kernel=3,width=16", "dape:width=16,kernel=3", {"name": "dape", "width": 16, "kernel": 3}]
"""The order of options does not matter."""
DAPE = ["dape", "dape:kernel=1", {"name": "dape"}, {"name": "dape", "kernel": 1}, {"name": "dape", "options": {}}]
GPAM = ["gpam", "dagpam", {"name": "gpam"}, {"name": "dagpam"}, "gpam:lambdas=trainable"]
SOFTMAX = ["softmax", {"name": "softmax"}, {"name": "softmax", "options": {}}]
GROUPED = ["grouped:groups=[[0],[1]]", {"name": "grouped", "groups": [[0], [1]]}]
STACK = ["softmax+gpam", "softmax + dagpam"]
STACK_IN_GRID = [*STACK, ["softmax", "gpam"], ["softmax", {"name": "dagpam"}]]
"""In a grid, a list within the list alternates over the layers."""
RANDOMIZED = [
    "randomized:range=64",
    "random:range=64",
    {"name": "randomized", "range": 64},
    {"name": "randomized", "options": {"range": 64}},
    "randomized:base=rotary,range=64",
]
ALIBI = ["alibi", "alibi:octaves=8", {"name": "alibi", "octaves": 8.0}, {"name": "alibi"}]
ALIBI_4 = ["alibi:octaves=4", "alibi:octaves=4.0", {"name": "alibi", "octaves": 4}, {"name": "alibi", "octaves": 4.0}]
ROTARY = ["rotary", "rope", {"name": "rope"}]

Families = list[tuple[str, list[Any], list[Any]]]
"""The words of a spec, the forms in a grid, and the forms in a claim."""
ATTENTIONS: Families = [
    ("dape:kernel=3", DAPE_3, DAPE_3),
    ("dape:kernel=3,width=16", DAPE_WIDE, DAPE_WIDE),
    ("dape", DAPE, DAPE),
    ("gpam", GPAM, GPAM),
    ("softmax", SOFTMAX, SOFTMAX),
    ("softmax+gpam", STACK_IN_GRID, STACK),
]
POSITIONS: Families = [
    ("randomized:range=64", RANDOMIZED, RANDOMIZED),
    ("alibi", ALIBI, ALIBI),
    ("alibi:octaves=4", ALIBI_4, ALIBI_4),
    ("rotary", ROTARY, ROTARY),
]
FIELDS: list[tuple[str, str, Families]] = [("attention", "retention", ATTENTIONS), ("position", "none", POSITIONS)]
CASES = [
    pytest.param(field, other, spelling, form, in_claim, id=f"{field}-{json.dumps(form)}")
    for field, other, families in FIELDS
    for spelling, in_grid, in_claim in families
    for form in in_grid
]


def claim(expect: str, of: dict[str, Any], than: dict[str, Any] | None = None, bound: float | None = None) -> str:
    """A line of YAML; JSON is YAML."""
    sides = {"of": of, **({"than": than} if than else {}), **({} if bound is None else {"bound": bound})}
    return f"  - {json.dumps({'says': 'It does.', 'expect': expect, 'metric': 'loss', **sides})}\n"


def written(folder: Path, grid: dict[str, Any], *claims: str, ladders: str = COPY) -> Path:
    path = folder / "forms.yaml"
    path.write_text(EXPERIMENT.format(ladders=ladders, grid=json.dumps(grid)) + "".join(claims))
    return path


def spelled(spec: RunSpec, field: str) -> str:
    return spec.variant if field == "attention" else str(spec.model.position)


def swept(path: Path, high: tuple[str, str]) -> tuple[list[RunSpec], list[ClaimOutcome]]:
    """The runs of an experiment, and its claims as the report of its store judges them.

    Args:
        path: The experiment's file.
        high: A field and the value of it with which runs have the higher loss.
    """
    field, value = high
    experiment, store = read_experiment(path), path.parent / "store"
    specs = expand(experiment)

    def record(spec: RunSpec) -> Record:
        loss = HIGH if spelled(spec, field) == value else LOW
        score = Score(correct=500, total=1000, chance=0.0)
        evaluations = tuple(
            Evaluation(level=level, length=8, accuracy=score, exact_match=score, loss=loss)
            for level in spec.task.evaluate
        )
        return shown(spec).model_copy(update={"evaluations": evaluations, "loss": loss})

    run_sweep(experiment, specs, store, Fake(record))
    stored = stored_experiment(store)
    assert isinstance(stored, Experiment)
    return specs, list(report(Store(store).records(), stored).claims)


def all_hold(outcomes: list[ClaimOutcome], count: int) -> None:
    assert [outcome.outcome for outcome in outcomes] == ["holds"] * count, outcomes


@pytest.mark.parametrize(("field", "other", "spelling", "form", "in_claim"), CASES)
def test_any_form_in_a_claim_matches_any_form_in_the_grid(
    field: str, other: str, spelling: str, form: Any, in_claim: list[Any], tmp_path: Path
) -> None:
    claims = []
    for name in (field, f"model.{field}"):
        for same in in_claim:
            claims.append(claim("at least", {name: same}, bound=HIGH))
            claims.append(claim("at least", {name: [same]}, bound=HIGH))
            claims.append(claim("greater", {name: same, "level": 2}, {name: other}))
            claims.append(claim("less", {name: other, "level": [1, 2]}, {name: same}))
    specs, outcomes = swept(written(tmp_path, {field: [form, other]}, *claims), (field, spelling))
    assert list(dict.fromkeys(spelled(spec, field) for spec in specs)) == [spelling, other]
    all_hold(outcomes, len(claims))


def test_forms_of_one_variant_are_one_variant(tmp_path: Path) -> None:
    for field, _, families in FIELDS:
        for spelling, in_grid, _ in families:
            specs = expand(read_experiment(written(tmp_path, {field: in_grid}, "  []\n")))
            assert [spelled(spec, field) for spec in specs] == [spelling] * 6


def test_options_that_are_lists(tmp_path: Path) -> None:
    for form in GROUPED:
        folder = tmp_path / str(GROUPED.index(form))
        folder.mkdir()
        claims = [claim("greater", {"attention": same}, {"attention": "retention"}) for same in GROUPED]
        path = written(folder, {"attention": [form, "retention"]}, *claims)
        all_hold(swept(path, ("attention", "grouped:groups=[[0],[1]]"))[1], len(claims))


def test_a_list_in_a_claim_matches_any_of_its_variants(tmp_path: Path) -> None:
    grid = {"attention": ["dagpam", "retention"], "position": ["rope", {"name": "randomized", "range": 64}]}
    claims = [
        claim("at least", {"attention": ["gpam", "dape"], "position": "rotary"}, bound=HIGH),
        claim("at least", {"attention": "gpam", "position": ["rope", "alibi"]}, bound=HIGH),
        claim(
            "greater",
            {"attention": [{"name": "dagpam"}], "position": "random:range=64"},
            {"attention": ["retention", ["softmax", "gpam"]]},
        ),
    ]
    all_hold(swept(written(tmp_path, grid, *claims), ("attention", "gpam"))[1], len(claims))


def test_a_list_within_the_list_alternates_in_a_claim_as_in_a_grid(tmp_path: Path) -> None:
    claims = [
        claim("at least", {"attention": [["softmax", "dagpam"]]}, bound=HIGH),
        claim("greater", {"attention": [["softmax", {"name": "gpam"}], "dape"]}, {"attention": "softmax"}),
    ]
    path = written(tmp_path, {"attention": [["softmax", "gpam"], "softmax"]}, *claims)
    all_hold(swept(path, ("attention", "softmax+gpam"))[1], len(claims))


def test_the_attention_of_the_model_section_is_matched_too(tmp_path: Path) -> None:
    claims = [claim("at least", {"attention": form, "position": "rotary"}, bound=HIGH) for form in DAPE_3]
    path = written(tmp_path, {"position": ["rope"]}, *claims)
    path.write_text(path.read_text().replace("layers: 2", "layers: 2, attention: {name: dape, options: {kernel: 3}}"))
    all_hold(swept(path, ("attention", "dape:kernel=3"))[1], len(claims))


def test_a_ladder_that_trains_on_a_range_of_levels(tmp_path: Path) -> None:
    claims = [
        claim("greater", {"trained": "2..40", **level, "attention": "dagpam"}, {"attention": "retention"})
        for level in ({}, {"level": 10}, {"level": 40}, {"level": [20, 40]}, {"level": 50}, {"level": [40, 50]})
    ]
    claims += [
        claim("at least", {"trained": "2..40", "attention": "gpam", "task": "even-pairs"}, bound=HIGH),
        claim("at least", {"attention": "gpam", "level": [10, 50]}, bound=HIGH),
        claim("equal", {"trained": "2..40", "attention": "gpam", "level": 50}, {"level": 10}),
        "  - {says: x, expect: at least, bound: 0.9, metric: loss,"
        " of: {trained: 2..40, attention: gpam, level: [20, 50]}}\n",
    ]
    path = written(tmp_path, {"attention": ["gpam", "retention"]}, *claims, ladders=EVEN_PAIRS)
    specs, outcomes = swept(path, ("attention", "gpam"))
    assert {(spec.task.level, spec.task.evaluate) for spec in specs} == {(40, (10, 20, 50))}
    all_hold(outcomes, len(claims))


@pytest.mark.parametrize(
    ("of", "than", "message"),
    [
        (
            {"attention": "gppam"},
            {},
            "of.attention\n  No run of this sweep has attention 'gppam'; did you mean 'gpam'?",
        ),
        (
            {"attention": {"name": "dape", "kernell": 3}},
            {},
            "of.attention\n  No run of this sweep has attention '{'name': 'dape', 'kernell': 3}'",
        ),
        (
            {"attention": "gpam"},
            {"model.attention": "sofmax"},
            "than.model.attention\n  No run of this sweep has attention 'sofmax'; did you mean 'softmax'?",
        ),
        ({"attention": "gpam"}, {"attention": "dape"}, "than.attention\n  No run of this sweep has attention 'dape'"),
        ({"attention": "dagpam+softmax"}, {}, "of.attention\n  No run of this sweep has attention 'gpam+softmax'"),
        ({"position": "ropee"}, {}, "of.position\n  No run of this sweep has position 'ropee'"),
        ({"attention": 3}, {}, "of.attention\n  No run of this sweep has attention '3'."),
        (
            {"attention": ["gpam", "sofmax"]},
            {},
            "of.attention: sofmax\n  There is no attention 'sofmax'; did you mean 'softmax'?",
        ),
        (
            {"attention": ["gpam", {"name": "dape", "kernell": 3}]},
            {},
            "of.attention: dape:kernell=3\n  'dape' has no option 'kernell'; did you mean 'kernel'?",
        ),
        (
            {"attention": [["gpam", 3]]},
            {},
            "of.attention\n  It cannot be 3.\n  Write a name, or {name: dape, kernel: 3}.",
        ),
        ({"attention": ["dape", ["gpam", "softmax"]]}, {}, "of.attention\n  No run of this sweep has attention"),
        ({"position": "learned"}, {"position": ["ropee"]}, "than.position: ropee\n  There is no position 'ropee'"),
    ],
)
def test_a_variant_that_no_run_has_is_refused_while_planning(
    of: dict[str, Any], than: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = written(tmp_path, {"attention": ["gpam", "softmax"]}, claim("greater", of, than, 0.1))
    with pytest.raises(AttnlabError) as caught:
        expand(read_experiment(path))
    assert str(caught.value).startswith(f"{path}:9: claims[0].{message}")


def test_the_line_is_that_of_the_field(tmp_path: Path) -> None:
    lines = "  - says: x\n    expect: greater\n    of:\n      level: 1\n      model.attention: gppam\n    bound: 0.1\n"
    path = written(tmp_path, {"attention": ["gpam", "softmax"]}, lines)
    with pytest.raises(AttnlabError) as caught:
        expand(read_experiment(path))
    assert caught.value.where == f"{path}:13: claims[0].of.model.attention"
