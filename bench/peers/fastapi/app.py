"""FastAPI. What computes runs in its pool of threads, as https://fastapi.tiangolo.com/async/ has it."""

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from serving import Classifier

app = FastAPI()
model = Classifier()


@app.post("/classify")
async def classify(request: Request):
    return JSONResponse(await run_in_threadpool(model.classify, await request.body()))
