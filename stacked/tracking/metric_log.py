"""The metrics of one run on disk: an append-only file of JSON lines, written before anything is sent to MLflow."""

from __future__ import annotations

import errno
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from stacked.tracking.backend.logged_metrics import LoggedMetrics
from stacked.util.atomic import writing
from stacked.util.checks import need, whole
from stacked.util.errors import InputError
from stacked.util.links import check_inside
from stacked.util.reading import content_of
from stacked.util.serialization import parsed

_METRIC_NAME = re.compile(r"\w[\w. -]*(/\w[\w. -]*)*")

_FIELDS = {"run", "step", "time", "metrics"}


class MetricLog:
    """The metrics of one run, in the file `path`; a metric that has a value for a step is not added again.

    Opening removes an incomplete last line, which a killed process leaves. Raises `InputError` if another line cannot be
    read, or the file is a link that leads elsewhere.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        check_inside(path.parent, path)  # the file is going to be truncated and appended to
        _cut_torn_line(path)
        self.entries = read_entries(path) if path.exists() else []
        self._known = {(name, entry.step) for entry in self.entries for name in entry.metrics}

    def add(self, run: str, metrics: Mapping[str, float], step: int, time: int) -> LoggedMetrics | None:
        """Append the metrics that are new for this step, and return them; None if there are none.

        Raises `InputError` for a metric name that MLflow refuses, and `Unwritable`, without changing the file, if the disk is
        full.
        """
        new = {name: _finite_or_nan(value) for name, value in metrics.items() if (name, step) not in self._known}
        for name in new:
            _check_name(name)
        if not new:
            return None
        entry = LoggedMetrics(run, step, time, new)
        _append(self.path, f"{_to_json(entry)}\n".encode())
        self.entries.append(entry)
        self._known.update((name, step) for name in new)
        return entry


def read_entries(path: Path) -> list[LoggedMetrics]:
    """Return the entries of a metric log in their order; `InputError` naming the first invalid line."""
    entries = []
    for number, line in enumerate(_content(path).splitlines(), start=1):
        try:
            entries.append(_from_json(line.decode()))
        except ValueError as error:
            raise InputError(
                f"{path}, line {number} is not an entry of a metric log ({error}); move its folder away to start afresh"
            ) from error
    return entries


def _content(path: Path) -> bytes:
    try:
        return content_of(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); move its folder away to start afresh") from error


def _append(path: Path, line: bytes) -> None:
    """Append a whole line or nothing, so that a full disk cannot leave an incomplete line."""
    with writing(path), path.open("ab", buffering=0) as file:
        before = file.tell()
        try:
            if file.write(line) < len(line):  # the first write to a full disk can be incomplete without an error
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except BaseException:
            file.truncate(before)
            raise


def _cut_torn_line(path: Path) -> None:
    if not path.exists():
        return
    content = _content(path)
    lines = content.rfind(b"\n") + 1
    if lines < len(content):
        os.truncate(path, lines)


def _to_json(entry: LoggedMetrics) -> str:
    """Return the entry as JSON, which has no NaN: it is written as null."""
    fields = asdict(entry)
    fields["metrics"] = {name: None if math.isnan(value) else value for name, value in entry.metrics.items()}
    return json.dumps(fields, allow_nan=False)


def _from_json(line: str) -> LoggedMetrics:
    """Return the entry in a line; ValueError if it is invalid."""
    values = parsed(line)
    need(
        isinstance(values, dict) and values.keys() == _FIELDS,
        f"it does not have the fields {', '.join(sorted(_FIELDS))}",
    )
    run, metrics = values["run"], values["metrics"]
    need(isinstance(run, str), f"run {run!r} is not a name")
    for name in ("step", "time"):
        whole(values[name], name, 0)
    need(isinstance(metrics, dict), f"metrics {metrics!r} have no names")
    for name, value in metrics.items():
        _check_name(name)
        need(value is None or type(value) in (int, float), f"{name} {value!r} is not a number")
    numbers = {name: math.nan if value is None else _finite_or_nan(value) for name, value in metrics.items()}
    return LoggedMetrics(run, values["step"], values["time"], numbers)


def _finite_or_nan(value: float) -> float:
    """Return a finite value, or NaN: MLflow stores an infinity as 1.8e308, which ruins the axis of a chart."""
    number = float(value)
    return number if math.isfinite(number) else math.nan


def _check_name(name: str) -> None:
    if not _METRIC_NAME.fullmatch(name):
        raise InputError(
            f"metric name {name!r} is not allowed; use letters, digits, '_', '-', '.', spaces, single slashes"
        )
