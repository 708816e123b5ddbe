"""The browser gets TensorBoard's own files, byte for byte."""

from __future__ import annotations

import urllib.request
import zipfile
from argparse import Namespace
from collections.abc import Callable
from typing import Any

from tensorboard import assets
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.core.core_plugin import CorePluginLoader
from viewing import Page, Store
from werkzeug.test import Client
from werkzeug.wrappers import Response

from bucketboard.serve.assets import CoreLoader


def _asked(app: Any, path: str, encoding: str) -> tuple[Any, ...]:
    answer: Response = Client(app).get(path, headers={"Accept-Encoding": encoding})
    headers = {name: value for name, value in answer.headers.items() if name != "Expires"}
    return answer.status_code, headers, answer.get_data()


def test_they_are_served_as_by_tensorboard() -> None:
    zipped = assets.get_default_assets_zip_provider()
    flags = Namespace(logdir="", logdir_spec="", path_prefix="")
    context = TBContext(assets_zip_provider=zipped, flags=flags, window_title="")
    stock = CorePluginLoader().load(context).get_plugin_apps()
    ours = CoreLoader(CorePluginLoader()).load(context).get_plugin_apps()
    assert ours.keys() == stock.keys()
    with zipped() as file, zipfile.ZipFile(file) as archive:
        paths = ["/", *(f"/{name}" for name in archive.namelist())]
    assert len(paths) > 10
    for path in paths:
        for url, encoding in ((path, "gzip"), (f"{path}?_file_hash=1", "identity")):
            assert _asked(ours[path], url, encoding) == _asked(stock[path], url, encoding), path


def test_a_page_is_there(store: Store, show: Callable[..., Page]) -> None:
    page = show()
    for path, beginning in (("", b"<"), ("index.js", b"")):
        with urllib.request.urlopen(f"{page.server.url}{path}", timeout=30) as answer:
            assert answer.read().startswith(beginning)
