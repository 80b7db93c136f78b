"""Random numbers of vmapped runs: each run draws from generators of its own, seeded as when it is trained alone.

    op on K x ...    ->    K ops, one for each run, on the state that the run's generator has reached

Torch's vmap draws the numbers of all runs with one call, from one generator, so that they depend on which runs are
stacked. Here every call that draws is repeated for each run. That costs K small calls for each draw, and a look at
every other call, so this context is entered for models that draw alone.

A run draws the numbers that it draws alone, bit by bit, where its tensors have the same shapes and are contiguous. It
draws others, the same at each repetition, in three cases: dropout of a transposed tensor, which vmap makes contiguous;
an attention that computes some queries alone in the last layer, which computes all of them in a vmapped run; and fused
attention with dropout on a GPU, whose kernels draw inside of themselves.

Letters  K vmapped runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

REFUSAL = "randomness error mode"
"""What torch's vmap says when a program draws and was not expected to."""
FLATTENED = torch.ops.aten.multinomial.default
"""The call whose leading axis is that of the runs times that of each run."""
PROBABILITIES = ("dropout_p", "dropout")
"""Arguments of fused calls that draw only where they are above 0."""
REPEATED = (torch.ops.aten.randperm.default, torch.ops.aten.randperm.generator)
"""Calls that vmap makes once for each run, in order."""


def is_refused_draw(error: BaseException) -> bool:
    """Tell whether a pass under vmap failed because it draws random numbers.

    Args:
        error: What it raised.

    Returns:
        Whether it did.
    """
    return isinstance(error, RuntimeError) and REFUSAL in str(error)


@final
class RunNoise(TorchDispatchMode):
    """A context of passes under ``vmap(..., randomness="different")`` in which each run draws from its own stream.

    Args:
        seeds: The seed of each run, in the order of the stacked axis.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seeds = seeds
        self._states: dict[tuple[int, torch.device], Tensor] = {}
        self._repeated = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Repeat calls that draw for each run; leave every other call unchanged."""
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        if func in REPEATED:
            self._repeated += 1
            return self._draw((self._repeated - 1) % len(self.seeds), func, args, kwargs)
        names = [argument.name for argument in func._schema.arguments]
        given = dict(zip(names, args, strict=False)) | kwargs
        probabilities = [a for a in func._schema.arguments if a.name in PROBABILITIES]
        if any(not given.get(argument.name, argument.default_value) for argument in probabilities):
            return func(*args, **kwargs)  # fused attention, which draws nothing
        axes = max((value.ndim for value in given.values() if isinstance(value, Tensor)), default=0)
        explicit = given.get("generator")
        state = None if explicit is None else explicit.get_state()
        outputs = []
        for run in range(len(self.seeds)):
            own = {name: self._of_run(run, func, name, value, axes) for name, value in given.items()}
            if explicit is not None:
                explicit.set_state(state)  # a generator of the module's own: each run draws from it as if it were alone
            positional = [own.pop(name) for name in names[: len(args)]]
            outputs.append(self._draw(run, func, positional, own))
        if func._schema.is_mutable:
            return args[0]
        joined = torch.cat if func is FLATTENED else torch.stack
        if isinstance(outputs[0], Tensor):
            return joined(outputs)
        return tuple(joined(list(each)) for each in zip(*outputs, strict=True))

    def _of_run(self, run: int, func: Any, name: str, value: Any, axes: int) -> Any:
        """The part of an argument that belongs to one run."""
        if name == "size":
            return value[1:]
        if not isinstance(value, Tensor) or value.ndim < axes:
            return value  # shared by all runs
        if func is FLATTENED:
            return value.chunk(len(self.seeds))[run]
        return value[run if len(value) > 1 else 0]

    def _draw(self, run: int, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Make a call on the stream of one run, and keep the state that the stream has reached."""
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        device = tensors[0].device if tensors else torch.device(kwargs.get("device") or "cpu")
        generator = default_generator(device)
        if (run, device) in self._states:
            generator.set_state(self._states[run, device])
        else:
            generator.manual_seed(self.seeds[run])
        output = func(*args, **kwargs)
        self._states[run, device] = generator.get_state()
        return output


def default_generator(device: torch.device) -> torch.Generator:
    """Torch's own generator of a device.

    Args:
        device: A device of this machine.

    Returns:
        The generator.
    """
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index  # type: ignore[redundant-expr]
        return torch.cuda.default_generators[index]
    if device.type == "mps":
        return torch.mps._get_default_mps_generator()
    return torch.default_generator
