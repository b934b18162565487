"""MLServer with a custom runtime, as https://docs.seldon.ai/mlserver/user-guide/custom describes it."""

from mlserver.handlers import custom_handler

from fastapi import Body
from mlserver import MLModel
from serving import Classifier


class Runtime(MLModel):
    async def load(self):
        self.model = Classifier()
        return True

    @custom_handler(rest_path="/classify")
    async def classify(self, picture: bytes = Body(media_type="image/jpeg")) -> dict:
        return self.model.classify(picture)
