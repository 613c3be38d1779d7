"""Run specs: immutable descriptions of everything that a run's numbers depend on."""

from __future__ import annotations

from stacked.spec.architecture import StackSpec as StackSpec
from stacked.spec.architecture import StageSpec as StageSpec
from stacked.spec.optimisation import Optimisation as Optimisation
from stacked.spec.spec import Budget as Budget
from stacked.spec.spec import Classification as Classification
from stacked.spec.spec import DataSpec as DataSpec
from stacked.spec.spec import Evaluation as Evaluation
from stacked.spec.spec import RunSpec as RunSpec
from stacked.spec.spec import from_json as from_json
