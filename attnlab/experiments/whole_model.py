"""Whole models of the user's own in a plan: looked up, checked before they are trained, and what they do not have.

A whole model stands in the place of the transformer. It is given the sizes for which its constructor has an argument,
and no other field of the transformer.
"""

from __future__ import annotations

import shlex
import warnings
from typing import TYPE_CHECKING, Any

from attnlab.attention.ops.constructor import constructor_parameters
from attnlab.config.inline_parts import parse_modules
from attnlab.config.recipes import with_recipe
from attnlab.errors import AttnlabError, InvalidValueError, PartWarning, PluginError, echo
from attnlab.model.module import MODULE_NAMING, MODULES, failed_module
from attnlab.model.module_sizes import MODULE_ARGUMENTS, check_arguments, sizes_used
from attnlab.specs import ModelSpec, ModulePart, Part, TrainSpec
from attnlab.tasks.io.streams import Source
from attnlab.testing.changes import NOT_FINITE
from attnlab.testing.model_check import quick_model_check
from attnlab.testing.quick_check import QuickCheck
from attnlab.user_code import constructor_line, user_stacklevel

if TYPE_CHECKING:
    from attnlab.experiments.request import Request
    from attnlab.experiments.resolve import Resolver


def inline_module(value: Any) -> Part:
    """Read the whole model that the field ``module`` names.

    Args:
        value: Inline words, or a mapping with a name and options.

    Returns:
        The part.

    Raises:
        InvalidValueError: It is neither, or several models.
    """
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        return Part.model_validate(value)
    parts = parse_modules(value) if isinstance(value, str) else []
    if len(parts) != 1:
        raise InvalidValueError(f"It cannot be {echo(value)}.", "Name one model: FILE.py:Class.", where="model.module")
    return parts[0]


def module_spec(model: ModelSpec, part: Part) -> ModelSpec:
    """Look up a whole model of the user's own, and the fields that its constructor is given.

    Args:
        model: Has the sizes that it may be given.
        part: The whole model.

    Returns:
        The spec; fields that it is not given are at their defaults.

    Raises:
        UnknownNameError: There is no such class or option.
        InvalidValueError: A value is not accepted, or an argument of the constructor cannot be matched.
        PluginError: Its file or module cannot be loaded, or what it names is no class of modules.
    """
    where = f"model.module: {part}"
    try:
        name = MODULE_NAMING.resolved(part.name)
        if name not in MODULES:
            problem = f"'{part.name}' names no class of modules."
            raise InvalidValueError(problem, "Write FILE.py:Class, or package.module:Class.")
        entry = MODULES.entry(name)
        parameters = constructor_parameters(entry.cls.adapted, MODULE_ARGUMENTS)
        given = {name: entry.check(name, value) for name, value in part.options.items()}
        check_arguments(parameters, given, constructor_line(entry.cls.adapted))
        sizes = sizes_used(parameters, given)
    except AttnlabError as error:
        raise error.at(where) from None
    options = entry.non_default(given)
    found = ModulePart(name=entry.name, options=options, version=1, code_digest=entry.code.digest, sizes=sizes)
    used = {name: getattr(model, name) for name in (*sizes, "matched", "allow_leak")}
    return ModelSpec.model_validate({**used, "module": found})


def check_own_model(model: ModelSpec, source: Source, resolver: Resolver) -> ModelSpec:
    """Check a whole model of the user's own before it is trained, once for equal ones.

    Args:
        model: Names it.
        source: Gives the vocabulary and the longest sequence.
        resolver: Keeps the result.

    Returns:
        The model; a leak is allowed by it only where there is one.

    Raises:
        PluginError: It leaks and does not allow it, its weights do not follow the seed, or equal tokens have other
            outputs.
    """
    key = ("quick model", model.model_copy(update={"allow_leak": False}).canonical, source.vocabulary, source.length)
    found: QuickCheck = resolver.once(key, lambda: _quick_model_check(model, source))
    assert model.module is not None, "the spec is that of a transformer"
    word = MODULES.entry(model.module.name).as_typed(model.module)
    judge(f"model.module: {word}", f"attnlab check --model {shlex.quote(word)}", found, model.allow_leak)
    return model.model_copy(update={"allow_leak": bool(found.leak)}) if model.allow_leak else model


def of_whole_model(train: TrainSpec, model: ModelSpec, request: Request) -> TrainSpec:
    """Leave out what cannot be measured of a whole model, and warn of it and of settings that it does not use.

    Args:
        train: How the runs of the request are trained.
        model: The whole model.
        request: The request, with the settings of the user and of the recipe.

    Returns:
        The training of its runs.
    """
    given = with_recipe(request.recipe, "model", request.settings.get("model", {}))
    unused = [f"model.{name}" for name in given if name not in model.used_fields]
    if unused and not request.attentions and request.reference is None:  # no attention beside it uses them
        text = f"{model.module} has no argument for {', '.join(unused)}: not used."
        warnings.warn(text, PartWarning, stacklevel=user_stacklevel())
    if not train.log_diagnostics:
        return train
    text = f"{model.module}: diagnostics are not applicable to a whole model, and are not logged."
    warnings.warn(text, PartWarning, stacklevel=user_stacklevel())
    return train.model_copy(update={"log_diagnostics": ()})


def judge(where: str, command: str, found: QuickCheck, allow_leak: bool) -> None:
    """Refuse a part that leaks or whose weights do not follow the seed, and warn of what a reader should know.

    Args:
        where: The field and the part, for messages.
        command: The command that tells more of it.
        found: What the quick check found.
        allow_leak: Whether a leak is allowed.

    Raises:
        PluginError: It leaks and may not, its weights do not follow the seed, or blocks of queries change its outputs.
    """
    if found.seeds:
        problem = f"Its weight '{found.seeds}' is not the same in two models of one seed."
        raise PluginError(problem, "Draw weights with torch's own generator, or by the layer context.", where=where)
    if found.changes == NOT_FINITE:
        raise PluginError("Its outputs are not finite.", f"More: {command}.", where=where)
    if found.changes:
        problem = f"Equal calls give different outputs in evaluation mode: {found.changes}."
        raise PluginError(problem, f"More: {command}.", where=where)
    if found.leak and not allow_leak:
        problem = f"It sees later tokens, or other rows of the batch: {found.leak}."
        hint = f"More: {command}. To train it all the same: --allow-leak; every table says so then."
        raise PluginError(problem, hint, where=where)
    if found.blocks and found.leak:
        problem = "It sees later tokens, but not where long sequences are attended a few queries at a time."
        hint = "Attend all queries at once: def blockable(self, qkv, position): return False."
        raise PluginError(problem, hint, where=where)
    if found.blocks:
        problem = f"Blocks of queries do not give the outputs of all queries at once: {found.blocks}."
        hint = (
            "Long sequences are attended a few queries at a time, beside keys that may reach beyond them: number "
            f"tokens by qkv.query_indices_T1 (T x 1) and qkv.key_indices_S. More: {command}."
        )
        raise PluginError(problem, hint, where=where)
    if found.untried:
        text = f"{where}: leaks were looked for in up to {found.untried}: longer ones take too long to try."
        warnings.warn(text, PartWarning, stacklevel=user_stacklevel())
    if found.prefix:
        text = f"{where}: a prefix has other outputs than the whole ({found.prefix}): it reads its own length."
        warnings.warn(text, PartWarning, stacklevel=user_stacklevel())


def _quick_model_check(model: ModelSpec, source: Source) -> QuickCheck:
    """Check one whole model; an exception of its code is one block."""
    where = f"model.module: {model.module}"
    try:
        return quick_model_check(model, source.vocabulary, source.length)
    except AttnlabError as error:
        raise error.at(where) from None
    except Exception as error:
        raise failed_module(model, error) from error
