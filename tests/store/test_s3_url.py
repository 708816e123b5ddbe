from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketboard.errors import InvalidError
from bucketboard.store.url import S3Url, is_s3_url

ARN = "arn:aws:s3:eu-west-1:123456789012:accesspoint/logs"
KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@pytest.mark.parametrize(
    ("url", "bucket", "key"),
    [
        ("s3://b", "b", ""),
        ("s3://b/", "b", ""),
        ("s3://b//", "b", ""),
        ("S3://b/k", "b", "k"),
        ("s3://my.bucket-1/exp/run1", "my.bucket-1", "exp/run1"),
        ("s3://b/exp/run1/", "b", "exp/run1"),
        ("s3://b/a//b", "b", "a//b"),
        ("s3://b/with space /é損", "b", "with space /é損"),
        ("s3://b/a+b%2Fc%20d?x=1#frag&e=;", "b", "a+b%2Fc%20d?x=1#frag&e=;"),
        ("s3://b/../x", "b", "../x"),
        (f"s3://{ARN}", ARN, ""),
        (f"s3://{ARN}/", ARN, ""),
        (f"s3://{ARN}/exp/run 1", ARN, "exp/run 1"),
        ("s3://arn:aws:s3::1234:accesspoint/m.mrap/k", "arn:aws:s3::1234:accesspoint/m.mrap", "k"),
        (
            "s3://arn:aws-cn:s3-outposts:cn-north-1:123456789012:outpost/op-1/accesspoint/ap/k",
            "arn:aws-cn:s3-outposts:cn-north-1:123456789012:outpost/op-1/accesspoint/ap",
            "k",
        ),
        ("s3://arn:aws:s3-object-lambda:us-east-1:123456789012:accesspoint/f/k", None, "k"),
    ],
)  # fmt: skip
def test_the_parts_of_a_url(url: str, bucket: str | None, key: str) -> None:
    parsed = S3Url.parse(url)
    assert (parsed.bucket, parsed.key) == (bucket or parsed.bucket, key)
    assert f"s3://{parsed.bucket}" == url[: 5 + len(parsed.bucket)].lower()


@given(st.sampled_from(["b", "my.bucket", ARN]), KEYS)
def test_a_key_is_never_decoded_and_only_loses_outer_slashes(bucket: str, key: str) -> None:
    url = S3Url.parse(f"s3://{bucket}/{key}")
    assert (url.bucket, url.key) == (bucket, key.strip("/"))
    assert S3Url.parse(str(url)) == url


@given(KEYS, KEYS)
def test_a_name_below_joins_with_one_slash(key: str, name: str) -> None:
    below = S3Url.parse(f"s3://b/{key}") / name
    assert below.key == "/".join(part for part in (key.strip("/"), name.strip("/")) if part)
    assert below.prefix == (f"{below.key}/" if below.key else "")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "not an S3 URL"),
        ("b/k", "not an S3 URL"),
        ("/local/dir", "not an S3 URL"),
        ("s3:/b/k", "not an S3 URL"),
        ("gs://b/k", "not an S3 URL"),
        ("s3://", "no bucket"),
        ("s3:///k", "no bucket"),
        ("s3://arn:aws:s3:eu-west-1:123456789012:logs/k", "access point ARN"),
        ("s3://arn:", "access point ARN"),
        ("s3://b/\ud800", "not valid Unicode"),
        ("s3://b/" + "k" * 1025, "longer than 1024 bytes"),
        ("s3://b/" + "é" * 513, "longer than 1024 bytes"),
    ],
)
def test_what_is_no_address_is_refused_with_the_url_in_the_message(url: str, said: str) -> None:
    with pytest.raises(InvalidError, match=said) as caught:
        S3Url.parse(url)
    assert isinstance(caught.value, ValueError)
    assert caught.value.hint or said in ("not valid Unicode", "longer than 1024 bytes")


def test_the_longest_key_is_accepted() -> None:
    assert S3Url.parse("s3://b/" + "é" * 512).key == "é" * 512


@pytest.mark.parametrize(
    ("path", "expected"),
    [("s3://b", True), ("S3://b", True), ("/s3://b", False), ("s3:b", False), (None, False), (b"s3:", False)],
)
def test_is_s3_url(path: object, expected: bool) -> None:
    assert is_s3_url(path) is expected


@pytest.mark.parametrize(
    ("key", "resolved"),
    [
        ("exp/run1", "exp/run1"),
        ("exp/run1/.", "exp/run1"),
        ("exp/./run1/../run2", "exp/run2"),
        ("../../x", "x"),
        ("..", ""),
        ("a//b/.hidden/...", "a//b/.hidden/..."),
    ],
)
def test_what_a_path_joined_by_a_framework_means(key: str, resolved: str) -> None:
    assert S3Url("b", key).resolved == S3Url("b", resolved)
