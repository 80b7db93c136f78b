from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from attnlab.config.experiment import read_experiment
from attnlab.errors import AttnlabError
from attnlab.experiments.expand import expand
from attnlab.specs import TaskSpec
from attnlab.tasks.io.drawn_values import MOST, check_drawn_values


def spec(name: str, train: dict[str, Any], **options: Any) -> TaskSpec:
    return TaskSpec(name=name, options=options, train=train)


@pytest.mark.parametrize(
    ("task", "steps", "built"),
    [
        (spec("parity", {}), 100, 0),
        (spec("parity", {"bits": "3..40"}), 100, 38),
        (spec("parity", {"bits": "3..5 -> 3..160"}), 400, 158),
        (spec("parity", {"bits": "4 -> 16"}), 100, 13),
        (spec("parity", {"bits": "4 | 9 | 16"}), 100, 3),
        (spec("recall", {"pairs": "1..4", "length": "32 | 64"}), 100, 8),
        (spec("parity", {"bits": "1..9000"}), 100, MOST),
    ],
    ids=str,
)
def test_what_the_steps_draw_is_built_once(task: TaskSpec, steps: int, built: int) -> None:
    assert check_drawn_values(task, steps) == built


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (
            spec("flip-flop", {"length": "8..64"}),
            "task.train.length\n  Training with length='8..64' draws length=9, which is refused: Length must be even, "
            "not 9: a bit follows each instruction.\n  Use 8 or 10. Stages name each value",
        ),
        (
            spec("flip-flop", {"length": "8 -> 12"}),
            "task.train.length\n  Training with length='8 -> 12' draws length=9",
        ),
        (
            spec("recall", {"pairs": "1..8", "length": "16..32"}),
            "task.train\n  Training with pairs='1..8', length='16..32' draws pairs=8, length=16, which is refused: ",
        ),
        (
            spec("recall-once", {"keys": "2 -> 8", "uses": "8 -> 2"}),
            "task.train\n  Training with keys='2 -> 8', uses='8 -> 2' draws keys=5, uses=5, which has 50 tokens: ",
        ),
    ],
    ids=str,
)
def test_what_is_refused_between_accepted_ends_is_refused_before_the_training(task: TaskSpec, message: str) -> None:
    with pytest.raises(AttnlabError) as caught:
        check_drawn_values(task, 200)
    assert str(caught.value).startswith(message)


def test_a_plan_refuses_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    lines = ["name: x", "question: y", "ladders: [{ladder: flip-flop, levels: [16], training: {length: 8..16}}]"]
    path.write_text("\n".join([*lines, "model: {width: 8, layers: 1}", "train: {max_steps: 3}", ""]))
    with pytest.raises(AttnlabError, match="draws length=9, which is refused: Length must be even"):
        expand(read_experiment(path))
