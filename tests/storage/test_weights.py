from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from attnlab.errors import StoreError
from attnlab.storage import weights


def arrays() -> weights.Arrays:
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
    assert str(caught.value) == f"{path}\n  It cannot be written: No space left on device."
    assert weights.read(path)[1] == {"step": 1}
