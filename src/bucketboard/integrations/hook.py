"""Changes to modules of frameworks: made at once where a module is loaded, else when it is; and undone."""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from types import ModuleType
from typing import Any

__all__ = ["Hook", "Patch", "Undo"]

Undo = Callable[[], None]
Patch = Callable[[ModuleType], Undo]
"""Changes a module and gives what takes the change back."""


class Hook(MetaPathFinder):
    """Patches by module name; the import system is touched only while some of the modules are not loaded."""

    def __init__(self, patches: Mapping[str, Patch]) -> None:
        self._waiting = dict(patches)
        self._undo: list[Undo] = []

    def install(self) -> None:
        """Patch what is loaded, and watch imports for the rest."""
        for name in [name for name in self._waiting if name in sys.modules]:
            self._apply(sys.modules[name])
        if self._waiting:
            sys.meta_path.insert(0, self)

    def uninstall(self) -> None:
        """Take every change back, the last one first."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        self._waiting.clear()
        while self._undo:
            self._undo.pop()()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The module's own spec, whose loader also patches."""
        if fullname not in self._waiting:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Patching(spec.loader, self._apply)
                return spec
        return None

    def _apply(self, module: ModuleType) -> None:
        patch = self._waiting.pop(module.__name__, None)
        if patch is not None:
            self._undo.append(patch(module))
        if not self._waiting and self in sys.meta_path:
            sys.meta_path.remove(self)


class _Patching(Loader):
    """Loads as ``loader`` does, gives the module that one back, and hands it to ``done``."""

    def __init__(self, loader: Any, done: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._done = done

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._done(module)
