"""The inputs of a model, as its card says.

A handler that gives lists to a model needs them at each request, and tomllib takes as long for a whole card as the rest
of a small function does. So cards that are written as usual are read by lines, and only others by tomllib.
"""

import json
import tomllib
from typing import Any

_decode_value = json.JSONDecoder().decode

# Where these are, a line may be something else than it looks like.
_UNUSUAL = ('"""', "'''", "\\")


def inputs(card: str) -> tuple[str, dict[str, dict[str, Any]]]:
    """The model's name, and its inputs by their names: tables with `dtype` and `shape`, if the card says them.

    Raises TOMLDecodeError where the card is no TOML, which only cards of unusual form may do, and KeyError for an input
    without a name.
    """
    found = _usual_inputs(card)
    if found is None:
        parsed = tomllib.loads(card)
        found = parsed.get("name", ""), parsed.get("inputs", [])
    name, specs = found
    return name, {spec["name"]: spec for spec in specs}


def _usual_inputs(card: str) -> tuple[str, list[dict[str, Any]]] | None:
    """The same, of a card with `[[inputs]]` and values that are JSON, too; None of another."""
    if any(sign in card for sign in _UNUSUAL):
        return None
    top: dict[str, Any] = {}
    table: dict[str, Any] | None = top
    specs: list[dict[str, Any]] = []
    for line in card.splitlines():
        if line == "[[inputs]]":
            specs.append(table := {})
        elif "inputs" in line and not line.startswith("#"):
            return None
        elif line.startswith("["):
            table = None
        elif table is not None and line and not line.startswith("#"):
            key, equals, value = line.partition(" = ")
            try:
                table[key] = _decode_value(value)
            except ValueError:
                if table is not top or key == "name" or not equals:
                    return None
    return (top["name"], specs) if all("name" in spec for spec in (top, *specs)) else None
