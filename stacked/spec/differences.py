"""What differs between two specs, in words; importing this module does not load torch."""

from __future__ import annotations

from stacked.spec.spec import RunSpec, from_json
from stacked.util.errors import InputError
from stacked.util.serialization import flat


def stored_spec_differences(written: str, here: RunSpec) -> str:
    """Describe the differences between a spec stored as JSON and another one, in one line."""
    try:
        return spec_differences(from_json(written), here)
    except InputError as error:
        return f"this version cannot read it ({error})"


def spec_differences(there: RunSpec, here: RunSpec) -> str:
    """Describe the fields in which two specs differ, in one line."""
    a, b = flat(there), flat(here)
    both = [(name, a.get(name, "left out"), b.get(name, "left out")) for name in {**a, **b}]
    return "; ".join(f"{name} is {mine!r} there and {yours!r} here" for name, mine, yours in both if mine != yours)
