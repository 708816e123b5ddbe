"""Signals under ``bucketboard run``: each reaches the command once, wherever it comes from."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import shlex
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervised import DEADLINE, Stage, alive, kinds, said, wait_for

LISTENER = """
import os, select, signal, sys
names = ["TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "WINCH", "CONT"]
def heard(number, frame):
    os.write(1, f"heard {signal.Signals(number).name}{os.linesep}".encode())   # in one piece
for name in names:
    signal.signal(getattr(signal, "SIG" + name), heard)
if len(sys.argv) > 1:
    os.setpgid(0, 0)
print("ready", flush=True)
# Looked at again and again: a signal in the moment before a call that waits does not wake that call. In the
# background of a terminal nothing can be read from it.
readable = [] if len(sys.argv) > 1 else [0]
while not select.select(readable, [], [], 0.05)[0] or os.read(0, 4096).strip():
    pass
print("end", flush=True)
"""
HEARD = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGCONT"]


@pytest.mark.parametrize("name", HEARD)
def test_a_signal_is_handed_on_once(stage: Stage, name: str) -> None:
    process = stage.start(stage.python(LISTENER), "--grace", "60")
    said(process, "ready")
    process.send_signal(getattr(signal, name))
    said(process, f"heard {name}")
    out, err = process.communicate("\n", timeout=60)
    assert out == "end\n"
    assert process.returncode == 0
    ending = name in ("SIGTERM", "SIGINT", "SIGQUIT")
    assert kinds(err) == ["replicating", "start", *(["signal"] if ending else []), "exit", "report"]


def test_a_signal_of_the_commands_own_to_its_whole_group(stage: Stage) -> None:
    """As `trap 'kill 0' EXIT` sends it: not twice, and it is no request to end."""
    script = LISTENER.replace('print("end"', 'os.kill(0, signal.SIGTERM)\nprint("end"')
    process = stage.start(stage.python(script), start_new_session=True)
    said(process, "ready")
    out, err = process.communicate("\n", timeout=60)
    assert out == "heard SIGTERM\nend\n"
    assert kinds(err) == ["replicating", "start", "exit", "report"]


def test_what_was_ignored_stays_so(stage: Stage) -> None:
    """Under nohup the end of the session is no signal to end."""
    script = """
import signal, sys
print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN, flush=True)
sys.stdin.readline()
"""
    process = stage.start(stage.python(script), prefix=["sh", "-c", 'trap "" HUP; exec "$@"', "sh"])
    said(process, "True")
    process.send_signal(signal.SIGHUP)
    _, err = process.communicate("\n", timeout=60)
    assert process.returncode == 0
    assert kinds(err) == ["replicating", "start", "exit", "report"]


class Terminal:
    """A terminal of its own with a program as the leader of its session."""

    def __init__(self, stage: Stage, command: list[str]) -> None:
        self.pid, self.fd = pty.fork()
        if not self.pid:
            modes = termios.tcgetattr(0)
            modes[3] |= termios.NOFLSH  # else a key that signals throws away what was just written
            termios.tcsetattr(0, termios.TCSANOW, modes)
            os.chdir(stage.path)
            os.execve(command[0], command, stage.environ())
        self.shown = ""
        self._read = 0
        self.status: int | None = None

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def read_until(self, *texts: str) -> None:
        """Wait until each of ``texts`` is shown, in any order, behind what was waited for before."""
        deadline = time.monotonic() + DEADLINE
        while min(places := [self.shown.find(text, self._read) for text in texts]) < 0:
            assert select.select([self.fd], [], [], max(0.0, deadline - time.monotonic()))[0], self.shown
            self.shown += os.read(self.fd, 4096).decode()
        self._read = max(at + len(text) for at, text in zip(places, texts, strict=True))

    def wait(self) -> int:
        try:
            while block := os.read(self.fd, 4096):
                self.shown += block.decode()
        except OSError:
            pass  # the other side is closed
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status

    def close(self) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


@pytest.mark.parametrize("group", ["shared", "own"])
@pytest.mark.parametrize(("key", "name"), [("\x03", "SIGINT"), ("\x1c", "SIGQUIT")])
def test_a_key_that_signals(stage: Stage, terminals: list[Terminal], key: str, name: str, group: str) -> None:
    """The terminal signals the whole foreground group; a command outside it gets the signal from us."""
    listener = stage.python(LISTENER, *(["own"] if group == "own" else []))
    terminal = Terminal(stage, stage.command(listener))
    terminals.append(terminal)
    terminal.read_until("ready")
    terminal.type(key)
    terminal.read_until(f"heard {name}", f"bucketboard: {name}: handed on")
    if group == "own":
        [child] = Path(f"/proc/{terminal.pid}/task/{terminal.pid}/children").read_text().split()
        os.kill(int(child), signal.SIGKILL)
    else:
        terminal.type("\n")
    assert terminal.wait() == (137 if group == "own" else 0)
    assert terminal.shown.count(f"heard {name}") == 1
    assert "is it the right --logdir?" in terminal.shown


def test_an_interrupted_training(stage: Stage, terminals: list[Terminal]) -> None:
    """Ctrl-C ends it by KeyboardInterrupt; what it logged last is sent."""
    script = """
import os, time
os.mkdir("runs")
try:
    print("ready", flush=True)
    while True:
        time.sleep(60)
finally:
    open("runs/last", "w").write("x")
"""
    terminal = Terminal(stage, stage.command(stage.python(script)))
    terminals.append(terminal)
    terminal.read_until("ready")
    terminal.type("\x03")
    assert terminal.wait() == 130
    assert terminal.shown.count("KeyboardInterrupt") == 1
    assert stage.get("exp/last") == b"x"


def states_of(argument: str) -> set[str]:
    """The states, as Linux has them, of the processes with this argument."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if argument.encode() in (process / "cmdline").read_bytes().split(b"\0"):
                found.add((process / "stat").read_text().rpartition(")")[2].split()[0])
    return found


def test_suspended_and_resumed_by_a_shell(stage: Stage, terminals: list[Terminal]) -> None:
    """Ctrl-Z stops both, fg lets both go on."""
    terminal = Terminal(stage, ["/bin/bash", "--norc", "--noprofile", "-i"])
    terminals.append(terminal)
    listener = LISTENER.replace('"WINCH", "CONT"', '"WINCH"')
    command = stage.python(listener)
    terminal.type(shlex.join(stage.command(command)) + "\n")
    terminal.read_until("ready\r\n")
    terminal.type("\x1a")
    terminal.read_until("Stopped")
    terminal.read_until("\n")
    wait_for(lambda: states_of(str(command[-1])) == {"T"})  # until then it may still take what is typed
    terminal.type("fg\n")
    terminal.read_until("bucketboard run")
    wait_for(lambda: "T" not in states_of(str(command[-1])))
    terminal.type("more\n\n")
    terminal.read_until("end\r\n")
    terminal.read_until("is it the right --logdir?")
    terminal.type("echo status $?\nexit 0\n")
    terminal.read_until("status 0")
    terminal.wait()


def test_a_terminal_that_hangs_up(stage: Stage, terminals: list[Terminal]) -> None:
    """The command learns of it, and the rest is sent without anybody to tell."""
    script = """
import os, signal, time
os.mkdir("runs")
def heard(number, frame):
    open("runs/last", "w").write("x")
    os._exit(0)   # what is buffered for the terminal has nowhere to go
signal.signal(signal.SIGHUP, heard)
print("ready", flush=True)
while True:
    time.sleep(0.05)   # signal.pause() would miss what comes a moment before it
"""
    terminal = Terminal(stage, stage.command(stage.python(script)))
    terminals.append(terminal)
    terminal.read_until("ready\r\n")
    os.close(terminal.fd)
    terminal.fd = os.open(os.devnull, os.O_RDONLY)
    assert terminal.wait() == 0
    assert stage.get("exp/last") == b"x"


def test_killed_itself_it_leaves_the_training_alone(stage: Stage) -> None:
    script = """
import os, sys
print(os.getpid(), flush=True)
for line in sys.stdin:
    print(line.strip(), flush=True)
print("trouble goes somewhere", file=sys.stderr)
"""
    process = stage.start(stage.python(script))
    assert process.stdout is not None
    assert process.stdin is not None
    pid = int(process.stdout.readline())
    process.kill()
    process.wait()
    for word in ("one", "two"):
        process.stdin.write(f"{word}\n")
        process.stdin.flush()
        said(process, word)
    assert alive(pid)
    _, err = process.communicate(timeout=60)
    assert err.endswith("trouble goes somewhere\n")
    wait_for(lambda: not alive(pid))


def test_trouble_of_its_own_leaves_no_command_behind(stage: Stage) -> None:
    script = """
import sys
from bucketboard.supervise import supervisor
from bucketboard.supervise.signals import Signals
from bucketboard.logdir.report import SyncReport
class Idle:
    def start(self): pass
    def stop(self): pass
    def finish(self, timeout): return SyncReport()
def say(kind, message, **facts):
    if kind == "start":
        print(facts["pid"], flush=True)
    if kind == "signal":
        raise MemoryError("no room for a word")
supervisor._RESERVE = 0.2
supervisor.Supervisor(["sh", "-c", "trap '' TERM; kill -STOP $$"], Idle(), say=say).run(Signals())
"""
    [python, path] = stage.python(script)
    process = subprocess.Popen(
        [str(python), str(path)],
        env=stage.environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    stage.processes.append(process)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.terminate()
    assert "no room for a word" in (process.stderr.read() if process.stderr else "")
    wait_for(lambda: not alive(pid))


WITHOUT_SENDERS = (
    "import signal, sys; del signal.sigtimedwait, signal.sigwaitinfo; "
    "from bucketboard.cli.main import main; sys.exit(main())"
)


def test_on_a_system_that_does_not_tell_who_sends(stage: Stage, terminals: list[Terminal]) -> None:
    """As macOS: what comes while we are in a terminal's foreground counts as the terminal's."""
    stage.program = [sys.executable, "-c", WITHOUT_SENDERS]
    process = stage.start(stage.python(LISTENER), "--grace", "60", start_new_session=True)
    said(process, "ready")
    for name in ("SIGTERM", "SIGINT", "SIGUSR1"):
        process.send_signal(getattr(signal, name))
        said(process, f"heard {name}")
    out, _ = process.communicate("\n", timeout=60)
    assert (process.returncode, out) == (0, "end\n")

    terminal = Terminal(stage, stage.command(stage.python(LISTENER)))
    terminals.append(terminal)
    terminal.read_until("ready")
    terminal.type("\x03")
    terminal.read_until("heard SIGINT", "bucketboard: SIGINT: handed on")
    terminal.type("\n")
    assert terminal.wait() == 0
    assert terminal.shown.count("heard SIGINT") == 1
