"""TensorBoard's own files for the browser, packed when they are asked for.

TensorBoard packs all of them when it starts, which takes longer than to read a bucket's index.
"""

from __future__ import annotations

import functools
import zipfile
from collections.abc import Callable, Iterable
from typing import Any

from tensorboard.plugins.core import core_plugin

__all__ = ["CoreLoader"]

_INDEX = "index.html"
_App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class CoreLoader(core_plugin.CorePluginLoader):  # type: ignore[misc]
    """Loads TensorBoard's core plugin as ``loader`` does; what it serves is the same."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def load(self, context: Any) -> Any:
        """The plugin. It has to be of exactly its class, by which TensorBoard knows it."""
        plugin = self._loader.load(context)
        if context.assets_zip_provider and all(map(functools.partial(hasattr, plugin), _USED)):
            plugin.get_resource_apps = functools.partial(_apps, plugin, context.assets_zip_provider)
        return plugin


_USED = ("get_resource_apps", "_serve_index", "_serve_asset")


def _apps(plugin: Any, provider: Callable[[], Any]) -> dict[str, _App]:
    with provider() as file, zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        index: _App = functools.partial(plugin._serve_index, archive.read(_INDEX))
    assets: dict[str, _App] = {f"/{name}": _Asset(plugin, provider, name) for name in names}
    return assets | {f"/{_INDEX}": index, "/": index}


class _Asset:
    def __init__(self, plugin: Any, provider: Callable[[], Any], name: str) -> None:
        self._plugin = plugin
        self._provider = provider
        self._name = name

    @functools.cached_property
    def _packed(self) -> bytes:
        with self._provider() as file, zipfile.ZipFile(file) as archive:
            packed: bytes = core_plugin._gzip(archive.read(self._name))
            return packed

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        answer: Iterable[bytes] = self._plugin._serve_asset(self._name, self._packed, environ, start_response)
        return answer
