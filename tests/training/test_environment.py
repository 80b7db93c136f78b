"""Devices by name, and the recorded versions and machine."""

from __future__ import annotations

import importlib.metadata
import json

import pytest
import torch

from attnlab.attention.ops import loops
from attnlab.errors import DeviceError
from attnlab.training.environment import device, environment


@pytest.fixture
def only_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without an accelerator."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.usefixtures("only_a_cpu")
@pytest.mark.parametrize("name", ["cuda", "mps", "cuda:1"])
def test_a_missing_device_is_refused(name: str) -> None:
    with pytest.raises(DeviceError) as caught:
        device(name)
    assert str(caught.value) == (
        f"--device\n  There is no device '{name}' here.\n"
        "  This machine has: cpu. Leave the option out to take the first."
    )


@pytest.mark.usefixtures("only_a_cpu")
def test_auto_takes_the_cpu_without_an_accelerator() -> None:
    assert device("auto") == device("cpu") == torch.device("cpu")


def test_auto_prefers_the_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device("auto") == torch.device("cuda")
    assert device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(DeviceError, match=r"This machine has: cuda, cpu\."):
        device("mps")


def test_the_environment_is_plain_data_with_versions_and_machine() -> None:
    recorded = environment(torch.device("cpu"))
    assert recorded["torch"] == torch.__version__
    assert recorded["device"] == "cpu"
    assert recorded["threads"] == torch.get_num_threads()
    assert {"attnlab", "python", "numpy", "system", "processor", "cores"} <= recorded.keys()
    assert json.loads(json.dumps(recorded)) == recorded


@pytest.mark.parametrize("installed", [False, True])
def test_the_environment_names_what_compiles_loops(installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version
    monkeypatch.setattr(loops, "installed", lambda: installed)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.61" if name == "numba" else version(name))
    assert environment(torch.device("cpu")).get("numba") == ("0.61" if installed else None)
