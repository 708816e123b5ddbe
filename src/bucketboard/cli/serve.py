"""``bucketboard serve``: TensorBoard on a bucket."""

from __future__ import annotations

import argparse
import signal
import sys
from typing import Any, NoReturn

from bucketboard.cli.settings import add_settings, given_settings

__all__ = ["add_parser", "exit_on_sigterm", "run"]

_EXAMPLES = """\
examples:
  bucketboard serve s3://bucket/exp                     each directory with event files is a run
  bucketboard serve s3://bucket/exp --port 0            any free port; the URL is the only line on stdout
  bucketboard serve s3://bucket/exp --profile research --region eu-central-1
  bucketboard serve s3://bucket/exp --endpoint-url https://minio.example.org --ca-bundle ca.pem
  bucketboard serve s3://bucket/exp -- --samples_per_plugin scalars=0
  bucketboard serve runs/                               a directory works too

It needs s3:ListBucket on the bucket and s3:GetObject on the objects, and makes one listing per reload.
Ctrl-C ends it."""


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "serve",
        help="open TensorBoard on a prefix of a bucket",
        description="Open TensorBoard on a prefix or a directory. What follows -- goes to TensorBoard.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", metavar="s3://BUCKET/PREFIX", help="what to show")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, help="0 for any free port (default: 6006, or the next free one)")
    parser.add_argument(
        "--reload-interval",
        type=float,
        default=5.0,
        metavar="SECONDS",
        help="time between two looks for new data; 0: look once (default: 5)",
    )
    add_settings(parser, storing=False)
    parser.set_defaults(run=run, takes_rest=True)


def run(options: argparse.Namespace) -> int:
    """Serve until interrupted."""
    from bucketboard.serve import serve

    exit_on_sigterm()
    with serve(
        options.target,
        host=options.host,
        port=options.port,
        reload_interval=options.reload_interval,
        tensorboard_args=options.rest,
        **given_settings(options),
    ) as server:
        print(server.url, flush=True)
        server.wait()
    return 0


def exit_on_sigterm() -> None:
    """Let SIGTERM end the process in order, with status 0."""

    def end(number: int, frame: object) -> NoReturn:
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
