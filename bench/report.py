"""Turns bench/results/*.json into the goals with their verdicts, and into the tables and plots of bench/README.md."""

import contextlib
import json

from goals import goals_table
from sections import SECTIONS
from system import ROOT

README = ROOT / "bench/README.md"
BEGIN, END = "<!-- made by bench/run -->", "<!-- end of what bench/run made -->"


def read(folder):
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def show(name, figures):
    """Prints figures on the terminal; measures with peers have printed theirs while they ran."""
    if "cells" not in figures:
        print(f"\n{name}")
        for figure, value in figures.items():
            print(f"  {figure:<52} {value:>10}")


def write(results):
    """Replaces the part of the README between the marks, and the plots."""
    text = README.read_text()
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    README.write_text(f"{head}{BEGIN}\n\n{made(results)}\n\n{END}{tail}")


def made(results):
    parts = [machines(results), goals_table(results)]
    for section in SECTIONS:
        # A measure without results has no section.
        with contextlib.suppress(KeyError):
            parts.append(section(results))
    return "\n\n".join(parts)


def machines(results):
    """Describes each machine in one sentence, since measures may come from several."""
    words = {}
    for name, each in results.items():
        it = each["machine"]
        text = (
            f"{it['cores']} cores of {'a virtual ' if it['virtual'] else 'an '}{it['cpu']} "
            f"({', '.join(it['features'])}), {it['memory_gb']} GB, {it['system']}, Linux {it['kernel']}, "
            f"Rust {it['rustc']}, "
            f"Python {it['python']}, {it['engine']}, commit {it['commit']}"
        )
        words.setdefault(text, []).append(f"{name} (load {it['load_before']:g} before)")
    return "\n\n".join(f"On {text}: {', '.join(names)}." for text, names in words.items())
