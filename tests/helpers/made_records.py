"""A made-up record of a study: rows, curves and samples of four arms that differ as trained ones do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from stacked.spec import RunSpec
from stacked.util.serialization import to_json

ARMS = ("greedy", "greedy+finetune", "joint", "random")

DEPTH = 4

PHASES = {
    "greedy": [f"stage {k}" for k in range(1, 5)],
    "greedy+finetune": [f"stage {k}" for k in range(1, 5)] + ["fine-tuning"],
    "joint": ["joint"],
    "random": ["untrained"],
}

LEVEL = {"greedy": 0.0088, "greedy+finetune": 0.0061, "joint": 0.0064, "random": 0.071}

PROBE = {"greedy": 0.955, "greedy+finetune": 0.961, "joint": 0.958, "random": 0.881}


def make_rows(seeds: int = 5) -> pd.DataFrame:
    """Four arms at depth 4; greedy+finetune and joint share much of their noise, as paired runs do."""
    lines = []
    for seed in range(seeds):
        shared = np.random.default_rng(seed).normal()
        for position, arm in enumerate(ARMS):
            noise = np.random.default_rng(100 * position + seed)
            mse = LEVEL[arm] * (1 + 0.02 * shared + 0.02 * noise.normal())
            probe = PROBE[arm] + 0.002 * shared + 0.001 * noise.normal()
            updates = {"greedy": 4000, "greedy+finetune": 5000, "joint": 3600, "random": 0}[arm]
            spec = RunSpec(policy=arm, seed=seed)
            line = {
                "run": spec.id,
                "arm": arm,
                "seed": seed,
                "status": "finished",
                "commit": "0a1b2c3",
            }
            line |= {"updates": updates, "images_seen": 256 * updates, "gflop": 0.4 * updates}
            line |= {
                "train_seconds": 0.011 * updates * (1 + 0.1 * noise.random()),
                "seconds": 9 + noise.random(),
            }
            line |= {"threads": 1, "device": "cpu", "final/recon_mse": mse, "final/recon_fvu": mse / 0.0675}
            line |= {"final/recon_psnr": -10 * np.log10(mse), "final/recon_sse": 784 * mse}
            for depth in range(1, DEPTH + 1):
                line[f"final/recon_mse_depth{depth}"] = mse * 0.35 ** (DEPTH - depth)
            for depth in range(DEPTH + 1):
                drop = 0.006 * depth * (1 if arm != "random" else 2)
                line[f"final/probe_acc_depth{depth}"] = 0.918 if depth == 0 else probe + 0.024 - drop
            line["final/probe_acc"] = line[f"final/probe_acc_depth{DEPTH}"]
            for budget, shift in (("100", -0.16), ("1000", -0.04), ("all", 0.026)):
                line[f"final/classifier_acc_{budget}"] = probe + shift * (2 - probe) + 0.003 * noise.normal()
            line["spec"] = to_json(spec)
            lines.append(line)
    return pd.DataFrame(lines)


def make_curves(rows: pd.DataFrame, points: int = 200) -> pd.DataFrame:
    """A saw-tooth by phase for the greedy arms, one decay for joint, a single point for random."""
    lines = []
    for row in rows.itertuples():
        phases = PHASES[row.arm]
        probe = PROBE[row.arm]
        for index, phase in enumerate(phases):
            count = 1 if row.arm == "random" else points // len(phases)
            final = LEVEL["greedy"] if phase.startswith("stage") else LEVEL[row.arm]
            noise = np.random.default_rng([row.seed, index, row.arm.startswith("greedy")])
            worse = 1 + 0.06 * noise.normal()
            length = row.updates / len(phases)
            depth = index + 1 if phase.startswith("stage") else DEPTH
            for k in range(count):
                part = k / max(count - 1, 1)
                step = round(index * length + part * length)
                start = {"fine-tuning": 0.4, "untrained": 0.0}.get(phase, 12.0)
                level = worse * final * 0.5 ** (DEPTH - depth) * (1 + start * np.exp(-9 * part))
                accuracy = (
                    probe - 0.15 * (start > 0) * np.exp(-6 * part) / (index + 1) if k % 10 == 0 or part == 1 else np.nan
                )
                spent = row.train_seconds * (index + part) / len(phases)
                line = {"run": row.run, "arm": row.arm, "seed": row.seed, "phase": phase, "step": step}
                line |= {"phase_step": round(part * length), "train/loss": level, "train/grad_norm": 1.0}
                line |= {"train/lr": 1e-3, "eval/recon_mse": level * (1 + 0.02 * noise.normal())}
                line |= {"eval/fvu": level / 0.0675, "eval/probe_acc": accuracy + 0.002 * noise.normal()}
                line |= {"progress/stage": depth, "progress/images_seen": 256 * step}
                line |= {"progress/gflop": 0.4 * step, "progress/train_seconds": spent}
                lines.append(line)
    return pd.DataFrame(lines)


def make_samples(folder: Path, arm: str, images: int = 10, channels: int = 1) -> None:
    """Blobs of 28x28, blurred more with depth, and sixteen 3x3 filters."""
    folder.mkdir(exist_ok=True)
    noise = np.random.default_rng(ARMS.index(arm))
    across, down = np.meshgrid(np.linspace(-1, 1, 28), np.linspace(-1, 1, 28))
    turns = np.linspace(0, 3, images)[:, None, None]
    ring = np.exp(-30 * (np.hypot(across - 0.3 * np.cos(turns), down - 0.3 * np.sin(2 * turns)) - 0.45) ** 2)
    arrays = {"originals": np.repeat((255 * ring)[..., None], channels, axis=3).astype(np.uint8)}
    for depth in range(1, DEPTH + 1):
        blurred = ring * (1 - 0.12 * depth) + 0.02 * depth * noise.random()
        arrays[f"depth{depth}"] = np.repeat((255 * blurred)[..., None], channels, axis=3).astype(np.uint8)
    filters = noise.normal(size=(16, channels, 3, 3)).astype(np.float32)
    np.savez(folder / f"{arm}-s0.npz", **arrays, filters=filters)


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    frame.to_csv(path, index=False, lineterminator="\n")
