from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save
from safetensors.torch import load_file

from attnlab.errors import StoreError
from attnlab.storage import weights
from attnlab.storage.arrays import TYPES, Arrays


def arrays() -> Arrays:
    random = np.random.default_rng(0)
    return {
        "embedding": random.standard_normal((3, 4), dtype=np.float32),
        "scale": np.array(np.pi, dtype=np.float32),
        "empty": np.zeros((0, 2), dtype=np.float32),
    }


def test_arrays_and_words_come_back_bit_for_bit(tmp_path: Path) -> None:
    about = {"id": "abc", "step": 7, "curve": [{"loss": 0.1}], "none": None}
    weights.write(tmp_path / "a.safetensors", arrays(), about)
    result, words = weights.read(tmp_path / "a.safetensors")
    assert words == about
    assert set(result) == set(arrays())
    for name, array in arrays().items():
        assert result[name].dtype == array.dtype
        np.testing.assert_array_equal(result[name], array, strict=True)


def test_every_type_comes_back_bit_for_bit_and_other_readers_agree(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    stored = {
        name: random.integers(0, 2, (3, 2, dtype.itemsize), np.uint8).view(dtype).reshape(3, 2)
        for name, dtype in TYPES.items()
    }
    path = tmp_path / "a.safetensors"
    weights.write(path, stored, {})
    result, _ = weights.read(path)
    assert {name: array.dtype for name, array in result.items()} == dict(TYPES)
    assert all(result[name].tobytes() == array.tobytes() for name, array in stored.items())
    for name, tensor in load_file(path).items():
        assert tensor.shape == (3, 2)
        assert tensor.view(torch.uint8).numpy().tobytes() == stored[name].tobytes()


def test_equal_arrays_give_equal_bytes_in_any_order() -> None:
    backwards = dict(reversed(arrays().items()))
    assert weights.encode(arrays(), {"step": 1}) == weights.encode(backwards, {"step": 1})


def test_the_byte_order_of_a_file_is_fixed() -> None:
    numbers = np.arange(4.0)
    assert weights.encode({"a": numbers.astype(">f8")}, {}) == weights.encode({"a": numbers}, {})


def test_a_type_that_no_file_can_hold_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(StoreError, match=r"'wave' has the type complex128, which safetensors cannot hold") as caught:
        weights.write(path, {"wave": np.zeros(2, np.complex128)}, {})
    assert "bfloat16" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"not weights", save(arrays()), save({}, {"about": "{"})])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"It is no checkpoint of attnlab: ") as caught:
        weights.read(path)
    assert caught.value.where == str(path)
    assert caught.value.hint == "Move it away to start that run anew."


def test_a_torn_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    weights.write(path, arrays(), {})
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(StoreError, match=r"It is no checkpoint of attnlab: "):
        weights.read(path)


def test_a_failed_write_is_told_and_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "a.safetensors"
    weights.write(path, arrays(), {"step": 1})
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError) as caught:
        weights.write(path, arrays(), {"step": 2})
    assert str(caught.value) == (
        f"{path}\n  It cannot be written: No space left on device.\n"
        "  Make room, then run it again; what was there before is unchanged."
    )
    assert weights.read(path)[1] == {"step": 1}


@pytest.mark.parametrize("place", ["the last array", "the description", "a shape"])
def test_a_file_that_was_changed_is_refused(tmp_path: Path, place: str) -> None:
    path = tmp_path / "a.safetensors"
    weights.write(path, arrays(), {"step": 7})
    content = bytearray(path.read_bytes())
    if place == "the last array":
        content[-1] ^= 1
    else:
        old, new = (b'\\"step\\": 7', b'\\"step\\": 8') if place == "the description" else (b"[3, 4]", b"[4, 3]")
        assert content.count(old) == 1
        content = content.replace(old, new)
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"It is damaged: its content is not what was written\.") as caught:
        weights.read(path)
    assert caught.value.where == str(path)


def test_a_file_without_a_digest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(save(arrays(), {"about": '{"step": 7, "format": 2}'}))
    assert weights.read(path)[1] == {"step": 7}


@pytest.mark.parametrize("about", ["[]", "3", "null", "{", "[" * 300, '"x"', '{"a": "\\ud800"}'])
def test_a_description_that_is_no_object_is_refused(tmp_path: Path, about: str) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(save({"w": np.ones(2, np.float32)}, {"about": about}))
    for read in (weights.read, weights.read_about):
        with pytest.raises(StoreError, match=r"It is no checkpoint of attnlab: "):
            read(path)
