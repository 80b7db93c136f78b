"""Imports of a plugin: the modules beside it are importable for it alone, in its functions too.

A plugin, and each module beside it, has an ``__import__`` of its own. It makes the folder importable and the plugin's
modules known under their short names while it imports; afterwards they are known as parts of the plugin.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from attnlab.part_code.loaded import OWNER

_LOCK = threading.RLock()
_ACTIVE: list[PluginImports] = []
"""Plugins that are importing, the innermost last."""


class PluginImports:
    """The ``__import__`` of a plugin and of the modules beside it.

    Args:
        plugin: The name of the plugin's module.
        folder: Its folder.
    """

    def __init__(self, plugin: str, folder: Path) -> None:
        self.plugin, self.folder = plugin, folder

    def prepare(self, module: ModuleType) -> None:
        """Give a module this ``__import__``, before it is run.

        Args:
            module: The plugin, or a module beside it.
        """
        vars(module).update({"__builtins__": {**vars(builtins), "__import__": self}, OWNER: self.plugin})

    def __call__(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        """Import a module; see :func:`builtins.__import__`."""
        package = str((globals or {}).get("__package__") or "") if level else ""
        if not self._is_beside(package or name):
            module: Any = builtins.__import__(name, globals, locals, fromlist or (), level)
            return self._importlib() if module is importlib else module
        if not level and (loaded := self._loaded(name, fromlist or ())) is not None:
            return loaded
        with self.active():
            return builtins.__import__(name, globals, locals, fromlist or (), level)

    def import_module(self, name: str, package: str | None = None) -> ModuleType:
        """Import a module; see :func:`importlib.import_module`.

        Args:
            name: The module.
            package: The package that a name with dots before it starts from.

        Returns:
            The module.
        """
        name = importlib.util.resolve_name(name, package)
        if not self._is_beside(name):
            return importlib.import_module(name)
        with self.active():
            return importlib.import_module(name)

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        """Find a module beside the plugin, for the import system.

        Args:
            name: The module.
            path: The folders of its package; None for a module of no package.
            target: Unused.

        Returns:
            Its specification; None for other modules.
        """
        if not self._is_beside(name):
            return None
        spec = PathFinder.find_spec(name, [str(self.folder)] if path is None else path)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(self, name, spec.loader.path)
        return spec

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make the folder importable, and the plugin's modules known under their short names.

        Yields:
            Nothing.
        """
        with _LOCK:
            if _ACTIVE and _ACTIVE[-1] is self:
                yield
                return
            hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if self._is_beside(name)}
            prefix = f"{self.plugin}."
            for name in [name for name in sys.modules if name.startswith(prefix)]:
                sys.modules[name.removeprefix(prefix)] = sys.modules.pop(name)
            sys.path.insert(0, str(self.folder))
            sys.meta_path.insert(0, self)
            importlib.invalidate_caches()
            _ACTIVE.append(self)
            try:
                yield
            finally:
                _ACTIVE.pop()
                sys.meta_path.remove(self)
                sys.path.remove(str(self.folder))
                for name in [name for name, module in sys.modules.items() if self._is_own(name, module)]:
                    module = sys.modules[prefix + name] = sys.modules.pop(name)
                    module.__name__ = prefix + name  # by which torch.compile finds the globals of its functions
                sys.modules.update(hidden)

    def forget(self) -> None:
        """Drop the modules beside the plugin, which is about to be loaded again."""
        for name in [name for name in sys.modules if name.startswith(f"{self.plugin}.")]:
            del sys.modules[name]

    def _is_beside(self, name: str) -> bool:
        """Whether a module, or its package, stands beside the plugin; such a file hides no module of Python's own."""
        top = name.partition(".")[0]
        if not top or top in sys.stdlib_module_names or top == "attnlab":
            return False
        return (self.folder / f"{top}.py").is_file() or (self.folder / top / "__init__.py").is_file()

    def _is_own(self, name: str, module: ModuleType) -> bool:
        """Whether a loaded module was loaded from beside the plugin."""
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or name.startswith(self.plugin) or not file.startswith(f"{self.folder}/"):
            return False
        return vars(module).get(OWNER, self.plugin) == self.plugin and self._is_beside(name)

    def _loaded(self, name: str, wanted: Sequence[str]) -> ModuleType | None:
        """What an import statement gives where its modules are loaded already."""
        module = sys.modules.get(f"{self.plugin}.{name}")
        if module is None or not all(word != "*" and hasattr(module, word) for word in wanted):
            return None
        return module if wanted else sys.modules.get(f"{self.plugin}.{name.partition('.')[0]}")

    def _importlib(self) -> ModuleType:
        """The module importlib, with an ``import_module`` that finds the modules beside the plugin."""
        module = ModuleType("importlib", importlib.__doc__)
        vars(module).update(vars(importlib) | {"import_module": self.import_module})
        return module


class TextLoader(SourceFileLoader):
    """Loads a module from its text, and neither reads nor keeps its bytecode.

    Python takes bytecode for that of a text if both are of the same second and size: it would run a file as it was
    before a number in it was changed.
    """

    def path_stats(self, path: str | bytes) -> dict[str, Any]:
        """Give no time of change, without which Python looks for no bytecode.

        Raises:
            OSError: Always.
        """
        raise OSError(path)


class _Loader(TextLoader):
    """Loads a module beside a plugin.

    Args:
        imports: The plugin's ``__import__``.
        name: The module.
        path: Its file.
    """

    def __init__(self, imports: PluginImports, name: str, path: str) -> None:
        super().__init__(name, path)
        self.imports = imports

    def exec_module(self, module: ModuleType) -> None:
        """Run the module with the plugin's ``__import__``."""
        self.imports.prepare(module)
        super().exec_module(module)
