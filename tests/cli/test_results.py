"""``attnlab ls results``, ``show RUN``, ``compare``, ``tag`` and ``rm``."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from attnlab import resources
from attnlab.cli.catalog import HEXADECIMAL
from attnlab.experiments.resolve import REGISTRIES
from attnlab.specs import ModelSpec
from attnlab.storage import Store
from attnlab.storage.locks import sweep_lock
from attnlab.tasks import TASKS
from tests.cli.conftest import TINY, Command
from tests.rendering.fake_runs import run


@pytest.fixture
def ids(command: Command, tmp_path: Path) -> list[str]:
    """Runs of two widths in results/."""
    store = Store(tmp_path / "results")
    store.open()
    records = []
    for width, accuracies in ((16, (0.25, 0.5, 0.25)), (64, (1.0, 0.75, 1.0))):
        for seed, accuracy in enumerate(accuracies):
            one = run(seed=seed, accuracy=accuracy)
            spec = one.spec.model_copy(update={"model": ModelSpec(width=width)})
            records.append(one.model_copy(update={"spec": spec, "id": spec.id}))
    store.append(records)
    return [record.id for record in records]


def listed(command: Command, *words: str) -> list[str]:
    """The ids that a listing has, in its order."""
    return [json.loads(line)["id"] for line in command("ls", "results", *words, "--json").out.splitlines()]


def test_runs_are_filtered_sorted_and_cut(ids: list[str], command: Command) -> None:
    assert listed(command) == ids
    assert listed(command, "--where", "width>32") == ids[3:]
    assert listed(command, "--where", "width>32", "--sort", "accuracy") == [ids[3], ids[5], ids[4]]
    assert listed(command, "--where", "width>32", "--where", "seed!=0", "--best", "1") == [ids[5]]
    result = command("ls", "results", "--best", "2")
    assert result.out.splitlines()[0] == "recall pairs=4 · softmax · fourier · width=64".removesuffix(" · width=64")
    assert [line.split()[0] for line in result.out.splitlines()[3:5]] == [ids[3], ids[5]]
    assert "2 of 6 runs" in result.out
    assert all(len(line) <= 80 for line in result.out.splitlines())
    none = command("ls", "results", "--where", "width>999")
    assert none.out == "None of 6 runs passes the filter.\n"


def test_ids_and_what_varies_stand_in_the_plain_list(ids: list[str], command: Command) -> None:
    out = command("ls", "results").out
    assert all(one in out for one in ids)
    assert out.count("width=16") == out.count("width=64") == 3


def test_several_stores_are_listed_at_once(ids: list[str], command: Command, tmp_path: Path) -> None:
    other = Store(tmp_path / "other")
    other.open()
    other.append([run(seed=9, accuracy=0.995)])
    out = command("ls", "results", "results", "other", "--best", "7").out
    assert "results/" in out
    assert "other/" in out
    assert len(listed(command, "results", "other")) == 7
    assert listed(command, "--store", "other", "--store", "results", "--where", "seed=9") == [run(seed=9).id]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--where", "widht>3"), "There is no field 'widht'; did you mean 'width'?"),
        (("--sort", "acuracy"), "There is no field 'acuracy'; did you mean 'accuracy'?"),
        (("nowhere",), "There is no folder 'nowhere'."),
    ],
)
def test_a_mistake_is_one_block(words: tuple[str, ...], message: str, ids: list[str], command: Command) -> None:
    result = command("ls", "results", *words)
    assert (result.status, result.out) == (2, "")
    assert message in result.error
    assert command("ls", "tasks", *words[:2]).status == (2 if len(words) > 1 else 0)


def test_a_run_is_shown_by_the_beginning_of_its_id(command: Command) -> None:
    first = json.loads(command("train", *TINY, "--json", "--quiet").out)
    shown = command("show", first["id"][:5]).out
    for text in ("model.width", "Learning curves", "Failure mode", "Environment", "torch", "Reproduce"):
        assert text in shown
    data = json.loads(command("show", f"run:{first['id']}", "--json").out)
    assert data["differs"]["model.width"] == 8
    assert data["record"]["id"] == first["id"]
    script = shown[shown.index("attnlab train") :].replace("\\\n", " ")
    assert shlex.split(script) == shlex.split(data["command"])
    again = command(*shlex.split(script)[1:], "--json", "--quiet")
    assert json.loads(again.out)["id"] == first["id"]


def test_a_wrong_id_lists_runs(ids: list[str], command: Command) -> None:
    result = command("show", "0123456789ab")
    assert result.status == 2
    assert "There is no run '0123456789ab' in results/" in result.error
    assert command("show", "run:x").status == 2
    assert "is no run" in command("show", "recall", "--plot", "a.svg").error


def test_a_plot_of_a_run_is_written(ids: list[str], command: Command, tmp_path: Path) -> None:
    assert command("show", ids[0], "--plot", "a.svg").error == "Written: a.svg\n"
    assert ids[0] in (tmp_path / "a.svg").read_text()
    assert "is not a plot format" in command("show", ids[0], "--plot", "a.txt").error
    assert not (tmp_path / "a.txt").exists()
    assert command("compare", *ids[:2], "--plot", "b.html").error == "Written: b.html\n"


def test_a_part_whose_name_looks_like_an_id_is_shown_before_a_run(command: Command, tmp_path: Path) -> None:
    names = {entry.name for registry in (TASKS, *REGISTRIES.values()) for entry in registry}
    names |= set(resources.names("tasks")) | set(resources.names("experiments"))
    assert [name for name in names if HEXADECIMAL.fullmatch(name)] == ["abc"]
    store = Store(tmp_path / "results")
    store.open()
    store.append([run().model_copy(update={"id": "abc123abc123"})])
    assert json.loads(command("show", "abc", "--json").out)["kind"] == "attention"
    assert json.loads(command("show", "run:abc", "--json").out)["id"] == "abc123abc123"
    assert json.loads(command("show", "abc1", "--json").out)["id"] == "abc123abc123"


def test_an_experiment_is_shown(command: Command) -> None:
    result = command("show", "recall-widths")
    assert "How wide must a mechanism be" in result.out
    assert "attention: softmax,linear,gla,delta" in result.out
    data = json.loads(command("show", "experiment:recall-widths", "--json").out)
    assert (data["kind"], data["seeds"], len(data["claims"])) == ("experiment", 5, 3)
    assert "did you mean 'quickstart'?" in command("show", "quikstart").error


def test_runs_are_compared(ids: list[str], command: Command) -> None:
    out = command("compare", ids[0][:6], ids[3]).out
    assert ["width", "16", "64"] in [line.split() for line in out.splitlines()]
    assert "B - A  +58.3 points, mean of 3 seeds; 95 % over seeds" in out
    assert all(len(line) <= 80 for line in out.splitlines())
    data = json.loads(command("compare", ids[0], ids[3], "--json").out)
    assert data["differs"] == {"width": [16, 64]}
    assert data["pairs"][0]["differences"] == [0.75, 0.25, 0.75]
    assert "needs two runs" in command("compare", ids[0]).error


def test_tags_are_given_found_and_removed(ids: list[str], command: Command) -> None:
    assert command("tag", ids[0][:6], "good", "first").out.endswith("#first #good\n")
    assert listed(command, "--where", "tag=good") == [ids[0]]
    assert {"#first", "#good"} <= set(command("ls", "results").out.split())
    assert json.loads(command("tag", ids[0], "good", "--remove", "--json").out)["tags"] == ["first"]
    assert command("tag", ids[0], "--remove").out.endswith("no tags\n")
    assert "is no tag" in command("tag", ids[0], "two words").error


def test_runs_are_removed_and_put_back(ids: list[str], command: Command, tmp_path: Path) -> None:
    removed = command("rm", ids[0][:6], ids[4])
    assert removed.status == 0
    assert "attnlab rm --undo\n" in removed.out
    assert listed(command) == [ids[1], ids[2], ids[3], ids[5]]
    assert json.loads(command("rm", "--undo", "--json").out) == {"store": "results", "restored": [ids[0], ids[4]]}
    assert sorted(listed(command)) == sorted(ids)
    with sweep_lock(tmp_path / "results", wait=False):
        busy = command("rm", ids[0])
    assert busy.error == (
        "attnlab: results\n  Another sweep is running here.\n"
        "  Wait until it has ended, or stop it; then run this again.\n"
    )
    assert command("rm").status == 2
    assert command("rm", ids[0], "ffffffffffff").status == 2
    assert sorted(listed(command)) == sorted(ids)


@pytest.mark.parametrize("words", [("show",), ("compare",)])
def test_a_plot_that_cannot_be_written_is_refused_with_one_block(
    ids: list[str], command: Command, tmp_path: Path, words: tuple[str, ...]
) -> None:
    (tmp_path / "taken").write_text("")
    result = command(*words, *ids[: 1 if words == ("show",) else 2], "--plot", "taken/a.svg")
    assert result.status == 2
    assert result.error.startswith("attnlab: taken/a.svg\n  It cannot be written")


def test_hints_name_the_store(ids: list[str], command: Command, tmp_path: Path) -> None:
    (tmp_path / "results").rename(tmp_path / "other")
    assert "and 1 more: attnlab ls results --store other" in command("show", "run:ff", "--store", "other").error
    assert "attnlab ls results --store other" in command("compare", ids[0], "--store", "other").error
    assert "attnlab show RUN --store other" in command("ls", "results", "other", "--best", "1").out


def test_a_run_with_only_a_checkpoint_is_removed_and_put_back(command: Command, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    store.open()
    about = {"id": "feed0123beef", "step": 5, "max_steps": 20, "summary": "recall pairs=8", "group": ["feed0123beef"]}
    store.save("feed0123beef", {"weight/w": np.zeros(2, np.float32)}, about)
    removed = command("rm", "feed")
    assert "  feed0123beef  recall pairs=8  checkpoint at step 5 of 20\n" in removed.out
    assert "To put them back: attnlab rm --undo" in removed.out
    assert json.loads(command("rm", "--undo", "--json").out)["restored"] == ["feed0123beef"]
    assert "attnlab rm feed0123beef" in command("show", "feed0").error
