"""Machine-learning functions in Python: an HTTP request becomes tensors, a model's outputs become an HTTP response.

A function is one file, which `componentize-py` compiles to a WebAssembly component for any host with `wasi:http` and
`wasi:nn`:

    from modelfn_guest import Request, Response, handler, model


    @handler
    def handle(request: Request) -> Response:
        outputs = model("iris").run({"X": request.json()})
        return Response.json({"label": outputs["label"].tolist()})

Each request gets an instance of its own, made from a snapshot that was taken when the module had been imported: what a
module does at its top level is done once, when the function is built, and nothing is kept between requests. Modules are
imported at the top level only, since a running function has no files of Python.
"""

from modelfn_guest.entry import handler
from modelfn_guest.folder import Folder
from modelfn_guest.form import Form, Part
from modelfn_guest.log import log
from modelfn_guest.model import Model, Outputs, model
from modelfn_guest.problem import Problem
from modelfn_guest.request import Request
from modelfn_guest.response import Response
from modelfn_guest.stopwatch import Stopwatch
from modelfn_guest.tensor import DType, Tensor

__all__ = [
    "DType",
    "Folder",
    "Form",
    "Model",
    "Outputs",
    "Part",
    "Problem",
    "Request",
    "Response",
    "Stopwatch",
    "Tensor",
    "handler",
    "log",
    "model",
]
