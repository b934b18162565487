"""Responses, each with a whole body in memory."""

import json
from typing import Any, Self

from modelfn_guest.problem import Problem
from modelfn_guest.stopwatch import Stopwatch

_encode_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class Response:
    """A whole response.

    `headers` are pairs of name and value. Length and `x-content-type-options: nosniff` are added when it is sent.
    """

    __slots__ = ("body", "headers", "status")

    def __init__(self, content_type: str, body: bytes | str, status: int = 200):
        """Raises ValueError for a status that no final response has: they are 200 to 599."""
        if not 200 <= status <= 599:
            raise ValueError(f"a response's status is 200 to 599, not {status}")
        self.status = status
        self.headers: list[tuple[str, str]] = [("content-type", content_type)]
        self.body = body.encode() if isinstance(body, str) else bytes(body)

    @classmethod
    def text(cls, body: str, status: int = 200) -> Self:
        """Plain text."""
        return cls("text/plain; charset=utf-8", body, status)

    @classmethod
    def html(cls, body: str, status: int = 200) -> Self:
        """A page."""
        return cls("text/html; charset=utf-8", body, status)

    @classmethod
    def json(cls, value: Any, status: int = 200) -> Self:
        """`value` as JSON, with a line feed behind it for terminals.

        Raises `Problem` 500 for what JSON cannot say: NaN, infinities, and objects such as tensors.
        """
        try:
            return cls("application/json", _encode_json(value) + "\n", status)
        except (TypeError, ValueError) as error:
            raise Problem.internal(f"the function's answer is no JSON: {error}; give tensors by tolist()") from error

    @classmethod
    def problem(cls, problem: Problem) -> Self:
        """The document of a problem."""
        response = cls("application/problem+json", _encode_json(problem.document()) + "\n", problem.status)
        response.headers += problem.headers
        return response

    def header(self, name: str, value: str) -> Self:
        """Adds a header, and returns the response itself."""
        self.headers.append((name, value))
        return self

    def timing(self, stopwatch: Stopwatch) -> Self:
        """Adds the laps of a stopwatch as `Server-Timing`."""
        return self.header("server-timing", stopwatch.header())

    def fields(self, is_head: bool) -> list[tuple[str, bytes]]:
        """All header fields that are sent; without a length for HEAD, since hosts compare it with the body."""
        length = [] if is_head else [("content-length", str(len(self.body)))]
        fields = [*self.headers, *length, ("x-content-type-options", "nosniff")]
        return [(name, value.encode()) for name, value in fields]
