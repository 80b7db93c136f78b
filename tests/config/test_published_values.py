"""The published values of an experiment file: what is read, and what is refused in one block."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from attnlab.config.experiment import Experiment, experiment_from_json, parse_experiment
from attnlab.config.schema import schema
from attnlab.config.yaml import parse
from attnlab.errors import AttnlabError
from attnlab.rendering.experiment_yaml import experiment_yaml

TEXT = """\
name: mine
question: Does it?
source: arXiv:2411.12537
ladders: [copy]
grid: {attention: [softmax, gpam]}
published:
  - table: Table 3
    quantity: scaled accuracy, best of 3 seeds
    metric: normalized_accuracy
    values:
      - {of: {attention: softmax, level: 8}, value: 0.022, as: Transformer}
      - {of: {attention: gpam, level: 8}, value: 1}
    differs: >-
      Theirs has two layers,
      ours one.
presets:
  smoke: {seeds: 1, claims: false}
  paper: {seeds: 9}
"""


def read(old: str = "", new: str = "") -> Experiment:
    assert old in TEXT
    return parse_experiment(TEXT.replace(old, new) if old else TEXT, "mine.yaml")


def test_it_is_read() -> None:
    (table,) = read().published
    assert (table.table, table.source, table.metric) == ("Table 3", "", "normalized_accuracy")
    assert table.differs == "Theirs has two layers, ours one."
    assert [(one.of["attention"], one.value, one.name) for one in table.values] == [
        ("softmax", 0.022, "Transformer"),
        ("gpam", 1.0, ""),
    ]


def test_a_value_may_be_words_where_the_source_has_no_number() -> None:
    (table,) = read("value: 0.022", "value: does not  converge").published
    assert table.values[0].value == "does not converge"


def test_an_experiment_has_none_by_default() -> None:
    assert parse_experiment("name: x\nquestion: y?\nladders: [copy]\n", "x.yaml").published == ()


def test_the_metric_is_the_accuracy_by_default() -> None:
    assert read("    metric: normalized_accuracy\n").published[0].metric == "accuracy"


def test_it_is_kept_by_json_and_by_yaml() -> None:
    before = read()
    text = before.model_dump_json()
    assert '"value":0.022,"as":"Transformer"' in text
    assert experiment_from_json(text.encode()).published == before.published
    assert parse_experiment(experiment_yaml(before), "again.yaml").published == before.published


@pytest.mark.parametrize(("preset", "tables"), [("smoke", 0), ("paper", 1), ("laptop", 1), (None, 1)])
def test_a_preset_without_claims_has_no_published_values(preset: str | None, tables: int) -> None:
    assert len(read().with_preset(preset).published) == tables  # type: ignore[arg-type]


def test_the_schema_has_it() -> None:
    data = schema(Experiment)
    assert data["$defs"]["PublishedValue"]["properties"]["as"]["description"] == "What the source calls the variant."
    check = Draft202012Validator(data)
    assert check.is_valid(parse(TEXT).data)
    for wrong in (TEXT.replace("as: Tr", "name: Tr"), TEXT.replace("table: ", "figure: ")):
        assert not check.is_valid(parse(wrong).data)


DIFFERS = "    differs: >-\n      Theirs has two layers,\n      ours one.\n"
OUTSIDE = "11: published[0].values[0].value\n  A published value of 'normalized_accuracy' cannot be"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.022", "2.2", f"{OUTSIDE} 2.2.\n  Shares are written from 0 to 1: 0.022 for 2.2 %."),
        ("0.022", "220", f"{OUTSIDE} 220.\n  Shares are written from 0 to 1: 0.022 for 2.2 %."),
        ("0.022", "-0.1", f"{OUTSIDE} -0.1.\n  Shares are written from 0 to 1: 0.022 for 2.2 %."),
        (
            "0.022",
            ".nan",
            "11: published[0].values[0].value\n  It cannot be nan.\n  Input should be a finite number; or ",
        ),
        (
            "0.022",
            ".inf",
            "11: published[0].values[0].value\n  It cannot be inf.\n  Input should be a finite number; or ",
        ),
        (
            "0.022",
            "[2]",
            "11: published[0].values[0].value\n  It cannot be [2].\n  Input should be a valid number; or ",
        ),
        (
            "0.022",
            '""',
            "11: published[0].values[0].value\n  It cannot be ''.\n  Input should be a valid number; or Write",
        ),
        (DIFFERS, "", "7: published[0]\n  'differs' is missing.\n  Add a line differs: ..."),
        (DIFFERS, "    differs: ' '\n", "13: published[0].differs\n  It cannot be ' '.\n  Write some words here."),
        ("table: Table 3\n    ", "", "7: published[0]\n  'table' is missing."),
        (
            "source: arXiv:2411.12537\n",
            "",
            "6: published[0]\n  Nothing says where these values were published.\n  Add a line source: arXiv:...",
        ),
        (
            "as: Tr",
            "name: Tr",
            "11: published[0].values[0].name\n  There is no key 'name'.\n  Known: as, of, value.",
        ),
        ("of: {attention: gpam, level: 8}, ", "", "12: published[0].values[1]\n  'of' is missing."),
        ("    metric:", "    metrics:", "9: published[0].metrics\n  There is no key 'metrics'; did you mean 'metric'?"),
    ],
)
def test_mistakes_are_refused_with_their_line(old: str, new: str, message: str) -> None:
    with pytest.raises(AttnlabError) as caught:
        read(old, new)
    assert str(caught.value).startswith(f"mine.yaml:{message}")


def test_a_loss_may_be_any_finite_number() -> None:
    changed = TEXT.replace("normalized_accuracy", "loss").replace("0.022", "22.4")
    assert parse_experiment(changed, "mine.yaml").published[0].values[0].value == 22.4


def test_a_table_may_have_a_source_of_its_own() -> None:
    changed = TEXT.replace("source: arXiv:2411.12537\n", "").replace("Table 3\n", "Table 3\n    source: arXiv:1\n")
    assert parse_experiment(changed, "mine.yaml").published[0].source == "arXiv:1"
