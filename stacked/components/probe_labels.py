"""The final probes by name, with their labels in tables. Specs read the names without loading the probes."""

from __future__ import annotations

#: classifiers on codes: the functions are in `evaluation.probes.PROBES`
CLASSIFIERS = {
    "logistic": "linear probe accuracy",
    "svm": "linear SVM accuracy",
    "ridge": "ridge regression accuracy",
    "knn5": "5 nearest neighbours, accuracy",
    "knn20": "20 nearest neighbours, accuracy",
}
#: clusterings: of codes in `evaluation.clustering`, or of a copy of the encoder that they train in `evaluation.deep_clustering`
CLUSTERINGS = {"kmeans": "k-means", "dec": "deep embedded clustering"}
PROBE_NAMES = (*CLASSIFIERS, *CLUSTERINGS)
