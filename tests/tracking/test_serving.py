"""The encoder that a run has logged, served by MLflow's own server on loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from stacked import StackSpec
from stacked.model.stack import build
from stacked.tracking.backend.client import StoreClient
from stacked.tracking.backend.model_description import ModelDescription
from stacked.tracking.backend.store import open_store
from tests.helpers.tracked import free_port

#: seconds in which the server must be up
PATIENCE = 90


@pytest.mark.slow
def test_mlflow_serves_the_codes(tmp_path: Path) -> None:
    encoder = build(StackSpec.of("conv", 4, 3), (1, 8, 8)).encoder.eval()
    client = StoreClient(open_store(tmp_path), "served")
    run_id = client.create_run("run", 0, {})
    example, logged = np.zeros((2, 1, 8, 8), dtype=np.float32), ModelDescription("encoder", 0, {}, [], None)
    client.log_model(run_id, encoder, example, logged)
    client.end_run(run_id, "FINISHED", 1)
    [model] = tmp_path.rglob("MLmodel")
    port, log = free_port(), tmp_path / "log"
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local", "--host", "127.0.0.1"]
    with log.open("w") as said:
        server = subprocess.Popen(
            [*command, "--port", str(port), "--model-uri", str(model.parent)],
            stdout=said,
            stderr=said,
            start_new_session=True,
            env={
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            },  # it starts uvicorn
        )
    try:
        images = np.random.default_rng(0).random((3, 1, 8, 8), dtype=np.float32)
        wait(server, port, log)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            json.dumps({"inputs": images.tolist()}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            codes = np.array(json.load(answer)["predictions"])
    finally:
        with suppress(ProcessLookupError):  # it has ended, and said why
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    with torch.no_grad():
        np.testing.assert_allclose(codes, encoder(torch.from_numpy(images)).numpy(), atol=1e-5)


def wait(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Until the server says that it is well."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5)
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
        else:
            return
    pytest.fail(f"the server was not up in {PATIENCE} s: {log.read_text()[-2000:]}")
