"""From bench/results/*.json to what people read: the goals with their verdicts, the tables and plots of the README."""

import json
import re

import plot
from system import ROOT
from workloads import FUNCTIONS, MODEL_WORDS, SETS

README = ROOT / "bench/README.md"
BEGIN, END = "<!-- made by bench/run -->", "<!-- end of what bench/run made -->"
OURS, PYTHON = "modelfn", ("Flask + gunicorn", "FastAPI + uvicorn", "BentoML", "MLServer")
COMPARED = PYTHON[:3]


def read(folder):
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def show(name, figures):
    """Plain figures, on the terminal; those side by side have said theirs."""
    if "cells" not in figures:
        print(f"\n{name}")
        for figure, value in figures.items():
            print(f"  {figure:<52} {value:>10}")


class Failed(Exception):
    """There is no figure since it did not work."""


class Goal:
    """A row of the table: what is wanted of a number, and where it is found."""

    def __init__(self, words, wanted, least, unit, measure):
        self.words, self.wanted, self.least, self.unit, self.measure = words, wanted, least, unit, measure

    def row(self, results):
        try:
            value, measured = self.measure(results)
        except Failed as failed:
            return [self.words, str(failed), "", self.goal(), "**missed**"]
        except (KeyError, StopIteration, ValueError, ZeroDivisionError):
            return [self.words, "not measured", "", self.goal(), "not measured"]
        met = value >= self.wanted if self.least else value <= self.wanted
        verdict = "met" if met else f"**missed by {abs(value / self.wanted - 1):.0%}**"
        return [self.words, measured, f"{number(value)}{self.unit}", self.goal(), verdict]

    def goal(self):
        return f"{'≥' if self.least else '≤'} {self.wanted:g}{self.unit}"


def number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def cells(results, measure, **labels):
    """By contender, those with these labels that did not fail."""
    found = results[measure]["figures"]["cells"]
    return {cell["contender"]: cell for cell in found
            if "failed" not in cell and all(cell.get(key) == value for key, value in labels.items())}


def rates(model, pictures, connections=32, against=None):
    return column("throughput", "rate", model=model, pictures=pictures, connections=connections, against=against)


def against(find, others, pick=max, unit="/s", upside_down=False):
    """Ours against the best of others; measured figures in words."""
    def measure(results):
        found = find(results)
        best = pick((name for name in others if name in found), key=found.get)
        words = f"{number(found[OURS])} against {number(found[best])}{unit} ({best})"
        return found[OURS] / found[best], words
    return measure


def column(measure, key, **labels):
    return lambda results: {name: cell[key] for name, cell in cells(results, measure, **labels).items() if key in cell}


def alone(find, words="{} MB"):
    def measure(results):
        value = find(results)
        return value, words.format(number(value))
    return measure


def slope(results):
    cell = cells(results, "memory_used")[OURS]
    return (cell["peak_at_16_mb"] - cell["peak_at_1_mb"]) / 15


def hello(results):
    figures = results["trivial"]["figures"]
    ours, theirs = figures["modelfn, requests/s"], figures["wasmtime serve, requests/s"]
    return ours / theirs, f"{ours:,} against {theirs:,}/s"


def grown(kind):
    def measure(results):
        figures = results["functions"]["figures"]
        if f"{kind}: failed" in figures:
            raise Failed(figures[f"{kind}: failed"])
        many, few = figures[f"{kind}: {FUNCTIONS[kind]} functions, MB"], figures[f"{kind}: 10 functions, MB"]
        return many / few, f"{number(many)} against {number(few)} MB"
    return measure


STOCK = "stock `wasmtime serve`"
GOALS = [
    Goal("1. requests/s, int8, 640 × 427, against the same work without a server", 0.9, True, " ×",
         against(rates("int8", "photograph"), ["native"])),
    Goal("2. the same with 12 megapixels, against decoding all of them", 1.0, True, " ×",
         against(rates("int8", "phone"), ["native"])),
    Goal("3. requests/s, int8, 640 × 427, 32 connections, against the best of Flask, FastAPI and BentoML", 1.25, True, " ×",
         against(rates("int8", "photograph"), COMPARED)),
    Goal("4. the same with a tiny model and a thumbnail", 3, True, " ×", against(rates("cifar10", "thumbnail"), COMPARED)),
    Goal("5. requests/s, int8, 640 × 427, against stock `wasmtime serve` with wasi-nn", 10, True, " ×",
         against(rates("int8", "photograph", 4, "stock"), [STOCK])),
    Goal("6. requests/s of a guest that says hello, against stock `wasmtime serve`", 1.2, True, " ×", hello),
    Goal("7. p99 at 70 % of our capacity, open loop, against the best peer's", 0.5, False, " ×",
         against(column("latency", "p99_ms", part=0.7), PYTHON, min, " ms")),
    Goal("8. start of the process to the first right answer", 100, False, " ms",
         alone(lambda results: cells(results, "start")[OURS]["ms"], "{} ms")),
    Goal("8. the same against the best Python peer", 0.1, False, " ×", against(column("start", "ms"), PYTHON, min, " ms")),
    Goal("9. memory, idle, the model loaded", 80, False, " MB",
         alone(lambda results: cells(results, "memory_used")[OURS]["idle_mb"])),
    Goal("9. the same against the best Python peer", 0.33, False, " ×",
         against(column("memory_used", "idle_mb"), PYTHON, min, " MB")),
    Goal("10. memory for each further request in flight, 1 to 16", 2, False, " MB", alone(slope)),
    Goal(f"11. memory with {FUNCTIONS['same']:,} functions of one file, 10 used, against those 10 alone", 1.3, False, " ×", grown("same")),
    Goal(f"11. the same with {FUNCTIONS['distinct']} functions of a file each", 1.3, False, " ×", grown("distinct")),
]


def table(head, rows):
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in [head, ["---"] * len(head), *rows])


def goals_table(results):
    text = table(["goal", "measured", "that is", "wanted", ""], [goal.row(results) for goal in GOALS])
    missing = {name: why for each in results.values() for name, why in each["figures"].get("missing", {}).items()}
    notes = "".join(f"\n\nNot measured: {name}: {why}." for name, why in missing.items())
    return text + notes


def write(results):
    """Replaces what is between the marks in the README, and the plots."""
    text = README.read_text()
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    README.write_text(f"{head}{BEGIN}\n\n{made(results)}\n\n{END}{tail}")


def made(results):
    parts = [machines(results), goals_table(results)]
    for part in (throughputs, curve, latencies, starts, memories, sizes, phases):
        try:
            parts.append(part(results))
        except KeyError:
            # Not measured yet.
            continue
    return "\n\n".join(parts)


def machines(results):
    """One sentence a machine: measures may come from several."""
    words = {}
    for name, each in results.items():
        it = each["machine"]
        text = (f"{it['cores']} cores of {'a virtual ' if it['virtual'] else 'an '}{it['cpu']} "
                f"({', '.join(it['features'])}), {it['memory_gb']} GB, {it['system']}, Linux {it['kernel']}, Rust {it['rustc']}, "
                f"Python {it['python']}, {it['engine']}, commit {it['commit']}")
        words.setdefault(text, []).append(f"{name} (load {it['load_before']:g} before)")
    return "\n\n".join(f"On {text}: {', '.join(names)}." for text, names in words.items())


def throughputs(results):
    every = [cell for cell in results["throughput"]["figures"]["cells"] if cell["connections"] == 32]
    works = list(dict.fromkeys((cell["model"], cell["pictures"]) for cell in every))
    names = ["native", *dict.fromkeys(cell["contender"] for cell in every if cell["contender"] != "native")]

    def rows(text):
        for model, pictures in works:
            found = {cell["contender"]: cell for cell in every if (cell["model"], cell["pictures"]) == (model, pictures)}
            texts = ["–" if name not in found else f"failed: {found[name]['failed']}" if "failed" in found[name]
                     else text(found[name]) for name in names]
            yield [f"{MODEL_WORDS[model]}, {SETS[pictures][0]}", *texts]

    def spread(cell):
        return f"{number(cell['rate'])} ({number(min(cell['rates']))} to {number(max(cell['rates']))})"

    return ("### Throughput\n\nRequests a second, closed loop of 32 connections: medians, and the least and the most of the "
            "rounds. `native` is bench/native.rs.\n\n" + table(["workload", *names], rows(spread))
            + "\n\nMilliseconds of CPU of all the server's processes for one of these requests, which a busy neighbour "
            "changes less.\n\n"
            + table(["workload", *names[1:]], ([row[0], *row[2:]] for row in rows(lambda cell: number(cell.get("cpu_ms", 0))))))


def curve(results):
    every = [cell for cell in results["throughput"]["figures"]["cells"]
             if (cell["model"], cell["pictures"]) == ("int8", "photograph") and cell["contender"] != "native" and "against" not in cell]
    if len({cell["connections"] for cell in every}) < 3:
        raise KeyError("curve")
    lines, waits = {}, {}
    for cell in every:
        ok = "failed" not in cell
        lines.setdefault(cell["contender"], []).append(
            (cell["connections"], cell["rate"], min(cell["rates"]), max(cell["rates"])) if ok else (cell["connections"], None))
        waits.setdefault(cell["contender"], []).append((cell["connections"], cell.get("p99_ms")))
    for each in (lines, waits):
        for line in each.values():
            line.sort()
    plot.panels(ROOT / "bench/throughput.svg", [
        plot.Panel("Throughput, int8, 640 × 427", "connections", "requests/s", lines, log_x=True),
        plot.Panel("p99, closed loop", "connections", "ms", waits, log_x=True, log_y=True),
    ])
    return "![Throughput and p99 over connections](throughput.svg)"


def latencies(results):
    figures = results["latency"]["figures"]
    names = list(dict.fromkeys(cell["contender"] for cell in figures["cells"]))
    parts = list(dict.fromkeys(cell["part"] for cell in figures["cells"]))
    rows, lines = [], {"p50_ms": {}, "p99_ms": {}}
    for name in names:
        row = [name]
        for part in parts:
            cell = next(cell for cell in figures["cells"] if (cell["contender"], cell["part"]) == (name, part))
            row.append(f"failed: {cell['failed']}" if "failed" in cell else f"{number(cell['p50_ms'])} / {number(cell['p99_ms'])}")
            for key, line in lines.items():
                line.setdefault(name, []).append((round(part * figures["capacity"]), cell.get(key)))
        rows.append(row)
    text = (f"### Latency at a rate\n\np50 / p99 in ms, open loop, counted from when a request was due; the rates are parts "
            f"of the {figures['capacity']} requests/s that modelfn does in a closed loop.\n\n"
            + table(["", *(f"{part:.0%}" for part in parts)], rows))
    if len(parts) > 2:
        plot.panels(ROOT / "bench/latency.svg", [
            plot.Panel(title, "offered, requests/s", "ms", lines[key], log_y=True)
            for key, title in (("p50_ms", "p50"), ("p99_ms", "p99"))])
        text += "\n\n![p50 and p99 over the offered rate](latency.svg)"
    return text


def starts(results):
    rows = [[cell["contender"], number(cell["ms"]), number(cell["worst_ms"])] for cell in results["start"]["figures"]["cells"]]
    return ("### Start\n\nMilliseconds from starting the process to the first right answer, all files in the system's "
            "cache.\n\n" + table(["", "median", "worst"], rows))


def memories(results):
    rows, groups = [], {}
    for cell in results["memory_used"]["figures"]["cells"]:
        if "at_16_mb" not in cell:
            continue
        grows = (cell["at_16_mb"] - cell["at_1_mb"]) / 15
        values = {"idle": cell["idle_mb"], "32 connections": cell.get("at_32_mb", cell["at_16_mb"])}
        rows.append([cell["contender"], *map(number, values.values()), number(grows)])
        groups[cell["contender"]] = values
    plot.bars(ROOT / "bench/memory.svg", "Memory of all processes, int8, 640 × 427", "MB", groups)
    return ("### Memory\n\nMB of all processes together (PSS): idle after the first answer, the most under load, and what "
            "each further request in flight adds from 1 to 16.\n\n"
            + table(["", "idle", "under load", "a request"], rows) + "\n\n![Memory, idle and under load](memory.svg)")


def sizes(results):
    rows = [[cell["contender"], number(cell["mb"]), cell["parts"]] for cell in results["size"]["figures"]["cells"]]
    return "### Size\n\nMB on disk of what has to be there.\n\n" + table(["", "MB", "what"], rows)


def phases(results):
    found, works = {}, []
    for name, ms in results["profile"]["figures"].items():
        work, phase = name.removesuffix(", ms").split(": ", 1)
        found.setdefault(phase, {})[work] = ms
        works += [work] if work not in works else []
    rows = [[phase, *(f"{values[work]:.2f}" if work in values else "–" for work in works)] for phase, values in found.items()]
    return ("### Where the time of a request goes\n\nMilliseconds of CPU, by perf's samples of the server while 8 connections "
            "ask; functions are in [profile.txt](results/profile.txt).\n\n" + table(["", *works], rows)
            + "\n\n![Phases and functions of one request](results/profile.svg)")
