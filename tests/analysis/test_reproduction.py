from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from attnlab import resources
from attnlab.analysis.reproduction import Reproduction, reproduction
from attnlab.cli import main
from attnlab.config.experiment import experiment
from attnlab.experiments.expand import requests
from attnlab.experiments.request import Request, parse_request
from attnlab.experiments.resolve import Resolver
from attnlab.records import Record, Score
from attnlab.specs import RunSpec
from attnlab.tasks.base import TASKS
from attnlab.tasks.io.ladders import find_ladder


def recorded(spec: RunSpec) -> Record:
    """The record of a run as it is read back."""
    score = Score(correct=1, total=2, chance=0.5)
    record = Record(id=spec.id, spec=spec, status="done", steps=1, accuracy=score, exact_match=score)
    return Record.from_line(record.model_dump_json())


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """The ids of the runs that ``attnlab WORDS`` would train."""
    import attnlab.experiments.run_train
    from attnlab.experiments.plan import plan

    monkeypatch.chdir(tmp_path)
    found: list[RunSpec] = []

    def run_train(request: Any, **options: Any) -> list[Record]:
        found.extend(plan(request))
        return []

    monkeypatch.setattr(attnlab.experiments.run_train, "run_train", run_train)

    def run(result: Reproduction) -> list[RunSpec]:
        found.clear()
        if result.file:
            (tmp_path / result.file).write_text(result.content)
        monkeypatch.setattr("sys.argv", [*result.words, "--json", "--quiet"])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code, capsys.readouterr().err
        return list(found)

    return run


SMALL = ("--layers", "2", "--width", "8", "--heads", "2")
COMMANDS = [
    ("--task", "recall", "--complexity", "4"),
    ("--task", "copy", "--attn", "dape:kernel=3", "--pos", "alibi", "--seed", "7", "--lr", "0.0012345678"),
    ("--task", "copy", "--attn", "softmax+gpam", "--set", "model.init_scale=0.3333333333333333"),
    ("--task", "copy", "--pos", "rotary+none", "--set", "model.mlp=swiglu", "--set", "model.norm=post"),
    ("--task", "copy", "--set", "model.modifiers.qk_norm=true", "--set", "model.modifiers.gate=head"),
    (
        "--task",
        "copy",
        "--set",
        "model.mlp_ratio=3.953125",
        "--set",
        "train.grad_clip=null",
        "--watch",
        "rank,attention",
    ),
    ("--task", "copy", "--set", "train.betas=[0.9,0.95]", "--steps", "11", "--batch", "3", "--rollout"),
    ("--task", "copy", "--attn", "grouped:groups=2"),
    (
        "--task",
        "copy-length",
    ),
    ("--task", "word-s5", "--complexity", "2"),
    (
        "--task",
        "recall-length",
    ),
    ("--task", "mixture:tasks=[copy,recall]", "--complexity", "0"),
    ("--task", "recall", "--set", "task.length=96", "--set", "task.vocabulary=64"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_run_of_the_command_has_the_same_id(words: tuple[str, ...], planned: Any) -> None:
    small = () if "grouped:groups=2" in words else SMALL
    (spec,) = planned(Reproduction(("attnlab", "train", *words, *small)))
    result = reproduction(recorded(spec), Path("results"))
    assert not result.file
    (again,) = planned(result)
    assert again.id == spec.id, result.command


def test_a_matched_run_is_reproduced_without_the_variant_that_it_was_matched_to(planned: Any) -> None:
    words = ("--task", "copy", "--attn", "softmax,delta", "--match", "parameters", "--width", "8", "--layers", "1")
    _, matched = planned(Reproduction(("attnlab", "train", *words)))
    assert matched.model.matched
    (again,) = planned(reproduction(recorded(matched), Path("results")))
    assert again.id == matched.id


def test_levels_that_no_ladder_has_are_written_as_a_ladder_file(planned: Any) -> None:
    (spec,) = planned(Reproduction(("attnlab", "train", "--task", "copy", *SMALL)))
    other = spec.model_copy(update={"task": spec.task.model_copy(update={"evaluate": (5, 6)})})
    result = reproduction(recorded(other), Path("results"))
    assert result.script.startswith(f"cat > {result.file} <<'END'\nname:")
    (again,) = planned(result)
    assert again.id == other.id


@pytest.mark.parametrize("ranges", ["2..5", "2..5 -> 2..16", "2..5 | 4..6 | 16"])
def test_ranges_of_training_are_settings(planned: Any, ranges: str) -> None:
    (spec,) = planned(Reproduction(("attnlab", "train", "--task", "copy", *SMALL)))
    other = spec.model_copy(update={"task": spec.task.model_copy(update={"train": {"symbols": ranges}})})
    result = reproduction(recorded(other), Path("results"))
    assert f'task.train.symbols="{ranges}"' in result.words
    (again,) = planned(result)
    assert again.id == other.id


def test_a_class_of_a_file_is_named_by_its_file(planned: Any, tmp_path: Path) -> None:
    text = "import torch\n\n\nclass Mixer(torch.nn.Linear):\n    def __init__(self, width, scale=1.0):\n"
    text += "        super().__init__(width, width)\n"
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "mine.py").write_text(text)
    words = ("attnlab", "train", "--task", "copy", "--attn", "sub/mine.py:Mixer:scale=0.123456789", *SMALL)
    (spec,) = planned(Reproduction(words))
    code = {"kind": "attention", "name": "mine.py:Mixer", "path": str(tmp_path / "sub/mine.py"), "root": str(tmp_path)}
    code |= {"digest": spec.model.attention[0].code_digest}
    record = recorded(spec).model_copy(update={"environment": {"code": [code]}})
    result = reproduction(record, Path("results"))
    assert "sub/mine.py:Mixer:scale=0.123456789" in result.words
    assert not result.notes
    (again,) = planned(result)
    assert again.id == spec.id


def test_a_run_that_continues_another_names_it_and_its_store(planned: Any) -> None:
    (spec,) = planned(Reproduction(("attnlab", "train", "--task", "copy", *SMALL)))
    more = spec.model_copy(update={"continue_from": spec.id})
    assert reproduction(recorded(more), Path("a b")).command.endswith(f"--continue-from {spec.id} --store 'a b'")


def shipped_requests() -> Iterator[Request]:
    """A request for every built-in ladder whose options have defaults, and some of every built-in experiment."""
    for name in resources.names("tasks"):
        if not TASKS.entry(find_ladder(name).task).required:
            yield parse_request(name)
    for name in resources.names("experiments"):
        every = list(requests(experiment(name), Resolver()))
        yield from (every[0], every[-1])


def test_every_shipped_ladder_and_experiment_is_reproduced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    resolver, found = Resolver(), list[RunSpec]()

    def only(request: Request) -> RunSpec:
        resolved = Resolver().resolve(request) if request.task.name.endswith(".yaml") else resolver.resolve(request)
        (model,) = resolved.models
        return RunSpec(task=resolved.task, model=model, train=resolved.train, seed=request.seeds[-1])

    def run_train(request: Request, **options: Any) -> list[Record]:
        found.append(only(request))
        return []

    monkeypatch.setattr("attnlab.experiments.run_train.run_train", run_train)
    for request in shipped_requests():
        spec = only(request)
        result = reproduction(recorded(spec), Path("results"))
        if result.file:
            Path(result.file).write_text(result.content)
        monkeypatch.setattr("sys.argv", [*result.words, "--json", "--quiet"])
        with pytest.raises(SystemExit):
            main()
        assert found.pop().id == spec.id, result.command
