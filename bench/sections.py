"""The sections of the report: a table, and often a plot, for each measure.

Each function raises KeyError where its measure has no results.
"""

import plot
from embedding import WORKLOADS
from goals import OWN_GOALS, verdicts
from markdown import number, table
from system import ROOT
from workloads import MODEL_WORDS, SETS

# Measures without peers whose figures are a table as they are, by what people call them.
PLAIN = {
    "instantiate": "An instance",
    "overhead": "One request at a time",
    "int8": "int8 beside float",
    "overload": "Overload",
    "probes": "Probes under load",
    "endurance": "Endurance",
}


def throughputs(results):
    every = [cell for cell in results["throughput"]["figures"]["cells"] if cell["connections"] == 32]
    works = list(dict.fromkeys((cell["model"], cell["pictures"]) for cell in every))
    names = ["native", *dict.fromkeys(cell["contender"] for cell in every if cell["contender"] != "native")]

    def rows(text):
        for model, pictures in works:
            found = {
                cell["contender"]: cell for cell in every if (cell["model"], cell["pictures"]) == (model, pictures)
            }
            texts = [
                "–"
                if name not in found
                else f"failed: {found[name]['failed']}"
                if "failed" in found[name]
                else text(found[name])
                for name in names
            ]
            yield [f"{MODEL_WORDS[model]}, {SETS[pictures][0]}", *texts]

    def spread(cell):
        return f"{number(cell['rate'])} ({number(min(cell['rates']))} to {number(max(cell['rates']))})"

    return (
        "### Throughput\n\nRequests a second, closed loop of 32 connections: medians, and the least and the most "
        "of the "
        "rounds. `native` is bench/native.rs.\n\n"
        + table(["workload", *names], rows(spread))
        + "\n\nMilliseconds of CPU of all the server's processes for one of these requests, which a busy neighbour "
        "changes less.\n\n"
        + table(
            ["workload", *names[1:]], ([row[0], *row[2:]] for row in rows(lambda cell: number(cell.get("cpu_ms", 0))))
        )
    )


def curve(results):
    every = [
        cell
        for cell in results["throughput"]["figures"]["cells"]
        if (cell["model"], cell["pictures"]) == ("int8", "photograph")
        and cell["contender"] != "native"
        and "against" not in cell
    ]
    if len({cell["connections"] for cell in every}) < 3:
        raise KeyError("curve")
    lines, waits = {}, {}
    for cell in every:
        ok = "failed" not in cell
        lines.setdefault(cell["contender"], []).append(
            (cell["connections"], cell["rate"], min(cell["rates"]), max(cell["rates"]))
            if ok
            else (cell["connections"], None)
        )
        waits.setdefault(cell["contender"], []).append((cell["connections"], cell.get("p99_ms")))
    for each in (lines, waits):
        for line in each.values():
            line.sort()
    plot.panels(
        ROOT / "bench/throughput.svg",
        [
            plot.Panel("Throughput, int8, 640 × 427", ("connections", "requests/s"), lines, log_x=True),
            plot.Panel("p99, closed loop", ("connections", "ms"), waits, log_x=True, log_y=True),
        ],
    )
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
            row.append(
                f"failed: {cell['failed']}"
                if "failed" in cell
                else f"{number(cell['p50_ms'])} / {number(cell['p99_ms'])}"
            )
            for key, line in lines.items():
                line.setdefault(name, []).append((round(part * figures["capacity"]), cell.get(key)))
        rows.append(row)
    text = (
        f"### Latency at a rate\n\np50 / p99 in ms, open loop, counted from when a request was due; the rates "
        f"are parts "
        f"of the {figures['capacity']} requests/s that modelfn does in a closed loop.\n\n"
        + table(["", *(f"{part:.0%}" for part in parts)], rows)
    )
    if len(parts) > 2:
        plot.panels(
            ROOT / "bench/latency.svg",
            [
                plot.Panel(title, ("offered, requests/s", "ms"), lines[key], log_y=True)
                for key, title in (("p50_ms", "p50"), ("p99_ms", "p99"))
            ],
        )
        text += "\n\n![p50 and p99 over the offered rate](latency.svg)"
    return text


def starts(results):
    figures = results["start"]["figures"]
    rows = [[cell["contender"], number(cell["ms"]), number(cell["worst_ms"])] for cell in figures["cells"]]
    return (
        "### Start\n\nMilliseconds from starting the process to the first right answer, all files and the function's "
        "compiled code in the system's cache.\n\n"
        + table(["", "median", "worst"], rows)
        + "\n\nOf modelfn's, medians by its log:\n\n"
        + table(["part", "ms"], figures["parts"].items())
    )


def memories(results):
    figures, rows, groups = results["memory_used"]["figures"], [], {}
    for cell in figures["cells"]:
        if "at_16_mb" not in cell:
            continue
        grows = (cell["at_16_mb"] - cell["at_1_mb"]) / 15
        values = {
            "idle": cell["idle_mb"],
            "under load": max(value for key, value in cell.items() if key.startswith("at_")),
        }
        rows.append([cell["contender"], *map(number, values.values()), number(grows)])
        groups[cell["contender"]] = values
    plot.bars(ROOT / "bench/memory.svg", "Memory of all processes, int8, 640 × 427", "MB", groups)
    return (
        "### Memory\n\nMB of all processes together (PSS): idle after the first answer, the most under load "
        "of 1, 16 or "
        "32 connections, and what each connection adds from 1 to 16; the Python servers work on at most four "
        "requests at "
        "a time.\n\n"
        + table(["", "idle", "under load", "a request"], rows)
        + "\n\n![Memory, idle and under load](memory.svg)\n\nOf modelfn's, idle:\n\n"
        + table(["part", "MB"], figures["parts"].items())
    )


def sizes(results):
    rows = [[cell["contender"], number(cell["mb"]), cell["parts"]] for cell in results["size"]["figures"]["cells"]]
    return "### Size\n\nMB on disk of what has to be there.\n\n" + table(["", "MB", "what"], rows)


def phases(results):
    found, works = {}, []
    if "skipped" in results["profile"]["figures"]:
        raise KeyError("profile")
    for name, ms in results["profile"]["figures"].items():
        work, phase = name.removesuffix(", ms").split(": ", 1)
        found.setdefault(phase, {})[work] = ms
        works += [work] if work not in works else []
    rows = [
        [phase, *(f"{values[work]:.2f}" if work in values else "–" for work in works)]
        for phase, values in found.items()
    ]
    return (
        "### Where the time of a request goes\n\nMilliseconds of CPU, by perf's samples of the server while "
        "8 connections "
        "ask; functions are in [profile.txt](results/profile.txt). The program has its symbols, and is optimised less "
        "than the one measured above.\n\n"
        + table(["", *works], rows)
        + "\n\n![Phases and functions of one request](results/profile.svg)"
    )


def own_goals(results):
    if not any(name in results for name in ("stacking", *PLAIN)):
        raise KeyError("none")
    return "### Without peers\n\n" + verdicts(OWN_GOALS, results)


def stacked(results):
    figures, rows = results["stacking"]["figures"], []
    for model in dict.fromkeys(key.partition(":")[0].removesuffix("-on").removesuffix("-off") for key in figures):
        pair = [
            " / ".join(number(figures[f"{model}-{each}: {what}"]) for each in ("off", "on"))
            for what in ("requests/s at 32", "p99 at 32, ms", "CPU for a request, ms", "resident, MB")
        ]
        rows.append([model, *pair, figures[f"{model}: on to off at 32, times"], figures[f"{model}: added to it, µs"]])
    return (
        "### Stacking\n\nWithout and with it, 32 connections; and what it adds to the median of one connection.\n\n"
        + table(["model", "requests/s", "p99, ms", "CPU, ms", "resident, MB", "rate, times", "added at 1, µs"], rows)
    )


def embeddings(results):
    every = results["embed"]["figures"]["cells"]
    names = list(dict.fromkeys(cell["contender"] for cell in every))
    rows = []
    for kind, (texts, connections) in WORKLOADS.items():
        found = {cell["contender"]: cell for cell in every if cell["texts"] == kind}
        rates = [
            "failed"
            if "failed" in found[name]
            else f"{number(found[name]['rate'] * texts)} ({found[name]['cpu_ms'] / texts:.2f})"
            for name in names
        ]
        rows.append([f"{texts} a request, {connections} connections", *rates])
    return (
        "### Embeddings\n\nTexts a second, and milliseconds of CPU for one, all-MiniLM-L6-v2, medians; the texts are "
        "those of [texts.txt](texts.txt).\n\n" + table(["", *names], rows)
    )


def figures_of(name):
    def part(results):
        rows = [
            (key, value if isinstance(value, str) else f"{value:,}") for key, value in results[name]["figures"].items()
        ]
        text = f"### {PLAIN[name]}\n\n" + table(["", ""], rows)
        if name == "overload":
            text += "\n\n![Goodput, refusals, delay and memory over the offered load](overload.svg)"
        return text

    return part


# In the order of the report.
SECTIONS = [
    throughputs,
    curve,
    latencies,
    starts,
    memories,
    sizes,
    phases,
    embeddings,
    own_goals,
    stacked,
    *map(figures_of, PLAIN),
]
