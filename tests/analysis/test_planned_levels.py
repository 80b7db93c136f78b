from __future__ import annotations

from typing import Any

import pytest

from attnlab.analysis.planned_levels import levels_of, place_in, planned_levels
from attnlab.config.experiment import Experiment

RECALL: dict[str, Any] = {"ladder": "recall", "levels": [8, 2, 4]}


def planned(*ladders: Any, **fields: Any) -> Any:
    return planned_levels(Experiment.model_validate({"name": "x", "question": "?", "ladders": ladders, **fields}))


def levels(plan: Any, **wanted: Any) -> list[Any]:
    return [one.level for one in levels_of(plan, wanted)]


def test_levels_are_in_the_order_of_the_ladder() -> None:
    assert levels(planned(RECALL)) == [2, 4, 8]
    assert levels(planned("recall"))[:3] == [2, 4, 8]


def test_further_levels_of_tests_are_planned_for_each_training() -> None:
    plan = planned({**RECALL, "evaluate": [8, 16]})
    assert [(one.level, one.fields["trained"], one.is_own) for one in plan] == [
        (2, 2, True),
        (4, 4, True),
        (8, 2, False),
        (8, 4, False),
        (8, 8, True),
        (16, 2, False),
        (16, 4, False),
        (16, 8, False),
    ]
    assert levels(plan, trained=4) == [4, 8, 16]
    assert levels(plan, level=[2, 8]) == [2, 8]


def test_a_range_of_training_ends_at_each_level_or_is_shared() -> None:
    own = planned({**RECALL, "training": {"pairs": "1..level"}})
    assert [(one.level, one.fields["trained"], one.is_own) for one in own] == [
        (2, "1..2", True),
        (4, "1..4", True),
        (8, "1..8", True),
    ]
    shared = planned({**RECALL, "options": {"train": {"pairs": "1..8"}}})
    assert [(one.level, one.fields["trained"], one.is_own) for one in shared] == [
        (2, "1..8", False),
        (4, "1..8", False),
        (8, "1..8", True),
    ]


def test_levels_are_those_of_the_task_and_the_options_that_are_named() -> None:
    long = {"ladder": "recall", "levels": [16], "options": {"length": 128}}
    plan = planned({**RECALL, "options": {"length": 32}}, long, {"ladder": "copy", "levels": [4]})
    assert levels(plan, task="copy") == [4]
    assert levels(plan, **{"task.length": 32}) == [2, 4, 8]
    assert levels(plan, **{"task.alphabet": 3}) == []
    assert levels(plan, attention="softmax", width=16) == [2, 4, 8, 16, 4]


def test_an_option_that_the_experiment_varies_may_have_any_value() -> None:
    plan = planned(RECALL, grid={"task.length": [32, 64], "attention": ["softmax"]})
    assert levels(plan, **{"task.length": 64}) == [2, 4, 8]


@pytest.mark.parametrize("fields", [{"grid": {"task.train.pairs": ["1..level", "1..8"]}}, {}])
def test_no_plan_is_known_where_training_varies_or_a_ladder_is_gone(fields: dict[str, Any]) -> None:
    assert not planned(RECALL if fields else "gone.yaml", **fields)


def test_levels_that_are_not_planned_come_last_and_words_after_numbers() -> None:
    plan = planned(RECALL)
    assert sorted(["b", 16, 8, 1, 2], key=lambda level: place_in(plan, "recall", level)) == [2, 8, 1, 16, "b"]
