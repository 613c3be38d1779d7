"""Diagnosis of a stack: what its codes have in common with others, what they keep, and where its losses pull."""

from __future__ import annotations

from stacked.evaluation.diagnosis.alignment import gradient_alignment as gradient_alignment
from stacked.evaluation.diagnosis.diagnose import Diagnosis as Diagnosis
from stacked.evaluation.diagnosis.diagnose import diagnose as diagnose
from stacked.evaluation.diagnosis.information import information_kept as information_kept
from stacked.evaluation.diagnosis.similarity import linear_cka as linear_cka
from stacked.evaluation.diagnosis.similarity import similarities as similarities
