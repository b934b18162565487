"""Measures the cost of a single request, and its breakdown."""

import contextlib
import http.client
import json
import re
import socket
import statistics
import sys

from clients import get_loop
from system import BENCHES, EXAMPLE, PICTURES, ROOT, TOOLS, app, free_ports, process, run, server

# The same settings as in the host's own pool, which its wasm engine defines.
POOL = "pooling-memory-keep-resident=2097152,pooling-table-keep-resident=65536,pooling-pagemap-scan=auto"
PICTURE = PICTURES / "rocket.jpg"  # 640 x 427, baseline JPEG


def instantiate(_quick):
    """Measures creating and dropping store and instance, on one thread."""
    wasms = [ROOT / f"target/guest/{name}.wasm" for name in ("classify", "probe")]
    out = run(BENCHES["instantiate"], *wasms)
    rows = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return {f"{row['component']} {key}, µs": round(row[key + "_us"], 1) for row in rows for key in ("p50", "p99")}


def trivial(quick):
    """Measures a guest that says hello: in modelfn, in stock `wasmtime serve`, and in that with our pool settings."""
    probe = ROOT / "target/guest/probe.wasm"
    wasmtime = TOOLS / "wasmtime"
    if not wasmtime.exists():
        return {"skipped": "stock wasmtime is missing; run tests/setup.sh"}
    rounds, seconds = (3, 2) if quick else (5, 3)
    ports = dict(zip(("stock", "stock, tuned"), free_ports(2), strict=True))
    theirs = {name: [wasmtime, "serve", "-S", "cli,nn", "--addr", f"127.0.0.1:{port}"] for name, port in ports.items()}
    theirs["stock, tuned"] += ["-O", POOL]
    with contextlib.ExitStack() as stack:
        ports["modelfn"] = stack.enter_context(server(["--log", "warn"], app=app(probe))).port
        for name, command in theirs.items():
            stack.enter_context(process([*command, probe], ports[name]))
        rates = {name: [] for name in sorted(ports)}
        for port in ports.values():
            get_loop(port, "/hello", 16, 1)
        for _ in range(rounds):
            for name, each in rates.items():
                each.append(get_loop(ports[name], "/hello", 16, seconds))
    return {f"{name}, requests/s": round(statistics.median(each)) for name, each in rates.items()}


def overhead(_quick, requests=1000):
    """Breakdown of the time of one `POST /classify`, one request at a time, by the server's own log."""
    with server(EXAMPLE) as ours:
        timings = {}
        with socket.create_connection(("127.0.0.1", ours.port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(requests):
                headers = post(connection, PICTURE.read_bytes())
                timings[headers["x-request-id"]] = server_timing(headers)
    rows = []
    for entry in ours.log:
        if entry.get("message") == "answered" and entry["span"]["id"] in timings:
            row = timings[entry["span"]["id"]] | {key: entry[key + "_ms"] for key in ("queue", "engine")}
            row["whole request"] = entry["ms"]
            row["overhead"] = row["whole request"] - row["decode"] - row["preprocess"] - row["engine"]
            row["around the engine"] = row["compute"] - row["engine"]
            rows.append(row)
    rows = rows[len(rows) // 10 :]
    names = (
        "whole request",
        "decode",
        "preprocess",
        "engine",
        "overhead",
        "around the engine",
        "sandbox",
        "card",
        "postprocess",
    )
    return {f"{name}, ms": round(statistics.median(row[name] for row in rows), 3) for name in names}


def post(connection, body, expect=b'"class"'):
    """Sends one request with a single write, and returns the response headers."""
    head = f"POST /classify HTTP/1.1\r\nHost: bench\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    response = http.client.HTTPResponse(connection)
    response.begin()
    answer = response.read()
    if response.status != 200 or expect not in answer:
        sys.exit(f"a wrong answer: {response.status} {answer.decode()}")
    return response.headers


def server_timing(headers):
    values = ", ".join(headers.get_all("server-timing"))
    return {name: float(ms) for name, ms in re.findall(r"(\w+);dur=([\d.]+)", values)}
