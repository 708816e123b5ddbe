"""TensorBoard's program, put together from its parts as ours."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tensorboard import default, program
from tensorboard.backend import application
from tensorboard.data.ingester import DataIngester
from tensorboard.plugins.base_plugin import FlagsError
from tensorboard.plugins.core.core_plugin import CorePluginLoader
from tensorboard.plugins.debugger_v2.debugger_v2_plugin import DebuggerV2Plugin

from bucketboard.errors import InvalidError
from bucketboard.serve.assets import CoreLoader
from bucketboard.serve.catalog import Catalog
from bucketboard.serve.guard import Guard
from bucketboard.serve.mirror import Mirror
from bucketboard.serve.provider import CatalogProvider
from bucketboard.serve.routes import FastRoutes
from bucketboard.serve.watch import Watch

__all__ = ["Access", "Board"]

_OURS = {"--logdir", "--logdir_spec", "--host", "--port", "--bind_all", "--reload_interval", "--load_fast"}
_FROM_PROVIDER = {
    *("scalars", "timeseries", "images", "audio", "histograms", "distributions", "graphs", "hparams"),
    *("text", "text_v2", "pr_curves", "mesh", "custom_scalars"),
}
"""Plugins that read nothing but what the provider gives."""
_MOST_NAMED = 1000
_App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass(frozen=True)
class Access:
    """Where to listen and who may look."""

    host: str | None
    port: int | None
    bind_all: bool
    token: str | None
    allowed_hosts: Sequence[str]


class _Ingester(DataIngester):  # type: ignore[misc]
    """What TensorBoard takes its provider from. Plugins get no multiplexer, as beside its data server."""

    def __init__(self, provider: CatalogProvider) -> None:
        self._provider = provider

    @property
    def data_provider(self) -> CatalogProvider:
        return self._provider

    def start(self) -> None:
        """The watch does what is to be done."""


class Board(program.TensorBoard):  # type: ignore[misc]
    """TensorBoard with its own plugins and web server, and our data."""

    url: str

    def __init__(self, catalog: Catalog, watch: Watch, samples: dict[str, int | None]) -> None:
        self._catalog = catalog
        self._watch = watch
        self._samples = samples
        self._mirror = Mirror(catalog)
        self._web: Any = None
        # Debugger V2, opened, imports TensorFlow where there is one, and that has no S3.
        plugins = [
            CoreLoader(plugin) if isinstance(plugin, CorePluginLoader) else plugin
            for plugin in default.get_plugins()
            if plugin is not DebuggerV2Plugin
        ]
        super().__init__(plugins=plugins, server_class=self._listen)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._web.server_port)

    def start(self, access: Access, reload_interval: float, extra: Sequence[str]) -> None:
        """Listen.

        Raises:
            InvalidError: TensorBoard refuses an argument, or the port is taken.
        """
        if clash := sorted(_OURS & {argument.partition("=")[0] for argument in extra}):
            raise InvalidError(f"{clash[0]} can't be given to TensorBoard", hint="bucketboard sets it itself")
        try:
            self.configure(
                argv=("", "--load_fast=false", *extra),
                logdir=self._mirror.path,
                host=access.host,
                port=access.port,
                bind_all=access.bind_all,
                reload_interval=reload_interval,
                # TensorBoard's plugins take a hint of 0 by its word, where its command line means everything.
                samples_per_plugin={k: sys.maxsize if v is None else v for k, v in self._samples.items()},
            )
        except (FlagsError, SystemExit) as error:  # argparse has printed the reason before it exits
            reason = f": {error}" if isinstance(error, FlagsError) else ""
            raise InvalidError(f"TensorBoard refuses the arguments {list(extra)}{reason}") from error
        self._access = access
        try:
            self.url = self.launch()
        except (program.TensorBoardServerException, SystemExit) as error:
            # Where TensorBoard's own check of the port sees nothing wrong, Werkzeug prints and exits.
            reason = getattr(error, "msg", "see above")
            hint = "port 0 takes any free one" if access.port else ""
            raise InvalidError(f"can't listen on {access.host}: {reason}", hint=hint) from error

    def close(self) -> None:
        """Stop the web server."""
        if self._web is not None:
            self._web.shutdown()
            self._web.server_close()
        self._mirror.close()

    def _make_data_ingester(self) -> _Ingester:
        return _Ingester(CatalogProvider(self._catalog))

    def _make_server(self) -> Any:
        ingester = self._make_data_ingester()
        app = application.TensorBoardWSGIApp(
            self.flags,
            self.plugin_loaders,
            ingester.data_provider,
            self.assets_zip_provider,
            experimental_middlewares=[self._fast_routes, self._attended],
        )
        guard = Guard(
            app,
            token=self._access.token,
            host=None if self._access.bind_all else self._access.host,
            exposed_everywhere=self._access.bind_all,
            allowed_hosts=self._access.allowed_hosts,
            path_prefix=self.flags.path_prefix,
            health=self.health,
        )
        return self.server_class(guard, self.flags)

    def health(self) -> dict[str, Any]:
        """What ``/healthz`` says."""
        mounts = self._catalog.mounts
        return {
            "ok": not any(mount.trouble for mount in mounts),
            "last_listing": min((mount.listed or 0.0 for mount in mounts), default=0.0) or None,
            "runs": len(self._catalog.runs),
            "idle": self._watch.idle,
            "interval": self._watch.interval,
            "trouble": self._catalog.trouble,
            "unreadable": dict(itertools.islice(self._catalog.unreadable.items(), _MOST_NAMED)),
        }

    def _fast_routes(self, app: _App) -> _App:
        return FastRoutes(app, self._catalog, self.flags.samples_per_plugin)

    def _attended(self, app: _App) -> _App:
        """Let the watch know that somebody looks, and plugins find their files."""

        def attended(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            path = environ.get("PATH_INFO", "")
            if path.startswith("/data/"):
                self._watch.asked()
                if path.startswith("/data/plugin/"):
                    plugin = path.split("/")[3]
                    if plugin not in _FROM_PROVIDER:
                        self._mirror.fill(plugin)
                elif path == "/data/plugins_listing":
                    self._mirror.prepare()
            return app(environ, start_response)

        return attended

    def _listen(self, app: Any, flags: Any) -> Any:
        self._web = program.create_port_scanning_werkzeug_server(app, flags)
        return self._web
