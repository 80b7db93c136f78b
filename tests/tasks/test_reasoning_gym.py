"""What the task reasoning-gym says without its package; with it, see tests/oracles/test_reasoning_gym.py."""

from __future__ import annotations

import importlib.metadata

import pytest

from attnlab.errors import InvalidValueError
from attnlab.tasks import TASKS
from attnlab.tasks.reasoning_gym import ReasoningGym


def test_without_the_package_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(InvalidValueError) as caught:
        ReasoningGym(dataset="chain_sum")
    assert str(caught.value) == (
        "reasoning-gym\n  The package reasoning-gym is not installed.\n"
        "  Install it with: pip install 'attnlab[reasoning-gym]'."
    )


def test_the_data_set_has_to_be_named() -> None:
    with pytest.raises(InvalidValueError, match="Name a data set of the package: reasoning-gym:dataset=chain_sum"):
        TASKS.entry("reasoning-gym").complete({})
