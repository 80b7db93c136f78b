"""The contract of every registered task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnlab.tasks import IGNORE, TASKS, Batch, Task

ROWS = 40
EXAMPLE = str(Path(__file__).with_name("example.jsonl"))
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "mixture": [
        {},
        {"tasks": ("delay", "recall:pairs=2,length=16"), "alphabet": "shared", "weights": (1.0, 3.0)},
        {"tasks": ("parity", "parity-last"), "token": False, "level": 1},
        {"count": 1},
    ],
    "copy": [{}, {"symbols": 1}, {"symbols": 5, "alphabet": 2}],
    "reverse": [{}, {"symbols": 1}, {"symbols": 7, "alphabet": 9}],
    "duplicate": [{}, {"symbols": 1}, {"symbols": 7, "alphabet": 9}, {"symbols": 3, "duplication": 5}],
    "selective-copy": [{}, {"symbols": 1, "length": 4, "vocabulary": 4}, {"symbols": 31, "letters": "anywhere"}],
    "copy-delay": [{}, {"lag": 1, "symbols": 1, "alphabet": 2}, {"lag": 50, "symbols": 3}],
    "missing-duplicate": [{}, {"symbols": 2}, {"symbols": 3}, {"symbols": 41}],
    "lookup": [
        {},
        {"symbols": 3, "gram": 1, "answer": 1, "alphabet": 2},
        {"symbols": 66, "gram": 3, "alphabet": 4, "given": "prefix"},
    ],
    "bucket-sort": [{}, {"symbols": 1, "alphabet": 2}, {"symbols": 40, "alphabet": 9}],
    "odds-first": [{}, {"symbols": 1, "counted_from": 0}, {"symbols": 9, "alphabet": 5, "counted_from": 0}],
    "unique": [{}, {"symbols": 1, "distinct": 1, "alphabet": 2}, {"symbols": 9, "distinct": 9, "alphabet": 9}],
    "recall": [{}, {"filler": "zeros"}, {"pairs": 1, "length": 4, "vocabulary": 4}, {"pairs": 16, "power": 1.0}],
    "majority": [
        {},
        {"bits": 1},
        {"bits": 8, "asked": "last"},
        {"bits": 30, "alphabet": 9, "ties": "largest"},
        {"bits": 30, "alphabet": 9, "ties": "broken", "asked": "last"},
    ],
    "modular-counting": [
        {},
        {"symbols": 1, "modulus": 2},
        {"symbols": 30, "modulus": 7, "alphabet": 26, "asked": "last"},
    ],
    "histogram": [{}, {"symbols": 1, "alphabet": 2}, {"symbols": 20, "alphabet": 26, "asked": "running"}],
    "even-pairs": [{}, {"bits": 2}, {"bits": 41}],
    "modular-arithmetic": [{}, {"numbers": 1}, {"numbers": 32}, {"modulus": 23, "operators": "+-"}],
    "modular-arithmetic-brackets": [
        {},
        {"symbols": 1},
        {"symbols": 4},
        {"symbols": 64},
        {"symbols": 20, "modulus": 23, "operators": "+-"},
    ],
    "solve-equation": [{}, {"symbols": 3}, {"symbols": 64}, {"symbols": 20, "modulus": 23, "operators": "-"}],
    "binary-addition": [{}, {"symbols": 4}, {"symbols": 70, "order": "big"}],
    "binary-multiplication": [{}, {"symbols": 4}, {"symbols": 70, "order": "big"}],
    "square-root": [{}, {"bits": 2}, {"bits": 65}],
    "parity": [{}, {"bits": 1}, {"bits": 9, "asked": "last"}],
    "cycle-navigation": [{}, {"moves": 1, "places": 2}, {"moves": 40, "places": 9, "asked": "running"}],
    "stack": [{}, {"symbols": 1}, {"symbols": 2}, {"symbols": 40}],
    "dyck": [{}, {"pairs": 1, "kinds": 2, "depth": 1}, {"pairs": 40, "kinds": 7, "depth": 5}],
    "word-problem": [
        {},
        {"length": 1, "group": "Z2"},
        {"length": 30, "group": "A4xZ5"},
        {"group": "S5"},
        {"group": "S5", "elements": "swaps", "asked": "image"},
        {"group": "S4", "elements": "swaps+3cycles", "spread": 3, "asked": "identity"},
        {"group": "Z3xS3", "length": 1, "spread": 2, "asked": "identity"},
    ],
    "delay": [
        {},
        {"modulus": 2, "lag": 2, "length": 2},
        {"modulus": 16, "lag": 5, "length": 64},
        {"modulus": 6, "lags": (1, 2, 5), "coefficients": (3, -2, 1)},
        {"modulus": 9, "kind": "product", "answers": 5},
        {"modulus": 2, "kind": "majority", "lags": (1, 3, 4)},
    ],
    "path-star": [{}, {"steps": 1, "nodes": 3}, {"steps": 4, "branches": 9, "asked": "branch"}],
    "regular": [
        {},
        {"states": 3, "edges": 2, "automata": 1, "letters": 6, "length": 9},
        {"letters": 30, "targets": "uniform"},
    ],
    "file": [{"path": EXAMPLE}, {"path": EXAMPLE, "rows": 3, "vocabulary": 9, "chance": 0.5}],
    "text": [{}, {"length": 1}, {"length": 999, "glob": "a*.py"}],
    "flip-flop": [{}, {"length": 4}, {"length": 64, "ignore": 0.98, "loss": "noisy"}, {"ignore": 0.0}],
    "k-hop": [{}, {"hops": 0, "letters": 4}, {"hops": 5, "fewest_hops": 2, "alphabet": 3}],
    "recall-once": [{}, {"keys": 2, "uses": 1}, {"keys": 32, "uses": 3}],
    "recall-stream": [{}, {"keys": 2, "uses": 1}, {"keys": 24, "uses": 3}],
    "recall-noisy": [{}, {"keys": 2, "uses": 1, "kinds": 1}, {"noise": 0.8}, {"noise": 0.0}],
    "recall-fuzzy": [
        {},
        {"length": 3, "ids": 2, "motif": 1},
        {"length": 96, "shortest": 3},
        {"length": 40, "motif": 5},
        {"ids": 7, "value_ids": 8},
    ],
    "recall-updated": [{}, {"pairs": 1, "length": 6, "vocabulary": 4}, {"pairs": 9, "updates": 1.0}],
    "recall-nback": [{}, {"back": 1, "pairs": 1, "writes": 1, "length": 4, "vocabulary": 4}, {"back": 5, "power": 1.0}],
    "indirect-indexing": [{}, {"letters": 2, "shift": 1}, {"letters": 52}],
    "depo": [{}, {"nodes": 2, "queries": 1, "names": 2}, {"hops": 6, "fewest_hops": 1, "fewest_nodes": 3}],
    "multi-stack": [{}, {"operations": 2, "stacks": 1, "values": 2}, {"operations": 40, "stacks": 64}],
    "dag-reachability": [{}, {"nodes": 2, "queries": 1, "names": 4}, {"trees": 3, "nodes": 9, "order": "random"}],
    "recall-stacked": [{}, {"pairs": 1, "keys": 1, "values": 2}, {"pairs": 7, "passes": 3, "keys": 9, "values": 7}],
    "in-context-regression": [{}, {"dimensions": 1, "noise": 0.0}, {"dimensions": 6, "examples": 9, "known": 7}],
    "brevo": [{}, {"nodes": 2, "names": 2}, {"nodes": 9, "fewest_nodes": 3}],
    "reasoning-gym": [],  # it needs a package: tests/oracles/test_reasoning_gym.py
    "mano": [{}, {"operations": 1, "modulus": 2}, {"operations": 20, "fewest": 3, "operators": "-*"}],
    "recall-composed": [{}, {"side": 1, "length": 6, "vocabulary": 6}, {"side": 4, "power": 1.0}],
    "recall-joint": [{}, {"contexts": 1, "keys": 1, "vocabulary": 6}, {"contexts": 5, "keys": 6}],
    "induction": [{}, {"length": 3, "alphabet": 2}, {"length": 100}],
    "ngram": [{}, {"alphabet": 2, "steps": 1, "visits": 1}, {"alphabet": 3, "order": 4}, {"steps": 9, "visits": 1}],
    "needle": [{}, {"haystack": 1, "digits": 1, "kinds": 1}, {"filler": "cycle", "kinds": 5, "digits": 7}],
    "memorization": [{}, {"pairs": 2, "slots": 1}, {"map_seed": 7, "pairs": 500}],
    "compression": [{}, {"symbols": 1, "alphabet": 2}, {"symbols": 40}],
}
"""Options to test besides the defaults."""
UNSOLVED = {"file", "text", "regular"}
"""Tasks without a solver."""

CASES = [(entry.name, options) for entry in TASKS for options in SETTINGS.get(entry.name, [{}])]
every_task = pytest.mark.parametrize(("name", "options"), CASES, ids=[f"{name}-{options}" for name, options in CASES])


def make(name: str, options: dict[str, Any]) -> Task:
    entry = TASKS.entry(name)
    return entry.cls(**entry.complete(options))


def draw(name: str, options: dict[str, Any], seed: int = 0) -> tuple[Task, Batch]:
    task = make(name, options)
    return task, task.sample(np.random.default_rng(seed), ROWS)


@every_task
def test_shapes_and_types(name: str, options: dict[str, Any]) -> None:
    task, batch = draw(name, options)
    assert batch.inputs_BT.shape[:2] == batch.targets_BT.shape == (ROWS, batch.inputs_BT.shape[1])
    assert batch.inputs_BT.shape[2:] == ((task.features,) if task.features else ())
    assert 1 <= batch.inputs_BT.shape[1] <= task.length
    assert batch.inputs_BT.dtype == batch.targets_BT.dtype == (np.float32 if task.features else np.int64)


@every_task
def test_tokens_and_targets_are_in_the_vocabulary(name: str, options: dict[str, Any]) -> None:
    task, batch = draw(name, options)
    if task.features:
        assert task.vocabulary == 1
        return
    for tokens in (batch.inputs_BT, batch.query_targets()):
        assert tokens.min() >= 0
        assert tokens.max() < task.vocabulary


@every_task
def test_every_sequence_has_a_supervised_position(name: str, options: dict[str, Any]) -> None:
    _, batch = draw(name, options)
    assert (batch.targets_BT != IGNORE).any(axis=1).all()


@every_task
def test_a_batch_is_a_function_of_its_generator(name: str, options: dict[str, Any]) -> None:
    (_, one), (_, same) = draw(name, options), draw(name, options)
    for first, second in zip(one[:2], same[:2], strict=True):
        np.testing.assert_array_equal(first, second)


@every_task
def test_the_generator_is_used_and_no_state_is_kept(name: str, options: dict[str, Any]) -> None:
    task, first = draw(name, options)
    random = np.random.default_rng(0)
    for one, other in zip(task.sample(random, ROWS)[:2], first[:2], strict=True):
        np.testing.assert_array_equal(one, other)
    rows = {row.tobytes() for row in task.sample(random, 400).inputs_BT}
    assert len(rows) > 1


@every_task
def test_global_randomness_is_not_used(name: str, options: dict[str, Any]) -> None:
    before = np.random.get_state(legacy=False)
    draw(name, options)
    after = np.random.get_state(legacy=False)
    np.testing.assert_equal(after, before)


@every_task
def test_one_sequence_is_a_batch(name: str, options: dict[str, Any]) -> None:
    task = make(name, options)
    assert len(task.sample(np.random.default_rng(0), 1).inputs_BT) == 1


@every_task
def test_chance_is_a_share(name: str, options: dict[str, Any]) -> None:
    assert 0 < make(name, options).chance <= 1


@every_task
def test_a_sequence_is_rendered_position_by_position(name: str, options: dict[str, Any]) -> None:
    task, batch = draw(name, options)
    cells = task.render(batch, 3)
    if not task.features:
        assert [cell.token for cell in cells] == [task.token_to_str(token) for token in batch.inputs_BT[3].tolist()]
    assert [bool(cell.target) for cell in cells] == (batch.targets_BT[3] != IGNORE).tolist()
    assert all(cell.token for cell in cells)


@every_task
def test_every_token_has_its_own_string(name: str, options: dict[str, Any]) -> None:
    task = make(name, options)
    strings = [task.token_to_str(token) for token in range(task.vocabulary)]
    assert len(set(strings)) == task.vocabulary


@every_task
def test_the_complexity_is_an_option_and_the_entry_has_source_and_summary(name: str, options: dict[str, Any]) -> None:
    entry = TASKS.entry(name)
    assert entry.cls.complexity in entry.options
    assert entry.source
    assert entry.summary.endswith(".")


@every_task
def test_the_solver_matches_the_targets(name: str, options: dict[str, Any]) -> None:
    task, batch = draw(name, options)
    if task.solve(batch.inputs_BT[0].tolist()) is None:
        assert name in UNSOLVED
        return
    rows: list[list[int] | None] = []
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        solved = task.solve(tokens)
        if batch.accepted_NW is None:
            assert solved == targets
        else:  # any accepted token will do
            rows.append(solved)
    if rows:
        solved_BT = np.array(rows)
        assert ((solved_BT == IGNORE) == (batch.targets_BT == IGNORE)).all()
        assert batch.correct(solved_BT[solved_BT != IGNORE]).all()
