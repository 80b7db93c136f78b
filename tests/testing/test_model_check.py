"""The check of whole models before they are trained: leaks, state, seeds, and what is a warning."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import attnlab
from attnlab.config.inline_parts import parse_modules
from attnlab.errors import PartWarning, PluginError
from attnlab.experiments.whole_model import module_spec
from attnlab.model.module import MODULES
from attnlab.specs import ModelSpec
from attnlab.testing.model_check import check_model, quick_model_check
from tests.own_models import FAST, BatchNorm, Drawn, Keeps, Late, Leaky, Length, Logits, Small, TimeFirst

LEAKS = {
    "Leaky": "with every weight moved",
    "Small": "by the tokens after token",
    "Late": "by the tokens after token",
    "TimeFirst": "by other rows of the batch",
    "BatchNorm": "in training mode",
}


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    entries = dict(MODULES._entries)
    yield
    MODULES._entries.clear()
    MODULES._entries.update(entries)


def spec_of(name: str) -> ModelSpec:
    """The spec of a model of :mod:`tests.own_models`."""
    return module_spec(ModelSpec(width=8), parse_modules(f"tests.own_models:{name}")[0])


def test_a_causal_model_passes() -> None:
    found = quick_model_check(spec_of("Logits"), 7, 12)
    assert (found.leak, found.prefix, found.seeds) == ("", "", "")


@pytest.mark.parametrize("name", LEAKS)
def test_a_leak_is_found_and_told(name: str) -> None:
    assert LEAKS[name] in quick_model_check(spec_of(name), 7, 12).leak


def test_a_leak_refuses_the_run_unless_it_is_allowed() -> None:
    for cls in (Leaky, Small, Late, TimeFirst, BatchNorm):
        with pytest.raises(PluginError, match=r"sees later tokens(.|\n)*--allow-leak"):
            attnlab.train("copy", model=cls, store=None, **FAST)
    records = attnlab.train("copy", model={"module": [Leaky, Logits], "allow_leak": True}, store=None, **FAST)
    names = [record.spec.variant for record in records]
    assert names == ["tests.own_models:Leaky (leaks)", "tests.own_models:Logits"]
    assert [record.spec.model.allow_leak for record in records] == [True, False]


def test_state_between_calls_and_weights_without_the_seed_are_refused() -> None:
    assert "depend on 'module.seen'" in quick_model_check(spec_of("Keeps"), 7, 12).changes
    with pytest.raises(PluginError, match=r"'module.seen', which every forward pass changes"):
        attnlab.train("copy", model=Keeps, store=None, **FAST)
    with pytest.raises(PluginError, match=r"'module.head.weight' is not the same in two models of one seed"):
        attnlab.train("copy", model=Drawn, store=None, **FAST)


def test_a_model_that_reads_its_length_is_warned_of() -> None:
    with pytest.warns(PartWarning, match=r"Length: a prefix has other outputs than the whole \(.* at length"):
        attnlab.train("copy", model=Length, store=None, **FAST)


def test_the_check_of_the_command_line_has_a_finding_for_each() -> None:
    outcomes = {
        name: {finding.check: finding.outcome for finding in check_model(spec_of(name)).findings}
        for name in ("Logits", "Small", "Keeps", "Drawn")
    }
    assert set(outcomes["Logits"].values()) == {"pass", "info"}
    failed = {name: [check for check, outcome in one.items() if outcome == "fail"] for name, one in outcomes.items()}
    assert failed == {
        "Logits": [],
        "Small": ["future never seen"],
        "Keeps": ["equal calls", "future never seen"],
        "Drawn": ["seeds"],
    }
