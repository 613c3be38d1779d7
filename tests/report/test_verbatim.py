"""Text from outside, names of files and classes and words of a command, is shown as it is in figures, tables, pages and HTML."""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stacked import RunSpec
from stacked.apps.anomaly import Detector
from stacked.apps.map_page import map_page
from stacked.util.csv_cells import as_text, original
from stacked.util.errors import printable
from studies.applications.anomaly import study as anomaly
from studies.applications.projection import study as projection
from studies.applications.projection.figures import draw_solid, scatter
from studies.figures.style import new_figure, png, style
from studies.framework.main import main
from studies.measuring import page as report
from studies.measuring.study import MeasurementStudy
from studies.record.runs import failed_row
from studies.record.samples import save_arrays
from studies.report.tables import failures, markdown
from studies.report.verbatim import code, code_block, verbatim
from studies.statistics.measures import Measure

DEMO = MeasurementStudy(
    name="demo",
    title="A demonstration",
    question="Which is best?",
    protocol="- **Protocol**: {seeds} seeds.",
    methods={},
    arms=("ours", "theirs"),
    measures={"score": Measure("score", "higher", decimals=2)},
    conditions="class",
    drawings={},
)
NAMES = [  # the last is no UTF-8
    "$a_{b$.png",
    "$x^2$.png",
    "$\\frac$.png",
    "<b>&amp;.png",
    "a|b`c*.png",
    "new\nline.png",
    b"byte\xff.png".decode("utf-8", "surrogateescape"),
]


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_shows_a_name_as_it_is(name: str) -> None:
    with style():
        figure = new_figure(2.0)
        text = figure.subplots().set_title(printable(name))
        assert png(figure).startswith(b"\x89PNG")
    assert text.get_text() == printable(name)
    assert not text.get_parse_math()


def test_a_folder_with_any_names_is_judged(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for k, name in enumerate([*NAMES, *(f"{k:03}.png" for k in range(220))]):
        Image.fromarray(np.full((8, 8), k % 251, np.uint8)).save(tmp_path / "images" / name, "PNG")
    words = ["--data", f"folder:{tmp_path / 'images'}", "--grey", "--image-size", "8", "--updates", "1"]
    for use in (anomaly.STUDY, projection.STUDY):
        assert main(use, [*words, "--out", str(tmp_path / use.name)]) == 0
    scores = pd.read_csv(tmp_path / "anomaly" / "scores.csv")
    assert {"$a_{b$.png", "<b>&amp;.png", "new\nline.png"} <= set(scores["file"])
    page = (tmp_path / "projection" / "map.html").read_text()
    assert "<b>" not in page


def test_what_was_computed_is_saved_before_it_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "images").mkdir()
    for k in range(220):
        Image.fromarray(np.full((8, 8), k % 251, np.uint8)).save(tmp_path / "images" / f"{k:03}.png")

    def fails(*_: Any) -> bytes:
        raise RuntimeError("no ink")

    words = ["--data", f"folder:{tmp_path / 'images'}", "--grey", "--image-size", "8", "--updates", "1"]
    monkeypatch.setattr("studies.applications.anomaly.score_folder.worst", fails)
    monkeypatch.setattr("studies.applications.projection.figures.scatter", fails)
    for use in (anomaly.STUDY, projection.STUDY):
        with pytest.raises(RuntimeError, match="no ink"):
            main(use, [*words, "--out", str(tmp_path / use.name)])
    Detector.load(tmp_path / "anomaly" / "detector.safetensors")
    kept = {path.name for path in (tmp_path / "projection").iterdir()}
    assert {"map.csv", "map.html", "encoder-2.safetensors", "encoder-3.safetensors"} <= kept


def test_classes_of_any_name_are_drawn(tmp_path: Path) -> None:
    names = [name.removesuffix(".png") for name in NAMES] + ["_hidden"]
    labels, points = np.arange(len(names)).repeat(3), np.random.default_rng(0).random((3 * len(names), 3))
    save_arrays(
        tmp_path, "images", {"labels": labels, "classes": np.array(names, "U"), "images": np.zeros((1, 1, 2, 2))}
    )
    save_arrays(tmp_path, "layer-wise", {"points_3": points})
    rows = pd.DataFrame({"arm": ["layer-wise"]})
    with style():
        assert png(scatter({"layer-wise": points[:, :2]}, labels, names))
        solid = draw_solid(rows, tmp_path)
        assert solid is not None
        assert [text.get_text() for text in solid.legends[0].get_texts()][-1] == "_hidden"
        assert png(solid)
    found = [
        {
            "method": "m",
            "seed": seed,
            "arm": "layer-wise, both",
            "condition": name.encode(errors="backslashreplace").decode(),  # as a file of rows has it
            "measure": "auroc",
            "value": 0.5 + k / 99,
        }
        for k, name in enumerate(names)
        for seed in (0, 1)
    ]
    with style():
        drawn = anomaly.STUDY.drawings["auroc"].draw(pd.DataFrame(found), tmp_path)
        assert drawn is not None
        assert png(drawn)


# CSV


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@x", "\tx", "\rx", "\nx", "\uff1dx", "'=x", "''-"])
def test_a_cell_is_no_formula(text: str) -> None:
    assert as_text(text) == f"'{text}"
    assert original(as_text(text)) == text


@pytest.mark.parametrize("text", ["", "a=b", "'", "'a'", " =x", "0.5"])
def test_a_cell_of_other_text_stays_as_it_is(text: str) -> None:
    assert as_text(text) == original(text) == text


def test_names_of_files_are_no_formulas(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    names = ["=1+1.png", "+1.png", "-1.png", "@sum.png", "\t1.png", "'=1.png"]
    for k, name in enumerate([*names, *(f"{k:03}.png" for k in range(220))]):
        Image.fromarray(np.full((8, 8), k % 251, np.uint8)).save(tmp_path / "images" / name, "PNG")
    words = ["--data", f"folder:{tmp_path / 'images'}", "--grey", "--image-size", "8", "--updates", "1"]
    for use, table in ((anomaly.STUDY, "scores.csv"), (projection.STUDY, "map.csv")):
        assert main(use, [*words, "--out", str(tmp_path / use.name)]) == 0
        found = set(pd.read_csv(tmp_path / use.name / table)["file"])
        assert {f"'{name}" for name in names} <= found
        assert not any(name.startswith(("=", "+", "-", "@", "\t")) for name in found)
    assert "=1+1.png" in (tmp_path / "projection" / "map.html").read_text()


# Markdown


def test_markdown_shows_text_as_it_is() -> None:
    assert verbatim("T-shirt/top, 0.25 (a)") == "T-shirt/top, 0.25 (a)"
    assert verbatim("a|b") == r"a\|b"
    assert verbatim("<b>_x_</b> `c` [d](e) $f$ ~g~ &lt; #h \\") == (
        r"\<b\>\_x\_\</b\> \`c\` \[d\](e) \$f\$ \~g\~ \&lt; \#h \\"
    )
    assert verbatim("two\nlines") == r"two\\nlines"
    assert markdown(["a"], [[verbatim("x|y\\|z")], ["p|q"]]).splitlines()[2:] == [r"| x\|y\\\|z |", r"| p\|q |"]


def test_code_ends_where_it_ends() -> None:
    assert code_block("a `b` c") == "```\na `b` c\n```"
    assert code_block("a ```` b") == "`````\na ```` b\n`````"
    assert code("plain") == "`plain`"
    assert code("a `b`") == "`` a `b` ``"
    assert code("a\n\n# b") == "`a\\n\\n# b`"


def test_names_of_classes_do_not_break_a_page(tmp_path: Path) -> None:
    classes = ("few|er", "<script>", "$x$", "'=1")
    found = [
        (method, seed, arm, condition, "score", seed + k, "c")
        for method, arm in (("ours", "ours"), ("theirs", "theirs"))
        for seed in (0, 1)
        for k, condition in enumerate(classes)
    ]
    found += [(arm, seed, arm, "", "seconds", 1.0, "c") for arm in ("ours", "theirs") for seed in (0, 1)]
    table = pd.DataFrame(found, columns=["method", "seed", "arm", "condition", "measure", "value", "commit"])
    table.to_csv(tmp_path / "rows.csv", index=False)
    use = replace(DEMO, protocol="- **Protocol**: {seeds} seeds of {data}.")
    page = report.report(use, tmp_path, "python -m x '```'", "made", {"seeds": 2, "data": "folder:<script>"})
    assert r"2 seeds of folder:\<script\>." in page
    assert r"| few\|er |" in page
    assert r"| \<script\> |" in page
    assert "| =1 |" in page
    assert "<script>" not in page
    assert "````\npython -m x '```'\n````" in page
    lines = [line for line in page.splitlines() if r"few\|er" in line]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


def test_a_reason_for_a_failure_does_not_break_a_page() -> None:
    row = failed_row(RunSpec(), "joint", "ValueError: <class 'float'> | *x*\nmore")
    assert r", seed 0: failed: ValueError: \<class 'float'\> \| \*x\* more" in failures(pd.DataFrame([row]))


# HTML


class Tags(HTMLParser):
    """The tags of a page, and their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("title", ["{{content}}", '" onload="alert(1)', "</title><script>", "a & b", "\udcff"])
def test_a_title_of_any_text_is_one(title: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page = map_page({"m": np.zeros((1, 2))}, np.zeros((1, 1, 2, 2), np.uint8), ["</script><b>"], title=title)
    tags = Tags()
    tags.feed(page)
    canvas = next(attributes for tag, attributes in tags.found if attributes.get("id") == "view")
    assert canvas["aria-label"] == title
    assert set(canvas) == {"id", "role", "aria-label"}
    assert [tag for tag, _ in tags.found].count("script") == 2
    content = re.search(r'id="content">(.*?)</script>', page, re.DOTALL)
    assert content is not None
    assert json.loads(content[1])["names"] == ["</script><b>"]
