"""Maps a folder of images: writes an HTML page, the coordinates of each file, a figure and the encoders."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from stacked.cli.overwriting import begins, below, check_own
from stacked.util.atomic import sweep, write_atomically
from stacked.util.checks import need
from stacked.util.csv_cells import as_text

if TYPE_CHECKING:
    from stacked.spec import RunSpec
    from studies.design.measurements import Context

#: largest number of images on the page
MOST = 3000


def map_all(context: Context, specs: list[RunSpec]) -> int:
    """Train an autoencoder of each spec on all images of --data, write their codes as maps, and return the exit code."""
    import numpy as np

    from stacked.apps.map_page import map_page, thumbnails
    from stacked.evaluation.evaluate import codes, spread
    from stacked.model.encoder import save_encoder
    from stacked.training.codes import StoredInputs
    from stacked.training.pretrain import pretrain
    from studies.applications.anomaly.score_folder import images_of
    from studies.applications.projection.figures import scatter
    from studies.figures.style import png, style

    need(bool(specs), "a map has 2 or 3 dimensions: give --dimensions 2, or 2 3")
    given, out = context.given, context.out
    written = below(out, "map.csv", "map.html", "map.png", "encoder-2.safetensors", "encoder-3.safetensors")
    check_own(begins(out / "map.csv", "file,x"), written)
    sweep(out)
    paths, images = images_of(given.data, context)
    maps, stacks = {}, {}
    for spec in specs:
        stack = pretrain(spec, StoredInputs(images), tuple(images.shape[1:]), device=given.device).cpu()
        points = codes(stack, images, stack.depth).double().numpy()
        maps[f"{points.shape[1]} dimensions"] = points
        stacks[out / f"encoder-{points.shape[1]}.safetensors"] = stack, spec.stack
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    names = "xyz"
    table.writerow(["file", *(f"{names[k]}{p.shape[1]}" for p in maps.values() for k in range(p.shape[1]))])
    for path, *rows in zip(paths, *maps.values(), strict=True):
        table.writerow([as_text(path.name), *(f"{value:.6g}" for row in rows for value in row)])
    write_atomically(out / "map.csv", text.getvalue())  # first, because it marks the folder as written by this command
    for path, (stack, stack_spec) in stacks.items():
        save_encoder(path, stack, stack_spec)
    few = spread(len(images), MOST).numpy()
    shown = {name: points[few] for name, points in maps.items()}
    title = f"{len(few):,} images of {context.splits.name}"
    page = map_page(shown, thumbnails([images[k].numpy() for k in few]), [paths[k].name for k in few], title=title)
    write_atomically(out / "map.html", page)
    first = next(iter(maps.values()))
    if first.shape[1] == 2:
        with style():
            write_atomically(out / "map.png", png(scatter({"layer-wise": first}, np.full(len(first), -1), [])))
    print(f"{len(paths)} images are mapped; map.html, map.csv and the encoders are in {out}")
    return 0
