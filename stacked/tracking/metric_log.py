"""The points of one run on disk: an append-only JSON-lines file, written before anything is sent anywhere."""

from __future__ import annotations

import errno
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from stacked.tracking.backend.point import Point
from stacked.util.atomic import writing
from stacked.util.checks import need, whole
from stacked.util.errors import InputError
from stacked.util.links import check_inside
from stacked.util.serialization import parsed

_METRIC_NAME = re.compile(r"\w[\w. -]*(/\w[\w. -]*)*")

_FIELDS = {"run", "step", "time", "metrics"}


class MetricLog:
    """The points of one run, at `path`; a metric already there for the same step is never added again.

    Opening cuts off a last line that a killed process left half written. Raises `InputError` when another
    line cannot be read, or the file is a link to one elsewhere.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        check_inside(path.parent, path)  # its end is cut off, and more is written to it
        _cut_torn_line(path)
        self.points = read_points(path) if path.exists() else []
        self._known = {(name, point.step) for point in self.points for name in point.metrics}

    def add(self, run: str, metrics: Mapping[str, float], step: int, time: int) -> Point | None:
        """Append what is new of `metrics` to the file; None when all of it is known.

        Raises `InputError` for a metric name that MLflow refuses, and `Unwritable`, with the file as it was, when the disk
        is full.
        """
        new = {name: _finite_or_nan(value) for name, value in metrics.items() if (name, step) not in self._known}
        for name in new:
            _check_name(name)
        if not new:
            return None
        point = Point(run, step, time, new)
        _append(self.path, f"{_to_json(point)}\n".encode())
        self.points.append(point)
        self._known.update((name, step) for name in new)
        return point


def read_points(path: Path) -> list[Point]:
    """Read a points file in its order; raises `InputError` naming the first line that is not a point."""
    points = []
    for number, line in enumerate(_content(path).splitlines(), start=1):
        try:
            points.append(_from_json(line.decode()))
        except ValueError as error:
            raise InputError(
                f"{path}, line {number} is not a point of a run ({error}); move its folder away to start afresh"
            ) from error
    return points


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); move its folder away to start afresh") from error


def _append(path: Path, line: bytes) -> None:
    """Add a whole line, or nothing: what a full disk took of it would spoil the next one."""
    with writing(path), path.open("ab", buffering=0) as file:
        before = file.tell()
        try:
            if file.write(line) < len(line):  # the first write to a full disk may take a part and raise nothing
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


def _to_json(point: Point) -> str:
    """JSON has no NaN: it is written as null."""
    fields = asdict(point)
    fields["metrics"] = {name: None if math.isnan(value) else value for name, value in point.metrics.items()}
    return json.dumps(fields, allow_nan=False)


def _from_json(line: str) -> Point:
    """The point that a line says; ValueError for anything else."""
    values = parsed(line)
    need(isinstance(values, dict) and values.keys() == _FIELDS, f"it has not the fields {', '.join(sorted(_FIELDS))}")
    run, metrics = values["run"], values["metrics"]
    need(isinstance(run, str), f"run {run!r} is not a name")
    for name in ("step", "time"):
        whole(values[name], name, 0)
    need(isinstance(metrics, dict), f"metrics {metrics!r} have no names")
    for name, value in metrics.items():
        _check_name(name)
        need(value is None or type(value) in (int, float), f"{name} {value!r} is not a number")
    numbers = {name: math.nan if value is None else _finite_or_nan(value) for name, value in metrics.items()}
    return Point(run, values["step"], values["time"], numbers)


def _finite_or_nan(value: float) -> float:
    """MLflow stores an infinity as 1.8e308, which no axis survives."""
    number = float(value)
    return number if math.isfinite(number) else math.nan


def _check_name(name: str) -> None:
    if not _METRIC_NAME.fullmatch(name):
        raise InputError(
            f"metric name {name!r} is not allowed; use letters, digits, '_', '-', '.', spaces, single slashes"
        )
