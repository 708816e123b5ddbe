from __future__ import annotations

import subprocess
import sys
from typing import NoReturn

import pytest

from bucketboard import __version__
from bucketboard.cli import serve
from bucketboard.cli.main import main
from bucketboard.errors import InvalidError, UnavailableError


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bucketboard", *arguments], capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    "command",
    [
        [],
        *(
            [name]
            for name in ("serve", "index", "run", "sync", "pull", "export", "recover", "doctor", "demo")
        ),
    ],
)
def test_help_teaches_by_examples(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([*command, "-h"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert "examples:\n  bucketboard" in shown


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"bucketboard {__version__}\n"


def test_serve_without_a_target(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve"]) == 2
    assert "bucketboard serve" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["no-such-command"],
        ["index"],
        ["run", "s3://b"],
        ["serve", "x", "--no-such-option"],
        ["demo", "--", "--x"],
    ],
)
def test_a_wrong_command_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_as_a_module() -> None:
    done = run("serve", "/no/such/directory")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[0] == "bucketboard: error: no such directory: '/no/such/directory'"
    assert "hint: for a bucket write s3://" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_is_quick_and_light() -> None:
    code = (
        "import sys\nfrom bucketboard.cli.main import main\n"
        "try: main(['-h'])\nexcept SystemExit: pass\n"
        "print({'boto3', 'tensorboard', 'torch', 'numpy', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith("set()\n"), done.stderr


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidError("not so", hint="but so"), 2),
        (UnavailableError("not so", hint="but so"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_become_statuses(
    error: BaseException, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(options: object) -> NoReturn:
        raise error

    monkeypatch.setattr(serve, "run", fail)
    assert main(["serve", "x"]) == status
    expected = "" if status == 130 else "bucketboard: error: not so\n  hint: but so\n"
    assert capsys.readouterr().err == expected


def test_a_reader_that_has_enough() -> None:
    code = (
        "import sys\nfrom bucketboard.cli import main, serve\n"
        "def much(options):\n    for _ in range(100_000): print('a line')\n    return 0\n"
        "serve.run = much\nsys.exit(main.main(['serve', 'x']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_what_follows_two_dashes_is_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(serve, "run", lambda options: seen.append(options) or 0)
    assert main(["serve", "s3://b", "--port", "0", "--", "--a", "--", "b"]) == 0
    assert seen[0].rest == ["--a", "--", "b"]
    assert seen[0].port == 0
