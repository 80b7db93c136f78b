"""Attentions against other people's code: inputs, weights and outputs that it gave, kept as numbers.

Each case in ``authors/`` is an .npz file of arrays and a .json file with the repository, commit (of a package, the
version), file, options, and how the code was run. The arrays are an input and ``output_BTD`` (the whole layer) or
``mixed_BHTC`` (without the output projection), or queries, keys and values and ``mixed_BHTC``; ``weights.NAME`` are
parameters by our names.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from attnlab.attention import ATTENTIONS, Attention
from attnlab.position import POSITIONS, Position
from attnlab.tensors import QKV, LayerContext, LayerInputs
from tests.builders import seeded

CASES = sorted((Path(__file__).parent / "authors").glob("*.json"))
TOLERANCE = {np.dtype("float64"): 1e-9, np.dtype("float32"): 1e-5}
"""Largest difference accepted, relative to the largest output, by the precision in which their code ran."""
LARGEST_FILE = 20_000
"""Bytes of a case."""


def built(case: dict[str, Any]) -> tuple[Attention, Position]:
    """The attention and the position of a case, in float64."""
    attention, position = ATTENTIONS.entry(case["attention"]), POSITIONS.entry(case["position"])
    context = LayerContext(
        width=case["width"],
        heads=case["heads"],
        length=case["length"],
        layer=case.get("layer", 0),
        layers=case.get("layers", 1),
        biased=position.cls.biases,
        generator=seeded(),
    )
    return (
        attention.cls(context, **attention.complete(case["options"])).double(),
        position.cls(context, **position.complete(case.get("position_options", {}))).double(),
    )


def named(arrays: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The arrays whose names begin with a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in arrays.items() if name.startswith(prefix)}


def computed(attention: Attention, position: Position, arrays: dict[str, Tensor]) -> Tensor:
    """What our attention gives for the inputs of a case."""
    if "queries_BHTC" in arrays:
        extra = tuple(tensor for _, tensor in sorted(named(arrays, "extra.").items()))
        qkv = QKV(arrays["queries_BHTC"], arrays["keys_BHSC"], arrays["values_BHSC"], extra)
        return attention.attend(qkv, position)
    first = tuple(QKV(values, values, values) for values in named(arrays, "first_values_").values())
    layer_inputs = LayerInputs(first_layer=first)
    if "mixed_BHTC" in arrays:
        return attention.attend(attention.prepare(arrays["input_BTD"], position, layer_inputs), position)
    return attention(arrays["input_BTD"], position, layer_inputs).output_BTD


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "plain"])
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
@torch.no_grad()
def test_outputs_are_those_of_their_code(path: Path, fast: bool) -> None:
    case = json.loads(path.read_text())
    stored = dict(np.load(path.with_suffix(".npz")))
    expected = stored["output_BTD"] if "output_BTD" in stored else stored["mixed_BHTC"]
    arrays = {name: torch.from_numpy(array).double() for name, array in stored.items()}
    attention, position = built(case)
    attention.fast = fast
    missing, unexpected = attention.load_state_dict(named(arrays, "weights."), strict=False)
    assert not unexpected
    assert not missing or "input_BTD" not in arrays, "a case that starts from the input gives all weights"
    difference = (computed(attention, position, arrays) - torch.from_numpy(expected)).abs().max()
    assert difference <= TOLERANCE[expected.dtype] * np.abs(expected).max()


def test_every_case_says_where_its_numbers_come_from() -> None:
    assert CASES
    assert {path.stem for path in CASES} == {path.stem for path in CASES[0].parent.glob("*.npz")}
    for path in CASES:
        case = json.loads(path.read_text())
        assert all(case[field] for field in ("attention", "repository", "commit", "file", "license", "run")), path.stem
        assert path.with_suffix(".npz").stat().st_size < LARGEST_FILE, path.stem
