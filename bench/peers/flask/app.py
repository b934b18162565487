"""Flask, which calls the model in the worker thread of the request."""

from flask import Flask, request
from serving import Classifier

app = Flask(__name__)
model = Classifier()


@app.post("/classify")
def classify():
    return model.classify(request.get_data(cache=False))
