"""`python3 -S -m convert CONVERTER WEIGHTS CARD OUTPUT [PICTURES]`, which models/build.py runs in a child process.

With -S the child sees the standard library and the pinned packages, but no package of the user. The same input
therefore gives the same bytes on every machine, so that the card can pin the SHA-256 of the output.
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

    import onnx  # noqa: PLC0415 - the conversion to OpenVINO IR does without it

    made = module.convert(weights, card, *pictures)
    if isinstance(made, str):
        pathlib.Path(output).write_text(made, encoding="utf-8", newline="\n")
        return
    onnx.checker.check_model(made, full_check=True)
    pathlib.Path(output).write_bytes(made.SerializeToString(deterministic=True))


main()
