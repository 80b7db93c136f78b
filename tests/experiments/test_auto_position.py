"""``--pos auto``: the runs of several positions, of which each cell of the report takes the best on validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from attnlab.config.auto_position import AUTO_POSITIONS
from attnlab.config.experiment import Experiment, LadderLevels, read_experiment, with_changes
from attnlab.config.inline_experiment import inline_experiment, interference_experiment
from attnlab.errors import AttnlabError, IncompatiblePartsError, InvalidValueError
from attnlab.experiments.expand import expand
from attnlab.experiments.request import parse_request
from attnlab.records import HistoryPoint, Record
from attnlab.rendering.export import FORMATS, report_data
from attnlab.rendering.report import report
from attnlab.training.events import Event, Notice
from tests.experiments.sweeps import TINY
from tests.rendering.capture import drawn
from tests.rendering.fake_runs import seeds

MIXER = """\
from torch import nn
class Shift(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, width)
    def forward(self, x):
        return self.proj(x)
"""


def positions(experiment: Experiment) -> list[tuple[str, str]]:
    specs = expand(experiment)
    return [(spec.variant, spec.model.position.name) for spec in specs if spec.seed == 0 and spec.task.level == 1]


def tiny(**words: Any) -> Experiment:
    return inline_experiment("copy", complexity=[1, 2], seeds=2, settings=TINY, **words)


def test_every_variant_is_run_with_each_position_and_the_position_is_tuned() -> None:
    experiment = tiny(attention="softmax,gpam", position="auto", grid={"lr": [1e-3, 3e-3]})
    expected = [
        (name, position)
        for name in ("softmax", "gpam")
        for position in ("fourier", "learned", "rotary", "none")
        for _rate in range(2)
    ]
    assert positions(experiment) == expected
    assert experiment.tuned == ("train.lr", "model.position")


def test_positions_beside_auto_are_tried_too() -> None:
    experiment = tiny(attention="softmax", position="none,auto,alibi")
    assert [position for _, position in positions(experiment)] == ["none", "fourier", "learned", "rotary", "alibi"]


@pytest.mark.parametrize("line", ["grid: {attention: [softmax], position: [auto]}", "model: {position: auto}"])
def test_a_file_may_ask_for_it_in_the_grid_or_in_the_model(line: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"name: x\nquestion: Which?\nladders: [{{ladder: copy, levels: [1]}}]\nseeds: 1\n{line}\n")
    experiment = read_experiment(path)
    assert [position for _, position in positions(experiment)] == ["fourier", "learned", "rotary", "none"]
    assert experiment.tuned == ("model.position",)
    again = Experiment.model_validate_json(experiment.model_dump_json())
    assert again.tuned == experiment.tuned
    assert [spec.id for spec in expand(again)] == [spec.id for spec in expand(experiment)]


def test_the_runs_are_those_of_each_position_by_itself() -> None:
    one = {spec.id for name in AUTO_POSITIONS for spec in expand(tiny(position=name))}
    assert {spec.id for spec in expand(tiny(position="auto"))} == one


def test_a_position_that_an_attention_cannot_have_is_left_out_with_a_line(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(MIXER)
    told: list[Event] = []
    specs = expand(tiny(attention=f"softmax,{path}:Shift", position="auto"), told.append)
    own = {spec.model.position.name for spec in specs if "Shift" in spec.variant}
    assert own == {"fourier", "learned", "none"}
    (notice,) = (one.text for one in told if isinstance(one, Notice))
    assert notice.startswith("Left out: ")
    assert "Shift with rotary. " in notice
    assert "has no queries and keys of ours" in notice


def test_a_position_that_was_named_is_not_left_out(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(MIXER)
    with pytest.raises(IncompatiblePartsError, match="rotary"):
        expand(tiny(attention=f"{tmp_path / 'own.py'}:Shift", position="auto,rotary"))


def test_what_compares_runs_of_one_position_refuses_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match="compares them one by one") as caught:
        tiny(attention="softmax,gpam", position="auto", until="decided")
    assert caught.value.where == "--until"
    with pytest.raises(InvalidValueError, match="compares them one by one"):
        with_changes(tiny(position="auto"), {"until": "decided"})
    with pytest.raises(InvalidValueError, match="chooses among the runs of a sweep"):
        parse_request("copy", position="auto")
    with pytest.raises(InvalidValueError, match="Name one"):
        interference_experiment(["copy", "recall"], position="auto")
    path = tmp_path / "x.yaml"
    path.write_text("name: x\nquestion: W?\nladders: [copy]\nzip: [{position: [auto, none], lr: [0.001, 0.003]}]\n")
    with pytest.raises(AttnlabError, match="into grid"):
        read_experiment(path)


def ran(attention: str, validation: dict[str, float], accuracy: dict[str, float]) -> list[Record]:
    records = []
    for position, share in validation.items():
        for record in seeds([accuracy[position]] * 3, attention=attention, position=position):
            history = (HistoryPoint(step=1200, loss=1.0, accuracy=share),)
            records.append(record.model_copy(update={"history": history}))
    return records


SOFTMAX = ran("softmax", {"learned": 0.6, "rotary": 0.9, "none": 0.5}, {"learned": 0.99, "rotary": 0.8, "none": 0.3})
OWN = ran("expressive", {"learned": 0.9, "none": 0.4}, {"learned": 0.85, "none": 0.9})


def test_the_report_takes_the_best_on_validation_and_tells_what_the_others_reached() -> None:
    entry = LadderLevels(ladder="recall")
    experiment = Experiment(name="x", question="", ladders=(entry,), grid={"position": ("auto",)})
    found = report([*SOFTMAX, *OWN], experiment)
    lines = drawn(found)
    assert [line.split() for line in lines if line.startswith(("softmax ", "expressive "))][:2] == [
        ["softmax", "80.0"],  # learned has the best test accuracy, which is not looked at
        ["expressive", "85.0"],
    ]
    start = next(index for index, line in enumerate(lines) if line.startswith("validation accuracy in %"))
    assert [line.split() for line in lines[start + 3 : start + 8]] == [
        ["softmax", "learned", "60.0"],
        ["softmax", "rotary", "90.0*"],
        ["softmax", "none", "50.0"],
        ["expressive", "learned", "90.0*"],
        ["expressive", "none", "40.0"],
    ]
    chosen = [(row["attention"], row["position"]) for row in report_data(found)["tuned"] if row["chosen"]]
    assert chosen == [("softmax", "rotary"), ("expressive", "learned")]
    markdown = FORMATS["markdown"](found).decode()
    assert "| softmax | rotary | 90.0* |" in markdown
    assert "position rotary" in FORMATS["csv"](found).decode()


def test_without_auto_positions_are_rows() -> None:
    found = report(SOFTMAX)
    assert found.panels[0].row_fields == ("position",)
    assert "tuned" not in report_data(found)
