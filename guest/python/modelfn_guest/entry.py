"""The way of a request through a handler, and the decorator that makes a function one."""

import traceback
from collections.abc import Callable
from typing import TypeVar

from modelfn_guest import wasi
from modelfn_guest.problem import Problem
from modelfn_guest.request import Request
from modelfn_guest.response import Response
from modelfn_guest.snapshot import prepare as prepare_snapshot

Handler = Callable[[Request], Response]
F = TypeVar("F", bound=Handler)

# The name by which a host's call finds what a module exports.
_EXPORT = "IncomingHandler"


def handler(function: F) -> F:
    """Makes a function the handler of its module's requests: it takes a `Request` and returns a `Response`.

    It may raise `Problem`, whose document is sent then. Any other exception becomes 500 without its text; the traceback
    goes to the log.
    """
    module = function.__globals__
    if _EXPORT in module:
        raise RuntimeError(f"{function.__module__} has a handler already; one serves all paths, by request.path")

    class IncomingHandler:
        snapshot = prepare_snapshot()

        def handle(self, request: object, out: object) -> None:
            incoming = wasi.take_request(request)
            wasi.send(respond(function, incoming), out, is_head=incoming.method == "HEAD")

    module[_EXPORT] = IncomingHandler
    return function


def respond(function: Handler, request: Request) -> Response:
    """The response of a handler, or the document of its problem."""
    try:
        response = function(request)
        if not isinstance(response, Response):
            raise TypeError(f"the handler returned {type(response).__name__}; return a Response")
    except Problem as problem:
        return Response.problem(problem)
    except MemoryError:
        traceback.print_exc()
        return Response.problem(Problem.insufficient_storage("the function has not enough memory for this request"))
    except BaseException:
        # An instance serves one request, so that even SystemExit ends no more than that.
        traceback.print_exc()
        return Response.problem(Problem.internal("the function failed; its log says why"))
    return response
