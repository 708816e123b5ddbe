"""Plugins that read the log directory themselves find their files, and nothing else is fetched."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from viewing import Page, Store, event_file, eventually

from bucketboard.serve.catalog import Catalog
from bucketboard.serve.mirror import Mirror
from bucketboard.serve.mount import Mount
from bucketboard.source import BucketSource, DirectorySource
from bucketboard.store.bucket import Bucket
from bucketboard.store.settings import Settings
from bucketboard.store.url import S3Url

Show = Callable[..., Page]
_CONFIG = """
embeddings { tensor_name: "words" tensor_path: "00000/tensors.tsv" metadata_path: "00000/metadata.tsv" }
embeddings { tensor_name: "bad" tensor_path: "../../../../etc/passwd" metadata_path: "/etc/passwd" }
"""


def put(store: Store, path: str, body: str = "x") -> None:
    store.client.put_object(Bucket=store.bucket, Key=f"exp/{path}", Body=body.encode())


@pytest.fixture
def mount(store: Store) -> Mount:
    url = S3Url.parse(store.url)
    return Mount(BucketSource(url, Bucket(url.bucket, Settings.resolve())))


@pytest.fixture
def mirror(mount: Mount) -> Iterator[Mirror]:
    mirror = Mirror(Catalog([mount]))
    yield mirror
    mirror.close()


def files(mirror: Mirror) -> dict[str, str]:
    root = Path(mirror.path)
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_a_projector_s_configuration_and_what_it_names(store: Store, mount: Mount, mirror: Mirror) -> None:
    put(store, "run/projector_config.pbtxt", _CONFIG)
    put(store, "run/00000/tensors.tsv", "1\t2\n")
    put(store, "run/00000/metadata.tsv", "a\n")
    for other in ("run/checkpoint.pt", "run/00000/other.bin", "run/plugins/profile/1/x.pb", "etc/passwd"):
        put(store, other)
    mount.list()
    mirror.fill("projector")
    found = files(mirror)
    assert "passwd" not in found["run/projector_config.pbtxt"]
    assert found == {
        "run/projector_config.pbtxt": found["run/projector_config.pbtxt"],
        "run/00000/tensors.tsv": "1\t2\n",
        "run/00000/metadata.tsv": "a\n",
    }
    seen = store.requests
    mirror.fill("projector")
    assert store.requests == seen


def test_a_plugin_s_assets_when_it_is_asked(store: Store, mount: Mount, mirror: Mirror) -> None:
    put(store, "run/plugins/profile/2024/host.xplane.pb", "profile")
    put(store, "run/plugins/other/data", "other")
    put(store, "run/.bucketboard/plugins/profile/hidden", "hidden")
    mount.list()
    mirror.prepare()
    assert files(mirror) == {}
    assert (Path(mirror.path) / "run/plugins/profile/2024").is_dir()
    mirror.fill("profile")
    assert files(mirror) == {"run/plugins/profile/2024/host.xplane.pb": "profile"}
    put(store, "run/plugins/profile/2024/host.xplane.pb", "new")
    mount.list()
    mirror.fill("profile")
    assert files(mirror) == {"run/plugins/profile/2024/host.xplane.pb": "new"}


def test_what_can_not_be_mirrored_is_passed_over(
    store: Store, mount: Mount, mirror: Mirror, caplog: pytest.LogCaptureFixture
) -> None:
    put(store, "run/plugins/one")
    put(store, "run/plugins/one/two", "a file and a directory")
    put(store, "run/plugins/profile/x", "fine")
    mount.list()
    mirror.prepare()
    mirror.fill("one")
    mirror.fill("profile")
    assert files(mirror)["run/plugins/profile/x"] == "fine"


def test_the_copies_go_with_it(store: Store, mount: Mount) -> None:
    mirror = Mirror(Catalog([mount]))
    put(store, "run/plugins/profile/x")
    mount.list()
    mirror.fill("profile")
    assert files(mirror)
    mirror.close()
    assert not Path(mirror.path).exists()


def test_directories_are_not_copied(tmp_path: Path, mount: Mount) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/note").write_text("here")
    alone = Mirror(Catalog([Mount(DirectorySource(tmp_path))]))
    assert alone.path == str(tmp_path)
    alone.close()
    beside = Mirror(Catalog([Mount(DirectorySource(tmp_path), "a"), Mount(mount.source, "b")]))
    assert (Path(beside.path) / "a/run/note").read_text() == "here"
    beside.close()
    assert (tmp_path / "run/note").exists()


def test_the_projector_shows_what_is_in_the_bucket(store: Store, show: Show) -> None:
    store.put("run", event_file(1.0))
    put(store, "run/projector_config.pbtxt", _CONFIG.split("\n")[1])
    put(store, "run/00000/tensors.tsv", "1\t2\n3\t4\n")
    put(store, "run/00000/metadata.tsv", "a\nb\n")
    page = show()
    eventually(lambda: page.get("plugins_listing")["projector"]["enabled"], True)
    assert page.get("plugin/projector/runs") == ["run"]
    config = page.get("plugin/projector/info", run="run")
    assert config["embeddings"][0]["tensorShape"] == [2, 2]
    url = f"{page.server.url}data/plugin/projector/metadata?run=run&name=words"
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert answer.read() == b"a\nb\n"
    # All from the last listing: looking at it lists nothing.
    assert set(store.requests) == {"ListObjectsV2", "GetObject"}
    assert page.get("logdir") == {"logdir": store.url}
    assert page.get("environment")["data_location"] == store.url
