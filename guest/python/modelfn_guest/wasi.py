"""The host, through the bindings that `componentize-py` makes of the WIT: the only module that needs them.

Streams are children of bodies, and a body that is dropped before its stream ends the instance with "resource has
children". Each `with` here drops the children first.
"""

from functools import partial
from typing import Any

from componentize_py_types import Err, Ok
from wit_world.imports import errors, graph
from wit_world.imports import tensor as nn
from wit_world.imports import wasi_http_types as http
from wit_world.imports.streams import OutputStream, StreamError_Closed

from modelfn_guest.log import log
from modelfn_guest.problem import Problem
from modelfn_guest.request import Request, too_large
from modelfn_guest.response import Response
from modelfn_guest.tensor import DType, Tensor

# Bytes asked for in one call where the length of the body is not known.
_READ_BYTES = 256 << 10

# What `blocking-write-and-flush` takes at once, by its documentation.
_WRITE_BYTES = 4096

_TO_HOST = {dtype: nn.TensorType[dtype.name] for dtype in DType}
_FROM_HOST = {kind: dtype for dtype, kind in _TO_HOST.items()}


class NnError(Exception):
    """An error of wasi-nn: the name of its code, such as `NOT_FOUND`, and what the host says."""

    def __init__(self, error: errors.Error):
        self.code: str = error.code().name
        self.data: str = error.data()
        super().__init__(self.code, self.data)


def load_by_name(name: str) -> graph.Graph:
    """The graph that the host knows by `name`; raises `NnError`."""
    try:
        return graph.load_by_name(name)
    except Err as error:
        raise NnError(error.value) from None


def compute(model: graph.Graph, inputs: list[tuple[str, Tensor]]) -> list[tuple[str, nn.Tensor]]:
    """Computes the outputs, which stay with the host until `read_tensor`; raises `NnError`."""
    given = [(name, nn.Tensor(list(x.shape), _TO_HOST[x.dtype], x.data)) for name, x in inputs]
    try:
        with model.init_execution_context() as context:
            return context.compute(given)
    except Err as error:
        raise NnError(error.value) from None


def read_tensor(tensor: nn.Tensor) -> Tensor:
    """Copies a tensor from the host."""
    return Tensor(_FROM_HOST[tensor.ty()], tensor.dimensions(), tensor.data())


def take_request(incoming: http.IncomingRequest) -> Request:
    """Takes what is known of a request before its body arrives."""
    method = incoming.method()
    name = method.value if isinstance(method, http.Method_Other) else type(method).__name__.partition("_")[2].upper()
    with incoming.headers() as headers:
        fields = headers.entries()
    return Request(name, incoming.path_with_query() or "/", fields, partial(_read_body, incoming))


def _read_body(incoming: http.IncomingRequest, limit: int, declared: int | None) -> bytes:
    chunks: list[bytes] = []
    size = 0
    with incoming.consume() as body, body.stream() as stream:
        # A host gives no more than the declared bytes, so that the end need not be asked for.
        while size != declared:
            try:
                chunk = stream.blocking_read(max(_READ_BYTES, declared or 0))
            except Err as error:
                if isinstance(error.value, StreamError_Closed):
                    break
                raise _broken_off(http.http_error_code(error.value.value)) from None
            size += len(chunk)
            if size > limit:
                raise too_large()
            chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _broken_off(code: Any) -> Problem:
    """The problem of a body that ended early, by the host's error code."""
    match code:
        case http.ErrorCode_HttpRequestBodySize():
            return Problem.too_large("the body has more bytes than this host takes; send less")
        case http.ErrorCode_ConnectionReadTimeout() | http.ErrorCode_ConnectionTimeout():
            return Problem.request_timeout("the body did not arrive in time; send it again")
    return Problem.bad_request("the body broke off; send it again")


def send(response: Response, out: http.ResponseOutparam, *, is_head: bool) -> None:
    """Sends a response, for HEAD without its body. A client that is gone is no error: there is nobody to tell."""
    response, fields = _with_fields(response, is_head)
    outgoing = http.OutgoingResponse(fields)
    outgoing.set_status_code(response.status)
    body = outgoing.body()
    http.ResponseOutparam.set(out, Ok(outgoing))
    try:
        if response.body and not is_head:
            with body.write() as stream:
                _write(stream, response.body)
        http.OutgoingBody.finish(body, None)
    except Err as error:
        log(f"the response could not be sent whole: {error.value}")


def _with_fields(response: Response, is_head: bool) -> tuple[Response, http.Fields]:
    try:
        return response, http.Fields.from_list(response.fields(is_head))
    except Err as error:
        log(f"HTTP does not allow a header of {response.headers}: {error.value}")
        response = Response.problem(Problem.internal("the function set a header that HTTP does not allow; see its log"))
        return response, http.Fields.from_list(response.fields(is_head))


def _write(stream: OutputStream, data: bytes) -> None:
    if len(data) <= _WRITE_BYTES:
        stream.blocking_write_and_flush(data)
        return
    at = 0
    while at < len(data):
        # More than is permitted would end the instance.
        if permitted := stream.check_write():
            stream.write(data[at : at + permitted])
            at += permitted
        else:
            with stream.subscribe() as writable:
                writable.block()
    stream.blocking_flush()
