"""Buffers that a training step may change, such as the running averages of batch normalization.

Those of modules that are not ours: torch's own, those of packages and those of plugins. Built-in parts change none.
"""

from __future__ import annotations

from torch import nn

OURS = "attnlab."
"""Prefix of the modules that built-in parts are defined in."""


def changing_buffers(model: nn.Module) -> list[str]:
    """List the buffers that a step may change.

    Args:
        model: The model.

    Returns:
        Their names, as :meth:`torch.nn.Module.named_buffers` has them.
    """
    foreign = {
        id(buffer)
        for module in model.modules()
        if not type(module).__module__.startswith(OURS)
        for buffer in module.buffers(recurse=False)
    }
    return [name for name, buffer in model.named_buffers() if id(buffer) in foreign]
