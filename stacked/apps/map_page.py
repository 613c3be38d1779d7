"""An interactive HTML page of 2-D and 3-D maps of images: one file that works without network."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stacked.util.checks import layout_hint, need

#: colours of the classes in their order, repeated if there are more (Okabe and Ito 2008, extended by Tol's)
COLOURS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#332288",
    "#999933",
    "#882255",
    "#595959",
)

#: the most values of all pictures of a page; larger pictures are reduced so that browsers can show the page
SHEET = 2**25


def map_page(
    maps: Mapping[str, NDArray[Any]],
    images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]],
    names: Sequence[str],
    labels: Sequence[int] = (),
    classes: Sequence[str] = (),
    title: str = "Maps of images",
) -> str:
    """Return an HTML page that shows `maps`, coordinates [N, 2] or [N, 3] by name, of images [N, C, H, W].

    names: names of the images. labels: indices of `classes`, which are shown by colour; -1 (or no labels): without a class.
    Raises InputError if there is nothing to show, or the arguments do not fit each other.
    """
    count = len(images)
    need(bool(maps) and count > 0, "there is nothing to show: give at least one map and one image")
    for image in images:
        shape = [count, *image.shape]
        need(
            image.ndim == 3 and image.dtype == np.uint8 and image.shape[0] in (1, 3),
            f"images of {image.dtype} and shape {shape} cannot be shown: give uint8 [N, C, H, W] of 1 or 3 channels"
            + layout_hint(shape),
        )
    small = thumbnails(images)
    for name, points in maps.items():
        fits = points.shape in ((count, 2), (count, 3)) and bool(np.isfinite(points).all())
        need(
            fits,
            f"map {name!r} of shape {list(points.shape)} does not fit {count} images: give finite [N, 2] or [N, 3]",
        )
    need(len(names) == count, f"{len(names)} names do not fit {count} images: give one each")
    need(len(labels) in (0, count), f"{len(labels)} labels do not fit {count} images: give one each, or none")
    content = {
        "maps": [
            {"name": name, "size": points.shape[1], "points": scaled(points).round(4).ravel().tolist()}
            for name, points in maps.items()
        ],
        "names": list(names),
        "labels": [int(label) for label in labels] or [-1] * count,
        "classes": list(classes),
        "colours": COLOURS,
        "across": math.ceil(math.sqrt(count)),
        "tile": list(small.shape[2:]),
        "sheet": "data:image/png;base64," + base64.b64encode(sheet(small)).decode(),
    }
    text = json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")  # cannot end the script element
    page = files("stacked.apps").joinpath("map_page.html").read_text(encoding="utf-8")
    parts = {"title": html.escape(title), "content": text, "policy": html.escape(policy(page))}
    return re.sub(
        r"\{\{(\w+)\}\}", lambda found: parts[found[1]], page
    )  # in one pass: a part can contain a placeholder


def policy(page: str) -> str:
    """Return the content security policy of a page: only its own script and style, and no network."""
    hashes = {
        tag: base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
        for tag in ("script", "style")
        for found in re.finditer(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    }
    own = [f"{tag}-src 'sha256-{value}'" for tag, value in hashes.items()]
    return "; ".join(["default-src 'none'", "img-src data:", *own, "base-uri 'none'", "form-action 'none'"])


def scaled(points: NDArray[Any]) -> NDArray[np.float64]:
    """Centre the points and scale all axes by one factor, so that the largest coordinate is 1."""
    centred = points.astype(np.float64) - (points.max(0) + points.min(0)) / 2
    return centred / max(float(np.abs(centred).max()), 1e-12)


def thumbnails(images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]], most: int = SHEET) -> NDArray[np.uint8]:
    """Return images [C, H, W] as an array, reduced by an integer factor if together they have more than `most` values."""
    factor = math.ceil(math.sqrt(sum(image.size for image in images) / most))
    if factor <= 1:
        return np.asarray(images)
    return np.stack(
        [np.stack([np.asarray(Image.fromarray(part).reduce(factor)) for part in image]) for image in images]
    )


def sheet(images: NDArray[np.uint8]) -> bytes:
    """Return all images in one PNG, row by row."""
    count, channels, height, width = images.shape
    across = math.ceil(math.sqrt(count))
    down = math.ceil(count / across)
    full = np.zeros((down * across, channels, height, width), dtype=np.uint8)
    full[:count] = images
    lines = full.reshape(down, across, channels, height, width).transpose(0, 3, 1, 4, 2)
    pixels = lines.reshape(down * height, across * width, channels)
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
