"""Breakdown of the CPU time of a request: samples of `perf`, assigned to phases by the function that they hit.

For this the guest is built with symbol names, with otherwise the same code. Its compiled code is mapped from an ELF
file, so that perf finds the symbols.
"""

import collections
import os
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path

import plot
from clients import Requests, closed_loop
from system import ROOT, SCRATCH, WITH_SYMBOLS, cpu, model_app, results, run, say, server
from workloads import Workload

# A sample belongs to the first phase whose pattern matches `library function`.
PHASES = [
    ("engine", r"libonnxruntime"),
    ("guest: resize", r"cwasm .*modelfn_imaging::(resample|color)\b"),
    ("guest: tensor", r"cwasm .*modelfn_imaging::preprocess\b"),
    ("guest: decode", r"cwasm .*(modelfn_imaging|image|image_webp|png|fdeflate|gif|weezl)::"),
    ("guest: card", r"cwasm .*(modelfn_card|toml|toml_parser|winnow|serde_core::de)\b"),
    ("guest: answer", r"cwasm .*(serde_json|classify::postprocess|expf?\b)"),
    ("guest: memory", r"cwasm .*(memcpy|memmove|memset|alloc|malloc|free)"),
    ("guest: the rest", r"cwasm"),
    ("kernel: pages", r"kernel.*(fault|page|folio|mmap|munmap|madvise|zap|tlb|lru|memcg|vma|clear)"),
    ("kernel: network", r"kernel.*(tcp|sock|inet|ip_|skb|loopback|net_|copy_(to|from)|_copy|rep_movs|recv|send)"),
    ("kernel: threads", r"kernel.*(futex|sched|wake|switch|idle|epoll|timer|eventfd)"),
    ("kernel: the rest", r"kernel|unknown"),
    ("host: HTTP", r"modelfn .*(hyper|http|httparse|h2::)"),
    ("host: instance", r"modelfn .*(wasmtime|cranelift|cap_std|wasi)"),
    ("host: runtime", r"modelfn .*(tokio|mio|futures)"),
    ("copies", r"libc.*(memcpy|memmove|memset|avx|evex|erms)"),
    ("allocator", r"(alloc|free|malloc|cfree|realloc)"),
    ("host: the rest", r"modelfn"),
    ("the rest", r""),
]


def profile(quick, connections=8):
    """Measures the CPU time of one request by phase, in ms, under load on all cores."""
    if not shutil.which("perf"):
        return {"skipped": "perf is missing: on Debian, as root, apt-get install linux-perf"}
    component, figures, seconds = named_guest(), {}, 5 if quick else 15
    for model, pictures in (("int8", "photograph"), ("int8", "phone"), ("cifar10", "thumbnail")):
        work = Workload(model, pictures)
        figures[f"{model}, {pictures}"] = one(work, component, connections, seconds)
    write(figures, results(quick))
    return {f"{work}: {phase}, ms": ms for work, found in figures.items() for phase, ms in found["phases"].items()}


def named_guest():
    """Builds the function with symbol names, and returns its path."""
    source, target = ROOT / "target/guest/classify.wasm", SCRATCH / "classify-named.wasm"
    environment = os.environ | {"CARGO_PROFILE_GUEST_STRIP": "none"}
    subprocess.run([ROOT / "guest/build.sh", "classify"], env=environment, check=True, stderr=subprocess.DEVNULL)
    shutil.copy(source, target)
    subprocess.run([ROOT / "guest/build.sh", "classify"], check=True, stderr=subprocess.DEVNULL)
    return target


def one(work, component, connections, seconds):
    data, code = SCRATCH / "perf.data", SCRATCH / "code"
    shutil.rmtree(code, ignore_errors=True)
    options = ["--load-model", work.folder.name, "--log", "warn", "--code-cache", code]
    with server(
        options, app=model_app(work.folder, component), models=work.folder.parent, program=WITH_SYMBOLS
    ) as ours:
        closed_loop(ours.port, Requests(work), connections, 2)
        before, result = cpu(ours.pid), {}
        load = threading.Thread(
            target=lambda: result.update(closed_loop(ours.port, Requests(work), connections, seconds + 1))
        )
        load.start()
        time.sleep(0.5)
        # The CPU clock is sampled, because virtual machines rarely have hardware counters.
        run(
            "perf",
            "record",
            "--quiet",
            "-e",
            "cpu-clock",
            "-F",
            "1999",
            "-p",
            ours.pid,
            "-o",
            data,
            "--",
            "sleep",
            seconds,
        )
        load.join()
        each = (cpu(ours.pid) - before) * 1e3 / result["answers"]
    found = collections.Counter()
    for line in run("perf", "script", "-i", data, "-F", "ip,sym,dso").splitlines():
        match = re.match(r"\s*[0-9a-f]+ (.*) \((.*)\)$", line)
        if match:
            found[(Path(match[2]).name, clean(match[1]))] += 1
    total = sum(found.values())
    phases, functions = collections.Counter(), collections.Counter()
    for (library, function), count in found.items():
        phase = next(name for name, pattern in PHASES if re.search(pattern, f"{kind(library)} {function}"))
        phases[phase] += count
        functions[(phase, function)] += count
    say(f"{work.words}: {total} samples, {each:.2f} ms of CPU a request")
    return {
        "cpu_ms": round(each, 3),
        "samples": total,
        "phases": {name: round(count * each / total, 3) for name, count in phases.most_common()},
        "functions": [(phase, function, count / total) for (phase, function), count in functions.most_common(40)],
    }


def kind(library):
    return "kernel" if library.startswith("[") else "cwasm" if library.endswith(".cwasm") else library


def clean(symbol):
    """Demangles the name of a Rust function, and removes its hash."""
    symbol = re.sub(r"^wasm\[\d+\]::function\[\d+\](::)?", "", symbol) or "a function"
    if mangled := re.match(r"_ZN(.*?)E?$", symbol):
        rest, parts = mangled[1], []
        while length := re.match(r"\d+", rest):
            end = length.end() + int(length[0])
            parts.append(rest[length.end() : end])
            rest = rest[end:]
        symbol = "::".join(parts)
        for short, sign in (
            ("$LT$", "<"),
            ("$GT$", ">"),
            ("$u20$", " "),
            ("$RF$", "&"),
            ("$C$", ","),
            ("..", "::"),
            ("$u7b$", "{"),
            ("$u7d$", "}"),
        ):
            symbol = symbol.replace(short, sign)
    return re.sub(r"::h[0-9a-f]{16}$", "", symbol)


def write(figures, folder):
    """Writes profile.txt, and profile.svg of the first workload."""
    lines = []
    for name, found in figures.items():
        lines += [f"{name}: {found['cpu_ms']:.2f} ms of CPU a request, {found['samples']} samples"]
        lines += [f"  {ms:8.3f} ms  {phase}" for phase, ms in found["phases"].items()]
        lines += [
            "  functions:",
            *(f"  {part:7.1%}  {phase:<18} {function[:100]}" for phase, function, part in found["functions"]),
            "",
        ]
    (folder / "profile.txt").write_text("\n".join(lines))
    name, found = next(iter(figures.items()))
    inside = {
        phase: [(function, part * found["cpu_ms"]) for its, function, part in found["functions"] if its == phase]
        for phase in found["phases"]
    }
    plot.icicle(folder / "profile.svg", f"{name}: {found['cpu_ms']:.1f} ms of CPU a request", found["phases"], inside)
