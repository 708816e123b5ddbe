"""What a process finds out about itself for its run's metadata: without the network or an import."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import re
import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["gathered", "redacted"]

_FRAMEWORKS = (
    "torch",
    "tensorflow",
    "jax",
    "keras",
    "lightning",
    "pytorch_lightning",
    "transformers",
    "accelerate",
    "xgboost",
    "lightgbm",
    "stable_baselines3",
)
_VARIABLES = {
    "instance_type": ("SM_CURRENT_INSTANCE_TYPE",),
    "sagemaker_job": ("TRAINING_JOB_NAME",),
    "slurm_job": ("SLURM_JOB_ID",),
    "slurm_partition": ("SLURM_JOB_PARTITION",),
    "batch_job": ("AWS_BATCH_JOB_ID",),
}
_DMI = Path("/sys/devices/virtual/dmi/id")
_GIT_TIMEOUT = 2.0
_LONGEST = 100
_SECRET = re.compile(r"pass|pwd|secret|token|credential|auth|key", re.IGNORECASE)
_IN_URL = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_ACCESS_KEY = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b")
_HIDDEN = "***"


@functools.cache
def gathered() -> dict[str, str]:
    """Commit, host, versions and job, as far as they are known; found out once in a process.

    It reads files and runs ``git status`` for two seconds at most: not for a training's own thread.
    """
    found = _git(_code())
    found["host"] = socket.gethostname()
    found["python"] = platform.python_version()
    for name in _FRAMEWORKS:
        # Not getattr: a module may import more when it is asked.
        version = getattr(sys.modules.get(name), "__dict__", {}).get("__version__")
        if version is not None:
            found[name] = str(version)
    for name, variables in _VARIABLES.items():
        for variable in variables:
            if value := os.environ.get(variable):
                found[name] = value
    if "instance_type" not in found and _read(_DMI / "sys_vendor") == "Amazon EC2":
        found["instance_type"] = _read(_DMI / "product_name")
    return {name: value[:_LONGEST] for name, value in found.items() if value}


def _code() -> Path:
    """The directory of what is run, else the current one."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    with contextlib.suppress(OSError):
        return Path(script).resolve().parent if script else Path.cwd()
    return Path("/")


def _git(directory: Path) -> dict[str, str]:
    """Commit and branch, from git's files, and whether tracked files differ."""
    for above in (directory, *directory.parents):
        if (above / ".git").exists():
            break
    else:
        return {}
    control = above / ".git"
    if control.is_file():  # a worktree or a submodule
        control = above / _read(control).removeprefix("gitdir: ")
    shared = control / _read(control / "commondir")
    head = _read(control / "HEAD")
    reference = head.removeprefix("ref: ")
    if reference == head:
        found = {"git_commit": head}
    else:
        commit = _read(control / reference) or _read(shared / reference)
        found = {
            "git_commit": commit or _packed(shared / "packed-refs", reference),
            "git_branch": reference.removeprefix("refs/heads/"),
        }
    if found["git_commit"]:
        found["git_dirty"] = _dirty(above)
    return found


def _packed(path: Path, reference: str) -> str:
    lines = (line.partition(" ") for line in _read(path).splitlines())
    return next((commit for commit, _, name in lines if name == reference), "")


def _dirty(directory: Path) -> str:
    environ = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    command = ["git", "status", "--porcelain", "--untracked-files=no", "--ignore-submodules"]
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_GIT_TIMEOUT,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return "true" if done.stdout else "false"


def _read(path: Path) -> str:
    """A small file's text; "" where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def redacted(arguments: Sequence[str]) -> str:
    """A command line without the values of what looks like a secret by its name, and without passwords in
    URLs. What is secret by its place alone can't be seen."""
    return " ".join(_redacted(arguments))


def _redacted(arguments: Iterable[str]) -> Iterable[str]:
    hide = False
    for argument in arguments:
        name, separator, _ = argument.partition("=")
        if hide and not argument.startswith("-"):
            yield _HIDDEN
        elif separator and _SECRET.search(name):
            yield f"{name}={_HIDDEN}"
        else:
            yield _ACCESS_KEY.sub(_HIDDEN, _IN_URL.sub(_HIDDEN, argument))
        hide = not separator and argument.startswith("-") and _SECRET.search(argument) is not None
