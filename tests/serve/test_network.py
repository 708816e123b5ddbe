"""The viewer talks to the bucket and to nobody else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from viewing import Store, event_file

_SERVE = """
import sys
contacted = set()
def watch(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        contacted.add(arguments[1][:2])
    elif event == "socket.getaddrinfo":
        contacted.add(tuple(arguments[:1]))
sys.addaudithook(watch)
import urllib.request
from bucketboard.serve import serve
from viewing import Page, eventually
with serve(sys.argv[1], port=0, reload_interval=0.05) as server:
    page = Page(server)
    eventually(lambda: page.scalars("run1"), [1.0])
    for path in ("data/plugins_listing", "data/environment", "", "index.js"):
        urllib.request.urlopen(server.url + path).read()
    port = server.port
print(*sorted({host for host, *_ in contacted}))
"""


def test_nobody_else_is_contacted(store: Store) -> None:
    store.put("run1", event_file(1.0))
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path[:0] = {[str(Path(__file__).parent), *sys.path]}\n{_SERVE}",
            store.url,
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) <= {"127.0.0.1", "localhost"}
