"""What is measured of one attention of a package, in a process of its own.

    lengths   those that the module refuses by itself, without padding
    leak      change of earlier outputs when later tokens of the row, or other rows, are replaced
    reach     the later tokens to which the output that changed most has a gradient
    prefix    difference between the outputs of a prefix and those of the whole
    random    whether outputs depend on torch's generator in evaluation mode
    vmap      whether two modules run as one program, and give what each gives alone
    equal     difference from our own mechanism with copied weights

Sizes are shares of the largest output. Every forward pass starts at the same state of the module and of torch's
generator, so that no difference is due to either.

Letters  B batch, T tokens, D width.
"""

from __future__ import annotations

import copy
import json
import os
import sys
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from attnlab.attention import ATTENTIONS
from attnlab.attention.adapter import Adapted, adapt
from attnlab.attention.named import named_attention
from attnlab.errors import AttnlabError
from attnlab.tensors import LayerContext
from attnlab.testing._seeds import seeded
from benchmarks.packages.case import Case, Equal
from benchmarks.packages.child import RESULT
from benchmarks.packages.equal import our_attention, our_output

WIDTH, HEADS, LENGTH = 32, 4, 512
LENGTHS = (1, 2, 3, 7, 16, 31, 32, 33, 64, 65, 100, 128, 129, 200, 256, 300)
LONG = (33, 64, 128, 256, 300)
"""Lengths at which leaks are sought, of those that are accepted."""
EXACT, ROUNDED = 1e-6, 1e-5
"""Largest share that is rounding, in float64 (parts of a module may compute in float32 all the same) and in float32."""


class Module:
    """A module of a package, called as the adapter calls it, at one precision and in one mode."""

    def __init__(self, case: Case, dtype: torch.dtype, training: bool = False, seed: int = 0) -> None:
        with seeded(seed):
            attention = adapted(case)(context(), **case.options)
        if dtype is torch.float64:
            attention = attention.double()
        self.attention, self.dtype = attention.train(training), dtype

    @property
    def module(self) -> nn.Module:
        """The module itself."""
        return self.attention.module

    def __call__(self, x_BTD: Tensor, seed: int = 0) -> Tensor:
        """The outputs; those of a copy, so that nothing is left behind."""
        with seeded(seed):
            call = self.attention.call
            return call.output(call(unchanged(self.module), x_BTD))

    def inputs(self, batch: int, tokens: int, seed: int = 2) -> Tensor:
        """Standard normal inputs, B x T x D."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(batch, tokens, WIDTH, generator=generator, dtype=torch.float64).to(self.dtype)


def context() -> LayerContext:
    """The layer for which everything is built."""
    return LayerContext(width=WIDTH, heads=HEADS, layers=2, length=LENGTH, generator=torch.Generator().manual_seed(0))


def adapted(case: Case) -> type[Adapted]:
    """The attention that a case names, as a user would name it."""
    return _from_code(case.code) if case.code else _named(case.attention)


@cache
def _from_code(code: str) -> type[Adapted]:
    names: dict[str, Any] = {"__name__": "case"}
    exec(code, names)
    return adapt(names["build"])


@cache
def _named(attention: str) -> type[Adapted]:
    cls: Any = ATTENTIONS.entry(named_attention(attention)).cls
    if not issubclass(cls, Adapted):
        raise TypeError(f"{attention} is an attention of attnlab")
    return cls


def unchanged(module: nn.Module) -> nn.Module:
    """A copy of a module where it can be copied: caches and running averages of one pass would reach the next."""
    try:
        return copy.deepcopy(module)
    except (RuntimeError, TypeError):  # it keeps a tensor with a gradient, or what cannot be copied
        return module


def measure(case: Case) -> dict[str, Any]:
    """Measure one case.

    Args:
        case: The case; its package can be imported.

    Returns:
        The results by the names above; ``refused`` where the adapter refuses it, with the reason.
    """
    try:
        module = Module(case, torch.float32)
    except AttnlabError as error:
        return {"refused": f"{error.problem}"}
    call = module.attention.call
    result: dict[str, Any] = {
        "call": "mask" if call.mask != "none" else "plain",
        "block": module.attention.block,
        "parameters": sum(one.numel() for one in module.module.parameters()),
    }
    dtype = torch.float32
    if accepts(Module, case, torch.float64):
        dtype, module = torch.float64, Module(case, torch.float64)
    result["type"] = str(dtype).removeprefix("torch.")
    result["refuses"] = refusals(module)
    refused = {int(one) for lengths in result["refuses"].values() for one in lengths}
    lengths = [tokens for tokens in LENGTHS if tokens not in refused]
    if not lengths:
        return {"error": f"every length is refused: {next(iter(result['refuses']))}"}
    result["random"] = is_random(module, lengths[-1])
    training = Module(case, dtype, training=True)
    for mode, one in (("evaluation", module), ("training", training)):
        try:
            result[mode] = leaks(one, [tokens for tokens in LONG if tokens in lengths] or lengths[-1:])
        except Exception as error:
            result[mode] = {"error": written(error)}
    result["prefix"] = prefix(module, lengths)
    result["vmap"] = vmapped(module, Module(case, dtype, seed=1), lengths)
    if case.equal:
        equal = case.equal
        result["equal"] = attempt(lambda: difference_from_ours(module, equal, lengths))
    return result


def accepts(build: Callable[..., Module], case: Case, dtype: torch.dtype) -> bool:
    """Whether a module computes in a type."""
    try:
        module = build(case, dtype)
        tokens = -(-7 // module.attention.block) * module.attention.block
        return module(module.inputs(2, tokens)).dtype is dtype
    except (RuntimeError, TypeError, ValueError, AssertionError, AttnlabError):
        return False


def refusals(module: Module) -> dict[str, list[int]]:
    """The lengths that are refused, by message."""
    found: dict[str, list[int]] = {}
    for tokens in LENGTHS:
        try:
            with torch.no_grad():
                shape = module(module.inputs(2, tokens)).shape
            if shape != (2, tokens, WIDTH):
                found.setdefault(f"gives {shape[1]} tokens" if len(shape) == 3 else "another shape", []).append(tokens)
        except Exception as error:
            found.setdefault(written(error), []).append(tokens)
    return found


@torch.no_grad()
def is_random(module: Module, tokens: int) -> bool:
    """Whether outputs depend on torch's generator."""
    x_BTD = module.inputs(2, tokens)
    return not torch.equal(module(x_BTD, seed=0), module(x_BTD, seed=1))


def leaks(module: Module, lengths: list[int]) -> dict[str, Any]:
    """The largest change of an earlier output, and of another row, over lengths and cuts.

    The batch has three rows; the later tokens of the middle one are replaced.
    """
    worst: dict[str, Any] = {"size": 0.0, "rows": 0.0}
    for tokens in lengths:
        with torch.no_grad():
            x_BTD = module.inputs(3, tokens)
            y_BTD = module(x_BTD)
            scale = float(y_BTD.abs().max()) or 1.0
            for cut in sorted({1, tokens // 4, tokens // 2, 3 * tokens // 4, tokens - 1} - {0, tokens}):
                changed_BTD = x_BTD.clone()
                changed_BTD[1, cut:] = 3 * module.inputs(3, tokens, seed=5)[1, cut:]
                change_BT = (module(changed_BTD) - y_BTD).abs().amax(-1) / scale
                size, position = (float(change_BT[1, :cut].max()), int(change_BT[1, :cut].argmax()))
                worst["rows"] = max(worst["rows"], float(change_BT[[0, 2]].max()))
                if not size <= worst["size"]:
                    worst |= {"size": size, "tokens": tokens, "cut": cut, "position": position}
    if worst["size"] > tolerance(module):
        worst["reach"] = reach(module, worst["tokens"], worst["position"])
    return worst


def reach(module: Module, tokens: int, position: int) -> str:
    """The later tokens to which an output has a gradient."""
    x_BTD = module.inputs(3, tokens).requires_grad_()
    projected = module(x_BTD)[1, position] @ module.inputs(1, 1, seed=3)[0, 0]
    (grad_BTD,) = torch.autograd.grad(projected, x_BTD, allow_unused=True, materialize_grads=True)
    later = grad_BTD[1, position + 1 :].abs().amax(-1).nonzero().flatten() + 1
    if not len(later):
        return "no gradient: through a choice or a detached tensor"
    return f"{len(later)} of {tokens - 1 - position} later tokens, from {int(later[0])} to {int(later[-1])} ahead"


@torch.no_grad()
def prefix(module: Module, lengths: list[int]) -> dict[str, Any]:
    """The largest difference of a prefix from the whole."""
    tokens = lengths[-1]
    x_BTD = module.inputs(2, tokens)
    whole_BTD = module(x_BTD)
    scale = float(whole_BTD.abs().max()) or 1.0
    worst: dict[str, Any] = {"size": 0.0}
    for cut in lengths[:-1]:
        difference_BT = (module(x_BTD[:, :cut]) - whole_BTD[:, :cut]).abs().amax(-1) / scale
        if not float(difference_BT.max()) <= worst["size"]:
            worst = {"size": float(difference_BT.max()), "length": cut, "tokens": tokens}
    return worst


@torch.no_grad()
def difference_from_ours(module: Module, equal: Equal, lengths: list[int]) -> float:
    """The largest difference from our own mechanism with the weights of the module."""
    ours = our_attention(equal, module.module, context())
    shares = []
    for tokens in lengths:
        x_BTD = module.inputs(2, tokens)
        theirs_BTD = module(x_BTD).double()
        difference = (our_output(ours, context(), x_BTD.double()) - theirs_BTD).abs().max()
        shares.append(float(difference / theirs_BTD.abs().max()))
    return max(shares)


@torch.no_grad()
def vmapped(module: Module, other: Module, lengths: list[int]) -> str:
    """Whether two modules run as one program; otherwise why not."""
    tokens = min(lengths, key=lambda one: abs(one - 64))
    x_2BTD = module.inputs(4, tokens).unflatten(0, (2, 2))
    call = module.attention.call
    with seeded(0):
        expected_2BTD = torch.stack([one(x_BTD) for one, x_BTD in zip((module, other), x_2BTD, strict=True)])
    base = module.module

    def single(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x_BTD: Tensor) -> Tensor:
        def run(*inputs: Tensor, **keywords: Any) -> Any:
            return functional_call(base, (parameters, buffers), inputs, keywords)

        return call.output(call(run, x_BTD))  # type: ignore[arg-type]

    try:
        parameters, buffers = stack_module_state([module.module, other.module])
        with seeded(0):
            found_2BTD = vmap(single, randomness="different")(parameters, buffers, x_2BTD)
    except Exception as error:
        return written(error)
    difference = float((found_2BTD - expected_2BTD).abs().max() / expected_2BTD.abs().max())
    return "" if difference <= tolerance(module) else f"differs by {difference:.1e}"


def tolerance(module: Module) -> float:
    """The largest share that is rounding."""
    return EXACT if module.dtype is torch.float64 else ROUNDED


def attempt(action: Callable[[], Any]) -> Any:
    """A result, or the error as text."""
    try:
        return action()
    except Exception as error:
        return written(error)


def written(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def main() -> None:
    """Measure cases that are read as JSON, one a line; each result is a line that begins with ``RESULT``."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    lines = os.fdopen(os.dup(sys.stdin.fileno()))  # the function exit(), which some modules call, closes sys.stdin
    for line in lines:
        result = measured(Case.model_validate_json(line))
        print(f"{RESULT}{json.dumps(result)}", flush=True)


def measured(case: Case) -> dict[str, Any]:
    """The measurements of a case, or the error."""
    try:
        return measure(case)
    except AttnlabError as error:
        return {"refused": f"{error.problem} {error.hint}".strip()}
    except Exception as error:
        return {"error": written(error)}
    except SystemExit as error:
        return {"error": f"ends the process: {error.code}"}


if __name__ == "__main__":
    main()
