"""The data of papers that are generated: their files, and a figure of examples.

Larochelle, Erhan, Courville, Bergstra & Bengio 2007, "An empirical evaluation of deep architectures on problems with many factors
of variation", ICML: mnist-basic, mnist-rot, mnist-bg-rand, rect and convex. Hinton & Salakhutdinov 2006: curves. Each is
generated once, from a fixed seed, and kept as an .npz file, which is verified by SHA-256 whenever it is read. The sets with
photographs behind the digits need yours: any study makes them with --data mnist-bg-img:FOLDER or mnist-rot-bg-img:FOLDER.

Command: python -m studies.papers.variations
Cost: about two minutes of processor time at the first time, then seconds.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from stacked.cli.command import Command, called, carried_out
from stacked.util.atomic import write_atomically
from studies.record.index import ROOT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from stacked.data import Splits

NAMES = ("mnist-basic", "mnist-rot", "mnist-bg-rand", "rect", "convex", "curves")
#: examples of a set in the figure, and pixels between them
SHOWN = 16
GAP = 2


def main(argv: list[str] | None = None) -> int:
    """Generate what is missing, write the figure, print where all is, and return the exit code: 0, or 2 for invalid input."""
    command = Command(prog=called("studies.papers.variations"), description=(__doc__ or "").splitlines()[0])
    command.add_argument(
        "--data-dir",
        metavar="DIR",
        help="folder of datasets (the environment variable STACKED_DATA, or ~/.cache/stacked)",
    )
    out = ROOT / "results" / "papers" / "figures" / "variations.png"
    command.add_argument("--out", type=Path, default=out, metavar="FILE", help=f"the figure ({out.relative_to(ROOT)})")

    def run() -> int:
        from stacked import data
        from studies.figures.style import png, style

        given = command.parse_args(sys.argv[1:] if argv is None else argv)
        sets = {name: data.load(name, data_dir=given.data_dir) for name in NAMES}
        for name, splits in sets.items():
            sizes = ", ".join(f"{len(part):,}" for part in (splits.train, splits.valid, splits.test))
            print(f"{name}: {sizes} images for training, validation and testing")
        with style():
            write_atomically(given.out, png(draw(sets)))
        print(f"figure: {given.out}")
        return 0

    return carried_out(command.prog, run)


def draw(sets: dict[str, Splits]) -> Figure:
    """Return a figure with the first training images of each set in a line, with the class of each above it if it has one."""
    import numpy as np

    from studies.figures.style import FONT, new_figure

    figure = new_figure(1.1 * len(sets))
    for axes, (name, splits) in zip(figure.subplots(len(sets), 1, squeeze=False)[:, 0], sets.items(), strict=True):
        images = splits.train.inputs[:SHOWN, 0].numpy()
        gap = np.full((*images.shape[:2], GAP), 160, dtype=np.uint8)  # grey, because images may be white
        line = np.concatenate([part for pair in zip(images, gap, strict=True) for part in pair], 1)[:, :-GAP]
        axes.imshow(line, cmap="gray", vmin=0, vmax=255)
        width = images.shape[2]
        for place, k in enumerate(splits.train.labels[:SHOWN].tolist()):
            if k >= 0:
                middle = place * (width + GAP) + (width - 1) / 2
                text = splits.classes[k].replace(" ", "\n")
                axes.annotate(text, (middle, -2), ha="center", va="bottom", fontsize=FONT - 2, annotation_clip=False)
        axes.set_title(name, loc="left", fontsize=FONT, fontweight="bold", pad=24)
        axes.axis("off")
    return figure


if __name__ == "__main__":
    sys.exit(main())
