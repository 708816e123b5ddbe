"""``python -m bucketboard.testing proxy UPSTREAM``: a proxy as a process, until interrupted."""

from __future__ import annotations

import argparse
import contextlib
import threading

from bucketboard.testing.proxy import FaultProxy


def main() -> None:
    """Start the proxy and print its URL on the first line."""
    parser = argparse.ArgumentParser(prog="python -m bucketboard.testing")
    proxy = parser.add_subparsers(required=True).add_parser("proxy", help="a counting reverse proxy for S3")
    proxy.add_argument("upstream")
    proxy.add_argument("--latency", type=float, default=0.0, help="seconds added to each request")
    proxy.add_argument("--bandwidth", type=float, help="bytes per second, shared")
    options = parser.parse_args()
    with FaultProxy(options.upstream, latency=options.latency, bandwidth=options.bandwidth) as running:
        print(running.url, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
