"""Random numbers of modules that use torch's global generators, such as dropout: seeded from the run and the step.

A run draws the same numbers however often it is repeated, whatever ran before it in the process, and wherever it goes
on from a checkpoint. The state of the caller's generators is restored. Evaluations are seeded too, for modules that
draw in evaluation mode.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from attnlab.specs import Split
from attnlab.tasks.io.streams import generator
from attnlab.training.vmap_noise import default_generator


@contextmanager
def noise_of_its_own(device: torch.device) -> Iterator[None]:
    """Keep the global generators, and put them back in the end."""
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield


def first_seed(seed: int) -> int:
    """The seed of a run's first step; that of a later step is so many steps further on."""
    return int(generator(seed, Split.NOISE).integers(2**31))


def noise_seed(first: int, number: int) -> int:
    """The seed of a step, or of a batch of an evaluation.

    Args:
        first: The seed of the run's first step.
        number: Number of the step, counted from 1; of a batch of an evaluation, less than 0.

    Returns:
        A seed of 32 bits: a CPU uses no more.
    """
    return (first + number) % 2**32


def seed_noise(seed: int, device: torch.device) -> None:
    """Seed the generators of the CPU and of the device; ``torch.manual_seed`` takes 80 times as long."""
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        default_generator(device).manual_seed(seed)
