"""Run a command until our standard input says a word or ends: its end means that the parent is gone.

A pipe is chosen over ``PR_SET_PDEATHSIG``: that signal is sent when the *thread* which started the
server ends, needs a ``preexec_fn`` (unsafe beside other threads) and exists on Linux only. The kernel
closes a pipe however the parent dies, SIGKILL included. Run as an isolated script, it starts in milliseconds.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading


def main(directory: str, command: list[str]) -> int:
    """Print the command's pid, run it; when told to stop, kill it and remove *directory*."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # only the pipe stops us, and then the command is stopped first
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True)
    print(child.pid, flush=True)
    sys.stdout.close()

    def stop() -> None:
        sys.stdin.buffer.read(1)
        told.set()
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)  # its files go too, so nothing is gained by asking politely

    told = threading.Event()
    threading.Thread(target=stop, daemon=True).start()
    status = child.wait()
    if told.is_set():
        shutil.rmtree(directory, ignore_errors=True)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
