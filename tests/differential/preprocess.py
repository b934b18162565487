#!/usr/bin/env python3
"""Makes the inputs of networks with Pillow and numpy: preprocess.py FOLDER.

FOLDER/cases.json lists cases: `card`, the text of a model.toml, and `picture`, one of PICTURES. The pictures are
written to FOLDER, without loss, and of case n FOLDER/n.tensor, the elements of the model's input, and FOLDER/n.scores,
what `scores` of the card makes of them as FP32. `tests/it/preprocessing.rs` compares the function's with them.
"""

import json
import pathlib
import sys
import tomllib

import numpy
from PIL import Image, ImageOps

# Width and height as stored, and the orientation that a camera recorded.
PICTURES = {
    "wide": ((75, 50), 1),
    "tall": ((31, 97), 1),
    "turned": ((90, 41), 6),
    "small": ((16, 24), 1),
    "line": ((70, 3), 1),
}

FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
DTYPES = {"FP32": "<f4", "FP16": "<f2", "U8": "u1"}


def main():
    folder = pathlib.Path(sys.argv[1])
    for name, (size, orientation) in PICTURES.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        waves(size).save(folder / f"{name}.png", exif=exif)
    for n, case in enumerate(json.loads((folder / "cases.json").read_text())):
        card = tomllib.loads(case["card"])
        upright = ImageOps.exif_transpose(Image.open(folder / f"{case['picture']}.png"))
        elements = tensor(shown(upright, card["preprocessing"], card["inputs"][0]), card)
        (folder / f"{n}.tensor").write_bytes(elements.tobytes())
        (folder / f"{n}.scores").write_bytes(scores(elements, card).astype("<f4").tobytes())


def waves(size):
    x, y = numpy.meshgrid(numpy.arange(size[0]), numpy.arange(size[1]))
    channels = [128 + 110 * numpy.sin(x / (5 + n) + n) * numpy.cos(y / (9 - 2 * n)) for n in range(3)]
    return Image.fromarray(numpy.stack(channels, axis=-1).astype(numpy.uint8))


def shown(image, table, spec):
    """Returns the picture of the network's size, RGB."""
    channels_first = spec["shape"][1] in (1, 3)
    height, width = spec["shape"][2:4] if channels_first else spec["shape"][1:3]
    size = table.get("size", [width, height])
    method = FILTERS[table.get("filter", "bilinear")]
    if table.get("resize") == "pad":
        return ImageOps.pad(image, size, method, color=tuple(table.get("pad_color", [0, 0, 0])))
    wide, high = image.size
    if table.get("resize", "crop") == "crop":
        aspect = size[0] / size[1]
        wide, high = min(wide, high * aspect), min(high, wide / aspect)
    wide, high = wide * table.get("crop", 1), high * table.get("crop", 1)
    left, top = (image.width - wide) / 2, (image.height - high) / 2
    return image.resize(size, method, box=(left, top, left + wide, top + high))


def tensor(image, card):
    table, spec = card["preprocessing"], card["inputs"][0]
    channels_first = spec["shape"][1] in (1, 3)
    if table.get("color") == "GRAY" or 1 in spec["shape"][1::2]:
        pixels = numpy.asarray(image.convert("L"))[..., None]
    else:
        pixels = numpy.asarray(image)[..., :: -1 if table.get("color") == "BGR" else 1]
    pixels = pixels.astype(numpy.float32)
    if table.get("scale") == 1:
        pixels = pixels / numpy.float32(255)
    pixels = (pixels - numpy.float32(table.get("mean", [0]))) / numpy.float32(table.get("std", [1]))
    if channels_first:
        pixels = pixels.transpose(2, 0, 1)
    if spec["dtype"] == "U8":
        pixels = numpy.clip(numpy.rint(pixels), 0, 255)
    return numpy.ascontiguousarray(pixels).astype(DTYPES[spec["dtype"]])


def scores(elements, card):
    values = elements.astype(numpy.float64)
    return 1 / (1 + numpy.exp(-values)) if card["postprocessing"]["scores"] == "sigmoid" else values


main()
