"""A function for tests/it/python.rs: each path does one thing that a function in Python may do, well or badly."""

import os
import random
import sys
from array import array

from modelfn_guest import Folder, Problem, Request, Response, Stopwatch, Tensor, handler, log, model

CALLS = []


def tabular(request: Request) -> Response:
    """Rows of numbers to labels and probabilities, as a model of scikit-learn gives them."""
    stopwatch = Stopwatch()
    rows = request.json()
    stopwatch.lap("parse")
    outputs = model("zipmap-ints").run({"x": rows})
    stopwatch.lap("compute")
    answer = {"label": outputs["label"].tolist(), "probabilities": outputs["probabilities"].tolist()}
    return Response.json(answer).timing(stopwatch)


def echo(request: Request) -> Response:
    """The request as the function sees it, and its body's length."""
    seen = {"method": request.method, "path": request.path, "query": request.queries(), "headers": request.headers}
    return Response.json(seen | {"bytes": len(request.bytes())})


def body(request: Request) -> Response:
    return Response("application/octet-stream", request.bytes())


def unread(request: Request) -> Response:
    """Leaves the body unread, or half of it where the query says so."""
    return Response.text(request.method)


def long(request: Request) -> Response:
    return Response("application/octet-stream", b"x" * int(request.query("bytes") or 0))


def form(request: Request) -> Response:
    found = request.form()
    parts = [[part.name, part.filename, part.content_type, len(part.data)] for part in found]
    return Response.json({"parts": parts, "text": found.text("text"), "file": found.file("file").filename})


def compute(request: Request) -> Response:
    """Computes the model `model` on the input `input` of the type `as`, and returns the output `output`."""
    kind, values = request.query("as"), request.json()
    buffers = {"array": lambda: array("f", values), "bytes": lambda: bytes(values), "list": lambda: values}
    given = Tensor.of(values, kind) if kind not in buffers else buffers[kind]()
    outputs = model(request.query("model") or "m").run({request.query("input") or "x": given})
    tensor = outputs[request.query("output") or "y"]
    return Response.json({"dtype": tensor.dtype, "shape": tensor.shape, "values": tensor.tolist()})


def large(request: Request) -> Response:
    """Sums that a model makes of many numbers, to have tensors of some MiB."""
    tensor = Tensor("FP32", (1, int(request.query("n") or 0)), bytes(4 * int(request.query("n") or 0)))
    return Response.json(model("m").run({"x": tensor}).at(0).shape)


def folder(request: Request) -> Response:
    name = request.query("model")
    here = Folder.of(name) if name else Folder.open()
    return Response.json({"path": here.path, "card": here.card()["name"], "labels": here.labels("labels.txt")})


def spin(_request: Request) -> Response:
    """Computes for ever."""
    while True:
        pass


def fail(request: Request) -> Response:
    kind = request.query("kind")
    if kind == "exit":
        sys.exit("secret")
    if kind == "memory":
        return Response.text(str(len(bytearray(1 << 30))))
    if kind == "stack":
        return fail(request)
    if kind == "none":
        return None
    if kind == "header":
        return Response.text("").header("bad name", "x")
    if kind == "problem":
        raise Problem(409, "taken; choose another name", name="cat")
    if kind == "nan":
        return Response.json([float("nan")])
    raise RuntimeError("secret")


def state(_request: Request) -> Response:
    """What would tell an instance from a fresh one."""
    CALLS.append(1)
    chance = random.random()  # noqa: S311, it is about the generator that a snapshot would repeat
    return Response.json({"calls": len(CALLS), "random": chance, "variable": os.environ.get("A")})


def say(_request: Request) -> Response:
    log("a line of", ["the", "log"])
    print("a printed line")
    return Response.text("said")


PATHS = {
    f"/{function.__name__}": function
    for function in (tabular, echo, body, unread, long, form, compute, large, folder, spin, fail, state, say)
}


@handler
def handle(request: Request) -> Response:
    if function := PATHS.get(request.path):
        return function(request)
    raise Problem.not_found("no such path; there are " + ", ".join(PATHS))
