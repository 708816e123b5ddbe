"""The ``bucketboard`` command."""

from __future__ import annotations

import argparse
import gc
import importlib
import logging
import os
import sys
from collections.abc import Sequence

from bucketboard import __version__
from bucketboard.errors import BucketboardError, InvalidError

__all__ = ["main"]

_COMMANDS = (
    *("serve", "index", "run", "sync", "pull", "recover"),
    *("ls", "info", "label", "verify", "export"),
    *("rm", "undelete", "prune", "mv", "archive", "compact"),
    *("doctor", "demo"),
)
_EXAMPLES = """\
examples:
  bucketboard demo                        see it work on this machine, without an account
  bucketboard serve s3://bucket/exp       open TensorBoard on what is below exp
  bucketboard ls s3://bucket/exp --where 'lr < 0.01'
                                          find runs
  bucketboard index s3://bucket/exp       make everybody's first look at it instant
  bucketboard run s3://bucket/exp --logdir runs -- python train.py
                                          replicate what a training logs to a directory
  bucketboard sync runs s3://bucket/exp   replicate a log directory, once or with --watch
  bucketboard pull s3://bucket/exp runs   bring what is below exp into a directory, and follow it
  bucketboard rm s3://bucket/exp/run1     remove a run; undelete brings it back
  bucketboard export s3://bucket/exp tables
                                          write all that was logged as Parquet, CSV or JSON lines
  bucketboard recover                     send what killed trainings left on this machine
  bucketboard verify s3://bucket/exp      check every record that is stored below exp
  bucketboard doctor s3://bucket/exp      check what the bucket allows

Run `bucketboard COMMAND -h` for more. Every setting of the bucket can also come from the AWS configuration,
or from a variable such as BUCKETBOARD_ENDPOINT_URL.

exit status: 0 done, 1 failed, 2 not possible as asked, 130 interrupted; of run: the command's"""
_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit status."""
    if argv is None:  # a process of our own: a tenth of what a short command takes is looking for garbage
        gc.set_threshold(50_000, 20, 20)
    arguments = list(sys.argv[1:] if argv is None else argv)
    # Where the command is clear the modules of the others are not loaded.
    parser = _parser([name for name in _COMMANDS if arguments[:1] == [name]] or _COMMANDS)
    # argparse can't give what follows "--" to one command when options stand between the positionals.
    own, separator, rest = _split(arguments)
    options = parser.parse_args(own)
    if separator and not getattr(options, "takes_rest", False):
        parser.error(f"nothing can follow --: {' '.join(rest)}")
    options.rest = rest
    _log_to_stderr()
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except BucketboardError as error:
        print(f"bucketboard: error: {error}", file=sys.stderr)
        return 2 if isinstance(error, InvalidError) else 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has enough. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _parser(names: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bucketboard",
        description="TensorBoard, living in your S3 bucket.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"bucketboard {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in names:
        importlib.import_module(f"bucketboard.cli.{name}").add_parser(commands)
    return parser


def _split(arguments: list[str]) -> tuple[list[str], bool, list[str]]:
    if "--" not in arguments:
        return arguments, False, []
    at = arguments.index("--")
    return arguments[:at], True, arguments[at + 1 :]


def _log_to_stderr() -> None:
    logging.basicConfig(format="bucketboard: %(message)s", level=logging.WARNING)
    logging.getLogger("botocore").setLevel(logging.ERROR)  # warns in tracebacks of what we say in a sentence
