"""The lesson on pretraining: the notebook runs, and the outputs that are committed are those of its code."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from stacked.util.errors import InputError
from studies.lessons.execute_lesson import DIGEST, NOTEBOOK, code_digest, executed, read, with_updates

COMMITTED = read()
CODE = [cell for cell in COMMITTED.cells if cell.cell_type == "code"]
PICTURE = "image/png"


def texts(notebook: nbformat.NotebookNode) -> str:
    """What the cells of a notebook print."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs if output.output_type == "stream"]
    assert {output.name for output in outputs} == {"stdout"}  # no warning
    return "".join(output.text for output in outputs)


def pictures(notebook: nbformat.NotebookNode) -> Iterator[bytes]:
    """The figures of a notebook, as PNG."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if PICTURE in output.get("data", {}):
                yield base64.b64decode(output.data[PICTURE])


# The committed notebook


def test_the_outputs_are_those_of_the_code() -> None:
    nbformat.validate(COMMITTED)
    assert COMMITTED.metadata[DIGEST] == code_digest(COMMITTED), "run python -m studies.lessons.execute_lesson"
    assert [cell.execution_count for cell in CODE] == list(range(1, len(CODE) + 1))
    assert not any(output.output_type == "error" for cell in CODE for output in cell.outputs)
    changed = with_updates(COMMITTED, 7)
    assert code_digest(changed) != code_digest(COMMITTED)


def test_every_cell_that_prints_or_draws_has_outputs() -> None:
    for cell in CODE:
        shows = re.search(r"^(print|draw|draw_gradients|draw_curves)\(|^    print\(", cell.source, re.MULTILINE)
        assert bool(cell.outputs) == bool(shows), cell.source
    assert all(image.startswith(b"\x89PNG") for image in pictures(COMMITTED))


def test_the_notebook_is_small_and_tells_nothing_of_a_machine() -> None:
    assert NOTEBOOK.stat().st_size < 600_000
    assert max(map(len, pictures(COMMITTED))) < 60_000
    assert all(set(cell.metadata) <= {"tags"} for cell in COMMITTED.cells)  # no time of execution
    assert set(COMMITTED.metadata) == {"kernelspec", "language_info", DIGEST}
    assert set(COMMITTED.metadata.language_info) == {"name"}
    for cell in COMMITTED.cells:
        shown = [
            output.get("text", "") + str(output.get("data", {}).get("text/plain")) for output in cell.get("outputs", [])
        ]
        for text in (cell.source, *shown):
            assert not re.search(r"(^|[\s'\"(=])(/|~/|[A-Z]:\\)\w", text), text  # an absolute path
            assert not re.search(r"\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d", text), text


def test_every_question_has_its_answer_folded_below() -> None:
    sources = [cell.source for cell in COMMITTED.cells]
    asked = [k for k, source in enumerate(sources) if source.startswith("**Question.**")]
    folded = [k for k, source in enumerate(sources) if source.startswith("<details>\n<summary>Answer</summary>\n\n")]
    assert folded == [k + 1 for k in asked]
    assert len(asked) >= 7
    assert all(sources[k].endswith("\n\n</details>") for k in folded)


def test_links_lead_to_files() -> None:
    links = [link for cell in COMMITTED.cells for link in re.findall(r"\]\(([^)#]+)\)", cell.source)]
    assert links
    for link in links:
        assert (NOTEBOOK.parent / link).exists(), link


def numbers(pattern: str) -> dict[str, float]:
    """The numbers that the committed outputs print after names at the beginning of a line, by name."""
    found = re.findall(rf"^(\S.*?)  +{pattern}$", texts(COMMITTED), re.MULTILINE)
    return {name: float(number) for name, number in found}


def number(pattern: str) -> float:
    """The only number that the committed outputs print in the place of the pattern's group."""
    (found,) = re.findall(pattern, texts(COMMITTED))
    return float(found)


def test_the_outputs_show_what_the_text_says() -> None:
    mean_image = number(r"MSE of the mean image: (\S+)")
    assert mean_image == pytest.approx(0.0675, abs=1e-4)  # as the studies say
    steps = numbers(r"test MSE (\S+)")
    assert steps["one stage"] < steps["two stages, the second trained"] < steps["two stages, the second random"]
    assert steps["two stages, fine-tuned"] < steps["two stages, the second trained"]
    assert "the first stage has not changed by one bit: True" in texts(COMMITTED)

    errors = numbers(r"[\d,]+ updates   test MSE (\S+)")
    assert set(errors) == {"logistic", "logistic, pretrained", "ReLU", "ReLU, batch norm"}
    assert errors.pop("logistic") == pytest.approx(mean_image, rel=0.02)
    assert max(errors.values()) < 0.6 * mean_image
    accuracies = numbers(r"test accuracy (\S+)%")
    assert set(accuracies) == {"logistic", *errors}
    assert accuracies.pop("logistic") < 15
    assert min(accuracies.values()) > 80

    assert number(r"over all test images: (\S+)") < 1e-3
    assert number(r"a factor of (\S+) per layer") == pytest.approx(0.14, abs=0.03)


# Executing it


def test_updates_are_replaced_in_the_cell_with_the_tag_alone() -> None:
    changed = with_updates(COMMITTED, 7)
    different = [
        (old.source, new.source)
        for old, new in zip(COMMITTED.cells, changed.cells, strict=True)
        if old.source != new.source
    ]
    ((old, new),) = different
    assert new.startswith("UPDATES = 7  #")
    assert old.partition("#")[2] == new.partition("#")[2]
    lacking = with_updates(COMMITTED, 7)
    for cell in lacking.cells:
        cell.metadata.pop("tags", None)
    with pytest.raises(InputError, match='one cell with the tag "parameters"'):
        with_updates(lacking, 7)


def small(*sources: str) -> nbformat.NotebookNode:
    """A notebook of these cells of code."""
    from nbformat.v4 import new_code_cell, new_notebook

    return new_notebook(cells=[new_code_cell(source) for source in sources])


@pytest.mark.slow
def test_an_executed_notebook_has_new_outputs_and_their_digest() -> None:
    notebook = small("a = 2", "print(a + 1)")
    done = executed(notebook)
    assert done.cells[1].outputs[0].text == "3\n"
    assert dict(done.metadata) == {DIGEST: code_digest(notebook)}
    assert all(not cell.metadata for cell in done.cells)
    assert not notebook.cells[1].outputs
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        executed(small("1 / 0"))


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom() -> None:
    done = executed(with_updates(COMMITTED, 10))
    assert len(list(pictures(done))) == len(list(pictures(COMMITTED)))
    lines, committed = (re.sub(r" *\d[\d,.e-]*", " #", texts(each)).splitlines() for each in (done, COMMITTED))
    assert lines == committed  # but for the numbers
