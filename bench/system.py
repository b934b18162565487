"""Shared by all measures: building, the machine, the server under test, processes and their memory."""

import contextlib
import http.client
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRATCH = ROOT / "target/bench"
# The program as in the image, and a less optimised build with symbols, for profiles.
MODELFN, WITH_SYMBOLS = ROOT / "target/dist/modelfn", ROOT / "target/release/modelfn"
TOOLS = Path(os.environ.get("MODELFN_CACHE", Path.home() / ".cache/modelfn")) / "tools/bin"
PICTURES = ROOT / "target/pictures"
RUNTIME = next((ROOT / "target/lib").glob("libonnxruntime.so*"), None)
# Folders of results: those that are committed, and those of --quick.
RESULTS, QUICK = ROOT / "bench/results", ROOT / "target/bench-quick"
# Executables of the Cargo benches by name; build() fills it.
BENCHES = {}


def build():
    say("building (the first time about six minutes on two cores)")
    run("cargo", "build", "--release", "--workspace")
    run("cargo", "build", "--profile", "dist", "--package", "modelfn")
    benches = ["--bench", "instantiate", "--bench", "load"]
    out = run("cargo", "test", "--release", "--workspace", *benches, "--no-run", "--message-format", "json")
    # One codegen unit, as the function has: with several, loops are not inlined, and this would be no upper bound.
    out += run(
        "cargo",
        "rustc",
        "--release",
        "--package",
        "modelfn",
        "--bench",
        "native",
        "--message-format",
        "json",
        "--",
        "-C",
        "codegen-units=1",
        "-C",
        "target-cpu=native",
    )
    messages = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    BENCHES.update((m["target"]["name"], m["executable"]) for m in messages if m.get("executable"))
    run(ROOT / "guest/build.sh", "classify", "embed", "probe")
    run(ROOT / "models/build.py", "model", *MODELS.values())
    shutil.rmtree(SCRATCH, ignore_errors=True)
    SCRATCH.mkdir(parents=True)


# The model of spin.toml.
EXAMPLE = ["--load-model", "efficientnet-lite0-int8"]

# Arguments of models/build.py; a name without a slash is a folder of models/.
MODELS = {
    "lite0": "efficientnet-lite0",
    "int8": "efficientnet-lite0-int8",
    "lite2": "bench/models/efficientnet-lite2",
    "cifar10": "tests/fixtures/models/cifar10",
    "dense": "bench/models/dense",
    "tiny": "bench/models/tiny",
    "minilm": "all-minilm-l6-v2",
}


def folder(model):
    return ROOT / ("" if "/" in MODELS[model] else "models") / MODELS[model]


def variant(model, name, serving):
    """Copies a model to target/bench/models/ under another name, with another [serving] table."""
    source, target = folder(model), SCRATCH / "models" / name
    shutil.copytree(source, target, copy_function=os.link, ignore=shutil.ignore_patterns("*.toml", "*.xml", "*.bin"))
    card = (source / "model.toml").read_text()
    card = re.sub(r"(?m)^name = .*$", f'name = "{name}"', card, count=1)
    card = re.sub(r"(?ms)^\[serving\].*?(?=^\[|\Z)", "", card)
    (target / "model.toml").write_text(f"{card}\n[serving]\n{serving}")
    return name


class Server:
    """A running modelfn."""

    def __init__(self, process, port, admin):
        self.process, self.port, self.admin, self.log = process, port, admin, []

    def connect(self, timeout=30):
        return connect(self.port, timeout)

    @property
    def pid(self):
        return self.process.pid

    def resident(self):
        return resident(self.process.pid)

    def cpu(self):
        return cpu(self.pid)

    def metric(self, name):
        """Returns the sum of a metric over its labels."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=60)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        return sum(float(value) for value in re.findall(rf"(?m)^{name}(?:{{.*}})? (\S+)$", text))


@contextlib.contextmanager
def server(arguments, *, app=ROOT / "spin.toml", models=ROOT / "models", wait=True, program=MODELFN):
    port, admin = free_ports(2)
    log_path = ROOT / "target/bench.log"
    command = [
        program,
        "serve",
        "--app",
        app,
        "--models",
        models,
        "--log-format",
        "json",
        "--listen",
        f"127.0.0.1:{port}",
        "--admin-listen",
        f"127.0.0.1:{admin}",
        *arguments,
    ]
    with log_path.open("w") as log:
        process = subprocess.Popen([str(part) for part in command], cwd=ROOT, stderr=log)
        ours = Server(process, port, admin)
        try:
            if wait:
                ours.connect().close()
                wait_ready(port)
            yield ours
        finally:
            process.terminate()
            process.wait(30)
            ours.log = [json.loads(line) for line in log_path.read_text().splitlines() if line.startswith("{")]


@contextlib.contextmanager
def process(command, port):
    with subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as child:
        try:
            connect(port, 30).close()
            yield child
        finally:
            child.terminate()


def wait_ready(port):
    """Waits for the first response: the port is bound before the models are loaded."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException) as error:
        sys.exit(f"the server ended while it started ({error}); see target/bench.log")
    connection.close()


def connect(port, timeout):
    until = time.monotonic() + timeout
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", port), 60)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        except OSError:
            if time.monotonic() > until:
                sys.exit(f"nothing listens on port {port}; see target/bench.log")
            time.sleep(0.001)


def model_app(model, component=ROOT / "target/guest/classify.wasm"):
    """Writes a manifest in which a component has the model of this folder, and returns its path."""
    path = app(component, SCRATCH / f"{model.name}.toml")
    with path.open("a") as manifest:
        manifest.write(
            f'files = [{{ source = "{model}", destination = "/model" }}]\n'
            f'[component.bench.tool.modelfn]\nmodels = ["{model.name}"]\n'
        )
    return path


def load(port, *paths, bodies=(), headers=(), **options):
    """Runs bench/load.rs, and returns a result for each path."""
    command = [BENCHES["load"], "--address", f"127.0.0.1:{port}"]
    many = [("path", paths), ("body", bodies), ("header", headers), *((key, [value]) for key, value in options.items())]
    command += [part for key, values in many for value in values for part in (f"--{key}", value)]
    return [json.loads(line) for line in run(*command).splitlines()]


def app(component, path=SCRATCH / "spin.toml"):
    """Writes a manifest with this component on all routes, and returns its path."""
    path.write_text(
        'spin_manifest_version = 2\napplication.name = "bench"\n[[trigger.http]]\nroute = "/..."\ncomponent = "bench"\n'
        f'[component.bench]\nsource = "{component}"\n'
    )
    return path


def resident(pid):
    """Returns the resident memory of one process in MB."""
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) * 1024 / 1e6


def tree(pid):
    """Returns the ids of a process and of all its descendants."""
    below = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            below.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for each in found:
        found += below.get(each, [])
    return found


def memory(pid):
    """Returns the memory of a process and its descendants in MB, as proportional set size (PSS).

    PSS divides a shared page among the processes that share it, so that the sum is what would be freed if all ended.
    """
    kilobytes = 0
    for each in tree(pid):
        # The process may have ended meanwhile.
        with contextlib.suppress(OSError):
            found = re.search(r"(?m)^Pss:\s+(\d+) kB", Path(f"/proc/{each}/smaps_rollup").read_text())
            kilobytes += int(found[1]) if found else 0
    return kilobytes * 1024 / 1e6


def cpu(pid):
    """Returns the CPU time of a process and its descendants in seconds, which other load hardly affects."""
    ticks = 0
    for each in tree(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def mappings(pid):
    """Returns the memory of one process (PSS, in MB) by the kind of mapping."""
    found, part = {}, None
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if head := re.match(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+\s*(.*)", line):
            name = Path(head[1]).name
            part = (
                "engine's library"
                if name.startswith("libonnxruntime")
                else "program"
                if name == "modelfn"
                else "function's code"
                if name.endswith(".cwasm")
                else "other libraries"
                if ".so" in name
                else "heap, stacks, sandboxes"
            )
        elif line.startswith("Pss:"):
            found[part] = found.get(part, 0) + int(line.split()[1]) * 1024 / 1e6
    return dict(sorted(found.items(), key=lambda each: -each[1]))


class Peak:
    """The largest value that `measure` has returned so far."""

    def __init__(self, measure):
        self.measure, self.value = measure, 0

    def poll(self, stopping):
        while not stopping.is_set():
            self.value = max(self.value, self.measure())
            stopping.wait(0.1)


@contextlib.contextmanager
def peak(measure):
    """Samples a function ten times per second on a thread, and yields the Peak."""
    found, stopping = Peak(measure), threading.Event()
    thread = threading.Thread(target=found.poll, args=(stopping,))
    thread.start()
    try:
        yield found
    finally:
        stopping.set()
        thread.join()


def machine():
    """Describes what figures depend on, without anything that identifies this machine."""
    cpu = re.search(r"(?m)^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text())
    # The results themselves do not make the tree dirty.
    changed = run(
        "git",
        "status",
        "--porcelain",
        "--untracked-files=no",
        "--",
        ".",
        ":!bench/results",
        ":!bench/*.svg",
        ":!bench/README.md",
    )
    flags = set(re.search(r"(?m)^(?:flags|Features)\s*: (.*)$", Path("/proc/cpuinfo").read_text())[1].split())
    system = platform.freedesktop_os_release()
    total = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[1]) * 1024 / 1e9
    return {
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(total),
        "features": sorted(flags & {"avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "asimddp", "i8mm"}),
        "virtual": "hypervisor" in flags,
        "kernel": re.match(r"[\d.]+", platform.release())[0],
        "system": system.get("PRETTY_NAME", "Linux"),
        "python": platform.python_version(),
        "rustc": run("rustc", "--version").split()[1],
        "engine": RUNTIME.name if RUNTIME else None,
        "commit": run("git", "rev-parse", "--short", "HEAD").strip() + ("-dirty" if changed else ""),
    }


def results(quick):
    return QUICK if quick else RESULTS


def free_ports(count):
    """Returns distinct free ports."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def run(*command):
    """Runs a command that must succeed, and returns its standard output."""
    done = subprocess.run([str(part) for part in command], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command[0]} failed")
    return done.stdout


def say(text):
    print(f"bench: {text}", file=sys.stderr)
