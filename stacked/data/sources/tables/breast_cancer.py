"""The breast cancer table bundled with scikit-learn."""

from __future__ import annotations

from stacked.data.formats.dataset import DataSource, Source
from stacked.data.formats.split import Splits

TEST = 1 / 6


class BreastCancer(DataSource):
    """569 rows of 30 numbers that describe cell nuclei, and two classes (Street, Wolberg and Mangasarian 1993).

    scikit-learn's copy has no official division: a fixed stratified sixth is the test set. Columns are standardised by the
    training rows.
    """

    name = "breast-cancer"

    def splits(self, source: Source, name: str, valid: float) -> Splits:
        """Read the table from scikit-learn, without network or data directory."""
        from sklearn.datasets import load_breast_cancer

        found = load_breast_cancer(as_frame=True)
        classes = [str(each) for each in found.target_names]
        return Splits.of(found.data, found.target.to_numpy(), valid=valid, test=TEST, classes=classes, name=name)
