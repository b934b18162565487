"""Reads the characters that a graph of PP-OCR tells apart off its metadata: one a line, as in PaddleOCR's own lists."""

import onnx


def convert(weights, _card):
    metadata = {entry.key: entry.value for entry in onnx.load(weights).metadata_props}
    return metadata["character"].rstrip("\n") + "\n"
