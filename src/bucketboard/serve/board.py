"""TensorBoard's program, put together from its parts as ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tensorboard import default, program
from tensorboard.plugins.base_plugin import FlagsError
from tensorboard.plugins.debugger_v2.debugger_v2_plugin import DebuggerV2Plugin

from bucketboard.errors import InvalidError
from bucketboard.serve.filesystem import mount, unmount
from bucketboard.serve.ingester import Ingester
from bucketboard.serve.prefix import Prefix

__all__ = ["Board"]

_MULTIFILE = ("--reload_multifile=true", "--reload_multifile_inactive_secs=-1")
"""Several files of a run may grow at once: each process that logs has its own. Idle ones cost no request."""
_OURS = {"--logdir", "--host", "--port", "--reload_interval", "--load_fast"}


class Board(program.TensorBoard):  # type: ignore[misc]
    """TensorBoard with its own plugins and web server, and our ingester."""

    url: str

    def __init__(self, prefix: Prefix | None) -> None:
        self._prefix = prefix
        self._web: Any = None
        plugins = default.get_plugins()
        if prefix:
            # Opened, it imports TensorFlow where there is one, and reads with file systems that have no S3.
            plugins = [plugin for plugin in plugins if plugin is not DebuggerV2Plugin]
        super().__init__(plugins=plugins, server_class=self._listen)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._web.server_port)

    def start(
        self, logdir: str, host: str, port: int | None, *, reload_interval: float, extra: Sequence[str]
    ) -> None:
        """Listen, then begin to read."""
        if clash := sorted(_OURS & {argument.partition("=")[0] for argument in extra}):
            raise InvalidError(f"{clash[0]} can't be given to TensorBoard", hint="bucketboard sets it itself")
        try:
            self.configure(
                argv=("", "--load_fast=false", *(_MULTIFILE if self._prefix else ()), *extra),
                logdir=logdir,
                host=host,
                port=port,
                reload_interval=reload_interval,
            )
        except (FlagsError, SystemExit) as error:  # argparse has printed the reason before it exits
            reason = f": {error}" if isinstance(error, FlagsError) else ""
            raise InvalidError(f"TensorBoard refuses the arguments {list(extra)}{reason}") from error
        if self._prefix:
            mount(self._prefix)
        try:
            self._ingester = Ingester(self.flags, self._prefix)
            self.url = self.launch()
        except BaseException as error:
            if self._prefix:
                unmount(self._prefix)
            # Where TensorBoard's own check of the port sees nothing wrong, Werkzeug prints and exits.
            if isinstance(error, program.TensorBoardServerException | SystemExit):
                reason = getattr(error, "msg", "see above")
                hint = "port 0 takes any free one" if port else ""
                raise InvalidError(f"can't listen on {host}: {reason}", hint=hint) from error
            raise
        self._ingester.start()

    def close(self) -> None:
        """Stop the web server and the reading."""
        self._web.shutdown()
        self._web.server_close()
        self._ingester.close()

    def _make_data_ingester(self) -> Ingester:
        return self._ingester

    def _listen(self, app: Any, flags: Any) -> Any:
        self._web = program.create_port_scanning_werkzeug_server(app, flags)
        return self._web
