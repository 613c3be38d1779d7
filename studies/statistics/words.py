"""What the examples of a record and their values are called: the texts of studies are written for images and pixels."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from studies.statistics.measures import Measure, measure

if TYPE_CHECKING:
    import pandas as pd

    from stacked.data import Splits

#: an example and one of its values, by the name of the examples in `runs.csv`
NAMES = {
    "images": ("image", "pixel"),
    "rows": ("row", "feature"),
    "signals": ("signal", "value"),
    "volumes": ("volume", "voxel"),
}
#: the words that are replaced; not parts of names, such as "greedy-pixels"
_WORDS = re.compile(r"(?<![\w`-])(?P<before>per |[Aa]n )?(?P<word>[Ii]mage|[Pp]ixel)(?P<many>s?)(?![\w`-])")


@dataclass(frozen=True)
class Words:
    """The words for a record's examples: "images", "rows", "signals" or "volumes"; is_scaled: whether values were scaled."""

    examples: str = "images"
    is_scaled: bool = False

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Words:
        """Return the words for the runs in these rows; rows of images do not name their examples."""
        named = [name for name in rows.get("examples", ()) if name in NAMES]
        units = "final/recon_mse_in_units"
        return cls(named[0] if named else "images", units in rows and bool(rows[units].notna().any()))

    @classmethod
    def of_splits(cls, splits: Splits) -> Words:
        """Return the words for runs on these data."""
        from stacked.data.formats.split import kind_of

        scaling = splits.scaling
        return cls(kind_of(splits.input_shape), scaling is not None and scaling.kind != "none")

    def said(self, text: str) -> str:
        """Return a text that was written for images, with the words for these examples; the same text for images of bytes."""
        example, value = NAMES[self.examples]

        def replaced(found: re.Match[str]) -> str:
            is_example = found["word"].lower() == "image"
            word = (example if is_example else value) + found["many"]
            word = word.capitalize() if found["word"][0].isupper() else word
            before = found["before"] or ""
            if before == "per ":
                return f"per scaled {word}" if self.is_scaled and not is_example else f"per {word}"
            return before + word if example == "image" else before.replace("n ", " ") + word

        return _WORDS.sub(replaced, text)

    def measure(self, metric: str) -> Measure:
        """Return the measure of a final metric, labelled with these words."""
        found = measure(metric)
        return replace(found, label=self.said(found.label))
