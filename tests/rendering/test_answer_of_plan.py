"""The words with which an ordinary report opens, and the ranks of one that was run until it was decided."""

from __future__ import annotations

import json

import pytest

from attnlab.config.experiment import Experiment, LadderLevels
from attnlab.records import Record
from attnlab.rendering.answer import _at
from attnlab.rendering.export import FORMATS
from attnlab.rendering.html import html_page
from attnlab.rendering.report import Report, report
from tests.rendering.capture import drawn
from tests.rendering.fake_runs import run, seeds


def ladder(attention: str, accuracies: dict[int, float], count: int, pace: float = 1.0, **what: object) -> list[Record]:
    """Seeds of each level; a step takes ten milliseconds times the pace."""
    return [
        record.model_copy(update={"environment": {"seconds": record.steps * pace / 100}})
        for pairs, accuracy in accuracies.items()
        for record in seeds([accuracy] * count, attention=attention, pairs=pairs, **what)
    ]


FAR, NEAR = {2: 1.0, 4: 1.0, 8: 1.0}, {2: 1.0, 4: 0.3, 8: 0.25}


def words(found: Report) -> list[str]:
    return [one.text for one in found.answers]


def test_it_says_who_solves_what_who_is_ahead_with_how_many_seeds_and_at_which_cost() -> None:
    found = report([*ladder("softmax", NEAR, 8), *ladder("expressive", FAR, 8, pace=1.3)])
    assert words(found) == [
        "recall: expressive solves up to 8 pairs, softmax up to 2 pairs, each in at least half of the seeds. "
        "expressive is ahead of softmax by C50; decided with 8 seeds. A step of expressive takes 1.3 times as long."
    ]
    assert found.answers[0].decided
    assert " ".join(drawn(found)[:4]).startswith(words(found)[0])
    assert set(found.ranks_of(found.panels[0]).values()) == {"1", "2"}


@pytest.mark.parametrize(
    ("complexity", "text"),
    [("pairs", "4, 8 pairs"), ("bits", "4, 8 bits"), ("length", "length 4, 8"), ("modulus", "modulus 4, 8")],
)
def test_a_complexity_in_the_singular_is_no_unit(complexity: str, text: str) -> None:
    assert _at("4, 8", complexity) == text


def test_three_seeds_leave_it_open_and_it_says_what_is_missing() -> None:
    found = report([*ladder("softmax", NEAR, 3), *ladder("expressive", FAR, 3)])
    assert "undecided with 3 seeds. About " in words(found)[0]
    assert words(found)[0].endswith("About 12 more runs like these, 2:24 min of one process, would decide it.")
    assert not found.answers[0].decided


def test_where_neither_solves_anything() -> None:
    found = report([*ladder("softmax", {2: 0.3, 4: 0.3}, 3), *ladder("expressive", {2: 0.3, 4: 0.3}, 3)])
    text = "Neither softmax nor expressive solves a level in at least half of the seeds. Which of softmax and expr"
    assert text in words(found)[0]


def test_levels_that_are_solved_above_one_that_is_not_are_named() -> None:
    found = report(
        [*ladder("softmax", {2: 0.3, 4: 1.0, 8: 0.3}, 3), *ladder("expressive", {2: 1.0, 4: 0.3, 8: 1.0}, 3)]
    )
    assert "expressive solves 2, 8 pairs and not 4, softmax 4 pairs and not 2, each in at least half" in words(found)[0]


def test_each_answer_of_a_report_of_three_names_the_two_that_it_compares() -> None:
    runs = [record for name in ("softmax", "linear", "delta") for record in ladder(name, NEAR, 3)]
    first, second = words(report(runs))
    assert "Both softmax and linear solve up to 2 pairs in at least half of the seeds. Which of softmax and li" in first
    assert (
        "Both softmax and delta solve up to 2 pairs in at least half of the seeds. Which of softmax and del" in second
    )


def test_two_seeds_one_level_or_many_variants_open_with_the_table() -> None:
    assert words(report([*ladder("softmax", NEAR, 2), *ladder("expressive", FAR, 2)])) == []
    assert words(report([*ladder("softmax", {2: 1.0}, 3), *ladder("expressive", {2: 1.0}, 3)])) == []
    many = [record for index in range(10) for record in ladder(f"a{index}", NEAR, 3)]
    assert words(report(many)) == []


def test_of_tuned_fields_the_chosen_runs_are_compared() -> None:
    worse = ladder("expressive", {2: 0.3, 4: 0.3, 8: 0.3}, 8, lr=1e-3)
    better = ladder("expressive", FAR, 8, lr=1e-2)
    experiment = Experiment(name="x", question="", ladders=(LadderLevels(ladder="recall"),), grid={"lr": (1e-3, 1e-2)})
    (text,) = words(report([*ladder("softmax", NEAR, 8), *worse, *better], experiment))
    assert "expressive solves up to 8 pairs" in text


def test_runs_that_were_tested_on_many_levels_are_compared_on_each() -> None:
    records = [
        run(
            attention=attention,
            pairs=8,
            trained="2..8",
            seed=seed,
            accuracy=levels[8],
            other_levels={2: 1.0, 4: levels[4]},
        )
        for attention, levels in (("softmax", NEAR), ("expressive", FAR))
        for seed in range(8)
    ]
    (text,) = words(report(records))
    assert "expressive solves up to 8 pairs, softmax up to 2 pairs" in text


def test_files_and_the_page_have_the_words() -> None:
    found = report([*ladder("softmax", NEAR, 8), *ladder("expressive", FAR, 8)])
    (answer,) = json.loads(FORMATS["json"](found))["answers"]
    assert (answer["variant"], answer["reference"], answer["decided"]) == ("expressive", "softmax", True)
    assert (answer["solved_up_to"], answer["reference_solved_up_to"], answer["seeds"]) == (8, 2, 8)
    assert answer["text"] == words(found)[0]
    assert FORMATS["markdown"](found).decode().startswith(answer["text"])
    assert f'<p class="answer">{answer["text"]}</p>' in html_page(found, "attnlab report").decode()


def test_a_report_until_decided_ranks_what_is_decided_and_nothing_else() -> None:
    experiment = Experiment(
        name="x", question="", ladders=(LadderLevels(ladder="recall", levels=(2, 4)),), until="decided"
    )
    records = [*ladder("softmax", {2: 0.3, 4: 0.3}, 12), *ladder("linear", {2: 0.3, 4: 0.3}, 2)]
    found = report([*records, *ladder("expressive", {2: 1.0, 4: 1.0}, 12)], experiment)
    assert [one.comparison.outcome for one in found.answers] == ["undecided", "ahead"]
    # Of linear too little is known: it may be the best, and the worst.
    assert found.ranks_of(found.panels[0]) == {("softmax",): "2-3", ("linear",): "1-3", ("expressive",): "1-2"}
    assert any("Ranks are by what is decided above" in note for note in found.footnotes())
