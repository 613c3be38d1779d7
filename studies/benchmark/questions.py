"""The questions of the benchmark: what is measured, compared with what, and the targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from studies.benchmark.workloads.scaling import AXES, WAYS
from studies.benchmark.workloads.seeds import NETS, SEEDS
from studies.benchmark.workloads.works import WORKS

Call = tuple[str, Mapping[str, Any]]

TOGETHER = "as one batched model"
LOOP = "a loop with a DataLoader"
#: the arm whose loop indexes the images by torch.randperm, and its description in claims; that of LOOP has a DataLoader
INDEXED, INDEXED_LOOP = "loop, randperm", "a loop without a DataLoader"
#: the arm that trains dense workloads with JAX
JAX = "JAX"
#: the measure of the load average of the machine in the minute before a measurement
LOAD = "load"


@dataclass(frozen=True)
class Claim:
    """A target for a measure of an arm, or for its ratio to that of another arm.

    text: description. against: the other arm (None: no ratio). most, least: upper or lower bound. unit: of a value that is no
    ratio. versus: words for the other arm in the label ("": none, if the text says it).
    """

    text: str
    measure: str
    arm: str
    against: str | None = None
    most: float | None = None
    least: float | None = None
    unit: str = ""
    versus: str | None = None

    @property
    def label(self) -> str:
        """The description, with the arm that it is relative to."""
        other = self.against if self.versus is None else self.versus
        return f"{self.text}, relative to {other}" if other else self.text


@dataclass(frozen=True)
class Question:
    """Arms that are measured alternately; each is a program of `run_one` with its arguments.

    seeded: whether the number of the repeat is passed as seed. axis: name of a quantity that is varied ("": none); the arms are
    then called "way @ value".
    """

    name: str
    title: str
    arms: Mapping[str, Call]
    claims: tuple[Claim, ...]
    seeded: bool = False
    axis: str = ""


def work(who: str, what: str, recipe: str | None = None, **more: Any) -> Call:
    """Return the call that trains the workload `what` with `who`, on one thread."""
    own = {"recipe": recipe} if recipe else {}
    return "training", {"who": who, "what": what, "epochs": 5, "images": 10_000, **own, **more}


def beside_loops(name: str, what: str, title: str) -> Question:
    """Return the question of the time and error of a workload, beside hand-written loops, and beside JAX if it is dense."""
    jax = {JAX: work("jax", what)} if WORKS[what].kind == "dense" else {}
    return Question(
        name,
        f"{title}, masking 20 %, 5 epochs per stage + 5 end to end, one thread",
        {"loop": work("loop", what), INDEXED: work("indexed loop", what), **jax, "stacked": work("ours", what)},
        (
            Claim("CPU time", "cpu_seconds", "stacked", INDEXED, most=1.0, versus=INDEXED_LOOP),
            *(Claim("CPU time", "cpu_seconds", "stacked", arm, most=1.0) for arm in jax),
            Claim("test error", "mse", "stacked", INDEXED, most=1.05, versus=INDEXED_LOOP),
        ),
        seeded=True,
    )


def questions() -> tuple[Question, ...]:
    """Return all questions in the order in which they are measured."""
    return (
        Question(
            "dense",
            "dense 784-500-500-2000-10: 10,000 images of MNIST, masking 20 %, 5 epochs per stage + 5 end to end, one thread",
            {
                "loop": work("loop", "dense"),
                INDEXED: work("indexed loop", "dense"),
                "ClustPy": work("clustpy", "dense"),
                JAX: work("jax", "dense"),
                "stacked": work("ours", "dense"),
                "stacked, own recipe": work("ours", "dense", "dense"),
            },
            (
                Claim("CPU time", "cpu_seconds", "stacked", "loop", most=0.70, versus=LOOP),
                Claim("CPU time", "cpu_seconds", "stacked", INDEXED, most=0.75, versus=INDEXED_LOOP),
                Claim("CPU time", "cpu_seconds", "stacked", "ClustPy", most=1.0),
                Claim("CPU time", "cpu_seconds", "stacked", JAX, most=1.0),
                Claim("test error", "mse", "stacked", "loop", most=1.0, versus=LOOP),
                Claim("CPU time, own recipe", "cpu_seconds", "stacked, own recipe", "loop", most=1.0, versus=LOOP),
                Claim("test error, own recipe", "mse", "stacked, own recipe", most=0.024, unit="MSE per pixel"),
                Claim("test error, own recipe", "mse", "stacked, own recipe", "ClustPy", most=1.0),
            ),
            seeded=True,
        ),
        Question(
            "conv",
            "conv 1-16-32-64: 10,000 images of MNIST, masking 20 %, 5 epochs per stage + 5 end to end, one thread",
            {
                "loop": work("loop", "conv"),
                INDEXED: work("indexed loop", "conv"),
                "stacked": work("ours", "conv"),
                "stacked, own recipe": work("ours", "conv", "conv"),
            },
            (
                Claim("CPU time", "cpu_seconds", "stacked", "loop", most=0.75, versus=LOOP),
                Claim("CPU time", "cpu_seconds", "stacked", INDEXED, most=1.0, versus=INDEXED_LOOP),
                Claim("test error", "mse", "stacked", "loop", most=1.0, versus=LOOP),
                Claim(
                    "CPU time until the error is that of the loop, own recipe",
                    "cpu_seconds",
                    "stacked, own recipe",
                    "loop",
                    most=0.5,
                    versus=LOOP,
                ),
                Claim("test error, own recipe", "mse", "stacked, own recipe", "loop", most=1.0, versus=LOOP),
            ),
            seeded=True,
        ),
        beside_loops(
            "small-batches", "small batches", "batches of 64: dense 784-500-500-2000-10, 10,000 images of MNIST"
        ),
        beside_loops("wide-conv", "wide conv", "batches of 64: conv 1-24-48-96, 10,000 images of MNIST"),
        beside_loops("hinton", "hinton", "dense 784-1000-500-250-30: 10,000 images of MNIST"),
        beside_loops(
            "signals", "signals", "conv 1-16-32-64 in one dimension: 10,000 images of MNIST as signals of 784 values"
        ),
        beside_loops("volumes", "volumes", "conv 1-8-16 in three dimensions: 625 volumes of 16 images of MNIST"),
        Question(
            "floats",
            "the dense net of the first question, trained on images of bytes and on the same images as floats, one thread",
            {"bytes": work("ours", "dense"), "floats": work("ours", "dense", floats=True)},
            (Claim("CPU time", "cpu_seconds", "floats", "bytes", most=1.05),),
            seeded=True,
        ),
        Question(
            "classifier",
            "fine-tuning of 784-1000-500-250-30 with a linear head on 10,000 labelled images of MNIST, 5 epochs, one thread",
            {
                INDEXED: ("classifying", {"who": "loop", "what": "hinton", "epochs": 5, "images": 10_000}),
                "stacked": ("classifying", {"who": "ours", "what": "hinton", "epochs": 5, "images": 10_000}),
            },
            (
                Claim("CPU time", "cpu_seconds", "stacked", INDEXED, most=1.0, versus=INDEXED_LOOP),
                Claim("test accuracy", "accuracy", "stacked", INDEXED, least=0.99, versus=INDEXED_LOOP),
            ),
            seeded=True,
        ),
        Question(
            "utilisation",
            "fraction of the rate of a large fp32 matrix product, measured directly afterwards; two threads",
            {
                "dense 784-1000, batch 256": (
                    "utilisation",
                    {"what": "dense", "policy": "greedy", "batch": 256, "threads": 2},
                ),
                "dense 784-1000, its matrix products alone": (
                    "products",
                    {"reads": 784, "width": 1000, "batch": 256, "threads": 2},
                ),
                "AutoEncoder224 joint, batch 16": (
                    "utilisation",
                    {"what": "reference", "policy": "joint", "batch": 16, "threads": 2},
                ),
                "AutoEncoder224 greedy, batch 16": (
                    "utilisation",
                    {"what": "reference", "policy": "greedy", "batch": 16, "threads": 2},
                ),
            },
            (
                Claim(
                    "dense stage 784-1000",
                    "share",
                    "dense 784-1000, batch 256",
                    least=0.70,
                    unit="of the rate of a matrix product",
                ),
                Claim(
                    "AutoEncoder224, joint update",
                    "share",
                    "AutoEncoder224 joint, batch 16",
                    least=0.45,
                    unit="of the rate of a matrix product",
                ),
                Claim(
                    "AutoEncoder224, updates of all stages",
                    "share",
                    "AutoEncoder224 greedy, batch 16",
                    least=0.40,
                    unit="of the rate of a matrix product",
                ),
            ),
        ),
        Question(
            "memory",
            "growth of resident memory in addition to the images: 60,000 images, 1 epoch per stage + 1 end to end, one thread",
            {
                f"{who}, {what}": work({"stacked": "ours"}.get(who, who), what, images=60_000, epochs=1)
                for what in ("dense", "conv")
                for who in ("loop", "stacked")
            },
            (
                Claim("dense", "growth_mb", "stacked, dense", most=60, unit="MB"),
                Claim("conv", "growth_mb", "stacked, conv", most=100, unit="MB"),
                Claim("dense", "growth_mb", "stacked, dense", "loop, dense", most=1.0, versus=LOOP),
                Claim("conv", "growth_mb", "stacked, conv", "loop, conv", most=1.0, versus=LOOP),
            ),
            seeded=True,
        ),
        Question(
            "peak",
            "growth of resident memory while AutoEncoder224 trains, batch 64, two threads",
            {
                policy: ("memory", {"what": "reference", "policy": policy, "batch": 64, "threads": 2})
                for policy in ("joint", "greedy")
            },
            (Claim("greedy, largest stage", "growth_mb", "greedy", "joint", most=0.5),),
        ),
        Question(
            "photographs",
            "reading a folder of 20,000 photographs at 224 x 224 pixels and greedy training on it; batch 16, two threads",
            {"AutoEncoder224": ("folder", {"images": 20_000, "threads": 2})},
            (Claim("peak of resident memory", "resident_mb", "AutoEncoder224", most=4000, unit="MB"),),
        ),
        Question(
            "start",
            "seconds of a process",
            {
                "torch": ("importing", {"names": "torch"}),
                "torch and stacked": ("importing", {"names": "torch, stacked"}),
                "--help": ("help", {"module": "studies.layerwise"}),
            },
            (
                Claim("python -m studies.layerwise --help", "seconds", "--help", most=1.0, unit="s"),
                Claim(
                    "import of torch and stacked",
                    "seconds",
                    "torch and stacked",
                    "torch",
                    most=1.3,
                    versus="torch alone",
                ),
            ),
        ),
        Question(
            "record",
            "a default run of the layer-wise study with and without tracking, checkpoints and curve; one thread",
            {
                "with": ("run", {"recorded": True}),
                "without": ("run", {"recorded": False}),
            },
            (
                Claim("wall time", "seconds", "with", "without", most=1.05, versus="a run without recording"),
                Claim("time for recording", "recording", "with", most=0.05, unit="of the wall time"),
            ),
            seeded=True,
        ),
        Question(
            "grid",
            "4 arms x 4 seeds on two cores",
            {"one at a time": ("grid", {"jobs": 1}), "two at a time": ("grid", {"jobs": 2})},
            (Claim("throughput, two runs at a time", "per_second", "two at a time", "one at a time", least=1.8),),
        ),
        Question(
            "seeds",
            f"{SEEDS} seeds of two narrow networks (batch 10) and a wide one (batch 256), one thread",
            {
                f"{net}, {way}": ("seeds", {"net": net, "together": way == TOGETHER})
                for net in NETS
                for way in ("one by one", TOGETHER)
            },
            tuple(
                Claim(
                    f"speed-up of one batched model, {net}",
                    "cpu_seconds",
                    f"{net}, one by one",
                    f"{net}, {TOGETHER}",
                    least=1.5,
                    versus="",
                )
                for net in ("64-32", "784-32")
            ),
        ),
        Question(
            "forecast",
            "seconds of training, predicted by stacked.estimate_cost and measured",
            {
                "dense, 1 thread": ("foretold", {"what": "dense"}),
                "conv, 1 thread": ("foretold", {"what": "conv"}),
                "AutoEncoder224 greedy, 2 threads": (
                    "foretold",
                    {"what": "reference", "policy": "greedy", "threads": 2},
                ),
                "AutoEncoder224 joint, 2 threads": ("foretold", {"what": "reference", "policy": "joint", "threads": 2}),
            },
            tuple(
                Claim(f"prediction error, {arm}", "error", arm, most=0.25, unit="of the measured time")
                for arm in (
                    "dense, 1 thread",
                    "conv, 1 thread",
                    "AutoEncoder224 greedy, 2 threads",
                    "AutoEncoder224 joint, 2 threads",
                )
            ),
        ),
        *(
            Question(
                f"scaling-{axis}",
                f"time of an epoch of all stages by {axis}; one thread",
                {
                    f"{way} @ {value}": ("scaling", {"axis": axis, "value": value, "way": way})
                    for value in values
                    for way in WAYS
                },
                (),
                axis=axis,
            )
            for axis, (values, _) in AXES.items()
        ),
        Question(
            "machine",
            "rates of the machine",
            {
                f"{threads} thread{'s' * (threads > 1)}, {what}": (what, {"threads": threads})
                for threads in (1, 2)
                for what in ("product", "copy")
            },
            (),
        ),
    )
