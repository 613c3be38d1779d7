"""Saved views of a study in MLflow's user interface, so that one address opens its comparison.

A view is a tag of the experiment that holds the state of the page. MLflow (3.17) stores its own demo data this way but does not
document it. A view that cannot be saved causes a warning, never an error.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
import warnings
import zlib
from collections.abc import Sequence
from typing import Any

from stacked.tracking.backend import circuit_breaker as limits
from stacked.tracking.backend.circuit_breaker import circuit_breaker_for
from stacked.tracking.backend.client import StoreClient
from stacked.tracking.backend.remote.http import ANSWER_SECONDS, bounded
from stacked.tracking.backend.store import OUTAGES, Store, reason_of
from stacked.util.errors import InputError, printable
from stacked.viewing.group_colours import GROUP_TAG

MEAN = "mean over seeds"
EVERY = "every seed"
OUTCOMES = (
    "final/recon_mse",
    "final/probe_acc",
    "final/classifier_acc_100",
    "final/classifier_acc_1000",
    "final/classifier_acc_all",
)
ERROR, ACCURACY = "eval/full_depth_mse", "eval/probe_acc"
#: The error of the stages grown so far, which rises with each new stage.
ERROR_SO_FAR = "eval/recon_mse"
#: The (metric, cost) pairs of charts with a curve for every seed.
COSTS = (
    (ERROR, "progress/gflop"),
    (ERROR, "progress/train_seconds"),
    (ACCURACY, "progress/gflop"),
    (ACCURACY, "progress/train_seconds"),
)
#: The pairs of charts that average seeds. MLflow pairs values by position, so a cost must be logged at exactly the steps of the
#: metric; and seconds at the same step differ between seeds, so that their mean would be a saw-tooth.
MEAN_COSTS = ((ERROR, "progress/gflop_at_full_depth"), (ACCURACY, "progress/gflop_at_probe"))
#: Series of pictures: of the trained stack, at step 0 in all runs, because a chart shows one step of all runs; while training.
IMAGE_KEYS = ("recon_grid_final", "recon_grid")
#: Further columns of the table of runs: the command, and the commit of the code.
ATTRIBUTES = ("attributes.`Source`", "attributes.`Version`")
MAX_TAG = 20_000  # MLflow's limit of the characters in an experiment's tag

# Titles of sections name the axes, because MLflow writes "Step" at them or the metric's name, and no title of a chart's own.
UPDATES = "Validation data, once all stages are grown, against updates (Step)"
COST = "Validation data, once all stages are grown, against GFLOP or seconds of training"
STAGES, PICTURES = "Stages: validation error of those grown so far, their number, training loss", "Reconstructions"
# MLflow adds charts of all other metrics to the section of their prefix
THE_REST = ("eval", "final", "progress", "system", "train")


def save_views(
    store: Store,
    experiment: str,
    study: str,
    *,
    probe: bool,
    images: bool,
    outcomes: Sequence[str] = OUTCOMES,
) -> dict[str, str]:
    """Save the views "mean over seeds" and "every seed" of a study; returns the keys of those that were saved.

    probe, images: whether the study logs probe accuracies and the picture series of `IMAGE_KEYS`. outcomes: final metrics that
    are columns of the table of runs. The axis of accuracies spans the values recorded so far: save the views again after adding
    runs. A key depends only on study and view, so that addresses stay valid. Raises `InputError` for a quote in `study`.
    """
    if "'" in study or '"' in study:
        raise InputError(f"the study id {study!r} contains a quote; use letters, digits and '-' or '_'")
    if not circuit_breaker_for(store.uri).allows():
        warnings.warn(
            f"MLflow fails, so that views of {study!r} are not saved: run the same command again later",
            RuntimeWarning,
            stacklevel=2,
        )
        return {}
    client = StoreClient(store, experiment)
    with bounded(limits.ATTEMPT_SECONDS, ANSWER_SECONDS):
        return _save_all(client, study, probe, images, outcomes)


def _save_all(client: StoreClient, study: str, probe: bool, images: bool, outcomes: Sequence[str]) -> dict[str, str]:
    span = _accuracy_span(client, study) if probe else None
    group_by = _group_tag(client, study)
    mean, every = (_charts(probe, span, costs) for costs in (MEAN_COSTS, COSTS))
    pictures = [_picture_chart(key) for key in IMAGE_KEYS] if images else []
    # a chart of pictures stays empty while runs are grouped; MLflow adds one unless it is listed as deleted
    hidden = [picture | {"deleted": True} for picture in pictures]
    views = {
        MEAN: _page(study, mean + hidden, outcomes, group_by=group_by),
        EVERY: _page(study, pictures + every, outcomes, group_by=None),
    }
    keys = {}
    for name, page in views.items():
        key = view_key(study, name)
        if _save(client, key, f"{study}: {name}", page):
            keys[name] = key
    return keys


def view_url(base: str, experiment_id: str, key: str, *, table: bool = False) -> str:
    """Return the address of a saved view, with its charts or with the table of its runs.

    Any additional search or sort parameter would disable the view.
    """
    view = f"compareRunsMode={'TABLE' if table else 'CHART'}&workflowType=machine_learning&viewStateShareKey={key}"
    return f"{base}/#/experiments/{experiment_id}/runs?{view}"


def view_key(study: str, name: str) -> str:
    """Return the key under which a view of a study is saved."""
    return hashlib.sha256(f"{study}/{name}".encode()).hexdigest()[:24]


def _save(client: StoreClient, key: str, title: str, page: dict[str, Any]) -> bool:
    now = int(time.time() * 1000)
    state = base64.b64encode(zlib.compress(json.dumps(page, separators=(",", ":")).encode(), 9)).decode()
    value = json.dumps({"name": title, "createdAt": now, "updatedAt": now, "state": f"deflate;{state}"})
    if len(value) > MAX_TAG:
        reason = f"it takes {len(value)} characters and MLflow allows {MAX_TAG}"
    else:
        try:
            client.tag_experiment(f"mlflow.sharedViewState.{key}", value)
        except OUTAGES as error:
            reason = reason_of(error)
        else:
            return True
    message = f"the MLflow view {title!r} was not saved: {reason}"
    warnings.warn(printable(message), RuntimeWarning, stacklevel=3)
    return False


def _query(study: str) -> str:
    return f"tags.study = '{study}' and tags.kind = 'arm'"


def _accuracy_span(client: StoreClient, study: str) -> tuple[float, float] | None:
    """Return the range of accuracies with a margin: with bands around means MLflow would start the axis at zero."""
    try:
        span = client.metric_range(_query(study), ACCURACY)
    except OUTAGES:
        return None  # the views cannot be saved either, which causes a warning
    if span is None:
        return None
    low, high = span
    margin = max(0.05 * (high - low), 0.005)
    return low - margin, high + margin


def _group_tag(client: StoreClient, study: str) -> str:
    """Return the tag to group by: that of groups with their runs' colours, or "arm" where an earlier version recorded runs."""
    try:
        return GROUP_TAG if client.all_have_tag(_query(study), GROUP_TAG) else "arm"
    except OUTAGES:
        return GROUP_TAG  # the views cannot be saved either, which causes a warning


def _charts(probe: bool, span: tuple[float, float] | None, costs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Return the charts in the order of the page, which hides those without data."""
    accuracy = {"range": {"yMin": span[0], "yMax": span[1]} if span else {}}
    charts = [_line(UPDATES, ERROR, log=True)]
    if probe:
        charts.append(_line(UPDATES, ACCURACY) | accuracy)
    for metric, cost in costs:
        if metric == ERROR:
            charts.append(_line(COST, metric, against=cost, log=True))
        elif probe:
            charts.append(_line(COST, metric, against=cost) | accuracy)
    stages = (_line(STAGES, ERROR_SO_FAR, log=True), _line(STAGES, "progress/stage"))
    return [*charts, *stages, _line(STAGES, "train/loss", log=True)]


def _line(section: str, metric: str, *, against: str = "", log: bool = False) -> dict[str, Any]:
    """Return a chart of a metric against the step, or against another metric logged at the same steps."""
    return _chart("LINE", section, metric, f"{metric} {against}") | {
        "displayPoints": False,
        "selectedMetricKeys": [metric],
        "lineSmoothness": 0,
        "xAxisScaleType": "linear",
        "scaleType": "log" if log else "linear",
        "range": {},
        "xAxisKey": "metric" if against else "step",
        "selectedXAxisMetricKey": against,
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "useGlobalXaxisKey": False,
        "useGlobalLineSmoothing": False,
    }


def _picture_chart(key: str) -> dict[str, Any]:
    return _chart("IMAGE", PICTURES, key, key) | {"imageKeys": [key], "step": 0, "showRunParams": False}


def _chart(kind: str, section: str, metric: str, name: str) -> dict[str, Any]:
    return {
        "uuid": f"{section} {name}".strip(),
        "type": kind,
        "runsCountToCompare": 20,
        "metricSectionId": section,
        "deleted": False,
        "isGenerated": False,
        "metricKey": metric,
    }


def _page(study: str, charts: list[dict[str, Any]], outcomes: Sequence[str], group_by: str | None) -> dict[str, Any]:
    """Return the state of the page: its runs, columns and charts."""
    grouping = {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": group_by}]}
    own = dict.fromkeys(chart["metricSectionId"] for chart in charts if not chart["deleted"])
    height = 380 if group_by else 480  # of every seed the legend has an entry
    # a row of pictures is as wide as the page
    sections = [_section(name, opened=True, columns=1 if name == PICTURES else 2, height=height) for name in own]
    sections += [_section(name, opened=False) for name in THE_REST]
    return {
        "searchFilter": _query(study),
        "orderByKey": "attributes.start_time",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "columnOrder": [],
        "columnWidths": {},
        "selectedColumns": ["tags.`arm`", "tags.`seed`", *(f"metrics.`{metric}`" for metric in outcomes), *ATTRIBUTES],
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsVisibilityMap": {},
        "runsHiddenMode": "SHOWALL",  # the default shows ten runs
        "compareRunCharts": charts,
        "compareRunSections": sections,
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": True,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": grouping if group_by else None,
        "groupsExpanded": {},
        "autoRefreshEnabled": True,
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }


def _section(name: str, opened: bool, columns: int = 2, height: int = 380) -> dict[str, Any]:
    return {
        "uuid": name,
        "name": name,
        "display": opened,
        "isReordered": True,
        "deleted": False,
        "isGenerated": False,
        "columns": columns,
        "cardHeight": height,
    }
