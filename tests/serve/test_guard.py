"""Who may look at a served bucket."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from viewing import Page, Store, event_file, eventually

from bucketboard.errors import InvalidError
from bucketboard.serve import serve
from bucketboard.serve.guard import choose_token, is_loopback

Show = Callable[..., Page]
TOKEN = "correct-horse-battery"


class Answer:
    """What a server says to one request, redirects not followed."""

    def __init__(self, page: Page, path: str, method: str = "GET", **headers: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", page.server.port, timeout=30)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=names)
        answer = connection.getresponse()
        self.status = answer.status
        self.headers = answer.headers
        self.text = answer.read().decode(errors="replace")
        connection.close()


@pytest.fixture
def page(store: Store, show: Show, monkeypatch: pytest.MonkeyPatch) -> Page:
    monkeypatch.setenv("BUCKETBOARD_AUTH_TOKEN", TOKEN)
    store.put("run1", event_file(1.0))
    return show()


def test_nothing_is_told_without_the_token(page: Page) -> None:
    for path in ("/", "/data/runs", "/data/environment", "/index.js", "/data/runs?token=wrong", "/healthz/x"):
        answer = Answer(page, path)
        assert answer.status == 401, path
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert "run1" not in answer.text
    for header in ("Bearer wrong", f"Basic {TOKEN}", TOKEN, "Bearer", "Bearer \xe9"):
        assert Answer(page, "/data/runs", Authorization=header).status == 401


def test_the_link_gives_a_cookie(page: Page) -> None:
    assert page.server.link == f"{page.server.url}?token={TOKEN}"
    answer = Answer(page, f"/?x=1&token={TOKEN}&y=a%20b")
    assert answer.status == 302
    assert answer.headers["Location"] == "./?x=1&y=a+b"
    cookie = answer.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    assert TOKEN not in cookie
    pair = cookie.split(";")[0]
    eventually(lambda: Answer(page, "/data/runs", Cookie=pair).text, '["run1"]')
    assert Answer(page, "/", Cookie=f"other=1; {pair}").status == 200
    assert Answer(page, "/", Cookie=pair[:-1]).status == 401
    assert Answer(page, "/", Cookie=pair.replace("=", "=0", 1)).status == 401
    secure = Answer(page, f"/?token={TOKEN}", X_Forwarded_Proto="https")
    assert "Secure" in secure.headers["Set-Cookie"].split("; ")


def test_a_bearer_may_look(page: Page) -> None:
    eventually(lambda: Answer(page, "/data/runs", Authorization=f"Bearer {TOKEN}").text, '["run1"]')
    assert Answer(page, "/data/runs", Authorization=f"bearer {TOKEN}").status == 200


def test_no_redirect_leads_elsewhere(page: Page) -> None:
    for path in ("//evil.example/", "/\\evil.example", "//evil.example"):
        answer = Answer(page, f"{path}?token={TOKEN}")
        target = answer.headers.get("Location", "")
        assert not target.startswith(("/", "\\", "http"))


def test_health_is_open_and_tells_no_secrets(page: Page) -> None:
    answer = Answer(page, "/healthz")
    assert answer.status == 200
    told: dict[str, Any] = json.loads(answer.text)
    assert told.keys() == {"ok", "last_listing", "runs", "idle", "interval"}
    assert told["ok"] is True
    allowed = Answer(page, "/healthz", Authorization=f"Bearer {TOKEN}")
    assert json.loads(allowed.text).keys() == {*told, "trouble", "unreadable"}
    assert TOKEN not in answer.text + allowed.text


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("localhost:{port}", 200),
        ("[::1]:{port}", 200),
        ("10.1.2.3", 200),
        ("LOCALHOST.", 200),
        ("evil.example", 403),
        ("localhost.evil.example:{port}", 403),
        ("evil.example:{port}", 403),
        ("boards.example.org", 200),
        ("a.inner.example.org:{port}", 200),
        ("inner.example.org", 403),
        ("xinner.example.org", 403),
        ("[::1", 403),
    ],
)
def test_only_known_hosts_are_served(store: Store, show: Show, host: str, status: int) -> None:
    page = show(allowed_hosts=["boards.example.org", "*.inner.example.org"])
    assert Answer(page, "/data/runs", Host=host.format(port=page.server.port)).status == status
    health = Answer(page, "/healthz", Host=host.format(port=page.server.port))
    assert health.status == 200
    assert ("trouble" in json.loads(health.text)) == (status == 200)


def test_headers_of_every_answer(store: Store, show: Show) -> None:
    page = show()
    for path in ("/", "/data/runs", "/nowhere", "/healthz", "/index.js"):
        headers = Answer(page, path).headers
        assert headers.get_all("X-Content-Type-Options") == ["nosniff"], path
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://127.0.0.1:{port}"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:{port}.evil.example"}, 403),
        ({"Origin": "https://boards.example.org"}, 200),
        ({"Origin": "https://proxy.example", "X-Forwarded-Host": "proxy.example"}, 200),
        ({"Origin": "https://other.example", "X-Forwarded-Host": "proxy.example"}, 403),
        ({"Origin": "https://proxy.example", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_pages_of_other_sites_can_t_ask(
    store: Store, show: Show, headers: dict[str, str], status: int
) -> None:
    page = show(allowed_hosts=["boards.example.org"])
    given = {name.replace("-", "_"): value.format(port=page.server.port) for name, value in headers.items()}
    for method in ("GET", "POST"):
        answer = Answer(page, "/data/logdir", method, **given)
        assert answer.status in ({status} if method == "GET" or status == 403 else {200, 405})


def test_a_query_of_any_bytes_is_answered(store: Store, show: Show) -> None:
    page = show()
    assert Answer(page, "/data/plugin/scalars/scalars?tag=%b5&run=%ff").status < 500
    with socket.create_connection(("127.0.0.1", page.server.port), 30) as connection:
        connection.sendall(b"GET /data/runs?\xb5 HTTP/1.0\r\n\r\n")
        assert connection.makefile("rb").readline().split()[1] in (b"200", b"400")


def test_no_path_leads_out(store: Store, show: Show) -> None:
    """Neither in the path, nor as the name of a plugin's page, a run or an embedding."""
    config = """
        embeddings { tensor_name: "absolute" tensor_path: "t.tsv" metadata_path: "/etc/passwd" }
        embeddings { tensor_name: "above" tensor_path: "t.tsv" metadata_path: "../../../../../etc/passwd" }
        embeddings { tensor_name: "home" tensor_path: "t.tsv" bookmarks_path: "~root/.bashrc" }
        embeddings { tensor_name: "sprite" tensor_path: "t.tsv" sprite { image_path: "/etc/passwd" } }
        embeddings { tensor_name: "tensor" tensor_path: "/etc/passwd" }
        embeddings { tensor_name: "good" tensor_path: "t.tsv" metadata_path: "m.tsv" }
    """
    store.put("run", event_file(1.0))
    for name, body in (("projector_config.pbtxt", config), ("t.tsv", "1\t2\n3\t4\n"), ("m.tsv", "a\nb\n")):
        store.client.put_object(Bucket=store.bucket, Key=f"exp/run/{name}", Body=body.encode())
    page = show()
    eventually(page.runs, ["run"])
    projector = "/data/plugin/projector/"
    eventually(lambda: Answer(page, f"{projector}metadata?run=run&name=good").text, "a\nb\n")
    paths = [
        *("/../../../../etc/passwd", "/..%2f..%2f..%2fetc/passwd", "/data/../../etc/passwd", "//etc/passwd"),
        *("/data/plugin_entry.html?name=../../../etc/passwd", "/data/plugin/projector/../../../etc/passwd"),
        *("/data/plugin/%2e%2e/%2e%2e/etc/passwd", "/index.html/../../etc/passwd", "/%00"),
        *(f"{projector}info?run=../../../../etc", f"{projector}metadata?run=../..&name=good"),
        *(
            f"{projector}{what}?run=run&name={name}"
            for what in ("metadata", "bookmarks", "sprite_image", "tensor")
            for name in ("absolute", "above", "home", "sprite", "tensor")
        ),
    ]
    for path in paths:
        assert "root:" not in Answer(page, path).text, path


def test_on_this_machine_alone_no_token_is_needed(store: Store, show: Show) -> None:
    page = show()
    assert page.server.token is None
    assert page.server.link == page.server.url


# TensorBoard leaves a socket open when it makes its address.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("options", [{"bind_all": True}, {"host": "0.0.0.0"}])
def test_where_others_can_reach_it_a_token_is_made(store: Store, show: Show, options: dict[str, Any]) -> None:
    page = show(**options)
    assert re.fullmatch("[0-9a-f]{48}", page.server.token or "")
    assert Answer(page, "/data/runs").status == 401
    assert Answer(page, "/data/runs", Authorization=f"Bearer {page.server.token}").status == 200
    name = socket.gethostname()
    assert Answer(page, "/healthz", Host=name).status == 200
    open_to_all = show(insecure_no_auth=True, **options)
    assert open_to_all.server.token is None
    assert Answer(open_to_all, "/data/runs").status == 200


def test_below_a_path(store: Store, show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUCKETBOARD_AUTH_TOKEN", TOKEN)
    page = show(tensorboard_args=["--path_prefix=/boards"])
    assert page.server.link.endswith(f"/boards/?token={TOKEN}")
    answer = Answer(page, f"/boards/?token={TOKEN}")
    assert (answer.status, answer.headers["Location"]) == (302, "./")
    assert "Path=/boards" in answer.headers["Set-Cookie"]
    assert Answer(page, "/boards/healthz").status == 200
    pair = answer.headers["Set-Cookie"].split(";")[0]
    assert Answer(page, "/boards/data/runs", Cookie=pair).status == 200


def test_a_token_from_a_file(store: Store, show: Show, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert show(auth_token_file=str(file)).server.token == TOKEN
    file.write_text("short\n")
    with pytest.raises(InvalidError, match="8 printable"):
        serve(store.url, port=0, auth_token_file=str(file))
    with pytest.raises(InvalidError, match="can't be read"):
        serve(store.url, port=0, auth_token_file=str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("host", "alone"),
    [
        *(("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), (None, True)),
        *(("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("example.org", False)),
    ],
)
def test_what_others_can_reach(host: str | None, alone: bool) -> None:
    assert is_loopback(host) is alone


def test_no_token_is_made_where_none_is_needed() -> None:
    assert choose_token(None, exposed=False, insecure=False) is None
    assert choose_token(None, exposed=True, insecure=True) is None
    one, other = (choose_token(None, exposed=True, insecure=False) for _ in range(2))
    assert one != other
