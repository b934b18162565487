"""From bench/results/*.json to what people read: the goals with their verdicts, the tables and plots of the README."""

import json

import plot
from system import ROOT
from workloads import FUNCTIONS, MODEL_WORDS, SETS

README = ROOT / "bench/README.md"
BEGIN, END = "<!-- made by bench/run -->", "<!-- end of what bench/run made -->"
OURS, PYTHON = "modelfn", ("Flask + gunicorn", "FastAPI + uvicorn", "BentoML", "MLServer")
COMPARED = PYTHON[:3]
# Measures without peers whose figures are a table as they are, by what people call them.
PLAIN = {
    "instantiate": "An instance",
    "overhead": "One request at a time",
    "int8": "int8 beside float",
    "overload": "Overload",
    "probes": "Probes under load",
    "endurance": "Endurance",
}


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
        by = abs(value / self.wanted - 1)
        verdict = "met" if met else f"**missed by {f'{by:.0%}' if by >= 0.01 else 'less than 1%'}**"
        return [self.words, measured, f"{number(value)}{self.unit}", self.goal(), verdict]

    def goal(self):
        return f"{'≥' if self.least else '≤'} {self.wanted:g}{self.unit}"


def number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def cells(results, measure, **labels):
    """By contender, those with these labels."""
    figures = results[measure]["figures"]
    if why := figures.get("missing", {}).get(OURS):
        raise Failed(why)
    return {
        cell["contender"]: cell
        for cell in figures["cells"]
        if all(cell.get(key) == value for key, value in labels.items())
    }


def column(measure, key, **labels):
    """Of every contender with these labels the figure, or why there is none."""

    def find(results):
        found = cells(results, measure, **labels).items()
        return {
            name: Failed(f"failed: {cell['failed']}") if "failed" in cell else cell[key]
            for name, cell in found
            if "failed" in cell or key in cell
        }

    return find


def compare(found, others, pick, unit):
    """Who is best of others; its figure beside ours, and who failed, in words."""
    if isinstance(found[OURS], Failed):
        raise found[OURS]
    lost = [name for name in others if isinstance(found.get(name), Failed)]
    best = pick((name for name in others if name in found and name not in lost), key=found.get)
    words = f"{number(found[OURS])} against {number(found[best])}{unit} ({best})"
    return best, words + "".join(f"; {name} failed" for name in lost)


def against(find, others, unit):
    """Ours, of which less is better, to the best of others."""

    def measure(results):
        found = find(results)
        best, words = compare(found, others, min, unit)
        return found[OURS] / found[best], words

    return measure


def faster(model, pictures, others, connections=32, against=None):
    """Ratio of the medians to the best of others, and its spread over the rounds, in each of which everyone has a turn."""
    labels = {"model": model, "pictures": pictures, "connections": connections, "against": against}

    def measure(results):
        found, rounds = (column("throughput", key, **labels)(results) for key in ("rate", "rates"))
        best, words = compare(found, others, max, "/s")
        ratios = [ours / theirs for ours, theirs in zip(rounds[OURS], rounds[best])]
        return found[OURS] / found[best], f"{words}; by round {number(min(ratios))} to {number(max(ratios))}"

    return measure


def alone(find, words="{} MB"):
    def measure(results):
        value = find(results)
        return value, words.format(number(value))

    return measure


def slope(results):
    cell = cells(results, "memory_used")[OURS]
    return (cell["at_16_mb"] - cell["at_1_mb"]) / 15


def hello(results):
    """Against the faster of stock as it is and stock tuned."""
    figures = results["trivial"]["figures"]
    rates = {name.removesuffix(", requests/s"): value for name, value in figures.items() if name.endswith("/s")}
    ours = rates.pop(OURS)
    best = max(rates, key=rates.get)
    words = ", ".join(f"{value:,}/s ({name})" for name, value in rates.items())
    return ours / rates[best], f"{ours:,} against {words}"


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
    Goal(
        "1. requests/s, int8, 640 × 427, against a native program without a server",
        0.9,
        True,
        " ×",
        faster("int8", "photograph", ["native"]),
    ),
    Goal(
        "2. the same with 12 megapixels, all of which the native program decodes",
        1.0,
        True,
        " ×",
        faster("int8", "phone", ["native"]),
    ),
    Goal(
        "3. requests/s, int8, 640 × 427, 32 connections, against the best of Flask, FastAPI and BentoML",
        1.25,
        True,
        " ×",
        faster("int8", "photograph", COMPARED),
    ),
    Goal(
        "4. the same with a tiny model (CIFAR-10 CNN) and a thumbnail",
        3,
        True,
        " ×",
        faster("cifar10", "thumbnail", COMPARED),
    ),
    Goal(
        "5. requests/s, int8, 640 × 427, against stock `wasmtime serve` with wasi-nn",
        10,
        True,
        " ×",
        faster("int8", "photograph", [STOCK], 4, "stock"),
    ),
    Goal(
        "6. requests/s of a guest that says hello, against the better of stock `wasmtime serve` and the same tuned",
        1.2,
        True,
        " ×",
        hello,
    ),
    Goal(
        "7. p99 at 70 % of our capacity, open loop, against the best peer's",
        0.5,
        False,
        " ×",
        against(column("latency", "p99_ms", part=0.7), PYTHON, " ms"),
    ),
    Goal(
        "8. start of the process to the first right answer",
        100,
        False,
        " ms",
        alone(lambda results: cells(results, "start")[OURS]["ms"], "{} ms"),
    ),
    Goal("8. the same against the best Python peer", 0.1, False, " ×", against(column("start", "ms"), PYTHON, " ms")),
    Goal(
        "9. memory, idle, the model loaded",
        80,
        False,
        " MB",
        alone(lambda results: cells(results, "memory_used")[OURS]["idle_mb"]),
    ),
    Goal(
        "9. the same against the best Python peer",
        0.33,
        False,
        " ×",
        against(column("memory_used", "idle_mb"), PYTHON, " MB"),
    ),
    Goal("10. memory for each further request in flight, 1 to 16", 2, False, " MB", alone(slope)),
    Goal(
        f"11. memory with {FUNCTIONS['same']:,} functions of one file, 10 used, against those 10 alone",
        1.3,
        False,
        " ×",
        grown("same"),
    ),
    Goal(f"11. the same with {FUNCTIONS['distinct']} functions of a file each", 1.3, False, " ×", grown("distinct")),
]


def plain(measure, figure, unit):
    """A figure of a measure without peers."""

    def find(results):
        value = results[measure]["figures"][figure]
        return value, f"{number(value)}{unit}"

    return find


OWN_GOALS = [
    Goal(
        "make and drop the instance of `classify.wasm`",
        50,
        False,
        " µs",
        plain("instantiate", "classify.wasm p50, µs", " µs"),
    ),
    Goal(
        "a request but for decoding, scaling and the engine",
        0.5,
        False,
        " ms",
        plain("overhead", "overhead, ms", " ms"),
    ),
    Goal(
        "stacking where it helps (`dense`): requests/s, on to off",
        1.3,
        True,
        " ×",
        plain("stacking", "dense: on to off at 32, times", " ×"),
    ),
    Goal(
        "goodput at 10 times the capacity, to the peak",
        0.9,
        True,
        " ×",
        plain("overload", "goodput at 10 times to the peak, times", " ×"),
    ),
    Goal(
        "`/livez` while every core computes, p99",
        10,
        False,
        " ms",
        plain("probes", "/livez p99 under full load, ms", " ms"),
    ),
    Goal(
        "memory after 100,000 requests, to before",
        1.05,
        False,
        " ×",
        plain("endurance", "after to before, times", " ×"),
    ),
]


def table(head, rows):
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in [head, ["---"] * len(head), *rows])


def verdicts(goals, results):
    return table(["goal", "measured", "that is", "wanted", ""], [goal.row(results) for goal in goals])


def goals_table(results):
    text = verdicts(GOALS, results)
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
    beside = (throughputs, curve, latencies, starts, memories, sizes, phases)
    for part in (*beside, own_goals, stacked, *map(figures_of, PLAIN)):
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
        text = (
            f"{it['cores']} cores of {'a virtual ' if it['virtual'] else 'an '}{it['cpu']} "
            f"({', '.join(it['features'])}), {it['memory_gb']} GB, {it['system']}, Linux {it['kernel']}, Rust {it['rustc']}, "
            f"Python {it['python']}, {it['engine']}, commit {it['commit']}"
        )
        words.setdefault(text, []).append(f"{name} (load {it['load_before']:g} before)")
    return "\n\n".join(f"On {text}: {', '.join(names)}." for text, names in words.items())


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
        "### Throughput\n\nRequests a second, closed loop of 32 connections: medians, and the least and the most of the "
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
            plot.Panel("Throughput, int8, 640 × 427", "connections", "requests/s", lines, log_x=True),
            plot.Panel("p99, closed loop", "connections", "ms", waits, log_x=True, log_y=True),
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
        f"### Latency at a rate\n\np50 / p99 in ms, open loop, counted from when a request was due; the rates are parts "
        f"of the {figures['capacity']} requests/s that modelfn does in a closed loop.\n\n"
        + table(["", *(f"{part:.0%}" for part in parts)], rows)
    )
    if len(parts) > 2:
        plot.panels(
            ROOT / "bench/latency.svg",
            [
                plot.Panel(title, "offered, requests/s", "ms", lines[key], log_y=True)
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
        "### Memory\n\nMB of all processes together (PSS): idle after the first answer, the most under load of 1, 16 or "
        "32 connections, and what each connection adds from 1 to 16; the Python servers work on at most four requests at "
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
        "### Where the time of a request goes\n\nMilliseconds of CPU, by perf's samples of the server while 8 connections "
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
