"""Random numbers of modules that use torch's global generators, such as dropout: seeded from the run and the step.

A run draws the same numbers however often it is repeated, whatever ran before it in the process, and wherever it goes
on from a checkpoint. The state of the caller's generators is restored.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from attnlab.specs import Split
from attnlab.tasks.io.streams import generator


@contextmanager
def noise_of_its_own(device: torch.device) -> Iterator[None]:
    """Keep the global generators, and put them back in the end."""
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield


def first_seed(seed: int) -> int:
    """The seed of a run's first step; that of a later step is so many steps further on."""
    return int(generator(seed, Split.NOISE).integers(2**31))


def seed_step(first: int, step: int, device: torch.device) -> None:
    """Seed the generators of the CPU and of the device for one step; ``torch.manual_seed`` takes 80 times as long."""
    seed = (first + step) % 2**32  # a CPU uses the low 32 bits alone
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[torch.cuda.current_device()].manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
