"""Every built-in part gives what it gave when its version was set."""

from __future__ import annotations

import json
import math

import pytest

from attnlab.metrics import METRICS
from tests.shipped.outputs import PINNED, Output, changed, outputs


@pytest.fixture(scope="module")
def now(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Output]]:
    return outputs(tmp_path_factory.mktemp("outputs"))


@pytest.mark.parametrize("kind", ["attention", "position", "norm", "MLP", "block", "residual stream", "task", "metric"])
def test_a_part_of_the_same_version_gives_the_same(kind: str, now: dict[str, dict[str, Output]]) -> None:
    pinned = json.loads(PINNED.read_text())[kind]
    assert pinned.keys() == now[kind].keys(), "run: python -m tests.shipped.outputs"
    differ = {
        name: {"pinned": pinned[name]["values"], "now": output.values}
        for name, output in now[kind].items()
        if pinned[name]["version"] == output.version and changed(pinned[name]["values"], output.values)
    }
    assert not differ, "raise the version of these parts, or state a reason: see tests/shipped/outputs.py"
    newer = [name for name, output in now[kind].items() if pinned[name]["version"] != output.version]
    assert not newer, "their version was raised; run: python -m tests.shipped.outputs"


def test_every_metric_is_among_them(now: dict[str, dict[str, Output]]) -> None:
    assert {name.partition(" of ")[0] for name in now["metric"]} >= METRICS.keys()


def test_what_counts_as_a_change() -> None:
    assert changed(["0a", 1.0], ["0b", 1.0])
    assert changed([1.0], [1.001])
    assert changed([1.0], [math.nan])
    assert changed([1.0], [1.0, 2.0])
    assert not changed(["0a", 1.0, math.nan], ["0a", 1.00001, math.nan])


def test_the_pinned_file_is_whole() -> None:
    text = PINNED.read_text()
    assert text.endswith("}\n")
    assert all(one["values"] for parts in json.loads(text).values() for one in parts.values())
