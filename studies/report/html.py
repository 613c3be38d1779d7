"""A report as one HTML file: its Markdown page with the figures inside, so that it can be opened anywhere.

It reads the Markdown that studies write: headings, paragraphs, lists, quotes, tables, code, images, links, bold and code spans.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable, Iterator
from pathlib import Path

STYLE = """
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #262626; font: 15px/1.5 sans-serif; }
img { max-width: 100%; }
pre, code { background: #f3f3f3; font-size: 90%; }
pre { padding: 0.6rem; overflow-x: auto; }
blockquote { margin: 0; padding-left: 1rem; border-left: 3px solid #bbb; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: 85%; }
th, td { padding: 0.2rem 0.6rem; border-bottom: 1px solid #ddd; text-align: left; }
.right { text-align: right; }
"""
_IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
_BOLD = re.compile(r"\*\*(.+?)\*\*")
#: an escaped character, which opens no code, or code, in which nothing is escaped
_LITERAL = re.compile(r"\\([\\`*_\[\]<>|$~&#])|(`+)(.+?)\2")
#: no script runs and nothing is loaded, whatever the page holds
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def html_page(page: Path) -> str:
    """The Markdown file `page` as HTML, with the PNG files that it shows; links to other files become plain text."""
    text = page.read_text(encoding="utf-8")
    title = next((line[2:] for line in text.splitlines() if line.startswith("# ")), page.parent.name)
    body = "\n".join(_blocks(text.splitlines(), lambda path: _embedded(page.parent / path)))
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    head = f'<meta charset="utf-8">{policy}<title>{html.escape(title)}</title><style>{STYLE}</style>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _embedded(picture: Path) -> str | None:
    """The content of a PNG file as an address; None where it is not there."""
    if picture.suffix != ".png" or not picture.is_file():
        return None
    return f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"


def _blocks(lines: list[str], address: Callable[[str], str | None]) -> Iterator[str]:
    """HTML of each block; `address` gives that of a picture."""
    at = 0
    while at < len(lines):
        line, start = lines[at], at
        at += 1
        if fence := re.match(r"`{3,}", line):
            while at < len(lines) and not lines[at].startswith(fence[0]):
                at += 1
            yield f"<pre>{html.escape(chr(10).join(lines[start + 1 : at]))}</pre>"
            at += 1
        elif heading := re.match(r"(#{1,6}) (.*)", line):
            level = len(heading[1])
            yield f"<h{level}>{_inline(heading[2], address)}</h{level}>"
        elif line.strip():
            while at < len(lines) and lines[at].strip() and not lines[at].startswith(("```", "# ", "## ", "### ")):
                at += 1
            yield _block(lines[start:at], address)


def _block(lines: list[str], address: Callable[[str], str | None]) -> str:
    """HTML of lines between blank ones: a table, a list, a quote or a paragraph."""
    if len(lines) > 1 and re.fullmatch(r"[|:\- ]+", lines[1]) and "|" in lines[1]:
        return _table(lines, address)
    if lines[0].startswith("- "):
        items = re.split(r"^- ", "\n".join(lines), flags=re.MULTILINE)[1:]
        return "<ul>" + "".join(f"<li>{_inline(item, address)}</li>" for item in items) + "</ul>"
    if lines[0].startswith(">"):
        quoted = "\n".join(line.lstrip(">").strip() for line in lines)
        return f"<blockquote><p>{_inline(quoted, address)}</p></blockquote>"
    return f"<p>{_inline(chr(10).join(lines), address)}</p>"


def _table(lines: list[str], address: Callable[[str], str | None]) -> str:
    first, rule, *rest = (_cells(line) for line in lines)
    right = ['class="right"' if cell.endswith(":") else "" for cell in rule]

    def row(cells: list[str], tag: str) -> str:
        made = (f"<{tag} {look}>{_inline(cell, address)}</{tag}>" for cell, look in zip(cells, right, strict=False))
        return f"<tr>{''.join(made)}</tr>"

    head, body = row(first, "th"), "\n".join(row(cells, "td") for cells in rest)
    return f'<div class="table"><table><thead>{head}</thead>\n<tbody>{body}</tbody></table></div>'


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|").removesuffix("|")
    return [cell.replace("\\|", "|").strip() for cell in re.split(r"(?<!\\)\|", inner)]


def _inline(text: str, address: Callable[[str], str | None]) -> str:
    """HTML of a text; escaped characters and what stands in code spans are left as they are."""
    kept: list[str] = []

    def keep(made: str) -> str:
        kept.append(made)
        return f"\0{len(kept) - 1}\0"

    def literal(match: re.Match[str]) -> str:
        return keep(html.escape(match[1]) if match[1] else f"<code>{html.escape(match[3].strip())}</code>")

    def picture(match: re.Match[str]) -> str:
        source = address(match[2])
        alt = html.escape(match[1], quote=True)
        return keep(f'<img alt="{alt}" src="{source}">' if source else f"[{alt}]")

    def link(match: re.Match[str]) -> str:
        if not match[2].startswith(("https://", "http://")):
            return match[1]
        return keep(f'<a href="{html.escape(match[2], quote=True)}">') + match[1] + keep("</a>")

    text = _LITERAL.sub(literal, text.replace("\0", ""))
    text = _LINK.sub(link, _IMAGE.sub(picture, text))
    text = _BOLD.sub(r"<strong>\1</strong>", html.escape(text, quote=False))
    while "\0" in text:
        text = re.sub(r"\0(\d+)\0", lambda match: kept[int(match[1])], text)
    return text
