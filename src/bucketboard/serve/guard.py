"""Who may look: a token where others can reach the port, and only the host names that are ours."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import os
import secrets
import socket
import urllib.parse
from collections.abc import Callable, Iterable, Sequence
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any

from bucketboard.errors import InvalidError

__all__ = ["Guard", "choose_token", "is_loopback"]

TOKEN_VARIABLE = "BUCKETBOARD_AUTH_TOKEN"  # noqa: S105
_SHORTEST_TOKEN = 8
_PRIVATE = {"trouble", "unreadable"}
"""Of the health: names of buckets and files."""
_Start = Callable[..., Any]
_App = Callable[[dict[str, Any], _Start], Iterable[bytes]]
_HEADERS = [
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
]


def is_loopback(host: str | None) -> bool:
    """Whether only this machine can reach what listens on ``host``."""
    if host is None or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def choose_token(file: str | None, *, exposed: bool, insecure: bool) -> str | None:
    """The token that requests must show: from ``file``, the environment, or made here; None: none.

    Raises:
        InvalidError: the file can't be read, or the token in it is too short.
    """
    if file is not None:
        try:
            token = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeError) as error:
            raise InvalidError(f"the token can't be read from {file}: {error}") from error
        where = file
    else:
        token, where = os.environ.get(TOKEN_VARIABLE, "").strip(), TOKEN_VARIABLE
    if token or file is not None:
        if len(token) < _SHORTEST_TOKEN or not token.isprintable():
            raise InvalidError(
                f"the token in {where} must have {_SHORTEST_TOKEN} printable characters or more",
                hint="make one with: openssl rand -hex 24",
            )
        return token
    return secrets.token_hex(24) if exposed and not insecure else None


class Guard:
    """Around the whole application: checks Host and token, adds headers, answers ``/healthz``."""

    def __init__(
        self,
        app: _App,
        *,
        token: str | None,
        host: str | None,
        exposed_everywhere: bool,
        allowed_hosts: Sequence[str],
        path_prefix: str,
        health: Callable[[], dict[str, Any]],
    ) -> None:
        self._app = app
        self._token = token.encode() if token is not None else None
        # The cookie is made of the token, so that it survives a restart, and does not give it away.
        self._cookie = (
            hashlib.sha256(b"bucketboard cookie\0" + self._token).hexdigest() if self._token else ""
        )
        self._named = {name.lower() for name in allowed_hosts if not name.startswith("*.")}
        self._domains = tuple(name[1:].lower() for name in allowed_hosts if name.startswith("*."))
        self._hosts = {"localhost", *self._named}
        if exposed_everywhere:
            self._hosts |= {socket.gethostname().lower(), socket.getfqdn().lower()}
        elif host is not None:
            self._hosts.add(host.lower())
        self._prefix = path_prefix
        self._health = health

    def __call__(self, environ: dict[str, Any], start_response: _Start) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            given = {name.lower() for name, _ in headers}
            return start_response(status, headers + [h for h in _HEADERS if h[0].lower() not in given], *more)

        host_allowed = self._is_host_allowed(environ.get("HTTP_HOST", ""))
        if path in ("/healthz", f"{self._prefix}/healthz"):
            health = self._health()
            if not (host_allowed and self._is_let_in(environ)):
                health = {name: value for name, value in health.items() if name not in _PRIVATE}
            # 200 also when the bucket does not answer: what was read before is still shown.
            return _answer(start, "200 OK", json.dumps(health), "application/json")
        if not host_allowed:
            return _answer(
                start,
                "403 Forbidden",
                "This host name is not served: start with --allowed-host to allow it.\n",
            )
        if not self._is_own_page(environ):
            return _answer(start, "403 Forbidden", "Pages of other sites can't ask here.\n")
        if not _is_text(environ.get("QUERY_STRING", "")):
            return _answer(start, "400 Bad Request", "The query is no UTF-8.\n")
        query = urllib.parse.parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        shown = [value for name, value in query if name == "token"]
        if self._token is not None and shown and self._is_token(shown[0]):
            return self._let_in(environ, start, [pair for pair in query if pair[0] != "token"])
        if self._is_let_in(environ):
            return self._app(environ, start)
        return _answer(
            start,
            "401 Unauthorized",
            "A token is needed: open the link that was printed, or send the token as a Bearer token.\n",
            more=[("WWW-Authenticate", "Bearer")],
        )

    def _is_let_in(self, environ: dict[str, Any]) -> bool:
        return self._token is None or self._has_cookie(environ) or self._has_header(environ)

    def _let_in(self, environ: dict[str, Any], start: _Start, rest: list[tuple[str, str]]) -> Iterable[bytes]:
        """Swap the token in the address for a cookie."""
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            environ["QUERY_STRING"] = urllib.parse.urlencode(rest)
            return self._app(environ, start)
        secure = "https" in (environ.get("wsgi.url_scheme"), environ.get("HTTP_X_FORWARDED_PROTO"))
        cookie = (
            f"{self._cookie_name(environ)}={self._cookie}; Path={self._prefix or '/'}; HttpOnly; SameSite=Lax"
        )
        # Relative, so that a proxy may have cut off what comes before; a leading "//" would be another host.
        path = urllib.parse.quote(environ.get("PATH_INFO", "/").rpartition("/")[2]) or "./"
        target = path + (f"?{urllib.parse.urlencode(rest)}" if rest else "")
        return _answer(
            start,
            "302 Found",
            "",
            more=[
                ("Location", target),
                ("Set-Cookie", cookie + ("; Secure" if secure else "")),
                ("Cache-Control", "no-store"),
            ],
        )

    def _cookie_name(self, environ: dict[str, Any]) -> str:
        # Cookies are shared between the ports of a host.
        return f"bucketboard-{environ.get('SERVER_PORT', '')}"

    def _has_cookie(self, environ: dict[str, Any]) -> bool:
        try:
            morsel = SimpleCookie(environ.get("HTTP_COOKIE", "")).get(self._cookie_name(environ))
        except CookieError:
            return False
        return morsel is not None and hmac.compare_digest(morsel.value.encode(), self._cookie.encode())

    def _has_header(self, environ: dict[str, Any]) -> bool:
        scheme, _, value = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        return scheme.lower() == "bearer" and self._is_token(value.strip())

    def _is_token(self, value: str) -> bool:
        assert self._token is not None
        return hmac.compare_digest(value.encode("utf-8", "surrogateescape"), self._token)

    def _is_own_page(self, environ: dict[str, Any]) -> bool:
        """Browsers name the page's origin with every POST, and with what a page of another site asks for.

        It is ours if it is what was asked for, here or, by their own account, at a proxy before us; pages
        can set none of these headers.
        """
        origin = environ.get("HTTP_ORIGIN", "")
        if not origin or environ.get("HTTP_SEC_FETCH_SITE") == "same-origin":
            return True
        own = {environ.get("HTTP_HOST", "").lower(), environ.get("HTTP_X_FORWARDED_HOST", "").lower()}
        place = origin.lower().partition("://")[2]
        return bool(place) and (place in own or self._is_known(_hostname(place), self._named))

    def _is_known(self, name: str, hosts: set[str]) -> bool:
        return name in hosts or name.endswith(self._domains or ("\0",))

    def _is_host_allowed(self, header: str) -> bool:
        """An address can't be rebound, a name can: only known ones are let through."""
        if not header:  # HTTP/1.0; a browser always sends it
            return True
        name = _hostname(header)
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return self._is_known(name, self._hosts) or "*" in self._hosts
        return True


def _hostname(address: str) -> str:
    """The host in ``host:port``, "" where there is none."""
    try:
        return (urllib.parse.urlsplit(f"//{address}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_text(query: str) -> bool:
    """Whether the bytes of a WSGI string are UTF-8, which TensorBoard takes for granted."""
    try:
        query.encode("latin-1").decode()
    except UnicodeError:
        return False
    return True


def _answer(
    start: _Start,
    status: str,
    text: str,
    content_type: str = "text/plain; charset=utf-8",
    more: Sequence[tuple[str, str]] = (),
) -> Iterable[bytes]:
    body = text.encode()
    headers = [
        ("Content-Type", content_type),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
    ]
    start(status, [*headers, *(header for header in more if header[0] != "Cache-Control")])
    return [body]
