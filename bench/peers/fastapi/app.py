"""FastAPI, which computes in its thread pool as https://fastapi.tiangolo.com/async/ recommends.

The pool has two threads, since each process computes on one core (https://starlette.dev/threadpool/); the default of 40
was slower.
"""

import contextlib

import anyio.to_thread
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from fastapi import FastAPI, Request
from serving import Classifier


@contextlib.asynccontextmanager
async def lifespan(_):
    anyio.to_thread.current_default_thread_limiter().total_tokens = 2
    yield


app = FastAPI(lifespan=lifespan)
model = Classifier()


@app.post("/classify")
async def classify(request: Request):
    return JSONResponse(await run_in_threadpool(model.classify, await request.body()))
