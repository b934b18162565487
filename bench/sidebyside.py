"""Measures all contenders with the same workloads, in turns: throughput, latency, start, memory and size."""

import contextlib
import functools
import os
import statistics
import subprocess
import sysconfig
import time
from datetime import datetime
from pathlib import Path

from clients import LoadError, Requests, await_first_response, closed_loop, open_loop
from contenders import Modelfn, native, peers, running, stock
from system import (
    MODELFN,
    ROOT,
    RUNTIME,
    SCRATCH,
    TOOLS,
    cpu,
    mappings,
    memory,
    model_app,
    peak,
    run,
    say,
    server,
)
from workloads import FUNCTIONS, Workload

# The workload of most goals.
MAIN = ("int8", "photograph")
CONNECTIONS = 32
CURVE = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# Offered rates of latency(), as fractions of our own capacity.
RATES = (0.1, 0.4, 0.7, 0.9)
GOAL_RATE = 0.7


def throughput(quick):
    """Measures requests/s in a closed loop for each workload, and for MAIN over the number of connections."""
    goals = [MAIN, ("int8", "phone"), ("cifar10", "thumbnail")]
    others = (
        [] if quick else [("int8", "thumbnail"), ("int8", "mixed"), ("lite0", "photograph"), ("lite2", "thumbnail")]
    )
    cells, (ready, missing) = [], peers()
    missing = dict(missing)
    for model, pictures in goals + others:
        work = Workload(model, pictures)
        # No goal compares peers with large pictures.
        contenders = [Modelfn()] if quick and pictures == "phone" else [Modelfn(), *ready]
        with running(contenders, work, missing) as started:
            warm_up(started, work)
            curve = CURVE if (model, pictures) == MAIN and not quick else ()
            for connections in sorted({CONNECTIONS, *curve}):
                matters = connections == CONNECTIONS and (model, pictures) in goals
                rounds, seconds = (2, 2) if quick else (4, 4) if matters else (2, 2)
                rounds += quick and (model, pictures) == MAIN
                turns = {
                    each.title: turn(server, Requests(work, each.form), connections, seconds)
                    for each, server in started.items()
                }
                if connections == CONNECTIONS:
                    turns["native"] = functools.partial(native, work, seconds)
                cells += in_turns(turns, rounds, {"model": model, "pictures": pictures, "connections": connections})
    cells += against_stock(2 if quick else 5, missing)
    return {"cells": cells, "missing": missing}


def turn(server, requests, connections, seconds):
    """Returns a function that measures one closed loop, with the server's CPU time per response in ms."""

    def measure():
        before = cpu(server.pid)
        run = closed_loop(server.port, requests, connections, seconds)
        took = cpu(server.pid) - before
        await_idle(server.pid)
        return run | {"cpu_ms": took * 1e3 / run["answers"]}

    return measure


def await_idle(pid, timeout=20):
    """Waits until a server has finished abandoned requests, which would disturb the next measurement."""
    before, until = cpu(pid), time.monotonic() + timeout
    while time.monotonic() < until:
        time.sleep(0.2)
        now = cpu(pid)
        if now - before < 0.03:
            return
        before = now


def warm_up(started, work):
    for contender, running_server in started.items():
        with contextlib.suppress(LoadError):
            closed_loop(running_server.port, work.requests(contender.form), 8, 1)


def in_turns(turns, rounds, labels):
    """Runs every turn once per round; a contender that loses requests is recorded as failed and not run again."""
    runs, failed = {name: [] for name in turns}, {}
    for n in range(rounds):
        # Rotate, so that no contender always runs after the same one.
        first = n % len(turns)
        for name in [*turns][first:] + [*turns][:first]:
            if name in failed:
                continue
            try:
                runs[name].append(turns[name]())
            except LoadError as error:
                say(f"{name}: {error}")
                failed[name] = str(error)
    cells = []
    for name, each in runs.items():
        cell = {"contender": name, **labels}
        if name in failed:
            cell["failed"] = failed[name]
        else:
            keys = [key for key in each[0] if isinstance(each[0][key], float)]
            cell |= {key: round(statistics.median(one[key] for one in each), 3) for key in keys}
            cell["rates"] = [round(one["rate"], 2) for one in each]
        cells.append(cell)
        say(" ".join(str(value) for value in cell.values() if not isinstance(value, list)))
    return cells


def against_stock(rounds, missing):
    """Compares with stock wasmtime on few connections, since it loads the model for each request."""
    work, peer = Workload(*MAIN), stock()
    try:
        subprocess.run(
            [ROOT / "models/build.py", "model", "--openvino", work.folder.name], check=True, stdout=subprocess.DEVNULL
        )
    except subprocess.CalledProcessError:
        missing[peer.title] = "the model could not be converted to OpenVINO's format"
        return []
    with running([Modelfn(), peer], work, missing) as started:
        if len(started) < 2:
            return []
        turns = {each.title: turn(started[each], Requests(work), 4, 3) for each in started}
        return in_turns(
            turns, rounds, {"model": work.model, "pictures": work.pictures, "connections": 4, "against": "stock"}
        )


def latency(quick):
    """Measures latencies in an open loop, with all at the same rates: fractions of modelfn's closed-loop rate."""
    work, seconds = Workload(*MAIN), 3 if quick else 5
    ready, missing = peers()
    missing, cells = dict(missing), []
    with running([Modelfn(), *ready], work, missing) as started:
        warm_up(started, work)
        requests = {each: Requests(work, each.form) for each in started}
        ours = next(iter(started))
        capacity = statistics.median(
            closed_loop(started[ours].port, requests[ours], CONNECTIONS, seconds)["rate"]
            for _ in range(2 if quick else 3)
        )
        for part in [GOAL_RATE] if quick else RATES:
            turns = {each.title: at_rate(started[each], requests[each], part * capacity, seconds) for each in started}
            rounds = 5 if part == GOAL_RATE and not quick else 2
            cells += in_turns(turns, rounds, {"model": work.model, "pictures": work.pictures, "part": part})
    return {"capacity": round(capacity, 1), "cells": cells, "missing": missing}


def at_rate(server, requests, rate, seconds):
    def measure():
        run = open_loop(server.port, requests, rate, seconds)
        await_idle(server.pid)
        return run

    return measure


def start(quick):
    """Measures the time from starting a process to its first correct response, with warm file caches."""
    work, cells, parts = Workload(*MAIN), [], []
    ready, missing = peers()
    missing = dict(missing)
    for contender in [Modelfn(), *ready]:
        ours, times = contender.name == "modelfn", []
        options = {"log": "info"} if ours else {}
        rounds = (10 if quick else 20) if ours else (1 if quick else 5)
        try:
            fill_caches(contender, work)
            for _ in range(rounds):
                with contender.start(work, **options) as server:
                    times.append(server.started * 1e3)
                if ours:
                    parts.append(parts_of(server))
        except LoadError as error:
            missing[contender.title] = f"not started: {error}"
            continue
        cells.append(
            {
                "contender": contender.title,
                "ms": round(statistics.median(times), 1),
                "worst_ms": round(max(times), 1),
                "times": [round(each, 1) for each in times],
            }
        )
        say(f"{contender.title} {cells[-1]['ms']} ms")
    parts = {part: round(statistics.median(each[part] for each in parts), 1) for part in (parts or [{}])[0]}
    return {"cells": cells, "missing": missing, "parts": parts}


def fill_caches(contender, work):
    """Starts once without measuring, so that compiled code, bytecode and files are cached."""
    with contender.start(work):
        pass


def parts_of(server):
    """Breakdown of one start in ms, by our own log."""
    at = {
        entry["message"].split()[0]: (datetime.fromisoformat(entry["timestamp"]).timestamp() - server.began) * 1e3
        for entry in server.log
    }
    loaded = next(float(entry["load_ms"]) for entry in server.log if entry["message"] == "model loaded")
    return {
        "process, engine's library, graph read": at["model"] - loaded,
        "session and a run to warm it up": loaded,
        "function ready": at["serving"] - at["model"],
        "first request": server.started * 1e3 - at["serving"],
    }


def memory_used(quick):
    """Measures memory when idle after the first response, and its peak under load by concurrent requests.

    Contenders run one at a time, because PSS would count pages that two share by half.
    """
    work, seconds, cells, parts = Workload(*MAIN), 3 if quick else 8, [], {}
    ready, missing = peers()
    missing = dict(missing)
    for contender in [Modelfn(), *ready]:
        ours, requests = contender.name == "modelfn", Requests(work, contender.form)
        cell = {"contender": contender.title}
        try:
            fill_caches(contender, work)
            with contender.start(work) as server:
                cell["idle_mb"] = round(settled_memory(server.pid), 1)
                if ours:
                    parts = {part: round(mb, 1) for part, mb in mappings(server.pid).items()}
            many = (1, 16) if ours else ()
            for connections in many if quick else (1, 16, CONNECTIONS):
                with contender.start(work) as server, peak(lambda: memory(server.pid)) as most:
                    closed_loop(server.port, requests, connections, seconds)
                    cell[f"at_{connections}_mb"] = round(most.value, 1)
        except LoadError as error:
            missing[contender.title] = str(error)
            continue
        cells.append(cell)
        say(" ".join(f"{key} {value}" for key, value in cell.items() if key != "contender") + f" {contender.title}")
    return {"cells": cells, "missing": missing, "parts": parts}


def settled_memory(pid, timeout=15):
    """Returns the memory in MB once it stays within 1 % for a second."""
    before, until = memory(pid), time.monotonic() + timeout
    while time.monotonic() < until:
        time.sleep(1)
        now = memory(pid)
        if abs(now - before) < before / 100:
            return now
        before = now
    return before


def functions(quick, used=10):
    """Compares a process with many functions, of which ten are called, with a process that has only these ten.

    The functions are a thousand routes to the same file, or a hundred files, each of which takes two seconds to
    compile. The code cache starts empty.
    """
    work, figures, timeout = Workload(*MAIN), {}, 40 if quick else 300
    requests = Requests(work)
    for kind in ("same",) if quick else ("same", "distinct"):
        sizes = {}
        many = FUNCTIONS[kind]
        # Of each two runs the first compiles, and the second, which finds the code, is measured.
        for count in (used, used, many, many):
            manifest = many_functions(work, count, distinct=kind == "distinct")
            options = ["--load-model", work.folder.name, "--log", "warn", "--code-cache", SCRATCH / f"code-{kind}"]
            began = time.perf_counter()
            with server(options, app=manifest, models=work.folder.parent, wait=False) as ours:
                try:
                    # The functions that are called are spread among the others.
                    for n in range(used):
                        path = f"/f{n * count // used}/classify"
                        await_first_response(ours.port, requests, path=path, timeout=timeout)
                except LoadError as error:
                    figures[f"{kind}: failed"] = f"{count} functions did not answer within {timeout} s"
                    say(f"{kind}: {error}")
                    ours.process.kill()
                    break
                sizes[count] = memory(ours.pid)
                figures[f"{kind}: {count} functions, MB"] = round(sizes[count], 1)
                figures[f"{kind}: {count} functions, seconds until ten answered"] = round(
                    time.perf_counter() - began, 1
                )
        if len(sizes) == 2:
            figures[f"{kind}: times"] = round(sizes[many] / sizes[used], 3)
            say(f"{kind}: {figures[f'{kind}: times']} times")
    return figures


def many_functions(work, count, *, distinct):
    """Writes a manifest with `count` routes to classify.wasm, each to its own copy if `distinct`; returns its path."""
    source = (ROOT / "target/guest/classify.wasm").read_bytes()
    folder = SCRATCH / "functions"
    folder.mkdir(exist_ok=True)
    parts = ['spin_manifest_version = 2\napplication.name = "bench"\n']
    for n in range(count):
        path = ROOT / "target/guest/classify.wasm"
        if distinct:
            path = folder / f"f{n}.wasm"
            path.write_bytes(source + custom_section("bench", str(n).encode()))
        parts.append(
            f'[[trigger.http]]\nroute = "/f{n}/..."\ncomponent = "f{n}"\n[component.f{n}]\nsource = "{path}"\n'
            f'files = [{{ source = "{work.folder}", destination = "/model" }}]\n'
            f'[component.f{n}.tool.modelfn]\nmodels = ["{work.folder.name}"]\n'
        )
    manifest = SCRATCH / "functions.toml"
    manifest.write_text("".join(parts))
    return manifest


def custom_section(name, data):
    """A wasm custom section, which makes a file differ from others but has no effect."""
    body = bytes([len(name)]) + name.encode() + data
    return b"\0" + bytes([len(body)]) + body


def size(_quick):
    """Measures the disk space of all files that serving MAIN needs, in MB."""
    model = Workload(*MAIN).folder
    graph = (model / "model.onnx").stat().st_size
    wasm, code = ROOT / "target/guest/classify.wasm", SCRATCH / "size"
    run(MODELFN, "compile", "--app", model_app(model), "--out", code)
    figures = [
        {
            "contender": "modelfn",
            "mb": megabytes(MODELFN, RUNTIME, wasm, code) + graph / 1e6,
            "parts": "program, engine, function and its compiled code, model",
        }
    ]
    interpreter = megabytes(
        Path(sysconfig.get_path("stdlib")), leave_out=("site-packages", "dist-packages", "test", "__pycache__")
    )
    ready, missing = peers()
    for peer in ready:
        packages = megabytes(peer.venv, leave_out=("__pycache__",))
        figures.append(
            {
                "contender": peer.title,
                "mb": interpreter + packages + graph / 1e6,
                "parts": "Python's library, packages, model; without bytecode",
            }
        )
    engine = megabytes(
        *(
            path.resolve()
            for path in (ROOT / "target/openvino").glob("*.so*")
            if any(
                part in path.name
                for part in ("openvino.so", "openvino_c.so.", "cpu_plugin", "ir_frontend", "tbb.so", "hwloc")
            )
        )
    )
    figures.append(
        {
            "contender": stock().title,
            "mb": megabytes(TOOLS / "wasmtime", wasm) + engine + graph / 1e6,
            "parts": "program, the parts of OpenVINO that it needs, function, model",
        }
    )
    return {"cells": [figure | {"mb": round(figure["mb"], 1)} for figure in figures], "missing": missing}


def megabytes(*paths, leave_out=()):
    total = 0
    for path in paths:
        if path.is_file():
            total += path.stat().st_size
        for at, folders, names in os.walk(path):
            folders[:] = [each for each in folders if each not in leave_out]
            files = [Path(at, name) for name in names]
            total += sum(file.stat().st_size for file in files if not file.is_symlink())
    return total / 1e6
