"""The performance goals of bench/README.md, and how each is computed from the results."""

import dataclasses
from collections.abc import Callable

from markdown import number, table
from workloads import FUNCTIONS

OURS, PYTHON = "modelfn", ("Flask + gunicorn", "FastAPI + uvicorn", "BentoML", "MLServer")
COMPARED = PYTHON[:3]
EMBEDDERS = ("FastAPI + tokenizers",)


class MeasurementError(Exception):
    """A contender failed, so that there is no figure; the message is the reason."""


@dataclasses.dataclass(frozen=True)
class Bound:
    """A lower or an upper bound."""

    value: float
    sign: str  # "≥" or "≤"

    def is_met(self, value):
        return value >= self.value if self.sign == "≥" else value <= self.value


def at_least(value):
    return Bound(value, "≥")


def at_most(value):
    return Bound(value, "≤")


@dataclasses.dataclass(frozen=True)
class Goal:
    """A row of the table of goals.

    `measure` takes all results, and returns the value to compare with the bound and the figures behind it in words.
    """

    words: str
    bound: Bound
    unit: str
    measure: Callable

    def row(self, results):
        try:
            value, measured = self.measure(results)
        except MeasurementError as error:
            return [self.words, str(error), "", self.goal(), "**missed**"]
        except (KeyError, StopIteration, ValueError, ZeroDivisionError):
            return [self.words, "not measured", "", self.goal(), "not measured"]
        by = abs(value / self.bound.value - 1)
        verdict = (
            "met" if self.bound.is_met(value) else f"**missed by {f'{by:.0%}' if by >= 0.01 else 'less than 1%'}**"
        )
        return [self.words, measured, f"{number(value)}{self.unit}", self.goal(), verdict]

    def goal(self):
        return f"{self.bound.sign} {self.bound.value:g}{self.unit}"


def cells(results, measure, **labels):
    """Returns the cells that have these labels, by contender."""
    figures = results[measure]["figures"]
    if why := figures.get("missing", {}).get(OURS):
        raise MeasurementError(why)
    return {
        cell["contender"]: cell
        for cell in figures["cells"]
        if all(cell.get(key) == value for key, value in labels.items())
    }


def column(measure, key, **labels):
    """Returns a function that finds one figure of every contender, or a MeasurementError for those that failed."""

    def find(results):
        found = cells(results, measure, **labels).items()
        return {
            name: MeasurementError(f"failed: {cell['failed']}") if "failed" in cell else cell[key]
            for name, cell in found
            if "failed" in cell or key in cell
        }

    return find


def compare(found, others, pick, unit):
    """Returns the best of the others, and in words its figure beside ours and who failed."""
    if isinstance(found[OURS], MeasurementError):
        raise found[OURS]
    lost = [name for name in others if isinstance(found.get(name), MeasurementError)]
    best = pick((name for name in others if name in found and name not in lost), key=found.get)
    words = f"{number(found[OURS])} against {number(found[best])}{unit} ({best})"
    return best, words + "".join(f"; {name} failed" for name in lost)


def against(find, others, unit):
    """Ratio of our figure to the best, that is the smallest, of the others."""

    def measure(results):
        found = find(results)
        best, words = compare(found, others, min, unit)
        return found[OURS] / found[best], words

    return measure


def faster(model, pictures, others, *, connections=32, against=None):
    """Ratio of our median rate to the best of the others, with its spread over the rounds."""
    return ahead("throughput", others, model=model, pictures=pictures, connections=connections, against=against)


def ahead(name, others, **labels):
    """The same of any measure with rates."""

    def measure(results):
        found, rounds = (column(name, key, **labels)(results) for key in ("rate", "rates"))
        best, words = compare(found, others, max, "/s")
        ratios = [ours / theirs for ours, theirs in zip(rounds[OURS], rounds[best], strict=True)]
        return found[OURS] / found[best], f"{words}; by round {number(min(ratios))} to {number(max(ratios))}"

    return measure


def alone(find, words="{} MB"):
    """Our own figure, without comparison."""

    def measure(results):
        value = find(results)
        return value, words.format(number(value))

    return measure


def slope(results):
    """Megabytes that each further concurrent request adds, from 1 to 16."""
    cell = cells(results, "memory_used")[OURS]
    return (cell["at_16_mb"] - cell["at_1_mb"]) / 15


def hello(results):
    """Ratio of our rate to the faster of stock wasmtime with and without tuning."""
    figures = results["trivial"]["figures"]
    rates = {name.removesuffix(", requests/s"): value for name, value in figures.items() if name.endswith("/s")}
    ours = rates.pop(OURS)
    best = max(rates, key=rates.get)
    words = ", ".join(f"{value:,}/s ({name})" for name, value in rates.items())
    return ours / rates[best], f"{ours:,} against {words}"


def grown(kind):
    """Ratio of the memory with many functions to the memory with ten."""

    def measure(results):
        figures = results["functions"]["figures"]
        if f"{kind}: failed" in figures:
            raise MeasurementError(figures[f"{kind}: failed"])
        many, few = figures[f"{kind}: {FUNCTIONS[kind]} functions, MB"], figures[f"{kind}: 10 functions, MB"]
        return many / few, f"{number(many)} against {number(few)} MB"

    return measure


STOCK = "stock `wasmtime serve`"
GOALS = [
    Goal(
        "1. requests/s, int8, 640 × 427, against a native program without a server",
        at_least(0.9),
        " ×",
        faster("int8", "photograph", ["native"]),
    ),
    Goal(
        "2. the same with 12 megapixels, all of which the native program decodes",
        at_least(1.0),
        " ×",
        faster("int8", "phone", ["native"]),
    ),
    Goal(
        "3. requests/s, int8, 640 × 427, 32 connections, against the best of Flask, FastAPI and BentoML",
        at_least(1.25),
        " ×",
        faster("int8", "photograph", COMPARED),
    ),
    Goal(
        "4. the same with a tiny model (CIFAR-10 CNN) and a thumbnail",
        at_least(3),
        " ×",
        faster("cifar10", "thumbnail", COMPARED),
    ),
    Goal(
        "5. requests/s, int8, 640 × 427, against stock `wasmtime serve` with wasi-nn",
        at_least(10),
        " ×",
        faster("int8", "photograph", [STOCK], connections=4, against="stock"),
    ),
    Goal(
        "6. requests/s of a guest that says hello, against the better of stock `wasmtime serve` and the same tuned",
        at_least(1.2),
        " ×",
        hello,
    ),
    Goal(
        "7. p99 at 70 % of our capacity, open loop, against the best peer's",
        at_most(0.5),
        " ×",
        against(column("latency", "p99_ms", part=0.7), PYTHON, " ms"),
    ),
    Goal(
        "8. start of the process to the first right answer",
        at_most(100),
        " ms",
        alone(lambda results: cells(results, "start")[OURS]["ms"], "{} ms"),
    ),
    Goal("8. the same against the best Python peer", at_most(0.1), " ×", against(column("start", "ms"), PYTHON, " ms")),
    Goal(
        "9. memory, idle, the model loaded",
        at_most(80),
        " MB",
        alone(lambda results: cells(results, "memory_used")[OURS]["idle_mb"]),
    ),
    Goal(
        "9. the same against the best Python peer",
        at_most(0.33),
        " ×",
        against(column("memory_used", "idle_mb"), PYTHON, " MB"),
    ),
    Goal("10. memory for each further request in flight, 1 to 16", at_most(2), " MB", alone(slope)),
    Goal(
        f"11. memory with {FUNCTIONS['same']:,} functions of one file, 10 used, against those 10 alone",
        at_most(1.3),
        " ×",
        grown("same"),
    ),
    Goal(f"11. the same with {FUNCTIONS['distinct']} functions of a file each", at_most(1.3), " ×", grown("distinct")),
    Goal(
        "12. texts/s embedded, one a request, 32 connections, against FastAPI with ONNX Runtime and tokenizers",
        at_least(1.5),
        " ×",
        ahead("embed", EMBEDDERS, texts="single"),
    ),
    Goal("12. the same, 32 a request, 4 connections", at_least(1.0), " ×", ahead("embed", EMBEDDERS, texts="lists")),
]


def plain(measure, figure, unit):
    """A single figure of a measure without peers."""

    def find(results):
        value = results[measure]["figures"][figure]
        return value, f"{number(value)}{unit}"

    return find


OWN_GOALS = [
    Goal(
        "make and drop the instance of `classify.wasm`",
        at_most(50),
        " µs",
        plain("instantiate", "classify.wasm p50, µs", " µs"),
    ),
    Goal(
        "a request but for decoding, scaling and the engine",
        at_most(0.5),
        " ms",
        plain("overhead", "overhead, ms", " ms"),
    ),
    Goal(
        "stacking where it helps (`dense`): requests/s, on to off",
        at_least(1.3),
        " ×",
        plain("stacking", "dense: on to off at 32, times", " ×"),
    ),
    Goal(
        "goodput at 10 times the capacity, to the peak",
        at_least(0.9),
        " ×",
        plain("overload", "goodput at 10 times to the peak, times", " ×"),
    ),
    Goal(
        "`/livez` while every core computes, p99",
        at_most(10),
        " ms",
        plain("probes", "/livez p99 under full load, ms", " ms"),
    ),
    Goal(
        "memory after 100,000 requests, to before",
        at_most(1.05),
        " ×",
        plain("endurance", "after to before, times", " ×"),
    ),
]


def verdicts(goals, results):
    return table(["goal", "measured", "that is", "wanted", ""], [goal.row(results) for goal in goals])


def goals_table(results):
    text = verdicts(GOALS, results)
    missing = {name: why for each in results.values() for name, why in each["figures"].get("missing", {}).items()}
    notes = "".join(f"\n\nNot measured: {name}: {why}." for name, why in missing.items())
    return text + notes
