"""A training step that is compiled where that pays.

    auto    on a GPU, for runs long enough to earn the compiler's time back; never on a CPU
    always  wherever a compiler is found
    never   as written

On two CPU cores the compiler took 43 seconds of the processor, or 3 once its cache was warm, and made the default step
6 to 10 % shorter: thousands of steps to break even. Compiled numbers differ from the others in their last bits, so
which they are is decided from the run and the device alone, never from the clock, and a checkpoint keeps it: a run
that goes on is compiled if it was before.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal, final

import torch

from attnlab.specs import RunSpec

Compile = Literal["auto", "never", "always"]
LONG = 1000
"""Steps from which a run on a GPU is compiled."""


def should_compile(wish: Compile, spec: RunSpec, device: torch.device, random: bool) -> bool:
    """Whether a run is to be compiled; never where a position draws anew at each step, for each would be a program."""
    if wish == "never" or random:
        return False
    return wish == "always" or (device.type == "cuda" and spec.train.max_steps >= LONG)


@final
class Compiled:
    """A function, compiled at its first call; as it was written if that fails, with one warning.

    Args:
        function: What is compiled.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.written = function
        self.function: Callable[..., Any] = torch.compile(function)
        self.works = True
        """Whether the compiler has not failed."""
        self._called = False

    def __call__(self, *args: Any) -> Any:
        """The value of the function."""
        try:
            value = self.function(*args)
        except Exception as error:
            if self._called or isinstance(error, torch.OutOfMemoryError):
                raise
            self.function, self.works = self.written, False
            reason = str(error).strip().splitlines() or [type(error).__name__]
            warnings.warn(f"Not compiled, and slower for it: {reason[0][:200]}", RuntimeWarning, stacklevel=2)
            value = self.written(*args)
        self._called = True
        return value
