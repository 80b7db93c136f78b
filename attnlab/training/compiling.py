"""Training steps compiled by torch.compile where that pays.

    auto    on a GPU, for runs long enough to pay back the compile time; never on a CPU
    always  wherever a compiler is found
    never   eager

On two CPU cores the compiler took 43 seconds of processor time, or 3 with a warm cache, and made the default step
6 to 10 % shorter: it takes thousands of steps to break even. Compiled results differ from eager ones in their last
bits. So the choice depends on the run and the device alone, never on measured time, and checkpoints store it: a
resumed run is compiled if it was compiled before.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, final

import torch

from attnlab.choices import Compile
from attnlab.specs import RunSpec

MIN_STEPS = 1000
"""Steps from which ``auto`` compiles a run on a GPU."""


def should_compile(compile: Compile, spec: RunSpec, device: torch.device, random_position: bool) -> bool:
    """Decide whether the steps of a run are compiled.

    Args:
        compile: The user's choice.
        spec: The run.
        device: Where it is trained.
        random_position: Whether its position draws new numbers at each step. Such a run is never compiled, because
            every step would be a program of its own.

    Returns:
        Whether to compile.
    """
    if compile == "never" or random_position:
        return False
    return compile == "always" or (device.type == "cuda" and spec.train.max_steps >= MIN_STEPS)


@final
class Compiled:
    """A function that is compiled at its first call; if that fails, it warns once and runs eagerly from then on.

    Args:
        function: What is compiled.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.eager = function
        self.function: Callable[..., Any] = torch.compile(function)
        self.works = True
        """Whether the compiler has not failed."""
        self._called = False

    def __call__(self, *args: Any) -> Any:
        """Return the value of the function.

        Args:
            *args: Its arguments.

        Returns:
            What it returns.
        """
        try:
            value = self.function(*args)
        except Exception as error:
            if self._called or isinstance(error, torch.OutOfMemoryError):
                raise
            self.function, self.works = self.eager, False
            reason = str(error).strip().splitlines() or [type(error).__name__]
            message = f"Compilation failed; steps run eagerly, which is slower: {reason[0][:200]}"
            warnings.warn(message, RuntimeWarning, stacklevel=2)
            value = self.eager(*args)
        self._called = True
        return value
