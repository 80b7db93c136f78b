"""Other people's modules as attentions: any ``nn.Module`` from (batch, tokens, width) to the same shape.

A module that is no :class:`Attention` has no queries, keys and values that a diagnostic could read, and no heads. It is
built for each layer with the arguments that match (:mod:`attnlab.attention.ops.constructor`), and called in the way
that was found to be causal (:mod:`attnlab.attention.ops.calling`).
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import FunctionType
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parameter import is_lazy

from attnlab.attention.base import Attention, Position, RowConstraint
from attnlab.attention.ops.calling import BLOCKS, LONG, TRIED, Call, Refusal, accepts, calls, choose_call
from attnlab.attention.ops.constructor import (
    ALWAYS,
    MATCHED,
    VOCABULARY,
    constructor_parameters,
    matched_arguments,
    with_options,
)
from attnlab.attention.ops.precision import full_precision
from attnlab.attention.ops.returned_weights import asking_for_weights, weights_in
from attnlab.attention.ops.signature import with_config
from attnlab.errors import AttnlabError, InvalidValueError, PluginError
from attnlab.part_code import without_text
from attnlab.plugins import PREFIX, plugin_error
from attnlab.specs import Modifiers
from attnlab.tensors import QKV, AttentionOutput, LayerContext, LayerInputs
from attnlab.user_code import advice_on, class_line, code_line, location_of

Needs = Literal["", "float32", "bf16"]


NO_HEADS = "a module of its own has no queries, keys and values"
SHAPES = "A module maps (batch, tokens, width) to the same shape, or to a tuple that begins with it."
ARGUMENTS = "Correct the constructor, or give it other arguments: NAME:key=value,key=value."
WHOLE_MODEL = "A whole model, from tokens to logits, is named with --model {part}; in Python, with model=."


class Adapted(Attention):
    """A module that is no attention of attnlab; subclasses are made by :func:`adapt`.

    Args:
        context: Sizes, index of the layer, and source of the initial weights.
        **options: Arguments of the module's constructor.

    Raises:
        InvalidValueError: The constructor refuses its arguments.
        PluginError: The module cannot be built or called.
    """

    row_constraint = RowConstraint.FREE
    has_scores = False
    cost = "unknown"
    unsupported_modifiers = dict.fromkeys(Modifiers.model_fields, NO_HEADS)
    parameter_roles = {"module": "extra"}
    has_heads = False
    own_projections = True
    adapted: ClassVar[Callable[..., nn.Module]]
    """The class of the module."""
    option_hints: ClassVar[Mapping[str, str]] = dict.fromkeys(VOCABULARY, WHOLE_MODEL)
    given_block: ClassVar[int | None]
    needs: ClassVar[Needs]
    returns: ClassVar[Callable[[Any], Any] | None]
    made_in: ClassVar[str]
    """The module in which :func:`adapt` was called."""
    adapted_with: ClassVar[str]
    """The arguments of :func:`adapt` beside the class, in words; empty where none was given."""
    weights_flag: ClassVar[str]
    """The argument of the forward that asks for the weights; empty where none was named."""

    def __init__(self, context: LayerContext, **options: Any) -> None:
        nn.Module.__init__(self)
        self.num_heads, self.channels = context.heads, context.width // context.heads
        self.layer, self.biased, self.fast = context.layer, context.biased, False
        cls = type(self)
        place = _place(cls)
        arguments = matched_arguments(constructor_parameters(cls.adapted), context, options)
        try:
            module: Any = _made(cls.adapted, arguments, options)
        except AttnlabError:
            raise
        except SystemExit as error:  # some modules end the process where something optional is not installed
            problem = f"It ends the process (exit code {error.code or 0}) instead of raising an error."
            hint = "It may have printed the reason: often a package that it needs is not installed."
            hint = "\n".join(filter(None, (location_of(error, cls.adapted), hint)))
            raise PluginError(problem, hint, where=f"{place}({_written(arguments)})") from error
        except Exception as error:
            raise plugin_error(f"{place}({_written(arguments)})", error, cls.adapted, accepted=ARGUMENTS) from error
        if not isinstance(module, nn.Module):
            hint = f"{code_line(cls.adapted)}\nReturn a torch.nn.Module. {SHAPES}".lstrip()
            raise PluginError(f"It makes a {type(module).__name__}, not an nn.Module.", hint, where=place)
        self.module = module
        self.call, self.block = self._find_call(context, place)

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """The number of trainable parameters of a built copy: there is no formula."""
        context = LayerContext(
            width=width,
            heads=heads,
            layer=layer,
            layers=layer + 1,
            length=length,
            biased=biased,
            generator=torch.Generator(),
        )
        with torch.random.fork_rng(devices=[]):
            return sum(one.numel() for one in cls(context, **options).parameters() if one.requires_grad)

    def state_size(self, tokens: int) -> int:
        """Refuse: what a decoder keeps of such a module is not known.

        Args:
            tokens: Not used.

        Raises:
            InvalidValueError: Always.
        """
        problem = f"'{type(self).__qualname__}' is a module of its own, which declares no state."
        raise InvalidValueError(problem, "Match parameters or flops instead.", where="--match state")

    def forward(
        self, x_BTD: Tensor, position: Position, layer_inputs: LayerInputs, trace: bool = False
    ) -> AttentionOutput:
        """The update of the residual stream.

        Args:
            x_BTD: The input of the module.
            position: Not used: a position of such a module is its own.
            layer_inputs: Not used.
            trace: Not used: there are no scores and no effective matrix.

        Returns:
            The update, B x T x D, with empty queries, keys and values.
        """
        tokens = x_BTD.shape[1]
        with full_precision(x_BTD) if self.needs else nullcontext():
            output_BTD = self.call.output(self.call(self.module, self._inputs(x_BTD)))
        update_BTD = output_BTD[:, :tokens].to(x_BTD.dtype)
        empty = x_BTD.new_zeros(len(x_BTD), self.num_heads, tokens, 0)
        return AttentionOutput(update_BTD, QKV(empty, empty, empty), x_BTD.new_zeros(()))

    @torch.no_grad()
    def returned_weights(self, x_BTD: Tensor) -> Tensor | None:
        """The weights that the module returns beside its output, or when an argument asks for them.

        They are what the module calls its weights: an effective matrix of it is not known.

        Args:
            x_BTD: The input of the module.

        Returns:
            B x H x T x T, zero above the diagonal; None where the module returns none.

        Raises:
            InvalidValueError: :func:`adapt` was told that the module returns weights, and it returns none.
        """
        tokens, inputs_BTD = x_BTD.shape[1], self._inputs(x_BTD)
        asking = asking_for_weights(self.module, self.weights_flag)
        call = replace(self.call, keywords={**self.call.keywords, **asking})
        try:
            returned = call(self.module, inputs_BTD)
        except Exception:  # an argument that was not named may mean something else
            if self.weights_flag:
                raise
            call, returned = self.call, self.call(self.module, inputs_BTD)
        if call.returns:
            returned = call.returns(returned)
        weights_BHTT = weights_in(returned, len(inputs_BTD), inputs_BTD.shape[1])
        if weights_BHTT is None and self.weights_flag:
            cls = type(self)
            problem = f"With {self.weights_flag}=True the module returns no weights."
            hint = "Weights are B x H x T x T, or B x T x T, beside the output, and zero above the diagonal."
            raise InvalidValueError(problem, hint, where=f"{cls.__module__}.{cls.__qualname__}")
        return None if weights_BHTT is None else weights_BHTT[..., :tokens, :tokens]

    def _inputs(self, x_BTD: Tensor) -> Tensor:
        """The input in whole blocks, and in the type that the module needs."""
        # Causal modules do not see what is appended; those that want whole blocks get them.
        padding = -x_BTD.shape[1] % self.block
        inputs_BTD = functional.pad(x_BTD, (0, 0, 0, padding)) if padding else x_BTD
        return inputs_BTD.to(torch.bfloat16 if self.needs == "bf16" else torch.float32) if self.needs else inputs_BTD

    def _find_call(self, context: LayerContext, place: str) -> tuple[Call, int]:
        """Find how the module is called, and in which blocks of tokens; or refuse it with the reason."""
        if torch.get_default_device().type == "meta" and not any(map(is_lazy, self.module.parameters())):
            return next(calls(self.module, type(self).returns)), 1  # its size is asked for; a try may take seconds here
        if self.weights_flag and self.weights_flag not in inspect.signature(self.module.forward).parameters:
            problem = f"The forward of the module has no argument '{self.weights_flag}'."
            raise InvalidValueError(problem, "Name the argument that asks for its weights.", where=place)
        given = self.given_block
        lengths = {-(-TRIED[1] // (given or 1)) * (given or 1): given or 1}
        if given is None:
            lengths |= {tokens: tokens for tokens in (*BLOCKS, context.length) if tokens > TRIED[1]}
        training = self.module.training
        self.module.eval()
        dtype = torch.bfloat16 if self.needs == "bf16" else torch.float32
        first, short = Refusal(), None
        with torch.random.fork_rng(devices=[]):
            for tokens, block in lengths.items():
                call, refusal = choose_call(self.module, context.width, tokens, dtype, type(self).returns)
                first = first if first.reason else refusal
                if call is None or (short is not None and call != short[0]):
                    continue
                longest = min(LONG, context.length)
                if given is None and not all(  # one of two successive lengths is no multiple of anything above 1
                    accepts(self.module, call, context.width, one, block, dtype)
                    for one in (longest, max(1, longest - 1))
                ):
                    short = short or (call, block)  # it may have a path of its own for short sequences
                    continue
                self.module.train(training)
                return call, block
        self.module.train(training)
        if short is not None:
            return short
        raise self._refused(first, place)

    def _refused(self, refusal: Refusal, place: str) -> InvalidValueError:
        """The error of a module that cannot be called, with the line of its code."""
        owners = (type(self.module), type(self).adapted)
        location, accepted = code_line(*owners), SHAPES
        if refusal.error is not None:
            location, accepted = location_of(refusal.error, *owners), advice_on(refusal.error, SHAPES)
        hint = "\n".join(filter(None, (location, accepted)))
        problem = f"The module cannot be used: {refusal.reason.removesuffix('.')}."
        return InvalidValueError(problem, hint, where=place)


def adapt(
    build: Any,
    *,
    block: int | None = None,
    needs: Needs = "",
    returns: Callable[[Any], Any] | str | None = None,
) -> type[Adapted]:
    """Make an attention of a class of modules.

    >>> Gru = adapt(nn.GRU)
    >>> sorted(inspect.signature(Gru.__init__).parameters)[:3]
    ['batch_first', 'bias', 'bidirectional']

    Args:
        build: A class, or a function that returns a module; arguments whose names are in use are matched.
        block: Lengths are multiples of this; inputs are padded at the end. None finds it where the module refuses a
            short sequence: the shortest of a few lengths that it accepts.
        needs: The type in which the module computes; empty takes that of the input.
        returns: A function takes the output from what the module returns, or a pair of output and attention weights
            (B x H x T x T or B x T x T). A text names the argument of the forward that asks for the weights, such as
            ``need_weights``. None takes a tensor, or the first of a tuple; weights are then recognized by their shape
            and by the arguments in use.

    Returns:
        The class; its options are the arguments of the constructor.

    Raises:
        InvalidValueError: ``build`` is no class of modules, or the block is not positive.
    """
    name = getattr(build, "__qualname__", type(build).__name__)
    if isinstance(build, type) and not issubclass(build, nn.Module):
        raise not_a_module(build, SHAPES)
    if not callable(build) or (block is not None and block < 1):
        problem = f"A block of {block} tokens is not positive." if callable(build) else f"{name} cannot be called."
        raise InvalidValueError(problem, where=name)
    body = {
        "adapted": staticmethod(build),
        "given_block": block,
        "needs": needs,
        "returns": staticmethod(returns) if callable(returns) else None,
        "weights_flag": returns if isinstance(returns, str) else "",
        "made_in": sys._getframe(1).f_globals.get("__name__", ""),
        "adapted_with": _written(_given(block, needs, returns)),
        "__init__": with_options(build, Adapted.__init__, MATCHED),
        "__module__": build.__module__,
        "__qualname__": name,
        "__doc__": inspect.getdoc(build),
    }
    return type(name, (Adapted,), body)


def not_a_module(cls: type, accepted: str) -> InvalidValueError:
    """Make the error for a class that is no class of modules.

    Args:
        cls: The class.
        accepted: What a module maps to what.

    Returns:
        The error, to be raised.
    """
    hint = f"Derive it from torch.nn.Module, or name a function that returns a module. {accepted}"
    hint = "\n".join(filter(None, (class_line(cls), hint)))
    return InvalidValueError(f"{cls.__qualname__} is a class, but no nn.Module.", hint, where=_place(cls))


def _place(cls: type) -> str:
    """Name a class as a user does: by its file, or by the module that it is imported from."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    is_file = cls.__module__.startswith(PREFIX) and file
    return f"{Path(str(file)).name}:{cls.__qualname__}" if is_file else f"{cls.__module__}.{cls.__qualname__}"


def _made(build: Callable[..., nn.Module], arguments: dict[str, Any], given: Mapping[str, Any]) -> nn.Module:
    """The module; a class that is causal by itself may refuse to be told so."""
    try:
        return build(**with_config(build, arguments))
    except Exception:
        fewer = {name: value for name, value in arguments.items() if name in given or name not in ALWAYS}
        if len(fewer) == len(arguments):
            raise
        try:
            return build(**with_config(build, fewer))
        except Exception:
            pass
        raise


def _given(block: int | None, needs: Needs, returns: Callable[[Any], Any] | str | None) -> dict[str, Any]:
    """The arguments of :func:`adapt` that were given; a function by its code."""
    function = returns if isinstance(returns, type | FunctionType) else None
    told = returns if function is None else without_text(function)
    return {name: one for name, one in {"block": block, "needs": needs, "returns": told}.items() if one}


def _written(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())
