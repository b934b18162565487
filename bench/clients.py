"""What drives a server: wrk as fast as it answers, oha at a rate. Both are kept by others; every answer is looked at,
or (oha's) its status and a sample. A wrong one ends the run.

wrk costs the least of the cores that it shares with the server. Of bench/load.rs are the measures that compare each
answer to the byte, or that the server refuses.
"""

import functools
import http.client
import json
import os
import shutil
import subprocess
import sys
import time

from system import ROOT, SCRATCH, TOOLS, run, say

OHA = "1.16.0"
# What a client waits for an answer.
PATIENCE = 60
BOUNDARY = "modelfn-bench"


class Lost(Exception):
    """A server did not answer all that was asked; the text says what happened instead."""


class Ask:
    """The requests of a workload, as one server wants them: the picture as the body, or as a field of a form."""

    def __init__(self, work, form=None):
        self.work, self.type = work, "image/jpeg"
        self.bodies = dict(work.files)
        if form:
            self.type = f"multipart/form-data; boundary={BOUNDARY}"
            self.bodies = {wrap(path, form): right for path, right in work.files.items()}

    def right(self, status, answer, body=None):
        """Whether this answers the request with that body, or with any."""
        try:
            found = json.loads(answer)
            found = found[0] if isinstance(found, list) else found
            return status == 200 and found["class"] in ([self.bodies[body]] if body else self.bodies.values())
        except (ValueError, LookupError, TypeError):
            return False


def wrap(path, field):
    target = SCRATCH / f"{field}-{path.name}"
    kind = "png" if path.suffix == ".png" else "jpeg"
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{path.name}"\r\n'
        f"Content-Type: image/{kind}\r\n\r\n"
    )
    target.write_bytes(head.encode() + path.read_bytes() + f"\r\n--{BOUNDARY}--\r\n".encode())
    return target


def sample(port, ask, path="/classify"):
    """Each body once; every answer must be right."""
    for body in ask.bodies:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        try:
            connection.request("POST", path, body.read_bytes(), {"Content-Type": ask.type})
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Lost(f"no answer to {body.name}: {error or type(error).__name__}") from None
        finally:
            connection.close()
        if not ask.right(response.status, answer, body):
            sys.exit(f"a wrong answer to {body.name}: {response.status} {answer[:300].decode(errors='replace')}")


def first_answer(port, ask, patience=PATIENCE, alive=lambda: True, path="/classify"):
    """Asks from before the server listens until it answers rightly."""
    body, until = next(iter(ask.bodies)), time.monotonic() + patience
    data = body.read_bytes()
    last = "nothing listened"
    while time.monotonic() < until and alive():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=max(1, until - time.monotonic()))
        try:
            connection.request("POST", path, data, {"Content-Type": ask.type})
            response = connection.getresponse()
            answer = response.read()
            if ask.right(response.status, answer, body):
                return
            last = f"{response.status} {answer[:200].decode(errors='replace')}"
        except (OSError, http.client.HTTPException) as error:
            last = str(error) or type(error).__name__
        finally:
            connection.close()
        time.sleep(0.001)
    raise Lost(f"no right answer: {last}")


def closed_loop(port, ask, connections, seconds):
    """Each connection sends when it has its answer: wrk, one thread."""
    # What an earlier run left behind is done when this is.
    sample(port, ask)
    command = [
        wrk(),
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        f"--timeout={PATIENCE}s",
        "-s",
        ROOT / "bench/wrk.lua",
        f"http://127.0.0.1:{port}/classify",
        "--",
        "|".join(sorted(set(ask.bodies.values()))),
        ask.type,
        *ask.bodies,
    ]
    result = json.loads(run(*command).splitlines()[-1])
    if result["wrong"]:
        sys.exit(f"wrk: {result['wrong']} of {result['answers']} answers were wrong, such as {result['sample']}")
    if result["lost"] or not result["answers"]:
        raise Lost(f"{result['lost']} requests lost beside {result['answers']} answers at {connections} connections")
    times = {key: result[key] for key in ("p50_ms", "p90_ms", "p99_ms")}
    return {"rate": result["answers"] / result["seconds"], "answers": result["answers"], **times}


def open_loop(port, ask, rate, seconds, connections=256):
    """Requests are due at a rate, whatever the server does; times count from when they were due: oha."""
    sample(port, ask)
    body = next(iter(ask.bodies))
    out = run(
        oha(),
        "--no-tui",
        "--output-format",
        "json",
        "--worker-threads",
        1,
        "--latency-correction",
        "-w",
        "-c",
        connections,
        "-z",
        f"{seconds}s",
        "-q",
        max(1, round(rate)),
        "-t",
        f"{PATIENCE}s",
        "-m",
        "POST",
        "-T",
        ask.type,
        "-D",
        body,
        f"http://127.0.0.1:{port}/classify",
    )
    sample(port, ask)
    result = json.loads(out)
    statuses, errors = result["statusCodeDistribution"], result["errorDistribution"]
    if set(statuses) != {"200"} or errors:
        raise Lost(f"at {rate:.0f} requests/s: {statuses} {errors}")
    times = result["latencyPercentiles"]
    answered = statuses["200"] / result["summary"]["total"]
    return {"offered": rate, "rate": answered, **{f"{part}_ms": times[part] * 1e3 for part in ("p50", "p90", "p99")}}


def get_loop(port, path, connections, seconds):
    """Requests a second of a GET."""
    out = run(wrk(), "-t1", f"-c{connections}", f"-d{seconds}s", f"http://127.0.0.1:{port}{path}")
    if "Non-2xx" in out or "Socket errors" in out:
        sys.exit(out)
    return float(out.partition("Requests/sec:")[2].split()[0])


@functools.cache
def wrk():
    if not shutil.which("wrk"):
        say("installing wrk by apt, which needs root")
        run("apt-get", "update", "-q")
        run("apt-get", "install", "-y", "-q", "--no-install-recommends", "wrk")
    return shutil.which("wrk")


@functools.cache
def oha():
    program = TOOLS / "oha"
    found = subprocess.run([program, "--version"], capture_output=True, text=True).stdout if program.exists() else ""
    if found.split()[1:] != [OHA]:
        say(f"installing oha {OHA} to {TOOLS.parent} (once; about five minutes on two cores)")
        subprocess.run(
            [
                "cargo",
                "install",
                "--quiet",
                "--locked",
                "--no-default-features",
                "--features",
                "rustls",
                "--root",
                TOOLS.parent,
                f"oha@{OHA}",
            ],
            check=True,
            preexec_fn=lambda: os.nice(19),
        )
    return program
