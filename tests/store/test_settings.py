"""Settings: what was given, then ``BUCKETBOARD_*``, then the AWS chain."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from bucketboard.errors import InvalidError
from bucketboard.store.client import is_aws, s3_client
from bucketboard.store.settings import Settings

ENDPOINTS = ("BUCKETBOARD_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "S3_ENDPOINT")


@pytest.mark.parametrize("first", range(len(ENDPOINTS)))
def test_the_order_of_the_endpoint_variables(first: int) -> None:
    environ = {name: f"https://{name.lower()}.example" for name in ENDPOINTS[first:]}
    assert Settings.resolve(environ).endpoint(environ) == f"https://{ENDPOINTS[first].lower()}.example"
    given = Settings.resolve(environ, endpoint_url="https://given.example")
    assert given.endpoint(environ) == "https://given.example"


def test_an_empty_endpoint_variable_is_none() -> None:
    environ = dict.fromkeys(ENDPOINTS, "")
    assert Settings.resolve(environ).endpoint(environ) is None
    environ["S3_ENDPOINT"] = "s3.example"
    assert Settings.resolve(environ).endpoint(environ) == "https://s3.example"


@pytest.mark.parametrize(
    ("given", "use_https", "expected"),
    [
        ("http://h:1", None, "http://h:1"),
        ("https://h", "0", "https://h"),
        ("minio.example:9000", None, "https://minio.example:9000"),
        ("minio.example:9000", "0", "http://minio.example:9000"),
        ("minio.example:9000", "False", "http://minio.example:9000"),
        ("minio.example:9000", "1", "https://minio.example:9000"),
        ("localhost:9000", None, "http://localhost:9000"),
        ("LOCALHOST", None, "http://LOCALHOST"),
        ("127.0.0.1:9000", None, "http://127.0.0.1:9000"),
        ("[::1]:9000", None, "http://[::1]:9000"),
        ("localhost.example", None, "https://localhost.example"),
    ],
)
def test_the_scheme_of_an_endpoint(given: str, use_https: str | None, expected: str) -> None:
    environ = {} if use_https is None else {"S3_USE_HTTPS": use_https}
    assert Settings(endpoint_url=given).endpoint(environ) == expected


@pytest.mark.parametrize("url", ["[::1", "https://[::1"])
def test_an_endpoint_that_is_no_url_is_invalid(url: str) -> None:
    with pytest.raises(InvalidError, match="endpoint"):
        Settings(endpoint_url=url).endpoint({})


VALUES: dict[str, tuple[str, Any]] = {
    "endpoint_url": ("https://e", "https://e"),
    "region": ("eu-west-1", "eu-west-1"),
    "profile": ("team", "team"),
    "path_style": ("no", False),
    "ca_bundle": ("/ca.pem", "/ca.pem"),
    "unsigned": ("TRUE", True),
    "requester_pays": ("on", True),
    "expected_bucket_owner": ("123456789012", "123456789012"),
    "timeout": ("2.5", 2.5),
    "request_checksum": ("off", "off"),
    "sse": ("aws:kms", "aws:kms"),
    "sse_kms_key_id": ("key", "key"),
    "storage_class": ("STANDARD_IA", "STANDARD_IA"),
    "acl": ("bucket-owner-full-control", "bucket-owner-full-control"),
    "tags": ("team=a%20b&x=", {"team": "a b", "x": ""}),
}


def test_every_setting_has_a_variable() -> None:
    assert set(VALUES) == {entry.name for entry in fields(Settings)}
    environ = {f"BUCKETBOARD_{name.upper()}": text for name, (text, _) in VALUES.items()}
    expected = {name: value for name, (_, value) in VALUES.items()}
    assert Settings.resolve(environ) == Settings(**expected)


def test_an_argument_wins_over_its_variable_and_none_does_not() -> None:
    environ = {"BUCKETBOARD_REGION": "eu-west-1", "BUCKETBOARD_UNSIGNED": "1", "BUCKETBOARD_TIMEOUT": "wrong"}
    settings = Settings.resolve(environ, region="us-west-2", unsigned=None, timeout=3.0)
    assert (settings.region, settings.unsigned, settings.timeout) == ("us-west-2", True, 3.0)


def test_an_empty_variable_is_not_set() -> None:
    environ = {f"BUCKETBOARD_{name.upper()}": "" for name in VALUES}
    assert Settings.resolve(environ) == Settings()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("timeout", "soon"), ("timeout", "0"), ("timeout", "-1"), ("timeout", "nan"), ("timeout", "inf"),
        ("path_style", "maybe"), ("unsigned", "2"),
        ("tags", "no-equals-sign"), ("tags", "&".join(f"k{n}=v" for n in range(11))),
        ("request_checksum", "md5"), ("sse", "rot13"), ("sse_kms_key_id", "key-without-kms"),
    ],
)  # fmt: skip
def test_a_bad_value_names_its_variable(name: str, text: str) -> None:
    with pytest.raises(InvalidError, match=f"BUCKETBOARD_{name.upper()}"):
        Settings.resolve({f"BUCKETBOARD_{name.upper()}": text})


@pytest.mark.parametrize(
    "given",
    [
        {"timeout": 0},
        {"request_checksum": "md5"},
        {"sse": "x"},
        {"sse_kms_key_id": "k"},
        {"tags": dict.fromkeys("abcdefghijk", "")},
    ],
)
def test_a_bad_argument_names_itself_and_no_variable(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidError, match=next(iter(given))) as caught:
        Settings.resolve({"BUCKETBOARD_REGION": "eu-west-1"}, **given)
    assert "BUCKETBOARD" not in str(caught.value)


def test_an_unknown_setting_names_the_known_ones() -> None:
    with pytest.raises(InvalidError, match="unknown setting 'endpoint'") as caught:
        Settings.resolve({}, endpoint="x")
    assert "endpoint_url" in caught.value.hint


def configure(monkeypatch: pytest.MonkeyPatch, path: Path, text: str) -> None:
    path.write_text(text)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))


def test_a_profile_leads_to_its_endpoint_and_region(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    text = "[profile lab]\nregion = eu-north-1\nservices = lab\n[services lab]\ns3 =\n  endpoint_url = http://lab.example:9000\n"
    configure(monkeypatch, tmp_path / "config", text)
    client = s3_client(Settings(profile="lab"))
    assert (client.meta.endpoint_url, client.meta.region_name) == ("http://lab.example:9000", "eu-north-1")
    assert not is_aws(client)
    ours = s3_client(Settings(profile="lab", endpoint_url="http://ours.example", region="us-west-2"))
    assert (ours.meta.endpoint_url, ours.meta.region_name) == ("http://ours.example", "us-west-2")


@pytest.mark.parametrize("path_style", [None, True, False])
@pytest.mark.parametrize("source", ["argument", "configuration"])
def test_an_endpoint_means_the_bucket_in_the_path_unless_told(
    source: str, path_style: bool | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = f"http://{source}.example:9000"
    settings = Settings(path_style=path_style, endpoint_url=url if source == "argument" else None)
    if source == "configuration":
        configure(monkeypatch, tmp_path / "config", f"[default]\nendpoint_url = {url}\n")
    # The client of another test has the same settings; a region of its own keeps them apart.
    client = s3_client(Settings(**{**vars(settings), "region": f"{source}-{path_style}".lower()}))
    presigned = client.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "k"})
    virtual = f"http://bucket.{source}.example:9000/k"
    assert presigned.startswith(virtual if path_style is False else f"{url}/bucket/k")


def test_without_an_endpoint_it_is_aws_with_the_bucket_in_the_host() -> None:
    client = s3_client(Settings(region="eu-west-1"))
    assert is_aws(client)
    presigned = client.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "k"})
    assert presigned.startswith("https://bucket.s3.")


def test_an_endpoint_without_region_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert s3_client(Settings(endpoint_url="http://noregion.example")).meta.region_name == "us-east-1"


def test_an_endpoint_with_credentials_is_refused_without_repeating_them() -> None:
    with pytest.raises(InvalidError, match=r"endpoint h\.example") as caught:
        Settings(endpoint_url="https://someone:hunter2@h.example").endpoint({})
    assert "hunter2" not in str(caught.value) + repr(caught.value)
