"""FastAPI. What computes runs in its pool of threads, as https://fastapi.tiangolo.com/async/ has it; no more of them than
help a process that computes on one core (https://starlette.dev/threadpool/): with the default of 40 it was slower.
"""

import contextlib

import anyio.to_thread
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
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
