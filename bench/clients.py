"""Load generators: wrk in a closed loop, oha at a constant rate.

wrk checks every response; of oha's, every status and a sample before and after are checked. A wrong response ends the
run. wrk is used because it takes the least CPU time, which it shares with the server. Measures that compare responses
byte by byte, or in which the server refuses requests, use bench/load.rs instead.
"""

import dataclasses
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
# Seconds that a client waits for a response.
TIMEOUT = 60
BOUNDARY = "modelfn-bench"


class LoadError(Exception):
    """A server did not respond to all requests; the message says what happened instead."""


class Requests:
    """The requests of a workload in a server's format: the picture is the body, or the field `form` of a form.

    `bodies` maps the file of each body to the correct class, which responses tell as `key`.
    """

    path, key = "/classify", "class"

    def __init__(self, work, form=None):
        self.content_type = "image/jpeg"
        self.bodies = dict(work.files)
        if form:
            self.content_type = f"multipart/form-data; boundary={BOUNDARY}"
            self.bodies = {wrap(path, form): expected for path, expected in work.files.items()}

    def is_correct(self, response, body):
        """Whether the response to this body is 200 with the correct class."""
        try:
            found = json.loads(response.body)
            found = found[0] if isinstance(found, list) else found
            return response.status == 200 and found["class"] == self.bodies[body]
        except (ValueError, LookupError, TypeError):
            return False


def wrap(path, field):
    """Writes a multipart/form-data body with the picture as one field, and returns its path."""
    target = SCRATCH / f"{field}-{path.name}"
    kind = "png" if path.suffix == ".png" else "jpeg"
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{path.name}"\r\n'
        f"Content-Type: image/{kind}\r\n\r\n"
    )
    target.write_bytes(head.encode() + path.read_bytes() + f"\r\n--{BOUNDARY}--\r\n".encode())
    return target


@dataclasses.dataclass(frozen=True)
class Response:
    """A status and a whole body."""

    status: int
    body: bytes

    def __str__(self):
        return f"{self.status} {self.body[:300].decode(errors='replace')}"


def post(url, body, content_type, timeout):
    """Sends one request on a new connection; raises LoadError where there is no response."""
    host, _, path = url.partition("/")
    connection = http.client.HTTPConnection(host, timeout=timeout)
    try:
        connection.request("POST", f"/{path}", body, {"Content-Type": content_type})
        response = connection.getresponse()
        return Response(response.status, response.read())
    except (OSError, http.client.HTTPException) as error:
        raise LoadError(str(error) or type(error).__name__) from None
    finally:
        connection.close()


def verify(port, requests):
    """Sends each body once; every response must be correct."""
    for body in requests.bodies:
        try:
            response = post(f"127.0.0.1:{port}{requests.path}", body.read_bytes(), requests.content_type, TIMEOUT)
        except LoadError as error:
            raise LoadError(f"no answer to {body.name}: {error}") from None
        if not requests.is_correct(response, body):
            sys.exit(f"a wrong answer to {body.name}: {response}")


def await_first_response(port, requests, *, path=None, timeout=TIMEOUT, is_alive=lambda: True):
    """Polls a server, which may not listen yet, until it responds correctly."""
    body, deadline = next(iter(requests.bodies)), time.monotonic() + timeout
    data = body.read_bytes()
    last = "nothing listened"
    while time.monotonic() < deadline and is_alive():
        remaining = max(1, deadline - time.monotonic())
        try:
            response = post(f"127.0.0.1:{port}{path or requests.path}", data, requests.content_type, remaining)
            if requests.is_correct(response, body):
                return
            last = str(response)
        except LoadError as error:
            last = str(error)
        time.sleep(0.001)
    raise LoadError(f"no right answer: {last}")


def closed_loop(port, requests, connections, seconds):
    """Runs wrk with one thread, where each connection sends its next request after a response."""
    # When these have responses, the server is done with the requests of an earlier run.
    verify(port, requests)
    command = [
        wrk(),
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        f"--timeout={TIMEOUT}s",
        "-s",
        ROOT / "bench/wrk.lua",
        f"http://127.0.0.1:{port}{requests.path}",
        "--",
        requests.key,
        "|".join(sorted(set(requests.bodies.values()))),
        requests.content_type,
        *requests.bodies,
    ]
    result = json.loads(run(*command).splitlines()[-1])
    if result["wrong"]:
        sys.exit(f"wrk: {result['wrong']} of {result['answers']} answers were wrong, such as {result['sample']}")
    if result["lost"] or not result["answers"]:
        raise LoadError(
            f"{result['lost']} requests lost beside {result['answers']} answers at {connections} connections"
        )
    times = {key: result[key] for key in ("p50_ms", "p90_ms", "p99_ms")}
    return {"rate": result["answers"] / result["seconds"], "answers": result["answers"], **times}


def open_loop(port, requests, rate, seconds, *, connections=256):
    """Runs oha, which sends at a constant rate, and measures latencies from the time at which a request was due."""
    verify(port, requests)
    body = next(iter(requests.bodies))
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
        f"{TIMEOUT}s",
        "-m",
        "POST",
        "-T",
        requests.content_type,
        "-D",
        body,
        f"http://127.0.0.1:{port}{requests.path}",
    )
    verify(port, requests)
    result = json.loads(out)
    statuses, errors = result["statusCodeDistribution"], result["errorDistribution"]
    if set(statuses) != {"200"} or errors:
        raise LoadError(f"at {rate:.0f} requests/s: {statuses} {errors}")
    times = result["latencyPercentiles"]
    answered = statuses["200"] / result["summary"]["total"]
    return {"offered": rate, "rate": answered, **{f"{part}_ms": times[part] * 1e3 for part in ("p50", "p90", "p99")}}


def get_loop(port, path, connections, seconds):
    """Returns the requests per second of a GET, measured by wrk."""
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
    found = (
        subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
        if program.exists()
        else ""
    )
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
