"""Temporary credentials, issued as a container's metadata service or a credential process does."""

from __future__ import annotations

import json
import secrets
import threading
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from bucketboard.testing import Gateway, Request, Server, answers
from bucketboard.testing.faults import Fault

Issued = dict[str, str]


class Issuer:
    """Issues credentials, each valid until the next but one is issued or `revoke` is called."""

    def __init__(self, server: Server, gateway: Gateway) -> None:
        self.issued: list[Issued] = []
        self.lifetime = timedelta(hours=1)
        self._identity = (server.access_key, server.secret_key)
        self._gateway = gateway
        self._valid: list[str] = []
        self._lock = threading.Lock()

    def issue(self) -> Issued:
        with self._lock:
            number = len(self.issued)
            entry = {
                "AccessKeyId": f"ASIATEMPORARY{number}",
                "SecretAccessKey": f"secret-{number}-{secrets.token_hex(8)}",
                "Token": f"token-{number}-{secrets.token_hex(8)}",
                "Expiration": (datetime.now(timezone.utc) + self.lifetime).strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
            self.issued.append(entry)
            self._valid = [*self._valid[-1:], entry["Token"]]
            self._gateway.admit(entry["AccessKeyId"], self._identity)
            return entry

    def revoke(self) -> None:
        """Nothing issued so far is valid any more."""
        with self._lock:
            self._valid = []

    def refusal(self, status: int = 400) -> Fault:
        """To inject: what is signed with other credentials than valid ones is refused."""

        def expired(request: Request) -> bool:
            with self._lock:
                return request.headers.get("x-amz-security-token") not in self._valid

        return answers.expired_token(status, when=expired)

    @property
    def secrets(self) -> list[str]:
        return [entry[name] for entry in self.issued for name in ("SecretAccessKey", "Token")]

    def write_file(self, path: Path) -> None:
        """A shared credentials file, as login tools rewrite it."""
        entry = self.issue()
        new = path.with_suffix(".new")
        new.write_text(
            f"[default]\naws_access_key_id={entry['AccessKeyId']}\n"
            f"aws_secret_access_key={entry['SecretAccessKey']}\naws_session_token={entry['Token']}\n"
        )
        new.replace(path)


class Endpoint:
    """Hands out an issuer's credentials over HTTP on 127.0.0.1, as ECS and EKS do; may be out of order."""

    def __init__(self, issuer: Issuer) -> None:
        endpoint = self
        self.failing = False

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if endpoint.failing:
                    return self.send_error(500)
                entry = issuer.issue()
                if self.path == "/process":
                    entry = {**entry, "SessionToken": entry["Token"]}
                body = json.dumps({"Version": 1, **entry}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Endpoint:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
