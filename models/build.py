#!/usr/bin/env python3
"""Makes what this repository does not commit: model graphs, the inference runtime, sample pictures.

Everything comes from package wheels that are pinned by sha256, through pip, and ends up under
target/ or beside the model's card. Nothing is installed into your Python. What is already there and
right is left alone, so that it costs nothing to run this again.
"""

import sys

if sys.version_info < (3, 11):
    sys.exit(f"error: Python 3.11 or newer is needed, this is {sys.version.split()[0]}")

# Model folders are served as they are: no __pycache__ beside them.
sys.dont_write_bytecode = True

import argparse
import hashlib
import json
import os
import pathlib
import platform
import subprocess
import tempfile
import time
import tomllib

import wheels
from wheels import ROOT, Failure, Wheel, say, show

HERE = ROOT / "models"
LIBRARIES = ROOT / "target" / "lib"
PICTURES = ROOT / "target" / "pictures"

# The runtime: for each machine the wheel and the sha256 of the library in it.
RUNTIME_FILE = "libonnxruntime.so.1.24.4"
RUNTIMES = {
    "x86_64": (
        Wheel(
            "onnxruntime-1.24.4-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
            "e54ad52e61d2d4618dcff8fa1480ac66b24ee2eab73331322db1049f11ccf330",
        ),
        "2d518e11c7767f9fdc4413bdbeb45acf30db504ff76a82fc19d9238a3f9f6c24",
    ),
    "aarch64": (
        Wheel(
            "onnxruntime-1.24.4-cp311-cp311-manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl",
            "046ff290045a387676941a02a8ae5c3ebec6b4f551ae228711968c4a69d8f6b7",
        ),
        "f373ae5fd4d878ed17ebea26e5480bd3d0a15e3bd6bc94b878e6c1b73998d22a",
    ),
}
RUNTIME_LICENSES = {
    "LICENSE": "2f07c72751aed99790b8a4869cf2311df85a860b22ded05fa22803587a48922c",
    "ThirdPartyNotices.txt": "0e07b95f3a8d6230037707c5c4a2b554d12c4cb67369669ac255635528ffcee2",
}

# Pictures: a wheel, the folder in it, the names (ours: theirs) and one digest over all of them.
# In imagenet_NN_LABEL.jpg and cifar10_NN_LABEL.png LABEL is the number of the right class.
LABELS_IMAGENET = (243, 559, 438, 990, 949, 853, 609, 609, 915, 455, 541, 630, 741, 471, 129, 99, 251, 22, 317, 305)
LABELS_CIFAR10 = (3, 8, 8, 0, 6, 6, 1, 6, 3, 1, 0, 9, 5, 7, 9, 8, 5, 7, 8, 6)
LABELLED = [f"imagenet_{n:02}_{label}.jpg" for n, label in enumerate(LABELS_IMAGENET)]
LABELLED += [f"cifar10_{n:02}_{label}.png" for n, label in enumerate(LABELS_CIFAR10)]
PHOTOGRAPHS = {name: name for name in ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "rocket.jpg")}
PICTURE_SETS = [
    (
        Wheel(
            "foolbox-3.3.4-py3-none-any.whl",
            "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb",
        ),
        "foolbox/data",
        {name: name for name in LABELLED},
        "d58231263a7248ffe3f45213c0f7b3dea99c88e45b67e7f38c52cf8c5206cc6f",
    ),
    (
        # Only data is taken out of it, so the wheel for one machine does for all.
        Wheel(
            "scikit_image-0.26.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
            "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
        ),
        "skimage/data",
        PHOTOGRAPHS | {"motorcycle.png": "motorcycle_left.png"},
        "ac893cd74ae1e25f9a6a97dcab3f3ff85bbfa0175b12e18869f1f3ab6bbc18aa",
    ),
]


def main():
    arguments = parse()
    try:
        if arguments.command == "model":
            for name in arguments.names:
                build_model(find_model(name), arguments.openvino)
        elif arguments.command == "runtime":
            extract_runtime(arguments.machine)
        else:
            extract_pictures()
    except (Failure, OSError) as failure:
        sys.exit(f"error: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n"
        "  models/build.py model efficientnet-lite0\n"
        "  models/build.py model efficientnet-lite0 tests/fixtures/models/cifar10\n"
        "  models/build.py model --openvino efficientnet-lite0\n"
        "  models/build.py runtime\n"
        "  models/build.py pictures",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    model = commands.add_parser(
        "model",
        help="make the graph of a model from its published weights",
        description="Makes model.onnx in each model's folder as its build.toml says, and checks it, and the "
        "labels, against the pinned sha256.",
    )
    model.add_argument("names", nargs="+", metavar="NAME", help="a folder in models/, or the path of another one")
    model.add_argument(
        "--openvino", action="store_true", help="also make model.xml and model.bin (OpenVINO IR, float32)"
    )
    runtime = commands.add_parser(
        "runtime",
        help="get the ONNX Runtime library",
        description=f"Extracts {RUNTIME_FILE} and its licences into {show(LIBRARIES)}/.",
    )
    runtime.add_argument(
        "--machine",
        choices=sorted(RUNTIMES),
        default=platform.machine(),
        help="the processor it is for (default: this machine's, %(default)s)",
    )
    commands.add_parser(
        "pictures",
        help="get sample pictures for tests and demonstrations",
        description=f"Extracts 40 labelled pictures and 6 photographs into {show(PICTURES)}/.",
    )
    return parser.parse_args()


def find_model(name):
    """A name is a folder of models/; with a slash in it, it is a path."""
    folder = pathlib.Path(name).resolve() if "/" in name else HERE / name
    if not (folder / "model.toml").exists():
        have = ", ".join(sorted(card.parent.name for card in HERE.glob("*/model.toml")))
        raise Failure(f"{show(folder)} has no model.toml: give a model of models/ ({have}) or the path of its folder")
    return folder


def build_model(folder, openvino):
    card, recipe = load_toml(folder / "model.toml"), {}
    if (folder / "build.toml").exists():
        recipe = load_toml(folder / "build.toml")
    try:
        if card["name"] != folder.name:
            raise Failure(f"{show(folder)}/model.toml: name must be the folder's, {folder.name!r}")
        if "labels" in recipe:
            check_labels(folder / card["postprocessing"]["labels"], recipe["labels"])
        build_graph(folder, card, recipe)
        if openvino:
            build_openvino(folder, card, recipe)
    except KeyError as key:
        raise Failure(f"{show(folder)}: model.toml or build.toml lacks {key}: see models/README.md") from None


def load_toml(path):
    try:
        return tomllib.loads(path.read_bytes().decode())
    except tomllib.TOMLDecodeError as error:
        raise Failure(f"{show(path)}: {error}") from None


def check_labels(path, recipe):
    """The label file is committed, since people read it; it must be what the pinned package says."""
    if wheels.matches(path, recipe["sha256"]):
        return
    if path.exists():
        raise Failure(f"{show(path)} is not the pinned one: delete it and run this again, and it is written anew")
    names = json.loads(wheels.read(Wheel(recipe["wheel"], recipe["wheel_sha256"]), recipe["file"]))
    text = "".join(f"{names[str(index)]}\n" for index in range(len(names))).encode()
    if wheels.digest(text) != recipe["sha256"]:
        raise Failure(
            f"{recipe['file']} in {recipe['wheel']} makes labels of sha256 {wheels.digest(text)}: if they are "
            f"the right ones, write that into [labels] of {show(path.parent)}/build.toml"
        )
    wheels.write(path, text)
    say("write", show(path), len(text))


def build_graph(folder, card, recipe):
    path, pinned = folder / card["graph"]["file"], card["graph"].get("sha256", "")
    by_hand = not recipe.keys() & {"weights", "quantize", "synthetic"}
    if wheels.matches(path, pinned) or (by_hand and not pinned and path.exists()):
        say("keep", show(path), path.stat().st_size)
        return
    if by_hand:
        raise Failure(
            f"{show(path)} is not there with the sha256 of model.toml, and no build.toml says how to make it: "
            f"put the file there by hand"
        )
    if "quantize" in recipe:
        quantize_graph(folder, card, recipe["quantize"])
        return
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        source, target = pathlib.Path(scratch, "weights"), pathlib.Path(scratch, path.name)
        if "synthetic" in recipe:
            converter, source = recipe["synthetic"]["converter"], folder / "build.toml"
        else:
            weights = recipe["weights"]
            wheel = Wheel(weights["wheel"], weights["wheel_sha256"])
            converter = weights["converter"]
            source.write_bytes(wheels.read(wheel, weights["file"], weights["sha256"]))
        convert(converter, source, folder / "model.toml", target)
        keep(target.read_bytes(), path, pinned, f"[graph] of {show(folder)}/model.toml", started)


def quantize_graph(folder, card, recipe):
    """Makes the graph from the float one of another model, which is built first, and from calibration pictures."""
    path, float_model = folder / card["graph"]["file"], find_model(recipe["model"])
    build_model(float_model, openvino=False)
    source = float_model / load_toml(float_model / "model.toml")["graph"]["file"]
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        pictures, target = pathlib.Path(scratch, "pictures"), pathlib.Path(scratch, path.name)
        for group in recipe["pictures"]:
            for name in group["files"]:
                data = wheels.read(Wheel(group["wheel"], group["wheel_sha256"]), f"{group['folder']}/{name}")
                wheels.write(pictures / name, data)
        extra = [HERE / "requirements-quantize.txt"]
        convert(recipe["converter"], source, folder / "model.toml", target, extra, [pictures])
        keep(
            target.read_bytes(), path, card["graph"].get("sha256", ""), f"[graph] of {show(folder)}/model.toml", started
        )


def build_openvino(folder, card, recipe):
    """Named as wasi-nn's OpenVINO loader wants it: model.xml and model.bin in a folder named as the graph."""
    files = {"model.xml": "xml_sha256", "model.bin": "bin_sha256"}
    pins = {name: recipe.get("openvino", {}).get(key, "") for name, key in files.items()}
    if all(wheels.matches(folder / name, sha256) for name, sha256 in pins.items()):
        for name in files:
            say("keep", show(folder / name), (folder / name).stat().st_size)
        return
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        extra = [HERE / "requirements-openvino.txt"]
        convert("openvino_ir", folder / card["graph"]["file"], folder / "model.toml", scratch, extra)
        for name, key in files.items():
            data = pathlib.Path(scratch, name).read_bytes()
            keep(data, folder / name, pins[name], f"[openvino] {key} of {show(folder)}/build.toml", started)


def convert(converter, source, card, target, extra=(), pictures=()):
    """Runs one converter in a Python that sees the pinned packages only (see convert/__main__.py)."""
    if not (HERE / "convert" / f"{converter}.py").exists():
        raise Failure(f"{show(card.parent)}/build.toml: there is no converter models/convert/{converter}.py")
    packages = [wheels.install(path) for path in (HERE / "requirements.txt", *extra)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, packages)), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-S", "-m", "convert", converter, *map(str, (source, card, target, *pictures))]
    if subprocess.run(command, cwd=HERE, env=environment, check=False).returncode != 0:
        raise Failure(f"models/convert/{converter}.py could not convert the weights of {card.parent.name}, see above")


def keep(data, path, pinned, where, started):
    """Writes a made file, unless it is not the pinned one; one without a pin is written and named."""
    made = wheels.digest(data)
    if pinned and made != pinned:
        raise Failure(
            f"{show(path)} came out with sha256 {made}, but {where} pins {pinned}, so it is not written. "
            f"If a converter or requirements.txt was changed on purpose, follow 'Pins' in models/README.md; "
            f"if not, undo the change"
        )
    wheels.write(path, data)
    say("convert", f"{show(path)}  sha256 {made}", len(data), started)
    if not pinned:
        say("", f"not pinned yet: once it is checked, write the sha256 into {where}")


def extract_runtime(machine):
    if machine not in RUNTIMES:
        have = ", ".join(RUNTIMES)
        raise Failure(f"no ONNX Runtime is pinned for {machine}, only for {have}: add its wheel to RUNTIMES")
    wheel, sha256 = RUNTIMES[machine]
    members = {LIBRARIES / RUNTIME_FILE: (f"onnxruntime/capi/{RUNTIME_FILE}", sha256)}
    for name, license_sha256 in RUNTIME_LICENSES.items():
        members[LIBRARIES / f"onnxruntime-{name}"] = (f"onnxruntime/{name}", license_sha256)
    for path, (member, sha256) in members.items():
        if wheels.matches(path, sha256):
            say("keep", show(path), path.stat().st_size)
            continue
        wheels.write(path, wheels.read(wheel, member, sha256))
        say("write", show(path), path.stat().st_size)


def extract_pictures():
    for wheel, folder, names, sha256 in PICTURE_SETS:
        paths = [PICTURES / name for name in names]
        verb = "keep"
        if not all(path.exists() for path in paths) or digest_of(path.read_bytes() for path in paths) != sha256:
            data = [wheels.read(wheel, f"{folder}/{theirs}") for theirs in names.values()]
            if digest_of(data) != sha256:
                raise Failure(f"the pictures of {wheel.file} have digest {digest_of(data)}, but {sha256} is pinned")
            for path, picture in zip(paths, data):
                wheels.write(path, picture)
            verb = "write"
        say(verb, f"{show(PICTURES)}/: {len(paths)} pictures of {wheel.file}", sum(p.stat().st_size for p in paths))


def digest_of(files):
    """One sha256 over several files: of their own, one after the other."""
    return hashlib.sha256(b"".join(hashlib.sha256(data).digest() for data in files)).hexdigest()


if __name__ == "__main__":
    main()
