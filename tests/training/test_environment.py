"""Devices by name, and what is recorded of the machine."""

from __future__ import annotations

import json

import pytest
import torch

from attnlab.errors import DeviceError
from attnlab.training.environment import device, environment


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a CPU and nothing else."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("name", ["cuda", "mps", "cuda:1"])
def test_a_device_that_is_absent_is_refused(name: str) -> None:
    with pytest.raises(DeviceError) as caught:
        device(name)
    assert str(caught.value) == (
        f"--device\n  There is no device '{name}' here.\n"
        "  This machine has: cpu. Leave the option out to take the first."
    )


@pytest.mark.usefixtures("bare")
def test_auto_takes_what_there_is() -> None:
    assert device("auto") == device("cpu") == torch.device("cpu")


def test_auto_prefers_the_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device("auto") == torch.device("cuda")
    assert device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(DeviceError, match=r"This machine has: cuda, cpu\."):
        device("mps")


def test_the_environment_names_versions_and_machine_in_plain_data() -> None:
    result = environment(torch.device("cpu"))
    assert result["torch"] == torch.__version__
    assert result["device"] == "cpu"
    assert result["threads"] == torch.get_num_threads()
    assert {"attnlab", "python", "numpy", "system", "processor", "cores"} <= result.keys()
    assert json.loads(json.dumps(result)) == result
