from __future__ import annotations

import argparse
from dataclasses import fields

import pytest

from bucketboard.cli.settings import add_settings, given_settings
from bucketboard.store.settings import Settings


def parse(*arguments: str, storing: bool = True) -> Settings:
    parser = argparse.ArgumentParser()
    add_settings(parser, storing=storing)
    return Settings.resolve({}, **given_settings(parser.parse_args(arguments)))


def test_nothing_given_is_nothing_set() -> None:
    assert parse() == Settings()


def test_every_setting_has_an_option() -> None:
    parser = argparse.ArgumentParser()
    add_settings(parser)
    for entry in fields(Settings):
        assert f"--{entry.name.replace('_', '-')}" in parser.format_help()


def test_values() -> None:
    assert parse(
        *("--endpoint-url", "minio:9000", "--no-path-style", "--unsigned", "--timeout", "2.5"),
        *("--sse", "aws:kms", "--sse-kms-key-id", "k", "--tags", "team=vision&a=b c"),
    ) == Settings(
        endpoint_url="minio:9000",
        path_style=False,
        unsigned=True,
        timeout=2.5,
        sse="aws:kms",
        sse_kms_key_id="k",
        tags={"team": "vision", "a": "b c"},
    )


@pytest.mark.parametrize("arguments", [["--timeout", "soon"], ["--tags", "no pairs"]])
def test_a_wrong_value(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(*arguments)
    assert arguments[0] in capsys.readouterr().err


def test_reading_offers_nothing_about_storing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--sse", "AES256", storing=False)
    assert "--sse" in capsys.readouterr().err
