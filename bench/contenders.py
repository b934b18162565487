"""Who is measured: modelfn, each folder of bench/peers/, and what the same work costs without a server (native).

A peer is a folder with `peer.toml` (its name for people, how it wants the picture), `start` (a script that becomes the
server; it gets PORT, CORES, MODEL and more, see below) and, in Python, `requirements.txt` with hashes. One that can't be
installed or started is named with the reason, and not measured.
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

from clients import Ask, Lost, first_answer
from system import BENCHES, ROOT, RUNTIME, SCRATCH, TOOLS, classify_app, free_ports, run, say, server, tree

PEERS = ROOT / "bench/peers"
INSTALLED = ROOT / "target/bench-peers"


class Modelfn:
    """As images have it, but for the log line of each request, which no peer writes either."""

    name = title = "modelfn"
    form = None

    @contextlib.contextmanager
    def start(self, work, log="warn"):
        began, since = time.time(), time.perf_counter()
        options = ["--load-model", work.folder.name, "--log", log]
        with server(options, app=classify_app(work.folder), models=work.folder.parent, wait=False) as running:
            first_answer(running.port, Ask(work), alive=lambda: running.process.poll() is None)
            running.began, running.started = began, time.perf_counter() - since
            yield running


class Peer:
    """A folder of bench/peers/."""

    def __init__(self, folder):
        self.folder, self.name = folder, folder.name
        card = tomllib.loads((folder / "peer.toml").read_text())
        self.title, self.form, self.openvino = card["title"], card.get("form"), card.get("openvino", False)
        self.venv = INSTALLED / self.name

    def install(self):
        """Makes the venv of requirements.txt where it isn't there already; None, or why it can't be."""
        requirements = self.folder / "requirements.txt"
        if not requirements.exists():
            return None
        import wheels

        stamp, digest = self.venv / "installed", wheels.digest(requirements.read_bytes() + sys.version.encode())
        if stamp.exists() and stamp.read_text() == digest:
            return None
        say(f"installing {self.title} into {self.venv.relative_to(ROOT)} (once)")
        log = INSTALLED / f"{self.name}.log"
        self.venv.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "w") as out:
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
                if subprocess.run(command, stdout=out, stderr=out).returncode:
                    last = (log.read_text().strip().splitlines() or ["no reason given"])[-1]
                    return f"not installed: {last}"
        stamp.write_text(digest)
        return None

    @contextlib.contextmanager
    def start(self, work):
        """The running server, after its first right answer; `started` is how long that took."""
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
        with open(scratch / "log", "w") as log:
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
                    first_answer(port, Ask(work, self.form), alive=lambda: process.poll() is None)
                except Lost as lost:
                    last = (scratch / "log").read_text().strip().splitlines()[-1:]
                    raise Lost(f"{lost}; its log ends with: {' '.join(last)[:200]}") from None
                yield Running(process, port, time.perf_counter() - began)
            finally:
                end(process)


class Running:
    def __init__(self, process, port, started):
        self.process, self.pid, self.port, self.started = process, process.pid, port, started


def end(process):
    """All that a process started ends with it."""
    every = tree(process.pid)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    for pid in every:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def native(work, seconds):
    """bench/native.rs: the same crates and engine, on all cores, without a server. Ends where an answer is wrong."""
    pictures = [part for path, right in work.files.items() for part in ("--picture", f"{path}={right}")]
    return json.loads(
        run(BENCHES["native"], "--model", work.folder, "--onnxruntime", RUNTIME, "--seconds", seconds, *pictures)
    )


@functools.cache
def peers():
    """Those that can be measured, and for the others the reason."""
    ready, missing = [], {}
    for folder in sorted(path.parent for path in PEERS.glob("*/peer.toml")):
        peer = Peer(folder)
        reason = peer.install()
        if reason:
            say(f"{peer.title}: {reason}")
            missing[peer.title] = reason
        elif not peer.openvino:
            ready.append(peer)
    return ready, missing


def stock():
    """Stock `wasmtime serve`, which can't be compared by the same load: it loads the model for each request."""
    return Peer(PEERS / "wasmtime-serve")


@contextlib.contextmanager
def running(contenders, work, missing):
    """All of them at once, each idle but for its turns; who does not start is put into `missing`."""
    with contextlib.ExitStack() as stack:
        started = {}
        for contender in contenders:
            try:
                started[contender] = stack.enter_context(contender.start(work))
            except Lost as lost:
                if isinstance(contender, Modelfn):
                    raise SystemExit(f"modelfn did not answer: {lost}") from None
                say(f"{contender.title}: not started: {lost}")
                missing[contender.title] = f"not started: {lost}"
        yield started
