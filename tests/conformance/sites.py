"""A bucket on one of the servers, and the command line led there."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promised import Place


@dataclass
class Site:
    """A bucket on one of the servers, and the command line led there."""

    place: Place
    home: Path

    @property
    def url(self) -> str:
        """A prefix that needs care: a space, a plus, a percent sign, and more than ASCII."""
        return f"s3://{self.place.bucket}/exp a+b%20c/ü"

    @property
    def prefix(self) -> str:
        return "exp a+b%20c/ü/"

    def environ(self) -> dict[str, str]:
        own = {"XDG_STATE_HOME": str(self.home / "state"), "XDG_CACHE_HOME": str(self.home / "cache")}
        return {**self.place.environ(), **own}

    def start(self, *arguments: object, **options: Any) -> subprocess.Popen[str]:
        """A `bucketboard` command."""
        process = subprocess.Popen(
            [sys.executable, "-m", "bucketboard", *map(str, arguments)],
            env=self.environ(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        self.place.processes.append(process)
        return process

    def command(self, *arguments: object, status: int = 0, timeout: float = 120) -> str:
        """What such a command said; its exit status is as expected."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=timeout)
        assert process.returncode == status, f"{arguments}: {process.returncode}\n{out}\n{err}"
        assert "Traceback" not in err
        return out

    def uploads(self) -> list[str]:
        """The keys of uploads under way; rclone says that there is no such upload where there is none."""
        try:
            return self.place.uploads()
        except self.place.client.exceptions.NoSuchUpload:
            return []

    def doctor(self) -> dict[str, dict[str, Any]]:
        out = self.command("doctor", self.url, "--json")
        return {check["name"]: check for check in map(json.loads, out.splitlines())}
