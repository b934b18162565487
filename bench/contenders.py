"""The contenders: modelfn, each folder of bench/peers/, and the same work without a server (native).

A peer is a folder with `peer.toml` (its title and its request format), `start` (a script that executes the server, with
PORT, CORES, MODEL and more in the environment, see below) and, in Python, `requirements.txt` with hashes. A peer that
can't be installed or started is not measured; it is listed with the reason.
"""

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import time
import tomllib

import wheels
from clients import LoadError, await_first_response
from system import BENCHES, ROOT, RUNTIME, SCRATCH, TOOLS, free_ports, model_app, run, say, server, tree

PEERS = ROOT / "bench/peers"
INSTALLED = ROOT / "target/bench-peers"


class Modelfn:
    """The program as in the image, but without the log line per request, which no peer writes either."""

    name = title = "modelfn"
    form = None

    @contextlib.contextmanager
    def start(self, work, log="warn"):
        began, since = time.time(), time.perf_counter()
        options = ["--load-model", work.folder.name, "--log", log]
        with server(
            options,
            app=model_app(work.folder, ROOT / f"target/guest/{work.component}.wasm"),
            models=work.folder.parent,
            wait=False,
        ) as running:
            await_first_response(running.port, work.requests(), is_alive=lambda: running.process.poll() is None)
            running.began, running.started = began, time.perf_counter() - since
            yield running


class Peer:
    """A folder of bench/peers/."""

    def __init__(self, folder):
        self.folder, self.name = folder, folder.name
        card = tomllib.loads((folder / "peer.toml").read_text())
        self.title, self.form, self.openvino = card["title"], card.get("form"), card.get("openvino", False)
        self.component = card.get("component", "classify")
        self.venv = INSTALLED / self.name

    def install(self):
        """Creates the venv of requirements.txt if necessary; returns why that failed, or None."""
        requirements = self.folder / "requirements.txt"
        if not requirements.exists():
            return None
        stamp, digest = self.venv / "installed", wheels.digest(requirements.read_bytes() + sys.version.encode())
        if stamp.exists() and stamp.read_text() == digest:
            return None
        say(f"installing {self.title} into {self.venv.relative_to(ROOT)} (once)")
        log = INSTALLED / f"{self.name}.log"
        self.venv.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as out:
            for command in (
                [sys.executable, "-m", "venv", "--clear", "--without-pip", self.venv],
                [
                    sys.executable,
                    "-m",
                    "pip",
                    "--python",
                    self.venv / "bin/python",
                    "install",
                    "--quiet",
                    "--no-deps",
                    "--require-hashes",
                    "--only-binary",
                    ":all:",
                    "--requirement",
                    requirements,
                ],
            ):
                if subprocess.run(command, stdout=out, stderr=out, check=False).returncode:
                    last = (log.read_text().strip().splitlines() or ["no reason given"])[-1]
                    return f"not installed: {last}"
        stamp.write_text(digest)
        return None

    @contextlib.contextmanager
    def start(self, work):
        """Yields the server after its first correct response; `started` is the time until then in seconds."""
        (port, *spare), scratch = free_ports(3), SCRATCH / self.name
        scratch.mkdir(parents=True, exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | {
            "PORT": str(port),
            "SPARE_PORT": str(spare[0]),
            "SPARE_PORT2": str(spare[1]),
            "CORES": str(os.cpu_count()),
            "MODEL": str(work.folder),
            "SCRATCH": str(scratch),
            "ROOT": str(ROOT),
            "TOOLS": str(TOOLS),
            "VENV": str(self.venv),
            "PYTHONPATH": f"{PEERS}:{self.folder}",
            "PATH": f"{self.venv}/bin:{os.environ['PATH']}",
        }
        with (scratch / "log").open("w") as log:
            began = time.perf_counter()
            process = subprocess.Popen(
                [self.folder / "start"],
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            try:
                try:
                    await_first_response(port, work.requests(self.form), is_alive=lambda: process.poll() is None)
                except LoadError as error:
                    last = (scratch / "log").read_text().strip().splitlines()[-1:]
                    raise LoadError(f"{error}; its log ends with: {' '.join(last)[:200]}") from None
                yield RunningPeer(process, port, time.perf_counter() - began)
            finally:
                end(process)


class RunningPeer:
    def __init__(self, process, port, started):
        self.process, self.pid, self.port, self.started = process, process.pid, port, started


def end(process):
    """Ends a process and all its descendants."""
    every = tree(process.pid)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    for pid in every:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def native(work, seconds):
    """Runs bench/native.rs: the same crates and engine on all cores, without a server. A wrong class is an error."""
    pictures = [part for path, right in work.files.items() for part in ("--picture", f"{path}={right}")]
    return json.loads(
        run(BENCHES["native"], "--model", work.folder, "--onnxruntime", RUNTIME, "--seconds", seconds, *pictures)
    )


@functools.cache
def peers(component="classify"):
    """Returns the peers that can be measured beside this function, and for the others the reason, by title."""
    ready, missing = [], {}
    for folder in sorted(path.parent for path in PEERS.glob("*/peer.toml")):
        peer = Peer(folder)
        if peer.component != component:
            continue
        reason = peer.install()
        if reason:
            say(f"{peer.title}: {reason}")
            missing[peer.title] = reason
        elif not peer.openvino:
            ready.append(peer)
    return ready, missing


def stock():
    """Stock `wasmtime serve`, which gets a lighter load, because it loads the model for each request."""
    return Peer(PEERS / "wasmtime-serve")


@contextlib.contextmanager
def running(contenders, work, missing):
    """Starts all contenders at once, each idle outside its turns; adds those that do not start to `missing`."""
    with contextlib.ExitStack() as stack:
        started = {}
        for contender in contenders:
            try:
                started[contender] = stack.enter_context(contender.start(work))
            except LoadError as error:
                if isinstance(contender, Modelfn):
                    raise SystemExit(f"modelfn did not answer: {error}") from None
                say(f"{contender.title}: not started: {error}")
                missing[contender.title] = f"not started: {error}"
        yield started
