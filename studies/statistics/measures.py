"""Metrics: their labels, which direction is better, and their number formats."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import floor, isfinite, isnan, log10

from stacked.components.probe_labels import CLASSIFIERS, CLUSTERINGS

_DEPTH = r"(?:_depth(?P<depth>\d+))?"


@dataclass(frozen=True)
class Measure:
    """The label and the number format of a metric.

    label: name in tables. better: "lower", "higher" or "" (neither). scale: factor for printing (100 for fractions shown in %).
    decimals: number of decimals (None: three significant digits). unit: printed after the number. margin: difference up to which
    two arms count as equal: a fraction of the value, or an absolute difference for fractions shown in % and if is_absolute, for
    measures whose 0 is not their least value, so that a difference in percent says nothing.
    """

    label: str
    better: str = ""
    scale: float = 1.0
    decimals: int | None = None
    unit: str = ""
    margin: float = 0.05
    is_absolute: bool = False

    @property
    def is_share(self) -> bool:
        """Whether the metric is a fraction shown in %."""
        return self.unit == " %"

    def margin_at(self, level: float) -> float:
        """Return the difference from the value `level` up to which two arms count as equal."""
        return self.margin if self.is_share or self.is_absolute else self.margin * abs(level)

    @property
    def margin_text(self) -> str:
        """The margin as text: "5 %", "1 point" or, of an absolute difference, "0.01"."""
        if self.is_absolute:
            return f"{self.margin:g}{self.unit}"
        if not self.is_share:
            return f"{100 * self.margin:g} %"
        return f"{self.scale * self.margin:g} point{'s' * (self.scale * self.margin != 1)}"

    def number(self, value: float) -> str:
        """Return a value with its unit as text: "0.00412", "97.31 %"."""
        scaled = value * self.scale
        return _fixed(scaled, self.places(scaled)) + self.unit

    def mean_sd(self, mean: float, sd: float) -> str:
        """Return "mean ± standard deviation" with equal decimals; if `sd` is NaN, only the mean."""
        scaled, spread = mean * self.scale, sd * self.scale
        decimals = self.places(scaled)
        if isnan(sd):
            return _fixed(scaled, decimals)
        printed = _fixed(spread, decimals)
        if spread > 0.0 and not any(
            digit in printed for digit in "123456789"
        ):  # a spread below the mean's last digit is not zero
            printed = f"{spread:.1g}"
        return f"{_fixed(scaled, decimals)} ± {printed}"

    def differences(self, half_width: float, *values: float) -> list[str]:
        """Return signed values as text, with as many decimals as two significant digits of `half_width` need."""
        scaled = [value * self.scale for value in values]
        size = scaled[0] if isnan(half_width) else half_width * self.scale
        return [_fixed(value, self.places(size, digits=2), sign=True) for value in scaled]

    @property
    def difference_unit(self) -> str:
        """The unit of a difference: percentage points if values are in %."""
        return " points" if self.unit == " %" else self.unit

    @property
    def title(self) -> str:
        """The label with its unit, as a column title."""
        return f"{self.label} ({self.unit.strip()})" if self.unit else self.label

    @property
    def title_with_direction(self) -> str:
        """The label, its unit and which direction is better: "linear probe accuracy (%, higher is better)"."""
        details = ", ".join(filter(None, [self.unit.strip(), f"{self.better} is better" if self.better else ""]))
        return f"{self.label} ({details})" if details else self.label

    def places(self, value: float, digits: int = 3) -> int:
        """Return the number of decimals of a printed value: `decimals`, or as many as `digits` significant digits need."""
        if self.decimals is not None:
            return self.decimals
        if value == 0.0 or not isfinite(value):
            return digits
        return max(0, digits - 1 - floor(log10(abs(value))))


def _accuracy(label: str) -> Measure:
    return Measure(label, "higher", scale=100.0, decimals=2, unit=" %", margin=0.01)


def _agreements(name: str, label: str) -> dict[str, Measure]:
    """Return the measures of a clustering, the fields of `stacked.evaluation.clustering.Agreement`."""
    return {
        f"{name}_acc": _accuracy(f"{label} accuracy"),
        f"{name}_nmi": Measure(f"{label} NMI", "higher", decimals=3),
        f"{name}_ari": Measure(f"{label} ARI", "higher", decimals=3, margin=0.01, is_absolute=True),
    }


#: results of the final probes beside the linear probe, whose column is "probe_acc"
PROBES = {f"{name}_acc": _accuracy(label) for name, label in CLASSIFIERS.items() if name != "logistic"}
for _name, _label in CLUSTERINGS.items():
    PROBES |= _agreements(_name, _label)


def measure(metric: str) -> Measure:
    """Return the Measure of a final metric; an unknown metric has its name as label."""
    name = metric.removeprefix("final/")
    if "_error" in name and (accuracy := measure(name.replace("_error", "_acc"))).is_share:
        return replace(accuracy, label=accuracy.label.replace("accuracy", "error"), better="lower")
    if "_deviation" in name and (error := measure(name.replace("_deviation", "_error"))).is_share:
        return replace(error, label=f"{error.label}, distance from the median of the arm")
    if match := re.fullmatch(rf"recon_mse{_DEPTH}", name):
        return Measure("test MSE per pixel" + _to_depth(match["depth"]), "lower")
    if match := re.fullmatch(rf"fresh_decoder_mse{_DEPTH}", name):
        return Measure("test MSE of a fresh linear decoder of the code" + _on_depth(match["depth"]), "lower")
    if match := re.fullmatch(rf"probe_acc{_DEPTH}", name):
        return _accuracy(CLASSIFIERS["logistic"] + _on_depth(match["depth"]))
    if match := re.fullmatch(r"classifier_acc_(?P<budget>\d+|all)", name):
        return _accuracy(f"classifier accuracy, {budget_name(match['budget'])} labels")
    if match := re.fullmatch(r"regressor_(?P<what>r2|mse|rmse)_(?P<budget>\d+|all)", name):
        of = f"of the regressor, {budget_name(match['budget'])} labels"
        if match["what"] == "r2":
            return Measure(f"R² {of}", "higher", decimals=3, margin=0.01, is_absolute=True)
        units = "squared units" if match["what"] == "mse" else "units"
        return Measure(f"{match['what'].upper()} {of}, in {units} of the target", "lower")
    if (match := re.fullmatch(rf"(?P<probe>[a-z0-9]+_[a-z]+?){_DEPTH}", name)) and match["probe"] in PROBES:
        probe = PROBES[match["probe"]]
        return replace(probe, label=probe.label + _on_depth(match["depth"]))
    return {
        "recon_mse_in_units": Measure("test MSE in squared units of the data", "lower"),
        "recon_fvu": Measure("test FVU", "lower"),
        "recon_psnr": Measure("test PSNR", "higher", decimals=2, unit=" dB", margin=0.2, is_absolute=True),
        "recon_sse": Measure("test squared error per image", "lower", decimals=2),
    }.get(name, Measure(name))


def budgets(columns: Iterable[str], metric: str = "classifier_acc") -> list[str]:
    """Return the label budgets of a metric among the columns, ascending with "all" last: ["100", "1000", "all"]."""
    found = [match[1] for name in columns if (match := re.fullmatch(rf"final/{metric}_(\d+|all)", name))]
    return sorted(found, key=lambda budget: (budget == "all", int(budget) if budget != "all" else 0))


def depths(columns: Iterable[str], metric: str) -> list[int]:
    """Return the depths at which `metric` (such as "final/probe_acc") was measured, ascending."""
    pattern = re.escape(metric) + r"_depth(\d+)"
    return sorted(int(match[1]) for name in columns if (match := re.fullmatch(pattern, name)))


def budget_name(budget: str) -> str:
    """Return a label budget as text: "1,000" or "all"."""
    return budget if budget == "all" else f"{int(budget):,}"


def p_text(p: float) -> str:
    """Return a p-value as text: "p = 0.031", "p < 0.001", or "p undefined" for NaN."""
    if isnan(p):
        return "p undefined"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def p_cell(p: float) -> str:
    """Return a p-value as the cell of a column of p-values: "0.031", "< 0.001", or "–" for NaN."""
    return "–" if isnan(p) else p_text(p).removeprefix("p = ").removeprefix("p ")


def _to_depth(depth: str | None) -> str:
    return "" if depth is None else f", to depth {depth} and back"


def _on_depth(depth: str | None) -> str:
    if depth is None:
        return ""
    return " on pixels" if depth == "0" else f" at depth {depth}"


def _fixed(value: float, decimals: int, sign: bool = False) -> str:
    """Return a value with fixed decimals and a true minus sign; a value that rounds to zero has no sign."""
    if isnan(value):
        return "–"
    text = f"{value:+,.{decimals}f}" if sign else f"{value:,.{decimals}f}"
    if not any(digit in text for digit in "123456789"):
        text = text.lstrip("+-")
    return text.replace("-", "−")
