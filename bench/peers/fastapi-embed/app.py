"""FastAPI with ONNX Runtime and tokenizers, which computes in its thread pool.

https://fastapi.tiangolo.com/async/ recommends that. Each process computes on one core
(https://starlette.dev/threadpool/): two threads, one of which reads and writes while the other one computes. The
response equals that of guest/embed; it is written by orjson, straight from numpy's memory.
"""

import contextlib
import os
import pathlib
import tomllib

import anyio.to_thread
import numpy
import onnxruntime
import orjson
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from tokenizers import BertWordPieceTokenizer

from fastapi import FastAPI, Request


class Embedder:
    """One model, which any number of threads may use."""

    def __init__(self, folder):
        card = tomllib.loads((folder / "model.toml").read_text())
        self.name, table = card["name"], card["tokenizer"]
        self.tokenizer = BertWordPieceTokenizer(str(folder / table["vocab"]), lowercase=table["lowercase"])
        self.tokenizer.enable_truncation(table["max_tokens"])
        # To the longest of a request, not of all requests.
        self.tokenizer.enable_padding()
        options = onnxruntime.SessionOptions()
        # Each worker process computes on one core; more threads would compete for it.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            folder / card["graph"]["file"], options, providers=["CPUExecutionProvider"]
        )
        self.output = card["outputs"][0]["name"]

    def embed(self, body):
        """Embeds the texts of a request, and returns the body of the response."""
        texts = orjson.loads(body)["input"]
        encodings = self.tokenizer.encode_batch([texts] if isinstance(texts, str) else texts)
        ids = numpy.array([each.ids for each in encodings], numpy.int64)
        mask = numpy.array([each.attention_mask for each in encodings], numpy.int64)
        vectors = self.session.run([self.output], {"input_ids": ids, "attention_mask": mask})[0]
        vectors /= numpy.linalg.norm(vectors, axis=1, keepdims=True)
        response = {
            "model": self.name,
            "dimensions": vectors.shape[1],
            "tokens": int(mask.sum()),
            "truncated": sum(bool(each.overflowing) for each in encodings),
            "embeddings": vectors,
        }
        return orjson.dumps(response, option=orjson.OPT_SERIALIZE_NUMPY)


@contextlib.asynccontextmanager
async def lifespan(_):
    anyio.to_thread.current_default_thread_limiter().total_tokens = 2
    yield


app = FastAPI(lifespan=lifespan)
model = Embedder(pathlib.Path(os.environ["MODEL"]))


@app.post("/embed")
async def embed(request: Request):
    return Response(await run_in_threadpool(model.embed, await request.body()), media_type="application/json")
