"""Image classification with ONNX Runtime in Python, which all Python peers share.

It is written as fast as Pillow and numpy allow: a large JPEG is decoded at a reduced size, only the crop is resized,
and a model that takes bytes gets the pixels without conversion. The response equals that of guest/.
"""

import io
import os
import pathlib
import tomllib

import numpy
import onnxruntime
from PIL import Image, ImageOps

FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


class Classifier:
    """One model, which any number of threads may use."""

    def __init__(self, folder=None):
        folder = pathlib.Path(folder or os.environ["MODEL"])
        card = tomllib.loads((folder / "model.toml").read_text())
        pre, post = card["preprocessing"], card["postprocessing"]
        self.name = card["name"]
        self.labels = (folder / post["labels"]).read_text().splitlines()
        self.top_k, self.softmax = post["top_k"], post["scores"] == "logits"
        self.size, self.crop, self.filter = tuple(pre["size"]), pre["crop"], FILTERS[pre["filter"]]
        self.bgr, self.nchw = pre["color"] == "BGR", pre["layout"] == "NCHW"
        self.bytes = card["inputs"][0]["dtype"] == "U8"
        self.mean, self.std = numpy.float32(pre["mean"]), numpy.float32(pre["std"])
        self.identity = self.bytes and not self.mean.any() and (self.std == 1).all()
        options = onnxruntime.SessionOptions()
        # Each worker process computes on one core; more threads would compete for it.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            folder / card["graph"]["file"], options, providers=["CPUExecutionProvider"]
        )
        self.input, self.output = card["inputs"][0]["name"], card["outputs"][0]["name"]

    def classify(self, picture):
        """Classifies the bytes of one picture, and returns the response."""
        return self.response(self.scores(self.tensor(Image.open(io.BytesIO(picture))))[0])

    def classify_many(self, pictures):
        """Classifies several opened pictures in one batch."""
        return [self.response(row) for row in self.scores(numpy.concatenate([self.tensor(each) for each in pictures]))]

    def tensor(self, image):
        width, height = image.size
        wide, high = self.box(width, height)
        # Pillow decodes a JPEG at 1/2, 1/4 or 1/8 where that loses no resolution.
        image.draft("RGB", (-(-width * self.size[0] // int(wide)), -(-height * self.size[1] // int(high))))
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode != "RGB":
            image = image.convert("RGB")
        wide, high = self.box(*image.size)
        left, top = (image.width - wide) / 2, (image.height - high) / 2
        image = image.resize(self.size, self.filter, (left, top, left + wide, top + high))
        pixels = numpy.asarray(image)
        if self.bgr:
            pixels = pixels[..., ::-1]
        if not self.identity:
            pixels = (pixels - self.mean) / self.std
            if self.bytes:
                pixels = pixels.round().clip(0, 255).astype(numpy.uint8)
        if self.nchw:
            pixels = pixels.transpose(2, 0, 1)
        return numpy.ascontiguousarray(pixels[None])

    def box(self, width, height):
        """Returns width and height of the centred crop."""
        aspect = self.size[0] / self.size[1]
        wide, high = (height * aspect, height) if width > height * aspect else (width, width / aspect)
        return min(wide * self.crop, width), min(high * self.crop, height)

    def scores(self, tensor):
        return self.session.run([self.output], {self.input: tensor})[0]

    def response(self, scores):
        if self.softmax:
            scores = numpy.exp(scores - scores.max())
            scores /= scores.sum()
        best = numpy.argpartition(-scores, self.top_k - 1)[: self.top_k]
        best = best[numpy.argsort(-scores[best], kind="stable")]
        predictions = [
            {"class": self.labels[index], "index": index, "probability": float(scores[index])}
            for index in best.tolist()
        ]
        return {"class": predictions[0]["class"], "model": self.name, "predictions": predictions}
