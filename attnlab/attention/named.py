"""Attentions named by their class: ``FILE.py:Class``, ``package.module:Class``, or the class itself.

A subclass of :class:`Attention` is used as it is; any other class of modules, or function that makes one, is adapted.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from torch import nn

from attnlab.attention.adapter import adapt
from attnlab.attention.base import ATTENTIONS, Attention
from attnlab.naming import Naming

_NAMING = Naming(ATTENTIONS, nn.Module, Attention, adapt, "def mixer(dim): return Module(dim, ...).")


def named_attention(word: str) -> str:
    """Register the attention that a word names; a file is run, unless it was and has not changed since.

    Args:
        word: ``FILE.py:Class`` or ``package.module:Class``.

    Returns:
        The name under which it is registered.

    Raises:
        PluginError: The file or module cannot be loaded, or what is named is no module.
        UnknownNameError: There is no such class.
        InvalidValueError: The word begins with the name of an attention.
    """
    return _NAMING.named(word)


def resolved_attention(name: str) -> str:
    """Register the attention that a name or word names, unless it is registered already.

    Args:
        name: The name of an attention, ``FILE.py:Class`` or ``package.module:Class``.

    Returns:
        The name under which it is registered; a name that names no file and no module is returned as it is.

    Raises:
        PluginError: The file or module cannot be loaded, or what is named is no module.
        UnknownNameError: There is no such class.
        InvalidValueError: The word begins with the name of an attention, or the class is missing.
    """
    return _NAMING.resolved(name)


def known_attention(name: str) -> None:
    """Register an attention of a run again, from a file that was loaded or a module that can be imported.

    Args:
        name: The name under which it was registered; nothing happens if it is known, or cannot be found.

    Raises:
        PluginError: Its module cannot be imported, or has no such class any more.
    """
    _NAMING.known(name)


def attention_of(value: Any) -> str:
    """Register a class that was passed from Python.

    Args:
        value: A class of attentions or of other modules, or a function that makes one.

    Returns:
        The name under which it is registered.

    Raises:
        PluginError: It is no class of modules, or another one of its name is registered.
    """
    return _NAMING.of(value)


def attention_words(given: Any) -> list[str]:
    """Register the classes among attentions that were passed from Python.

    Args:
        given: A word, a class, or several.

    Returns:
        One word for each.

    Raises:
        PluginError: A value is no class of modules.
    """
    return _NAMING.words(given)


def adopt_class(value: Any, name: str, home: ModuleType | None) -> str:
    """Register a class under a name.

    Args:
        value: A class of attentions or of other modules, or a function that makes one.
        name: The name.
        home: The module whose code is its; None for a class of a notebook.

    Returns:
        The name under which it is registered: its own, where it is registered already.

    Raises:
        PluginError: It is no class of modules, or another one has the name.
    """
    return _NAMING.adopt(value, name, home)
