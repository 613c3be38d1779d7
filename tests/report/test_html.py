"""A report as one HTML file."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from studies.report.html import POLICY, html_page
from studies.report.verbatim import verbatim

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PAGE = """# A & B

Does **a** help, at `--equal <flops>`?

> It does,
> by 3 %.

- **one:** a
  and more
- two, see [trials.csv](trials.csv) and [the site](https://example.org/?a=1&b=2)

![curves](figures/curves.png)

| arm | error |
| --- | --: |
| a\\|b | 0.1 ± 0.2 |

![gone](figures/gone.png)

```
python -m x < y | **z**
```

Last `**not bold**` line.
"""


class Texts(HTMLParser):
    """Texts by the tag that they are in, and the sources of pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.sources += [value or "" for name, value in attrs if name == "src"]
        elif tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1], " ".join(data.split())))


@pytest.fixture
def page(tmp_path: Path) -> Path:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "curves.png").write_bytes(PNG)
    (tmp_path / "README.md").write_text(PAGE, encoding="utf-8")
    return tmp_path / "README.md"


def test_a_report_is_one_file_with_its_figures_inside(page: Path) -> None:
    made = html_page(page)
    read = Texts()
    read.feed(made)
    assert read.open == []
    [source] = read.sources
    assert base64.b64decode(source.removeprefix("data:image/png;base64,")) == PNG
    assert re.findall(r'(?:src|href)="(?!data:)([^"]*)"', made) == ["https://example.org/?a=1&amp;b=2"]


def test_all_that_a_page_says_is_in_its_html(page: Path) -> None:
    read = Texts()
    read.feed(html_page(page))
    found = [text for text in read.texts if text[0] != "style"]
    assert found == [
        ("title", "A & B"),
        ("h1", "A & B"),
        ("p", "Does"),
        ("strong", "a"),
        ("p", "help, at"),
        ("code", "--equal <flops>"),
        ("p", "?"),
        ("p", "It does, by 3 %."),
        ("strong", "one:"),
        ("li", "a and more"),
        ("li", "two, see trials.csv and"),
        ("a", "the site"),
        ("th", "arm"),
        ("th", "error"),
        ("td", "a|b"),
        ("td", "0.1 ± 0.2"),
        ("p", "[gone]"),
        ("pre", "python -m x < y | **z**"),
        ("p", "Last"),
        ("code", "**not bold**"),
        ("p", "line."),
    ]


def test_the_committed_reports_lose_no_word() -> None:
    """The words of each page, without the signs of Markdown, stand in its HTML in their order."""
    for path in sorted((Path(__file__).parents[2] / "results").glob("*/README.md")):
        read = Texts()
        read.feed(html_page(path))
        assert read.open == []
        told = " ".join(text for tag, text in read.texts if tag not in ("style", "title"))
        source = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", path.read_text(encoding="utf-8"))  # figures have no words
        source = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", source)
        missing = {word for word in re.findall(r"[\w.,%]{3,}", source) if word not in told}
        assert not missing, path


@pytest.mark.parametrize("text", ["[x](https://a.example/y)", "`b`", "a|b `c` [d](http://e)", "\\", "**f** <i> & #"])
def test_escaped_text_stays_as_it_is(text: str, page: Path) -> None:
    page.write_text(f"{verbatim(text)}\n\n| a |\n| --- |\n| {verbatim(text)} |\n", encoding="utf-8")
    read = Texts()
    read.feed(html_page(page))
    assert [found for found in read.texts if found[0] in ("p", "td")] == [("p", text), ("td", text)]
    assert {tag for tag, _ in read.texts} == {"title", "style", "p", "th", "td"}


def test_no_script_runs_and_nothing_is_loaded(page: Path) -> None:
    assert f'http-equiv="Content-Security-Policy" content="{POLICY}"' in html_page(page)
    assert POLICY.startswith("default-src 'none';")
