"""``attnlab report``, ``cp`` and ``schema``."""

from __future__ import annotations

import csv
import gc
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from attnlab.analysis.failure_modes import FAILURE_MODES, failure_mode
from attnlab.config.experiment import Claim, Experiment, LadderLevels
from attnlab.storage import Store
from tests.analysis.test_failure_modes import CASES, PLATEAU, make_run
from tests.cli.conftest import Command
from tests.rendering.fake_runs import run, seeds


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A store of three levels and two variants, in ``results/x`` of the folder in which commands run."""
    folder = tmp_path / "results" / "x"
    store = Store(folder)
    store.open()
    for attention, accuracies in (("softmax", (1.0, 0.8, 0.3)), ("expressive", (1.0, 1.0, 0.9))):
        for pairs, share in zip((2, 4, 8), accuracies, strict=True):
            store.append(seeds([share] * 8, attention=attention, pairs=pairs, options={"length": 8 * pairs}))
    return folder


def write_claim(folder: Path, expect: str) -> None:
    claim = Claim.model_validate(
        {
            "says": "More.",
            "of": {"attention": "expressive", "level": 8},
            "than": {"attention": "softmax"},
            "expect": expect,
        }
    )
    experiment = Experiment(name="x", question="Which?", ladders=(LadderLevels(ladder="recall"),), claims=(claim,))
    (folder / "experiment.json").write_text(experiment.model_dump_json())


@pytest.mark.parametrize("words", [(), ("x",), ("results/x",), ("results",)])
def test_a_store_is_given_by_folder_or_by_name_or_is_the_only_one(
    words: tuple[str, ...], results: Path, command: Command
) -> None:
    result = command("report", *words)
    assert (result.status, result.error) == (0, "")
    answer, _, tables = result.out.partition("\n\n")
    assert answer.startswith("recall: expressive solves up to 4 pairs, softmax up to 2 pairs, each in at least")
    assert tables.startswith("recall  accuracy in % by pairs, means over 8 seeds\nattention ")
    assert max(map(len, result.out.splitlines())) <= 80
    assert gc.isenabled()


def test_times_to_solve_are_read_off_whole_histories(results: Path, command: Command) -> None:
    result = command("report", "x", "--metric", "time-to-solve")
    assert result.status == 0
    assert result.out.startswith("recall  time to solve in steps by pairs, medians over 8 seeds\nattention ")
    assert [line.split()[1:] for line in result.out.splitlines() if line.startswith(("softmax", "expressive"))] == [
        ["1,200", ">1,200", ">1,200"],
        ["1,200", "1,200", ">1,200"],
    ]
    assert "did you mean 'time_to_solve'" in command("report", "x", "--metric", "time-to-slove").error


def test_of_several_stores_one_must_be_named(results: Path, command: Command) -> None:
    Store(results.parent / "y").open()
    result = command("report")
    assert result.status == 2
    assert "attnlab report results/x" in result.error
    assert command("report", "x").status == 0


def test_an_empty_folder_names_the_next_command(command: Command) -> None:
    result = command("report")
    assert (result.status, result.out) == (2, "")
    assert "Try: attnlab sweep --task recall" in result.error


@pytest.mark.parametrize(
    ("words", "phrase"),
    [
        (("--metric", "seconds"), "recall  seconds by pairs"),
        (("--metric", "solved"), "over seeds (Clopper-Pearson)."),
        (("--index", "level", "--columns", "attention"), "accuracy in % by attention"),
        (("--index", "attention,train.lr"), "lr"),
    ],
)
def test_layouts(words: tuple[str, ...], phrase: str, results: Path, command: Command) -> None:
    assert phrase in command("report", "x", *words).out


@pytest.mark.parametrize(
    ("words", "phrase"),
    [
        (("--metric", "secnds"), "did you mean 'seconds'"),
        (("--index", "atention"), "did you mean 'attention'"),
        (("--columns", "task.lenght"), "did you mean 'task.length'"),
        (("--plot", "x.gif"), "ends in .html, .svg, .png or .pdf"),
    ],
)
def test_wrong_words_are_refused(words: tuple[str, ...], phrase: str, results: Path, command: Command) -> None:
    result = command("report", "x", *words)
    assert (result.status, result.out) == (2, "")
    assert phrase in result.error
    assert result.error.startswith(f"attnlab: {words[0]}\n")


def test_files_are_written_and_their_names_told(results: Path, command: Command) -> None:
    result = command("report", "x", "--csv", "a.csv", "--markdown", "b/c.md", "--parquet", "d.parquet")
    assert (result.status, result.out) == (0, "")
    assert result.error == "Written: a.csv\nWritten: b/c.md\nWritten: d.parquet\n"
    with Path("a.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 6
    answer, heading, *_ = Path("b/c.md").read_text().split("\n\n")
    assert answer.startswith("recall: expressive solves up to 4 pairs, softmax up to 2 pairs, ")
    assert heading == "recall: accuracy in % by pairs"
    assert Path("d.parquet").read_bytes()[:4] == b"PAR1"


def test_json_is_data(results: Path, command: Command) -> None:
    data = json.loads(command("report", "x", "--json").out)
    assert [row["mean"] for row in data["cells"]] == [1.0, pytest.approx(0.8), pytest.approx(0.3), 1.0, 1.0, 0.9]


def test_a_plot_and_a_page(results: Path, command: Command) -> None:
    pytest.importorskip("vl_convert")
    assert command("report", "x", "--plot", "a.svg", "--html", "b.html").status == 0
    assert Path("a.svg").read_text().startswith("<svg")
    assert "attnlab report x --plot a.svg --html b.html" in Path("b.html").read_text()


@pytest.mark.parametrize(("expect", "status"), [("greater", 0), ("less", 1)])
def test_a_claim_that_fails_is_the_exit_status(expect: str, status: int, results: Path, command: Command) -> None:
    write_claim(results, expect)
    result = command("report", "x")
    assert result.status == status
    assert result.out.startswith("Which?\n")
    assert ("fails" in result.out) == bool(status)


def test_torch_is_not_imported(results: Path) -> None:
    code = (
        "import sys\nsys.argv = ['attnlab', 'report', 'x']\nfrom attnlab.cli import main\n"
        "try:\n    main()\nexcept SystemExit as error:\n    assert not error.code\n"
        "assert not {'torch', 'scipy.stats', 'altair', 'pyarrow'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=results.parents[1], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("recall")


def test_cp_copies_and_overwrites_only_with_force(command: Command) -> None:
    result = command("cp", "recall")
    assert result.out == "recall.yaml\nEdit it, then run: attnlab train --task ./recall.yaml\n"
    assert Path("recall.yaml").read_text().startswith("name: recall")
    again = command("cp", "recall")
    assert again.status == 2
    assert "--force" in again.error
    Path("recall.yaml").write_text("mine")
    assert command("cp", "recall", "--force").status == 0
    assert Path("recall.yaml").read_text().startswith("name: recall")
    Path("there").mkdir()
    assert command("cp", "recall", "there").out.startswith("there/recall.yaml\n")
    assert "did you mean 'recall'" in command("cp", "recal").error


@pytest.mark.parametrize(("kind", "field"), [("experiment", "question"), ("ladder", "levels")])
def test_schema(kind: str, field: str, command: Command) -> None:
    assert field in json.loads(command("schema", kind).out)["properties"]
    assert "did you mean" in command("schema", kind[:-1]).error


def test_a_single_run_is_reported(tmp_path: Path, command: Command) -> None:
    store = Store(tmp_path / "results")
    store.open()
    store.append([run(accuracy=0.5)])
    result = command("report")
    assert result.status == 0
    assert "50.0" in result.out


def test_failure_modes_are_a_metric(results: Path, command: Command) -> None:
    result = command("report", "x", "--metric", "failure_mode")
    assert result.out.startswith("recall  failure mode by pairs\n")
    data = json.loads(command("report", "x", "--metric", "failure_mode", "--json").out)
    assert data["cells"][0]["failure_mode"] == "solved"
    refused = command("report", "x", "--metric", "failure_mode", "--plot", "a.svg")
    assert refused.status == 2
    assert "Failure modes cannot be plotted." in refused.error


def test_failure_modes_are_those_of_the_whole_records(results: Path, command: Command) -> None:
    """The command line reads the same curves, not their last points: of a flat end alone nothing could be said."""
    store = Store(results)
    for seed, (name, case) in enumerate({**CASES, "unsure": make_run(252, losses=PLATEAU)}.items()):
        named = case.spec.model_copy(update={"seed": 100 + seed})
        store.append([case.model_copy(update={"spec": named, "id": named.id, "reason": name})])
    data = json.loads(command("report", "x", "--metric", "failure_mode", "--json").out)
    shown = {run["id"]: (run["failure_mode"], run["alternative"], run["evidence"]) for run in data["runs"]}
    modes = {record.id: failure_mode(record) for record in store.records()}
    assert shown == {id: (mode.name, mode.alternative, mode.evidence) for id, mode in modes.items()}
    assert {mode.name for mode in modes.values()} == set(FAILURE_MODES)
    cut = [record.model_copy(update={"history": record.history[-1:]}) for record in store.records()]
    assert any(failure_mode(record).label != modes[record.id].label for record in cut)


def test_probes_decide_between_two_failure_modes(command: Command) -> None:
    sizes = ("--layers", "1", "--width", "8", "--heads", "1", "--steps", "40", "--batch", "8", "--lr", "0.02")
    plan = ("--set", "train.eval_every=5", "--set", "train.schedule=constant", "--set", "train.test_examples=64")
    trained = command("train", "--task", "parity", "--complexity", "32", *sizes, *plan, "--store", "s", "--quiet")
    assert trained.status == 0
    words = ("report", "s", "--metric", "failure_mode")
    before = command(*words).out
    assert "or optimization failure" in before
    assert "--probe" in before
    probed = command(*words, "--probe", "--json")
    assert re.fullmatch(r"1 undecided run, 3 probes; .*; s/probes/", probed.error.splitlines()[0])
    (run,) = json.loads(probed.out)["runs"]
    assert (run["failure_mode"], run["alternative"]) == ("capacity", "")
    assert "; probes: 160 steps loss 0." in run["evidence"]
    again = command(*words, "--probe", "--json")
    assert again.error == "No run has two failure modes that probes could tell apart.\n"
    assert again.out == probed.out
    assert f"{run['failure_mode']}: {run['evidence']}" in " ".join(
        command("show", run["id"], "--store", "s").out.split()
    )
    refused = command("report", "s", "--probe")
    assert (refused.status, refused.error) == (
        2,
        "attnlab: --probe\n  Probes decide between failure modes.\n  Add --metric failure_mode.\n",
    )


@pytest.mark.parametrize(
    ("words", "note"),
    [
        (("--metric", "verdict"), "'verdict' is now called 'failure_mode'"),
        (("--metric", "answers"), "'answers' is now called 'exact_match'"),
        (("--value", "validation"), "'validation' is now called 'validation_accuracy'"),
        (("--rows", "complexity", "--columns", "attention"), "'complexity' is now called 'level'"),
    ],
)
def test_old_words_are_accepted_with_one_line(
    words: tuple[str, ...], note: str, results: Path, command: Command
) -> None:
    result = command("report", "x", *words)
    assert result.status == 0
    assert note in result.error


def test_a_file_that_cannot_be_written_is_one_block(results: Path, command: Command) -> None:
    Path("taken").write_text("mine")
    options = {"csv": "csv", "markdown": "md", "parquet": "parquet", "latex": "tex"}
    said = {f"taken/a.{end}": command("report", "x", f"--{one}", f"taken/a.{end}") for one, end in options.items()}
    said["taken/b.yaml"] = command("cp", "recall", "taken/b.yaml")
    for name, result in said.items():
        assert (result.status, result.out) == (2, ""), name
        assert result.error.startswith(f"attnlab: {name}\n  It cannot be written: ")
    assert Path("taken").read_text() == "mine"


def test_a_copy_to_a_device_is_no_overwriting(command: Command) -> None:
    result = command("cp", "recall", "/dev/null")
    assert (result.status, result.out) == (0, "")
    assert "Edit it" in result.error
    assert Path("/dev/null").is_char_device()
