"""A server that lists and gives any key whatever, as no well-behaved one does."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextlib.contextmanager
def hostile(objects: Mapping[str, bytes]) -> Iterator[str]:
    """The endpoint of a server whose only bucket, "b", holds ``objects``."""

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            key = urllib.parse.unquote(path).removeprefix("/b/")
            headers = {"Content-Type": "application/xml"}
            if "list-type=2" in query:
                status, body = 200, self._listing(query)
            elif key in objects:
                status, body = 200, objects[key]
                headers = {"ETag": self._etag(body), "Last-Modified": "Tue, 14 Nov 2023 22:13:20 GMT"}
            else:
                status, body = 404, b"<Error><Code>NoSuchKey</Code></Error>"
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def _etag(self, body: bytes) -> str:
            return f'"{hashlib.md5(body).hexdigest()}"'

        def _listing(self, query: str) -> bytes:
            prefix = urllib.parse.parse_qs(query).get("prefix", [""])[0]
            entries = "".join(
                f"<Contents><Key>{urllib.parse.quote(key)}</Key><Size>{len(body)}</Size>"
                f"<ETag>{self._etag(body)}</ETag><LastModified>2023-11-14T22:13:20.000Z</LastModified></Contents>"
                for key, body in objects.items()
                if key.startswith(prefix)
            )
            return (
                "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>"
                f"{entries}</ListBucketResult>"
            ).encode()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
