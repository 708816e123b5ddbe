"""Whether an endpoint can be reached: by name, by TCP, by TLS, each told apart."""

from __future__ import annotations

import os
import socket
import ssl
import urllib.parse
import urllib.request

from bucketboard.errors import InvalidError, UnavailableError
from bucketboard.store.check import Check, attempt

__all__ = ["reach"]

_SECONDS = 10.0


def reach(endpoint: str, ca_bundle: str | None, timeout: float = _SECONDS) -> Check:
    """Resolve, connect and shake hands, as far as no proxy stands between."""
    return attempt(
        "endpoint",
        lambda: _reach(endpoint, ca_bundle or os.environ.get("AWS_CA_BUNDLE"), min(timeout, _SECONDS)),
    )


def _reach(endpoint: str, ca_bundle: str | None, timeout: float) -> str:
    parts = urllib.parse.urlsplit(endpoint)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    place = f"{host}:{port}"
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
        return f"{place} is asked through a proxy"
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UnavailableError(
            f"the name {host} can't be resolved ({error})", hint="check the endpoint, the region and the DNS"
        ) from error
    try:
        connection = socket.create_connection((host, port), timeout)
    except OSError as error:
        tried = ", ".join(sorted({str(address[4][0]) for address in addresses}))
        raise UnavailableError(
            f"no connection to {place} ({tried}): {error}",
            hint="check the port, a firewall, or the proxy settings; is the server running?",
        ) from error
    with connection:
        if not secure:
            return f"{place} answers, without TLS"
        return f"{place} answers, {_shake(connection, host, ca_bundle)}"


def _shake(connection: socket.socket, host: str, ca_bundle: str | None) -> str:
    try:
        context = ssl.create_default_context(cafile=ca_bundle or _certificates())
    except (OSError, ssl.SSLError) as error:
        raise InvalidError(f"the CA certificates can't be read from {ca_bundle}: {error}") from error
    try:
        with context.wrap_socket(connection, server_hostname=host) as secured:
            return f"{secured.version()}, its certificate is trusted"
    except ssl.SSLCertVerificationError as error:
        raise UnavailableError(
            f"the certificate of {host} is not trusted: {error.verify_message}",
            hint="for a private certificate authority set --ca-bundle or AWS_CA_BUNDLE",
        ) from error
    except (ssl.SSLError, OSError) as error:
        raise UnavailableError(
            f"no TLS with {host}: {error}", hint="if it speaks plain HTTP, write the endpoint as http://"
        ) from error


def _certificates() -> str:
    from botocore.httpsession import where  # the ones that botocore trusts

    return str(where())
