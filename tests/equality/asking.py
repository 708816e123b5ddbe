"""Everything that a browser can ask a TensorBoard, with the answers: to compare one TensorBoard with another.

``python asking.py URL [URL]`` prints the answers of one, or the differences of two.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

__all__ = ["Answers", "ask", "differences", "get", "runs_of"]

Answers = dict[str, Any]
"""Question → [status, content type, content]; JSON is parsed, and keys of blobs are replaced by the blobs."""

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_FEW = 3
"""Of what is the same code behind another question, this many are asked."""
_SAMPLED = {"images": 5, "audio": 2}
_BLOB_KEY = re.compile(r"(?:^|&)blob_key=([^&]*)")
_GRAPH_OPTIONS: tuple[dict[str, str], ...] = (
    {},
    {"limit_attr_size": "20", "large_attrs_key": "_too_large"},
)


def ask(url: str) -> Answers:
    """Ask everything that the answers so far lead to, and some things that do not exist."""
    return dict(_Asker(url.rstrip("/")).everything())


def get(url: str, path: str, query: Any = (), body: Any = None) -> list[Any]:
    """One answer: [status, content type, content]."""
    return _Asker(url.rstrip("/")).get(path, query, body)


def runs_of(url: str) -> list[str]:
    """The runs by their beginning, as a browser is told."""
    return list(_Asker(url.rstrip("/")).get("data/runs")[2])


def differences(expected: Answers, found: Answers, limit: int = 12) -> str:
    """What is told differently, "" when nothing is. Only for reading: lines are shortened."""
    lines = []
    for question in [*expected, *(found.keys() - expected.keys())]:
        one, other = expected.get(question, "(not asked)"), found.get(question, "(not asked)")
        if not _same(one, other):
            texts = [json.dumps(side, indent=1, sort_keys=True).splitlines() for side in (one, other)]
            changed = difflib.unified_diff(*texts, "expected", "found", n=1, lineterm="")
            lines.append("\n  ".join([question, *(line[:200] for line in list(changed)[2:14])]))
    if len(lines) > limit:
        rest = sorted({line.partition("?")[0].partition("\n")[0] for line in lines[limit:]})
        lines[limit:] = [f"... and {len(lines) - limit} more, of {', '.join(rest)}"]
    return "\n".join(lines)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other):
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    # 1 and 1.0 are one number to a browser, True and 1 are not the same.
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


class _Asker:
    def __init__(self, url: str) -> None:
        self._url = url
        self._blobs: dict[str, str] = {}

    def everything(self) -> Iterator[tuple[str, Any]]:
        for group in (
            self._core,
            self._scalars,
            self._series,
            self._time_series,
            self._text,
            self._pr_curves,
            self._meshes,
            self._custom_scalars,
            self._graphs,
            self._hparams,
            self._projector,
        ):
            yield from group()

    def get(self, path: str, query: Any = (), body: Any = None) -> list[Any]:
        """``body``: pairs make a form, a dictionary makes JSON; without it it is a GET."""
        pairs = list(query.items()) if isinstance(query, dict) else list(query)
        address = f"{self._url}/{urllib.parse.quote(path)}?{urllib.parse.urlencode(pairs)}"
        data, headers = None, {}
        if isinstance(body, dict):
            data, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
        elif body is not None:
            data = urllib.parse.urlencode(body).encode()
        request = urllib.request.Request(address, data, headers)
        try:
            with _opener.open(request, timeout=60) as answer:
                return self._content(answer.status, answer)
        except urllib.error.HTTPError as error:
            with error:
                return self._content(error.code, error)

    def _content(self, status: int, answer: Any) -> list[Any]:
        kind, content = answer.headers.get("Content-Type", ""), answer.read()
        if "json" in kind:
            return [status, kind, self._without_keys(json.loads(content))]
        if kind.startswith("text/") and "html" not in kind:
            return [status, kind, content.decode()]
        # The pages of errors have the names of modules in them.
        return [status, kind, _digest(content) if status == 200 else None]

    def _without_keys(self, content: Any) -> Any:
        """Keys of blobs are each provider's own affair; what they lead to is not."""
        if isinstance(content, list):
            return [self._without_keys(entry) for entry in content]
        if not isinstance(content, dict):
            return content
        content = {name: self._without_keys(entry) for name, entry in content.items()}
        if isinstance(content.get("query"), str) and (key := _BLOB_KEY.search(content["query"])):
            content["query"] = content["query"].replace(key[0], "")
            content["blob"] = urllib.parse.unquote(key[1])
        if isinstance(content.get("imageId"), str):
            blob = self.get("data/plugin/timeseries/imageData", {"imageId": content.pop("imageId")})
            content["image"] = blob
        return content

    def _asked(self, path: str, query: Any = (), body: Any = None) -> tuple[str, Any]:
        words = urllib.parse.unquote_plus(urllib.parse.urlencode(query))
        posted = f" {json.dumps(body)}" if body is not None else ""
        return f"{path}?{words}{posted}", self.get(path, query, body)

    def _tags(self, plugin: str) -> Iterator[tuple[str, str, Any]]:
        """Run, tag and what is told of it."""
        tags = self.get(f"data/plugin/{plugin}/tags")[2] or {}
        for run in sorted(tags):
            for tag in sorted(tags[run]):
                yield run, tag, tags[run][tag] if isinstance(tags[run], dict) else None

    def _core(self) -> Iterator[tuple[str, Any]]:
        yield self._asked("data/runs")
        question, answer = self._asked("data/environment")
        for name in ("data_location", "debug"):  # where it lies, and by whom it is told, differ
            answer[2].pop(name, None)
        yield question, answer
        yield self._asked("data/window_properties")
        yield self._asked("data/experiments")
        yield self._asked("data/experiment_runs")
        question, [status, kind, plugins] = self._asked("data/plugins_listing")
        # The debugger reads directories by itself: we leave it out for buckets.
        plugins = {name: told for name, told in plugins.items() if name != "debugger-v2"}
        yield question, [status, kind, plugins]
        for path in ("data/no-such-thing", "data/plugin/scalars/nothing", "data/plugin/nothing/tags"):
            yield self._asked(path)

    def _scalars(self) -> Iterator[tuple[str, Any]]:
        path = "data/plugin/scalars"
        yield self._asked(f"{path}/tags")
        runs: dict[str, list[str]] = {}
        for run, tag, _ in self._tags("scalars"):
            runs.setdefault(tag, []).append(run)
            yield self._asked(f"{path}/scalars", {"run": run, "tag": tag})
            if len(runs) < _FEW:
                yield self._asked(f"{path}/scalars", {"run": run, "tag": tag, "format": "csv"})
        for tag, having in runs.items():
            form = [("tag", tag), *(("runs", run) for run in [*having, "no such run"])]
            yield self._asked(f"{path}/scalars_multirun", body=form)
        yield self._asked(f"{path}/scalars_multirun", body=[("tag", "a"), ("tag", "b")])
        yield self._asked(f"{path}/scalars_multirun", body=[("tag", "no such tag"), ("runs", "none")])
        yield self._asked(f"{path}/scalars_multirun")
        yield self._asked(f"{path}/scalars", {"run": "no such run", "tag": "loss"})
        yield self._asked(f"{path}/scalars", {"run": "no such run"})
        if runs:
            tag, having = next(iter(runs.items()))
            yield self._asked(f"{path}/scalars", {"run": having[0], "tag": "no such tag"})

    def _series(self) -> Iterator[tuple[str, Any]]:
        for plugin in ("histograms", "distributions"):
            yield self._asked(f"data/plugin/{plugin}/tags")
            for run, tag, _ in self._tags(plugin):
                yield self._asked(f"data/plugin/{plugin}/{plugin}", {"run": run, "tag": tag})
            yield self._asked(f"data/plugin/{plugin}/{plugin}", {"run": "none", "tag": "none"})
        for plugin, one in (("images", "individualImage"), ("audio", "individualAudio")):
            yield self._asked(f"data/plugin/{plugin}/tags")
            for run, tag, told in self._tags(plugin):
                samples = told.get("samples", told.get("maxSamples", 1))
                for sample in range(min(samples, _SAMPLED[plugin]) + 1):  # and one more than there are
                    question, answer = self._asked(
                        f"data/plugin/{plugin}/{plugin}", {"run": run, "tag": tag, "sample": sample}
                    )
                    for entry in answer[2] if answer[0] == 200 else ():
                        query = {"blob_key": entry.pop("blob", "")}
                        kind = urllib.parse.parse_qs(entry["query"]).get("content_type", [""])[0]
                        query |= {"content_type": kind} if kind else {}
                        entry["content"] = self.get(f"data/plugin/{plugin}/{one}", query)
                    yield question, answer
            yield self._asked(f"data/plugin/{plugin}/{plugin}", {"run": "none", "tag": "none"})

    def _time_series(self) -> Iterator[tuple[str, Any]]:
        path = "data/plugin/timeseries"
        question, answer = self._asked(f"{path}/tags")
        yield question, answer
        wanted: list[dict[str, Any]] = []
        told = answer[2]
        for tag in sorted({tag for tags in told["scalars"]["runTagInfo"].values() for tag in tags}):
            wanted.append({"plugin": "scalars", "tag": tag})
            wanted.append({"plugin": "scalars", "tag": tag, "run": "no such run"})
        for run, tags in sorted(told["histograms"]["runTagInfo"].items()):
            wanted += [{"plugin": "histograms", "tag": tag, "run": run} for tag in sorted(tags)]
        for tag, runs in sorted(told["images"]["tagRunSampledInfo"].items()):
            for run, info in sorted(runs.items()):
                samples = range(min(info["maxSamplesPerStep"], 2))
                wanted += [{"plugin": "images", "tag": tag, "run": run, "sample": n} for n in samples]
        wanted += [{"plugin": "scalars"}, {"plugin": "other", "tag": "x"}, {"plugin": "images", "tag": "x"}]
        for request in wanted:
            yield self._asked(f"{path}/timeSeries", body=[("requests", json.dumps([request]))])
        yield self._asked(f"{path}/timeSeries", {"requests": json.dumps(wanted[:3])})
        yield self._asked(f"{path}/timeSeries")
        yield self._asked(f"{path}/timeSeries", {"requests": "{"})

    def _text(self) -> Iterator[tuple[str, Any]]:
        question, answer = self._asked("data/plugin/text/tags")
        for tags in answer[2].values():  # in the order in which a provider happens to name them
            tags.sort()
        yield question, answer
        for run, tag, _ in self._tags("text"):
            for query in ({"run": run, "tag": tag}, {"run": run, "tag": tag, "markdown": "false"}):
                yield self._asked("data/plugin/text/text", query)
        yield self._asked("data/plugin/text/text", {"run": "none", "tag": "none"})

    def _pr_curves(self) -> Iterator[tuple[str, Any]]:
        yield self._asked("data/plugin/pr_curves/tags")
        runs: dict[str, list[str]] = {}
        for run, tag, _ in self._tags("pr_curves"):
            runs.setdefault(tag, []).append(run)
        for tag, having in runs.items():
            query = [("tag", tag), *(("run", run) for run in having)]
            yield self._asked("data/plugin/pr_curves/pr_curves", query)
        yield self._asked("data/plugin/pr_curves/pr_curves", {"tag": "none", "run": "none"})

    def _meshes(self) -> Iterator[tuple[str, Any]]:
        yield self._asked("data/plugin/mesh/tags")
        for run, tag, told in self._tags("mesh"):
            question, answer = self._asked("data/plugin/mesh/meshes", {"run": run, "tag": tag, "sample": 0})
            # Parts of one step come in the order in which a provider happens to name its tags.
            answer[2].sort(key=lambda entry: (entry["step"], entry["content_type"]))
            yield question, answer
            for step in sorted({entry["step"] for entry in answer[2]}):
                for kind in ("VERTEX", "FACE", "COLOR"):
                    for sample in range(told["samples"]):
                        query = {"run": run, "tag": tag, "step": step, "sample": sample, "content_type": kind}
                        yield self._asked("data/plugin/mesh/data", query)

    def _custom_scalars(self) -> Iterator[tuple[str, Any]]:
        path = "data/plugin/custom_scalars"
        question, answer = self._asked(f"{path}/layout")
        yield question, answer
        patterns = ["", "(", "loss.*", ".*"]
        for category in (answer[2] or {}).get("category", ()):
            for chart in category.get("chart", ()):
                patterns += chart.get("multiline", {}).get("tag", ())
        runs = self.get("data/runs")[2]
        for pattern in sorted({*patterns}):
            for run in (*runs[:_FEW], "no such run"):
                yield self._asked(f"{path}/scalars", {"run": run, "tag": pattern})
        for run, tag, _ in list(self._tags("scalars"))[:_FEW]:
            query = {"run": run, "tag": tag, "format": "csv"}
            yield self._asked(f"{path}/download_data", query)

    def _graphs(self) -> Iterator[tuple[str, Any]]:
        path = "data/plugin/graphs"
        question, answer = self._asked(f"{path}/info")
        yield question, answer
        for run, told in sorted(answer[2].items()):
            if told["run_graph"]:
                for options in _GRAPH_OPTIONS:
                    yield self._asked(f"{path}/graph", {"run": run, "conceptual": "false", **options})
            for tag, of in sorted(told["tags"].items()):
                query = {"run": run, "tag": tag}
                if of["conceptual_graph"]:
                    yield self._asked(f"{path}/graph", {**query, "conceptual": "true"})
                if of["op_graph"]:
                    yield self._asked(f"{path}/graph", {**query, "conceptual": "false"})
                if of["profile"]:
                    yield self._asked(f"{path}/run_metadata", query)
        yield self._asked(f"{path}/graph", {"run": "no such run"})
        yield self._asked(f"{path}/graph")
        yield self._asked(f"{path}/run_metadata", {"run": "none", "tag": "none"})

    def _hparams(self) -> Iterator[tuple[str, Any]]:
        path = "data/plugin/hparams"
        question, answer = self._asked(f"{path}/experiment", body={"experimentName": ""})
        yield question, answer
        told = answer[2] if answer[0] == 200 else {}
        metrics = [entry["name"] for entry in told.get("metricInfos", ())]
        params = [entry["name"] for entry in told.get("hparamInfos", ())]
        columns: list[dict[str, Any]] = [{"hparam": name} for name in params]
        columns += [{"metric": name} for name in metrics]
        statuses = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
        ordered = [{**columns[0], "order": "ORDER_DESC"}, *columns[1:]] if columns else []
        for aggregation in ("AGGREGATION_AVG", "AGGREGATION_MAX"):
            request = {
                "experimentName": "",
                "allowedStatuses": statuses,
                "colParams": ordered,
                "startIndex": 0,
                "sliceSize": 100,
                "aggregationType": aggregation,
                **({"aggregationMetric": metrics[0]} if metrics else {}),
            }
            question, answer = self._asked(f"{path}/session_groups", body=request)
            yield question, answer
        sessions = [
            session["name"]
            for group in (answer[2].get("sessionGroups", ()) if answer[0] == 200 else ())
            for session in group["sessions"]
        ]
        for session in sessions:
            for metric in metrics:
                request = {"experimentName": "", "sessionName": session, "metricName": metric}
                yield self._asked(f"{path}/metric_evals", body=request)
        for form in ("csv", "json", "latex"):
            wanted = {"allowedStatuses": statuses, "colParams": ordered, "sliceSize": 100}
            query = {
                "format": form,
                "columnsVisibility": json.dumps([True] * len(columns)),
                "request": json.dumps(wanted),
            }
            yield self._asked(f"{path}/download_data", query)
        yield self._asked(f"{path}/session_groups", body={"no such": "field"})

    def _projector(self) -> Iterator[tuple[str, Any]]:
        path = "data/plugin/projector"
        question, answer = self._asked(f"{path}/runs")
        yield question, answer
        for run in answer[2] if answer[0] == 200 else ():
            question, answer = self._asked(f"{path}/info", {"run": run})
            answer[2].pop("modelCheckpointPath", None)  # it is the directory's
            yield question, answer
            for embedding in answer[2].get("embeddings", ()):
                query = {"run": run, "name": embedding["tensorName"]}
                yield self._asked(f"{path}/tensor", query)
                yield self._asked(f"{path}/tensor", {**query, "num_rows": 2})
                if "metadataPath" in embedding:
                    yield self._asked(f"{path}/metadata", query)
                if "sprite" in embedding:
                    yield self._asked(f"{path}/sprite_image", query)
                if "bookmarksPath" in embedding:
                    yield self._asked(f"{path}/bookmarks", query)
            yield self._asked(f"{path}/tensor", {"run": run, "name": "no such tensor"})


def _digest(content: bytes) -> str:
    return f"{len(content)} bytes, SHA-256 {hashlib.sha256(content).hexdigest()[:16]}"


if __name__ == "__main__":
    told = [ask(url) for url in sys.argv[1:]]
    print(json.dumps(told[0], indent=1, sort_keys=True) if len(told) == 1 else differences(*told, limit=40))
