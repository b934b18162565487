"""BentoML with adaptive batching.

https://docs.bentoml.com/en/latest/get-started/adaptive-batching.html describes it.
"""

import os

from PIL.Image import Image

import bentoml
from serving import Classifier


# https://docs.bentoml.com/en/latest/build-with-bentoml/parallelize-requests.html: a worker a core.
@bentoml.service(workers=int(os.environ["CORES"]), traffic={"timeout": 120}, logging={"access": {"enabled": False}})
class Service:
    def __init__(self):
        self.model = Classifier()

    @bentoml.api(batchable=True, max_batch_size=8, max_latency_ms=60_000)
    def classify(self, pictures: list[Image]) -> list[dict]:
        return self.model.classify_many(pictures)
