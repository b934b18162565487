"""Requests, whose bodies are read when they are asked for."""

import json
from collections.abc import Callable
from itertools import accumulate
from typing import Any
from urllib.parse import parse_qsl

from modelfn_guest.form import Form, Part, essence
from modelfn_guest.problem import Problem

# Most bytes of a request's body.
MAX_BODY_BYTES = 16 << 20

# Most levels of lists and objects within each other in JSON: the parser calls itself for each, and the stack of an
# instance is small.
MAX_JSON_LEVELS = 128

_ALL_BUT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = [(byte in b"[{") - (byte in b"]}") for byte in range(256)]
_ROUNDS = 8
_PIECE = 64 << 10

# Where a host puts the part of the path that a route's `...` stands for.
_PATH_HEADER = "spin-path-info"


class Request:
    """A request, of which the body is still to be read.

    `method` is in capitals; `path` is the part below the function's route, without the query. `headers` are by name in
    lower case; several of one name are joined by commas.
    """

    def __init__(
        self,
        method: str,
        target: str,
        fields: list[tuple[str, bytes]],
        read_body: Callable[[int, int | None], bytes],
    ):
        """Takes what is known before the body arrives.

        `read_body` gets the most bytes that it may return, and the length that the client declares, if it does.
        """
        self.method = method
        self.headers: dict[str, str] = {}
        for name, value in fields:
            key, text = name.lower(), value.decode("latin-1")
            self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text
        path, _, self._query = target.partition("?")
        below = self.headers.get(_PATH_HEADER)
        self.path = path if below is None else below or "/"
        declared = self.headers.get("content-length", "")
        # Digits beyond those of a u64 are no length.
        self._declared = int(declared) if declared.isascii() and declared.isdigit() and len(declared) < 20 else None
        self._read_body = read_body
        self._body: bytes | None = None

    def header(self, name: str) -> str | None:
        """The value of a header, whatever the case of its name."""
        return self.headers.get(name.lower())

    def queries(self) -> list[tuple[str, str]]:
        """All parameters of the query, decoded, in their order.

        Raises `Problem` 400 for more than 1,000.
        """
        try:
            return parse_qsl(self._query, keep_blank_values=True, max_num_fields=1000)
        except ValueError:
            raise Problem.bad_request("the query has more than 1,000 parameters; send fewer") from None

    def query(self, name: str) -> str | None:
        """The first parameter of that name in the query, decoded."""
        return next((value for key, value in self.queries() if key == name), None)

    def bytes(self) -> bytes:
        """The whole body; empty where there is none.

        Raises `Problem` 413 for more than 16 MiB or more than the host takes, 415 for one that is still compressed, 408
        for one that did not arrive in time, 400 for one that broke off.
        """
        if self._body is None:
            self._check_head()
            self._body = self._read_body(MAX_BODY_BYTES, self._declared)
        return self._body

    def text(self) -> str:
        """The body as UTF-8; raises `Problem` 400 where it is none, and what `bytes` does."""
        try:
            return self.bytes().decode()
        except UnicodeDecodeError:
            raise Problem.bad_request("the body is not UTF-8 text; send it in UTF-8") from None

    def json(self) -> Any:
        """The body as JSON, whatever type it is declared to be: `curl -d` declares a form.

        Raises `Problem` 400 for a body that is none (NaN and infinities are none, either), and what `bytes` does.
        """
        text = self.text()
        if not text:
            raise Problem.bad_request("the body is empty; try: curl -d @request.json URL")
        if is_deeper_than(MAX_JSON_LEVELS, self.bytes()):
            raise Problem.bad_request(f"the body is JSON of more than {MAX_JSON_LEVELS} levels; send fewer")
        try:
            return _decode_json(text)
        except json.JSONDecodeError as error:
            raise Problem.bad_request(
                f"the body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})"
            ) from None
        except ValueError as error:
            raise Problem.bad_request(f"the body is not JSON: {error}") from None

    def form(self) -> Form:
        """The body as a form with files, `multipart/form-data`.

        Raises `Problem` 415 for another type, 400 for a form that is broken or cut off, and what `bytes` does.
        """
        content_type = self.headers.get("content-type", "")
        if essence(content_type) != "multipart/form-data":
            raise Problem.unsupported_media("the Content-Type is not multipart/form-data; try: curl -F name=value URL")
        return Form.parse(self.bytes(), content_type)

    def file(self, name: str) -> Part:
        """The file that was sent: the field `name` of a form, or the body itself where it is no form.

        Raises `Problem` 400 where it is empty or missing, and what `form` does.
        """
        content_type = self.headers.get("content-type", "")
        if essence(content_type) == "multipart/form-data":
            return self.form().file(name)
        if not (body := self.bytes()):
            raise Problem.bad_request("the body is empty; try: curl --data-binary @FILE URL")
        return Part(name, None, content_type or "application/octet-stream", body)

    def _check_head(self) -> None:
        """Refuses a body before it is read where its head says that it is unfit."""
        # A host undoes the codings that it knows, and removes the header.
        if self.headers.get("content-encoding", "identity") not in ("", "identity"):
            raise Problem.unsupported_media("this Content-Encoding is not supported; send the body as it is")
        if (self._declared or 0) > MAX_BODY_BYTES:
            raise too_large()


def too_large() -> Problem:
    """The problem of a body with more bytes than this package reads."""
    return Problem.too_large(f"the body has more than {MAX_BODY_BYTES >> 20} MiB; send less")


def is_deeper_than(levels: int, text: bytes) -> bool:
    """Whether text has more levels than that, as a parser of JSON would find before it finds whether it is JSON."""
    if text.count(b"[") + text.count(b"{") <= levels:
        return False
    brackets = _without_strings(text).translate(None, _ALL_BUT_BRACKETS)
    # Each round takes away the innermost level, quickly; most documents have no more than these.
    for _ in range(_ROUNDS):
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    level = 0
    for at in range(0, len(brackets), _PIECE):
        found = list(accumulate(map(_STEPS.__getitem__, brackets[at : at + _PIECE]), initial=level))
        if max(found) > levels - _ROUNDS:
            return True
        level = found[-1]
    return False


def _without_strings(text: bytes) -> bytes:
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(text.split(b'"')[::2])


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


_decode_json = json.JSONDecoder(parse_constant=_no_number).decode
