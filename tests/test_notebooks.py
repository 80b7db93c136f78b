"""What a notebook shows of records, reports and diagnoses, and the data frames that they turn into."""

from __future__ import annotations

import math
import pickle
import sys
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import pytest

import attnlab
from attnlab._api.records import Records
from attnlab.data_frames import columns
from attnlab.diagnosis.result import Diagnosis, Panel, Series
from attnlab.errors import InvalidValueError
from attnlab.records import HistoryPoint
from attnlab.rendering.report import Report, report
from attnlab.storage import Store
from tests.rendering.fake_runs import run, seeds

HOSTILE = "<b id=x>\x1b[2J&"
"""A name with markup and a control character."""
RUNS = Records([run(pairs="easy", lr=0.1), run(pairs=4, seed=1, position="rope", diagnostics={"entropy": 0.5})])
SERIES = Series("softmax", seeds=((0.25, math.nan),), mean=(0.25, math.nan), below=(False, False))
DIAGNOSIS = Diagnosis(
    "rank-collapse", "a model", (Panel("residual", "how far", "output", False, ("1", "2"), (SERIES,)),)
)


VALUES: dict[str, Any] = {"records": RUNS, "report": report(RUNS), "empty": Report(()), "diagnosis": DIAGNOSIS}


class Elements(HTMLParser):
    """Collects elements with their attributes, and texts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.text = ""
        self.attributes: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_records_are_a_list(tmp_path: Any) -> None:
    assert list(RUNS) == RUNS
    assert isinstance(RUNS[:1], Records)
    assert RUNS[1].spec.seed == 1
    assert pickle.loads(pickle.dumps(RUNS)) == RUNS
    assert isinstance(attnlab.load_records(tmp_path), Records)


def test_a_run_of_several_stores_is_loaded_once(tmp_path: Any) -> None:
    for name, runs in (("a", seeds([0.5, 0.6])), ("b", seeds([0.5, 0.6, 0.7]))):
        store = Store(tmp_path / name)
        store.open()
        store.append(runs)
    records = attnlab.load_records(tmp_path)
    assert [record.spec.seed for record in records] == [0, 1, 2]
    joined = [*attnlab.load_records(tmp_path / "b"), *attnlab.load_records(tmp_path / "a")]
    assert attnlab.report(joined).footnotes() == attnlab.report(records).footnotes()


def test_records_become_rows() -> None:
    first, second = RUNS.rows()
    assert list(first) == list(second)
    assert (first["level"], first["lr"], first["seed"], first["accuracy"]) == ("easy", 0.1, 0, 0.5)
    assert (second["level"], second["position"], second["entropy"], first["entropy"]) == (4, "rope", 0.5, None)
    assert {"id", "status", "attention", "width", "loss", "steps", "parameters", "exact_match"} <= set(first)
    assert {type(value) for row in (first, second) for value in row.values()} <= {int, float, str, bool, type(None)}
    assert Records().rows() == []


@pytest.mark.parametrize(("name", "shown"), [("records", "softmax"), ("report", "rope"), ("diagnosis", "softmax")])
def test_a_notebook_shows_them(name: str, shown: str) -> None:
    elements = Elements(VALUES[name]._repr_html_())
    assert elements.names <= {"pre", "span", "p", "b", "small", "table", "caption", "thead", "tbody", "tr", "th", "td"}
    assert elements.attributes <= {"style"}
    assert shown in elements.text


def test_numbers_of_a_diagnosis_are_shown() -> None:
    assert "<td>0.25</td><td>-</td>" in DIAGNOSIS._repr_html_()


def test_names_from_elsewhere_are_only_text() -> None:
    series = Series(HOSTILE, seeds=((1.0,),), mean=(1.0,), below=(False,))
    diagnosis = Diagnosis(
        "rank-collapse", HOSTILE, (Panel(HOSTILE, HOSTILE, "", False, (HOSTILE,), (series,), HOSTILE),)
    )
    hostile = Records([run(HOSTILE.replace(" ", "")), run(seed=1)])
    for html in (diagnosis._repr_html_(), hostile._repr_html_(), report(hostile)._repr_html_()):
        elements = Elements(html)
        assert "id" not in elements.attributes
        assert "\x1b" not in html
        assert "id=x>" in elements.text


def test_no_runs_are_shown_as_such() -> None:
    assert "No runs." in Records()._repr_html_()


@pytest.mark.parametrize("name", ["records", "report", "diagnosis"])
def test_a_data_frame_of_pandas_has_columns_of_one_type(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package in its place records what it is given."""
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=dict))
    data = VALUES[name].to_pandas()
    assert len({len(values) for values in data.values()}) == 1
    for values in data.values():
        assert len({type(value) for value in values} - {type(None)}) <= 1


def test_the_real_packages_make_data_frames_where_they_are_installed() -> None:
    pandas = pytest.importorskip("pandas")
    for name in ("records", "report", "diagnosis"):
        assert len(VALUES[name].to_pandas()) > 0
    assert pandas.concat([VALUES["report"].to_pandas()] * 2).shape[0] == 2 * len(VALUES["report"].to_pandas())


def test_two_reports_become_frames_of_one_schema_in_polars() -> None:
    polars = pytest.importorskip("polars")
    frames = [VALUES[name].to_polars() for name in ("report", "empty")]
    assert frames[0].schema == frames[1].schema
    assert polars.concat(frames).height == frames[0].height > 0
    assert VALUES["records"].to_polars()["level"].to_list() == ["easy", "4"]
    assert VALUES["diagnosis"].to_polars().height == 2


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_a_missing_package_is_named_with_its_command(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InvalidValueError) as caught:
        getattr(VALUES[name], f"to_{package}")()
    assert caught.value.problem == f"A data frame needs {package}, which is not installed."
    assert caught.value.hint == f"Install it with: pip install {package}"
    assert caught.value.where == f"to_{package}()"


def test_integers_among_floats_become_floats() -> None:
    assert columns([{"a": 1, "b": True}, {"a": 0.5, "b": "x"}, {"a": None, "b": None}]) == {
        "a": [1.0, 0.5, None],
        "b": ["True", "x", None],
    }


# -- plots -----------------------------------------------------------------------------------------------------------


def drawn(chart: Any) -> list[dict[str, Any]]:
    """The rows of all data of a chart, wherever altair has put them."""
    if isinstance(chart, list):
        return [row for one in chart for row in drawn(one)]
    if not isinstance(chart, dict):
        return []
    own = [
        *chart.get("data", {}).get("values", []),
        *(row for rows in chart.get("datasets", {}).values() for row in rows),
    ]
    return [*own, *(row for key, one in chart.items() if key not in ("data", "datasets") for row in drawn(one))]


@pytest.mark.parametrize("name", ["records", "report", "diagnosis"])
def test_a_plot_is_a_chart_of_altair_with_every_variant(name: str) -> None:
    pytest.importorskip("altair", reason="altair is absent: pip install 'attnlab[plots]'")
    variants = {"softmax"} if name == "diagnosis" else {"learned", "rope"}
    assert {row["variant"] for row in drawn(VALUES[name].plot().to_dict())} == variants


def test_a_layer_without_a_number_interrupts_the_line() -> None:
    pytest.importorskip("altair", reason="altair is absent: pip install 'attnlab[plots]'")
    rows = drawn(DIAGNOSIS.plot().to_dict())
    assert [(row["layer"], row["mean"], row["least"]) for row in rows] == [("1", 0.25, 0.25), ("2", None, None)]


def test_layers_stay_in_their_order_and_a_zero_keeps_the_axis_linear() -> None:
    pytest.importorskip("altair", reason="altair is absent: pip install 'attnlab[plots]'")
    layers = tuple(str(layer) for layer in range(12))
    panels = []
    for name, first in (("zero", 0.0), ("wide", 1e-4)):
        values = (first, *([1.0] * 11))
        series = Series("softmax", seeds=(values,), mean=values, below=(False,) * 12)
        panels.append(Panel(name, "what", "output", False, layers, (series,)))
    zero, wide = Diagnosis("rank-collapse", "a model", tuple(panels)).plot().to_dict()["concat"]
    for one, kind in ((zero, None), (wide, "log")):
        encoding = one["layer"][1]["encoding"]
        assert encoding["x"]["sort"] == list(layers)
        assert encoding["y"]["scale"].get("type") == kind


def test_a_plot_that_cannot_be_drawn_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("altair", reason="altair is absent: pip install 'attnlab[plots]'")
    for value in (Records(), Report(()), Diagnosis("rank-collapse", "a model", ())):
        with pytest.raises(InvalidValueError) as caught:
            value.plot()
        assert caught.value.where == "plot()"
    with pytest.raises(InvalidValueError, match="There is no plot 'lines'"):
        report(RUNS).plot("lines")  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "altair", None)
    for name in ("records", "report", "diagnosis"):
        with pytest.raises(InvalidValueError, match="A plot needs altair, which is not installed"):
            VALUES[name].plot()


# -- progress and callbacks ------------------------------------------------------------------------------------------

MODEL = {"layers": 1, "width": 8, "heads": 1}
FAST = {"max_steps": 4, "batch_size": 4, "validation_examples": 4, "test_examples": 4, "eval_every": 2}


def test_the_progress_is_html_and_text_of_what_runs() -> None:
    from attnlab.rendering import notebook_progress
    from attnlab.rendering.notebook_progress import NotebookProgress
    from attnlab.training.events import Event, Preparing, RunFinished, RunStarted, StepsTaken, Validated

    first, second = RUNS
    shown: list[dict[str, str]] = []
    progress = NotebookProgress(shown.append, total=2)
    events: list[Event] = [
        Preparing("Counting."),
        RunStarted(first.spec, 0, 7, "cpu"),
        StepsTaken(first.spec, 10, 1.5, 100, 0.5),
        Validated(first.spec, HistoryPoint(step=10, loss=1.25, accuracy=0.5)),
        RunStarted(second.spec, 5, 7, "cpu"),
        RunFinished(first),
        RunFinished(second),
    ]
    for event in events:
        progress.shown = -notebook_progress.SECONDS
        progress(event)
    texts = [one["text/plain"].splitlines() for one in shown]
    assert texts[0] == ["Counting."]
    steps = first.spec.train.max_steps
    assert texts[3][1] == f"10/{steps:,}  loss 1.5000  accuracy 50.0 %  {first.spec.summary}"
    assert [len(lines) for lines in texts] == [1, 2, 2, 2, 3, 2, 1]
    assert texts[-1][0].startswith("2 of 2 runs done")
    assert f'<progress value="10" max="{steps}">' in shown[3]["text/html"]
    for one in shown:
        assert Elements(one["text/html"]).names <= {"p", "table", "tr", "td", "progress"}


def test_the_progress_is_updated_twice_a_second_at_most() -> None:
    from attnlab.rendering.notebook_progress import NotebookProgress
    from attnlab.training.events import StepsTaken

    shown: list[dict[str, str]] = []
    progress = NotebookProgress(shown.append)
    for step in range(1000):
        progress(StepsTaken(RUNS[0].spec, step, 1.0, 1))
    assert len(shown) < 10


def test_nothing_is_shown_outside_of_a_notebook(tmp_path: Any, capfd: pytest.CaptureFixture[str]) -> None:
    attnlab.train("copy", model=MODEL, train=FAST, store=tmp_path, device="cpu")
    assert capfd.readouterr() == ("", "")


def test_callbacks_receive_every_event_in_order(tmp_path: Any) -> None:
    events: list[attnlab.Event] = []
    kinds: list[str] = []
    words: dict[str, Any] = {"model": MODEL, "train": FAST, "device": "cpu"}
    words["callbacks"] = [events.append, lambda event: kinds.append(type(event).__name__)]
    (record,) = attnlab.train("copy", store=tmp_path / "a", **words)
    kinds = [kind for kind in kinds if kind not in ("Preparing", "Notice")]
    assert kinds == ["RunStarted", "StepsTaken", "Validated", "StepsTaken", "Validated", "RunFinished"]
    assert events[-1] == attnlab.RunFinished(record)
    taken = [event for event in events if isinstance(event, attnlab.StepsTaken)]
    assert all(event.gradient_norm is not None and event.gradient_norm > 0 for event in taken)
    events.clear()
    attnlab.sweep("copy", complexity=[2, 4], seeds=1, executor="inline", store=tmp_path / "b", **words)
    assert sum(isinstance(event, attnlab.RunFinished) for event in events) == 2


def raising(event: object) -> None:
    if isinstance(event, attnlab.Validated):
        raise LookupError("mine")


def test_what_a_callback_raises_ends_the_call_and_fails_no_run(tmp_path: Any) -> None:
    words: dict[str, Any] = {"model": MODEL, "train": FAST, "device": "cpu", "callbacks": [raising]}
    with pytest.raises(LookupError, match="mine"):
        attnlab.train("copy", store=tmp_path / "a", **words)
    with pytest.raises(LookupError, match="mine"):
        attnlab.sweep("copy", complexity=[2], seeds=1, executor="inline", store=tmp_path / "b", **words)
    assert attnlab.load_records(tmp_path / "b") == []
    del words["callbacks"]
    (record,) = attnlab.sweep("copy", complexity=[2], seeds=1, executor="inline", store=tmp_path / "b", **words)
    assert record.status == "done"


@pytest.mark.parametrize("callbacks", [print, [3], 3, [attnlab.Attention]])
def test_what_is_no_list_of_functions_is_refused(callbacks: Any, tmp_path: Any) -> None:
    for function in (attnlab.train, attnlab.sweep):
        with pytest.raises(InvalidValueError) as caught:
            function("copy", store=tmp_path / "s", callbacks=callbacks)
        assert caught.value.where == "callbacks"
    assert list(tmp_path.iterdir()) == []


def test_a_run_goes_on_from_a_record_with_its_own_steps(tmp_path: Any) -> None:
    words: dict[str, Any] = {"model": MODEL, "store": tmp_path, "device": "cpu"}
    (first,) = attnlab.train("copy", train=FAST, **words)
    taken: list[int] = []

    def keep(event: attnlab.Event) -> None:
        if isinstance(event, attnlab.RunStarted | attnlab.StepsTaken):
            taken.append(event.step)

    longer = {**FAST, "max_steps": 8}
    (second,) = attnlab.train("copy", train=longer, continue_from=first, callbacks=[keep], **words)
    assert (taken, second.steps, second.spec.continue_from) == ([4, 6, 8], 8, first.id)


def test_a_loaded_model_takes_tokens_and_gives_logits(tmp_path: Any) -> None:
    import torch

    (record,) = attnlab.train("copy", model=MODEL, train=FAST, store=tmp_path, device="cpu")
    model = attnlab.load_model(record, tmp_path)
    tokens = torch.tensor([[0, 1, 2, 1], [2, 2, 0, 1]])
    logits = model(tokens)
    assert (logits.shape, logits.dtype) == ((2, 4, record.vocabulary), torch.float32)
    torch.testing.assert_close(logits.flatten(0, 1), model(tokens, None).logits_NV)
    torch.testing.assert_close(logits[1, 2], model(tokens, torch.tensor([6])).logits_NV[0])
