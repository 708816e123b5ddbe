"""``bucketboard serve``: TensorBoard on a bucket."""

from __future__ import annotations

import argparse
import gc
import signal
import sys
import threading
from typing import Any, NoReturn

from bucketboard.cli.settings import add_settings, given_settings
from bucketboard.errors import InvalidError

__all__ = ["add_parser", "exit_on_sigterm", "run"]

_UNITS = "KMGT"
_EXAMPLES = """\
examples:
  bucketboard serve s3://bucket/exp                     each directory with event files is a run
  bucketboard serve s3://bucket/exp --runs 'resnet.*'   only some runs
  bucketboard serve a=s3://bucket/exp c=s3://other/exp  several places, named
  bucketboard serve s3://bucket/exp --port 0            any free port; the URL is the only line on stdout
  bucketboard serve s3://bucket/exp --bind_all          reachable by others, with a token in the URL
  bucketboard serve s3://bucket/exp --profile research --region eu-central-1
  bucketboard serve s3://bucket/exp --endpoint-url https://minio.example.org --ca-bundle ca.pem
  bucketboard serve s3://bucket/exp -- --samples_per_plugin scalars=0
  bucketboard serve runs/                               a directory works too

It needs s3:ListBucket on the bucket and s3:GetObject on the objects. While somebody looks it makes one
listing per reload interval, and nothing at all while nobody does. Ctrl-C ends it."""


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "serve",
        help="open TensorBoard on a prefix of a bucket",
        description="Open TensorBoard on prefixes or directories. What follows -- goes to TensorBoard.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("targets", nargs="*", metavar="[NAME=]s3://BUCKET/PREFIX", help="what to show")
    parser.add_argument("--runs", metavar="REGEX", help="show only runs in whose name this is found")
    _add(parser, "reload-interval", type=float, default=5.0, metavar="SECONDS",
         help="time between two looks, longer where nothing changes; 0: look once (default: 5)")  # fmt: skip
    _add(parser, "samples-per-plugin", metavar="PLUGIN=N,…", help="points to keep of a series; 0: all")
    _add(parser, "window-title", metavar="TITLE", help="title of the page")
    _add(parser, "logdir", metavar="TARGET", help="a target, as TensorBoard spells it")
    _add(parser, "logdir-spec", metavar="NAME:TARGET,…", help="several targets, as TensorBoard spells them")
    _add(parser, "cache-size", type=_size, default="1G", metavar="SIZE",
         help="what indexes may take on this machine, such as 500M; 0: keep none (default: 1G)")  # fmt: skip
    _add(parser, "publish-index", action="store_true", help="put the index into the bucket instead")
    group = parser.add_argument_group("who may look")
    group.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
    _add(group, "bind-all", action="store_true", help="listen on all addresses")
    group.add_argument("--port", type=int, help="0 for any free port (default: 6006, or the next free one)")
    _add(group, "path-prefix", metavar="PATH", help="path below which a proxy shows it")
    group.add_argument(
        "--auth-token-file",
        metavar="FILE",
        help="file with the token that requests must show; else BUCKETBOARD_AUTH_TOKEN, else one is made "
        "where others can reach the address",
    )
    group.add_argument("--insecure-no-auth", action="store_true", help="ask nobody for a token")
    group.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a host name under which it is reached, such as an ingress's; *.example.org for all below",
    )
    group.add_argument("--until-stdin-closes", action="store_true", help=argparse.SUPPRESS)
    add_settings(parser, storing=False)
    parser.set_defaults(run=run, takes_rest=True)


def _add(parser: Any, name: str, **options: Any) -> None:
    """An option that may also be written with underscores, as TensorBoard does."""
    parser.add_argument(*dict.fromkeys((f"--{name}", f"--{name.replace('-', '_')}")), **options)


def run(options: argparse.Namespace) -> int:
    """Serve until interrupted."""
    from bucketboard.serve import parse_samples, serve

    gc.disable()  # what is made while it starts stays
    exit_on_sigterm()
    if options.bind_all and options.host is not None:
        raise InvalidError("--host and --bind_all exclude each other")
    arguments = list(options.rest)
    if options.window_title is not None:
        arguments.append(f"--window_title={options.window_title}")
    if options.path_prefix is not None:
        arguments.append(f"--path_prefix={options.path_prefix}")
    with serve(
        _targets(options),
        host=options.host or "127.0.0.1",
        port=options.port,
        bind_all=options.bind_all,
        reload_interval=options.reload_interval,
        runs=options.runs,
        samples_per_plugin=parse_samples(options.samples_per_plugin or ""),
        auth_token_file=options.auth_token_file,
        insecure_no_auth=options.insecure_no_auth,
        allowed_hosts=options.allowed_host,
        cache_size=options.cache_size,
        publish_index=options.publish_index,
        tensorboard_args=arguments,
        **given_settings(options),
    ) as server:
        print(server.link, flush=True)
        gc.freeze()
        gc.enable()
        if options.until_stdin_closes:
            threading.Thread(target=_close_with_stdin, args=(server.close,), daemon=True).start()
        server.wait()
    return 0


def _size(text: str) -> int:
    number, unit = text.strip().upper().removesuffix("B").removesuffix("I"), 0
    if number and number[-1] in _UNITS:
        number, unit = number[:-1], _UNITS.index(number[-1]) + 1
    if not number.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no size, such as 500M")
    return int(number) << (10 * unit)


def _targets(options: argparse.Namespace) -> Any:
    from bucketboard.serve import parse_logdir_spec

    given = [bool(options.targets), options.logdir is not None, options.logdir_spec is not None]
    if sum(given) != 1:
        raise InvalidError("name what to show, once", hint="bucketboard serve s3://bucket/prefix")
    if options.logdir_spec is not None:
        return parse_logdir_spec(options.logdir_spec)
    return options.targets or options.logdir


def _close_with_stdin(close: Any) -> None:
    while sys.stdin.buffer.read(1024):
        pass
    close()


def exit_on_sigterm() -> None:
    """Let SIGTERM end the process in order, with status 0."""

    def end(number: int, frame: object) -> NoReturn:
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
