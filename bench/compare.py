"""Models side by side below /v2: dynamic batching on and off, float and int8."""

import json
import math
import random
import statistics
import struct
import tomllib

from system import ROOT, SCRATCH, app, folder, load, server, variant

# Each model with the largest batch that is tried.
STACKED = {"tiny": 16, "dense": 16, "cifar10": 8, "lite0": 8}
MANY = 32


def infer(model, count):
    """`count` request bodies of random values for a model, as binary tensors, and their headers."""
    spec = tomllib.loads((folder(model) / "model.toml").read_text())["inputs"][0]
    shape, dtype = [1, *spec["shape"][1:]], {"U8": "UINT8", "FP32": "FP32"}[spec["dtype"]]
    count_of_values, random_values = math.prod(shape), random.Random(7)
    size = count_of_values * (1 if dtype == "UINT8" else 4)
    head = json.dumps(
        {
            "inputs": [
                {"name": spec["name"], "datatype": dtype, "shape": shape, "parameters": {"binary_data_size": size}}
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    paths = []
    for n in range(count):
        path = SCRATCH / f"{model}-{n}"
        if dtype == "UINT8":
            values = random_values.randbytes(size)
        else:
            values = struct.pack(
                f"<{count_of_values}f", *(random_values.uniform(-1, 1) for _ in range(count_of_values))
            )
        path.write_bytes(head + values)
        paths.append(path)
    return {"bodies": paths, "headers": [f"inference-header-content-length: {len(head)}"]}


def stacking(quick, turns=3, seconds=4):
    """What batching costs where it can't help, and brings where it can. Sums of a batch are made in another order, so
    that the last bits of an answer may differ.
    """
    result = {}
    for model, largest in STACKED.items():
        names = [
            variant(model, f"{model}-off", ""),
            variant(model, f"{model}-on", f"dynamic_batching = true\nmax_batch_size = {largest}\n"),
        ]
        resident, rates, alone, delays, cpu = versus(names, [infer(model, 4) | {"tolerance": 1e-3}] * 2, turns, seconds)
        for name in names:
            result[f"{name}: requests/s at {MANY}"] = round(rates[name])
            result[f"{name}: p99 at {MANY}, ms"] = round(delays[name], 1)
            result[f"{name}: CPU for a request, ms"] = round(cpu[name], 2)
            result[f"{name}: resident, MB"] = round(resident[name])
        result[f"{model}: on to off at {MANY}, times"] = round(rates[names[1]] / rates[names[0]], 2)
        result[f"{model}: median at 1, off, µs"] = round(alone[names[0]] * 1e3)
        result[f"{model}: added to it, µs"] = round((alone[names[1]] - alone[names[0]]) * 1e3, 1)
    return result


def int8(quick, turns=3, seconds=4):
    """Random pictures to both; each answer is compared with what the same model answered first."""
    names = [variant("lite0", "lite0-float", ""), variant("int8", "lite0-int8", "")]
    resident, rates, alone, _, cpu = versus(names, [infer("lite0", 4), infer("int8", 4)], turns, seconds)
    result = {
        f"{name}: {what}": round(values[name], 1)
        for name in names
        for what, values in [
            ("requests/s", rates),
            ("median at 1, ms", alone),
            ("CPU for a request, ms", cpu),
            ("resident, MB", resident),
        ]
    }
    result["requests/s, int8 to float, times"] = round(rates[names[1]] / rates[names[0]], 2)
    return result


def versus(names, asks, turns, seconds):
    """Memory of each alone after load; then, of two in one process, requests/s in turns at MANY clients, the median at
    one client that asks them alternately (one after the other where their inputs differ), p99 and milliseconds of CPU at
    MANY.
    """
    paths, alike = {name: f"/v2/models/{name}/infer" for name in names}, asks[0] == asks[1]
    asks = dict(zip(names, asks))
    resident, runs, cpu = {}, {name: [] for name in names}, dict.fromkeys(names, 0.0)
    for name in names:
        with hosting(name) as ours:
            check(load(ours.port, paths[name], connections=MANY, seconds=seconds, **asks[name]))
            resident[name] = ours.resident()
    with hosting(*names) as ours:
        # What adapts to load gets some.
        for name in names:
            check(load(ours.port, paths[name], connections=MANY, seconds=seconds, **asks[name]))
        if alike:
            alone = check(load(ours.port, *paths.values(), connections=1, seconds=turns * seconds, **asks[names[0]]))
        else:
            ask = lambda name: load(ours.port, paths[name], connections=1, seconds=seconds, **asks[name])
            alone = [check(ask(name))[0] for name in names]
        for _ in range(turns):
            for name in names:
                before = ours.cpu()
                runs[name] += check(load(ours.port, paths[name], connections=MANY, seconds=seconds, **asks[name]))
                cpu[name] += ours.cpu() - before
    rates = {name: statistics.median(run["goodput"] for run in runs[name]) for name in names}
    delays = {name: statistics.median(run["accepted_ms"]["p99"] for run in runs[name]) for name in names}
    return (
        resident,
        rates,
        {name: run["accepted_ms"]["p50"] for name, run in zip(names, alone)},
        delays,
        {name: cpu[name] * 1e3 / sum(run["good"] for run in runs[name]) for name in names},
    )


def hosting(*names):
    arguments = ["--log", "warn", *(part for name in names for part in ("--load-model", name))]
    return server(arguments, app=app(ROOT / "target/guest/probe.wasm"), models=SCRATCH / "models")


def check(runs):
    for run in runs:
        if run["wrong"] or run["lost"] or set(run["statuses"]) - {"200"}:
            raise SystemExit(f"answers that are not right: {json.dumps(run)}")
    return runs
