"""Whole models of the user's own: any ``nn.Module`` from tokens (B, T) to logits (B, T, V).

The module is built with the arguments that match the run (:mod:`attnlab.model.module_sizes`). It may return a tensor, a
tuple whose first item is one, or an object or a mapping with ``logits``. Nothing of its inside is known: it has no
trace, and no part that a position or a modifier could change.

Letters  B batch, T tokens, V vocabulary, N supervised positions of the whole batch, P of each row.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from attnlab.attention.adapter import ARGUMENTS, not_a_module
from attnlab.attention.ops.constructor import constructor_parameters, with_options
from attnlab.attention.ops.signature import with_config
from attnlab.errors import AttnlabError, InvalidValueError, PluginError
from attnlab.model.base import Model, ModelOutput
from attnlab.model.module_sizes import MODULE_ARGUMENTS, ModuleContext, module_arguments
from attnlab.naming import Naming
from attnlab.plugins import plugin_error
from attnlab.position import POSITIONS
from attnlab.registry import Registry
from attnlab.specs import ModelSpec
from attnlab.tensors import LayerContext, ParameterRole, Role, at_least_float32
from attnlab.user_code import code_line

MODULES: Registry[ModuleModel] = Registry("model", "attnlab.model")
"""The whole models that were named; none is built in."""
NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)
WHOLE = "A whole model maps tokens (batch, tokens), int64, to logits (batch, tokens, vocabulary)."
TRACE = "A whole model of your own shows no residual stream and no attention."


class ModuleModel(Model):
    """A whole model of the user's own; subclasses are made by :func:`adapt_module`.

    Args:
        context: What the constructor can be given.
        **options: Arguments of the user.

    Raises:
        InvalidValueError: An argument of the constructor cannot be matched.
        PluginError: The constructor fails, or makes no module.
    """

    adapted: ClassVar[Callable[..., nn.Module]]
    """The class of the module, or a function that makes it."""

    def __init__(self, context: ModuleContext, **options: Any) -> None:
        super().__init__(context.spec)
        cls = type(self)
        assert context.spec.module is not None, "the spec is that of a transformer"
        place = f"model.module: {context.spec.module.name}"
        arguments = module_arguments(constructor_parameters(cls.adapted, MODULE_ARGUMENTS), context, options)
        self.vocabulary = context.vocabulary
        written = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        try:
            module: Any = cls.adapted(**with_config(cls.adapted, arguments))
        except AttnlabError:
            raise
        except Exception as error:
            raise plugin_error(f"{place}({written})", error, cls.adapted, accepted=ARGUMENTS) from error
        if not isinstance(module, nn.Module):
            hint = "Return the module: a torch.nn.Module from tokens (B, T) to logits (B, T, V)."
            hint = "\n".join(filter(None, (code_line(cls.adapted), hint)))
            raise PluginError(f"It makes a {type(module).__name__}, not an nn.Module.", hint, where=place)
        self.module = module
        generator = torch.Generator()
        sizes = LayerContext(width=1, heads=1, layer=0, layers=1, length=context.length, generator=generator)
        self.position = POSITIONS.entry("none").cls(sizes)

    def forward(self, inputs_BT: Tensor, positions: Tensor | None, trace: bool = False) -> ModelOutput:
        """Compute the logits at the supervised positions.

        Args:
            inputs_BT: Token ids, int64.
            positions: Indices of the supervised positions in the flattened batch, N or B x P; None for all positions.
            trace: Not accepted: nothing of the module's inside is known.

        Returns:
            Logits in the order of the positions, and no auxiliary loss.

        Raises:
            InvalidValueError: A trace is asked for, or the module returns no logits of every token.
        """
        if trace:
            raise InvalidValueError(TRACE, where=f"model.module: {self.spec.module}")
        logits_TV = self.all_logits(inputs_BT).flatten(0, 1)
        logits_NV = logits_TV if positions is None else logits_TV[positions.flatten()]
        return ModelOutput(logits_NV, logits_NV.new_zeros(()))

    def all_logits(self, inputs_BT: Tensor) -> Tensor:
        """Compute the logits of every token.

        Args:
            inputs_BT: Token ids, int64.

        Returns:
            The logits, B x T x V.

        Raises:
            InvalidValueError: The module returns no logits of every token.
        """
        output = self.module(inputs_BT)
        logits: Any = output
        if isinstance(output, Mapping) and "logits" in output:
            logits = output["logits"]
        elif isinstance(getattr(output, "logits", None), Tensor):
            logits = output.logits
        elif isinstance(output, tuple | list) and output:
            logits = output[0]
        wanted = (*inputs_BT.shape, self.vocabulary)
        if not isinstance(logits, Tensor) or tuple(logits.shape) != wanted or not logits.is_floating_point():
            raise self._refused(logits, wanted)
        return logits

    def losses(self, inputs_BT: Tensor, positions: Tensor | None, targets_N: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the losses of a batch.

        Args:
            inputs_BT: Token ids, int64.
            positions: As in ``forward``.
            targets_N: The target of each supervised position, int64.

        Returns:
            Mean cross-entropy in nats, and no auxiliary loss.
        """
        output = self(inputs_BT, positions)
        return functional.cross_entropy(at_least_float32(output.logits_NV), targets_N), output.auxiliary

    def parameter_roles(self) -> dict[str, ParameterRole]:
        """Layer and role of each parameter by name, as far as the classes of torch's modules tell.

        Embeddings, norms and a matrix with as many rows as there are tokens have no layer. Any other parameter is in
        the layer of its first ``ModuleList``, or in the first.
        """
        roles: dict[str, Role] = {}
        layers: dict[str, int] = {}
        for prefix, module in self.named_modules(remove_duplicate=False):
            role: Role | None = "embedding" if isinstance(module, nn.Embedding) else None
            role = "norm" if isinstance(module, NORMS) else role
            if role:
                roles |= {f"{prefix}.{name}": role for name, _ in module.named_parameters(recurse=False)}
            if isinstance(module, nn.ModuleList) and not any(prefix.startswith(f"{path}.") for path in layers):
                layers |= {f"{prefix}.{index}": index + 1 for index in range(len(module))}
        found: dict[str, ParameterRole] = {}
        for name, weight in self.named_parameters():
            role = roles.get(name) or ("head" if weight.ndim == 2 and len(weight) == self.vocabulary else None)
            layer = next((index for path, index in layers.items() if name.startswith(f"{path}.")), 1)
            found[name] = ParameterRole(None if role in ("embedding", "head") else layer, role or "extra")
        return found

    def _refused(self, logits: Any, wanted: tuple[int, ...]) -> InvalidValueError:
        """The error of an output that is not the logits of every token; its hint has the likely cause."""
        expected = f"{' x '.join(map(str, wanted))} (batch, tokens, vocabulary)"
        if not isinstance(logits, Tensor):
            problem = f"It returns a {type(logits).__name__} without logits, where {expected} are expected."
        elif not logits.is_floating_point():
            problem = f"Its logits have the type {str(logits.dtype).removeprefix('torch.')}."
        else:
            problem = f"It returns {' x '.join(map(str, logits.shape)) or 'one number'}, where {expected} is expected."
        hint = "Return a tensor, a tuple whose first item is one, or an object or a dict with logits."
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else (-1,)
        if shape[:1] + shape[2:] == wanted[:1] + wanted[2:] and shape[1:2] == (1,):
            hint = "It returns the last token's logits alone; return those of every token, for example in a subclass."
        elif shape[:2] == wanted[:2] and len(shape) == 3:
            hint = (
                f"Let its head have as many outputs as there are tokens, {wanted[2]}: the argument vocab_size has it."
            )
        elif shape == (wanted[0], wanted[2], wanted[1]):
            hint = "Transpose the last two axes."
        elif shape == ():
            hint = "It may return a loss; return the logits."
        hint = "\n".join(filter(None, (code_line(type(self.module), type(self).adapted), hint)))
        return InvalidValueError(problem, hint, where=f"model.module: {self.spec.module}")


def adapt_module(build: Any) -> type[ModuleModel]:
    """Make a model of a class of modules.

    Args:
        build: A class, or a function that returns a module; arguments whose names are in use are matched.

    Returns:
        The class; its options are the arguments of the constructor.

    Raises:
        InvalidValueError: ``build`` is no class of modules, and no function.
    """
    name = getattr(build, "__qualname__", type(build).__name__)
    if isinstance(build, type) and not issubclass(build, nn.Module):
        raise not_a_module(build, WHOLE)
    body = {
        "adapted": staticmethod(build),
        "__init__": with_options(build, ModuleModel.__init__, MODULE_ARGUMENTS),
        "__module__": build.__module__,
        "__qualname__": name,
        "__doc__": inspect.getdoc(build),
    }
    return type(name, (ModuleModel,), body)


MODULE_NAMING = Naming(MODULES, nn.Module, None, adapt_module, "def model(vocab_size, d_model): return Model(...).")
"""How whole models are named and registered."""


def build_module(spec: ModelSpec, vocabulary: int, length: int) -> ModuleModel:
    """Build a whole model of the user's own.

    Args:
        spec: Names it; its sizes are those that the constructor is given.
        vocabulary: V.
        length: The longest sequence, in tokens.

    Returns:
        The model.

    Raises:
        InvalidValueError: An argument of the constructor cannot be matched.
        PluginError: The constructor fails, or makes no module.
    """
    assert spec.module is not None, "the spec is that of a transformer"
    cls: Callable[..., ModuleModel] = MODULES.entry(spec.module.name).cls
    try:
        return cls(ModuleContext(spec, vocabulary, length), **spec.module.options)
    except InvalidValueError as error:
        raise error.at(f"model.module: {spec.module}") from None


def failed_module(spec: ModelSpec, error: Exception) -> PluginError:
    """Make the error for a whole model of the user's own whose code raised an exception.

    Args:
        spec: Names it.
        error: The exception.

    Returns:
        The error, to be raised.
    """
    assert spec.module is not None, "the spec is that of a transformer"
    adapted = MODULES.entry(spec.module.name).cls.adapted
    return plugin_error(f"model.module: {spec.module}", error, adapted, accepted=WHOLE)
