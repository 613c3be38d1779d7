"""What the tests share: a tiny labelled dataset that needs no file, and a quiet, reproducible torch."""

from __future__ import annotations

import os
from collections.abc import Iterator

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.pop("MLFLOW_TRACKING_URI", None)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run two at a time

import pytest
import torch
from hypothesis import HealthCheck, settings

from stacked.data.split import Split, Splits
from stacked.patience import patience_with

# the same examples every time, and few: thousands of new ones a test with HYPOTHESIS_PROFILE=thorough
patient = settings(database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", patient, derandomize=True, max_examples=60)
settings.register_profile("thorough", patient, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(autouse=True)
def one_seed() -> None:
    """Tests start from the same global random state."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_tracking_server() -> Iterator[None]:
    """`mlflow.set_tracking_uri` writes this variable, which the processes that a test starts would follow."""
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(autouse=True)
def new_patience() -> None:
    """No test waits for a store that failed in another."""
    patience_with.cache_clear()


def toy_splits(n: int = 256, size: int = 12, channels: int = 1) -> Splits:
    """Blobs whose place tells their class of 4: n training, n/2 validation and n/2 test images."""
    g = torch.Generator().manual_seed(1)

    def split(count: int) -> Split:
        labels = torch.arange(count) % 4
        rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
        y = (labels // 2 * size / 2 + size / 4)[:, None, None] + torch.randn(count, 1, 1, generator=g)
        x = (labels % 2 * size / 2 + size / 4)[:, None, None] + torch.randn(count, 1, 1, generator=g)
        blob = torch.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 6)
        images = (255 * blob).to(torch.uint8)[:, None].expand(-1, channels, -1, -1).contiguous()
        return Split(images, labels)

    return Splits("toy", split(n), split(n // 2), split(n // 2), ("nw", "ne", "sw", "se"))


@pytest.fixture(scope="session")
def toy() -> Splits:
    """The tiny dataset."""
    return toy_splits()
