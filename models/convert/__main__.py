"""`python3 -S -m convert CONVERTER WEIGHTS CARD OUTPUT [PICTURES]`: what models/build.py runs in a child process.

A child with -S sees the standard library and the pinned packages, and none of the user's: the same
input gives the same bytes on every machine, which is what lets the card pin the result.
"""

import importlib
import pathlib
import sys
import tomllib


def main():
    converter, weights, card, output, *pictures = sys.argv[1:]
    card = tomllib.loads(pathlib.Path(card).read_bytes().decode())
    module = importlib.import_module(f"convert.{converter}")
    if converter == "openvino_ir":
        module.convert(weights, output)
        return

    import onnx

    model = module.convert(weights, card, *pictures)
    onnx.checker.check_model(model, full_check=True)
    pathlib.Path(output).write_bytes(model.SerializeToString(deterministic=True))


main()
