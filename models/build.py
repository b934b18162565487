#!/usr/bin/env python3
"""Produces the files that the repository does not contain: model graphs, the inference runtime and sample pictures.

Everything is extracted from package wheels, which pip downloads and which are pinned by their SHA-256. The results
are written to target/ or next to the model's card; nothing is installed into your Python. Files that exist with the
right contents are kept, so running this again is cheap.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - users start this with whatever Python they have
    sys.exit(f"error: Python 3.11 or newer is needed, this is {sys.version.split()[0]}")

# Model folders are served as they are, so they must not contain __pycache__.
sys.dont_write_bytecode = True

import argparse
import dataclasses
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
from wheels import ROOT, BuildError, Wheel, say, show

HERE = ROOT / "models"
LIBRARIES = ROOT / "target" / "lib"
PICTURES = ROOT / "target" / "pictures"

# For each machine: the wheel of ONNX Runtime, and the SHA-256 of the library inside it.
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

# In imagenet_NN_LABEL.jpg and cifar10_NN_LABEL.png, LABEL is the index of the correct class.
LABELS_IMAGENET = (243, 559, 438, 990, 949, 853, 609, 609, 915, 455, 541, 630, 741, 471, 129, 99, 251, 22, 317, 305)
LABELS_CIFAR10 = (3, 8, 8, 0, 6, 6, 1, 6, 3, 1, 0, 9, 5, 7, 9, 8, 5, 7, 8, 6)
LABELLED = [f"imagenet_{n:02}_{label}.jpg" for n, label in enumerate(LABELS_IMAGENET)]
LABELLED += [f"cifar10_{n:02}_{label}.png" for n, label in enumerate(LABELS_CIFAR10)]
PHOTOGRAPHS = {name: name for name in ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "rocket.jpg")}


@dataclasses.dataclass(frozen=True)
class PictureSet:
    """Pictures from one wheel."""

    wheel: Wheel
    folder: str  # inside the wheel
    names: dict[str, str]  # our file name -> the name inside the folder
    sha256: str  # combined_digest() of all of them


PICTURE_SETS = [
    PictureSet(
        Wheel(
            "foolbox-3.3.4-py3-none-any.whl",
            "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb",
        ),
        "foolbox/data",
        {name: name for name in LABELLED},
        "d58231263a7248ffe3f45213c0f7b3dea99c88e45b67e7f38c52cf8c5206cc6f",
    ),
    PictureSet(
        # Only data is taken from it, so the wheel for x86_64 serves every machine.
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
    except (BuildError, OSError) as error:
        sys.exit(f"error: {error}")
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
        description="Makes model.onnx in each model's folder as its build.toml describes, and checks the graph and "
        "the labels against their pinned SHA-256.",
    )
    model.add_argument(
        "names", nargs="+", metavar="NAME", help="a folder in models/, or the path of a model folder elsewhere"
    )
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
        help="processor architecture (default: this machine's, %(default)s)",
    )
    commands.add_parser(
        "pictures",
        help="get sample pictures for tests and demonstrations",
        description=f"Extracts 40 labelled pictures and 6 photographs into {show(PICTURES)}/.",
    )
    return parser.parse_args()


def find_model(name):
    """Returns the folder of a model; a name without a slash is a folder in models/."""
    folder = pathlib.Path(name).resolve() if "/" in name else HERE / name
    if not (folder / "model.toml").exists():
        known = ", ".join(sorted(card.parent.name for card in HERE.glob("*/model.toml")))
        raise BuildError(
            f"{show(folder)} has no model.toml: give a model of models/ ({known}) or the path of its folder"
        )
    return folder


def build_model(folder, openvino):
    card = load_toml(folder / "model.toml")
    recipe = load_toml(folder / "build.toml") if (folder / "build.toml").exists() else {}
    try:
        if card["name"] != folder.name:
            raise BuildError(f"{show(folder)}/model.toml: name must be the folder's, {folder.name!r}")
        if "labels" in recipe:
            check_labels(folder / card["postprocessing"]["labels"], recipe["labels"])
        if "characters" in recipe:
            check_characters(folder, card, recipe)
        if "vocab" in recipe:
            extract_vocabulary(folder, card, recipe)
        build_graph(folder, card, recipe)
        if openvino:
            build_openvino(folder, card, recipe)
    except KeyError as key:
        raise BuildError(f"{show(folder)}: model.toml or build.toml lacks {key}: see models/README.md") from None


def load_toml(path):
    try:
        return tomllib.loads(path.read_bytes().decode())
    except tomllib.TOMLDecodeError as error:
        raise BuildError(f"{show(path)}: {error}") from None


def check_labels(path, recipe):
    def make():
        names = json.loads(wheels.read(Wheel(recipe["wheel"], recipe["wheel_sha256"]), recipe["file"]))
        return "".join(f"{names[str(index)]}\n" for index in range(len(names))).encode()

    check_text(path, recipe["sha256"], make, "[labels]")


def check_characters(folder, card, recipe):
    """Checks the list of characters that a recognizer of text tells apart, which is read off its weights."""

    def make():
        with tempfile.TemporaryDirectory() as scratch:
            source, target = pathlib.Path(scratch, "weights"), pathlib.Path(scratch, "characters")
            source.write_bytes(read_weights(recipe["weights"]))
            Conversion(recipe["characters"]["converter"], source, folder / "model.toml", target).run()
            return target.read_bytes()

    check_text(folder / card["postprocessing"]["characters"], recipe["characters"]["sha256"], make, "[characters]")


def check_text(path, sha256, make, table):
    """Checks a text file, which is committed because people read it, against what `make` gives of a pinned package."""
    if wheels.matches(path, sha256):
        return
    if path.exists():
        raise BuildError(f"{show(path)} is not the pinned one: delete it and run this again, and it is written anew")
    text = make()
    if wheels.digest(text) != sha256:
        raise BuildError(
            f"{show(path)} would get sha256 {wheels.digest(text)}: if its text is the right one, write that into "
            f"{table} of {show(path.parent)}/build.toml"
        )
    wheels.write(path, text)
    say("write", show(path), len(text))


def read_weights(recipe):
    return wheels.read(Wheel(recipe["wheel"], recipe["wheel_sha256"]), recipe["file"], recipe["sha256"])


def extract_vocabulary(folder, card, recipe):
    """Writes the vocabulary that the card names and pins, out of the wheel of the weights."""
    table, weights = card["tokenizer"], recipe["weights"]
    path = folder / table["vocab"]
    if wheels.matches(path, table["sha256"]):
        say("keep", show(path), path.stat().st_size)
        return
    wheel = Wheel(weights["wheel"], weights["wheel_sha256"])
    wheels.write(path, wheels.read(wheel, recipe["vocab"]["file"], table["sha256"]))
    say("write", show(path), path.stat().st_size)


def build_graph(folder, card, recipe):
    path, pinned = folder / card["graph"]["file"], graph_pin(folder, card).sha256
    by_hand = not recipe.keys() & {"weights", "quantize", "synthetic"}
    if wheels.matches(path, pinned) or (by_hand and not pinned and path.exists()):
        say("keep", show(path), path.stat().st_size)
        return
    if by_hand:
        raise BuildError(
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
            converter = recipe["weights"]["converter"]
            source.write_bytes(read_weights(recipe["weights"]))
        Conversion(converter, source, folder / "model.toml", target).run()
        write_checked(path, target.read_bytes(), graph_pin(folder, card), started)


def graph_pin(folder, card):
    return Pin(card["graph"].get("sha256", ""), f"[graph] of {show(folder)}/model.toml")


def quantize_graph(folder, card, recipe):
    """Quantizes the float graph of another model, which is built first, with calibration pictures."""
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
        conversion = Conversion(recipe["converter"], source, folder / "model.toml", target)
        conversion.run(extra_requirements=[HERE / "requirements-quantize.txt"], pictures=pictures)
        write_checked(path, target.read_bytes(), graph_pin(folder, card), started)


def build_openvino(folder, card, recipe):
    """Writes model.xml and model.bin, the file names that the OpenVINO loader of wasi-nn expects."""
    files = {"model.xml": "xml_sha256", "model.bin": "bin_sha256"}
    pins = {name: recipe.get("openvino", {}).get(key, "") for name, key in files.items()}
    if all(wheels.matches(folder / name, sha256) for name, sha256 in pins.items()):
        for name in files:
            say("keep", show(folder / name), (folder / name).stat().st_size)
        return
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        conversion = Conversion("openvino_ir", folder / card["graph"]["file"], folder / "model.toml", scratch)
        conversion.run(extra_requirements=[HERE / "requirements-openvino.txt"])
        for name, key in files.items():
            data = pathlib.Path(scratch, name).read_bytes()
            pin = Pin(pins[name], f"[openvino] {key} of {show(folder)}/build.toml")
            write_checked(folder / name, data, pin, started)


@dataclasses.dataclass(frozen=True)
class Conversion:
    """One run of a converter of models/convert/ in a child process (see convert/__main__.py)."""

    converter: str
    source: pathlib.Path
    card: pathlib.Path
    target: pathlib.Path

    def run(self, *, extra_requirements=(), pictures=None):
        """Runs it in a Python that sees nothing but the standard library and the pinned packages."""
        script, model = f"models/convert/{self.converter}.py", self.card.parent
        if not (ROOT / script).exists():
            raise BuildError(f"{show(model)}/build.toml: there is no converter {script}")
        packages = [wheels.install(path) for path in (HERE / "requirements.txt", *extra_requirements)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, packages)), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-S", "-m", "convert", self.converter, self.source, self.card, self.target]
        command += [pictures] if pictures else []
        if subprocess.run(command, cwd=HERE, env=environment, check=False).returncode != 0:
            raise BuildError(f"{script} could not convert the weights of {model.name}, see above")


@dataclasses.dataclass(frozen=True)
class Pin:
    """The SHA-256 that a file must have, empty where none is recorded yet, and where a person finds it."""

    sha256: str
    where: str


def write_checked(path, data, pin, started):
    """Writes a file that was made since `started`, unless its SHA-256 differs from the pinned one.

    A file without a pin is written, and its SHA-256 is printed.
    """
    actual = wheels.digest(data)
    if pin.sha256 and actual != pin.sha256:
        raise BuildError(
            f"{show(path)} came out with sha256 {actual}, but {pin.where} pins {pin.sha256}, so it is not written. "
            f"If a converter or requirements.txt was changed on purpose, follow 'Pins' in models/README.md; "
            f"if not, undo the change"
        )
    wheels.write(path, data)
    say("convert", f"{show(path)}  sha256 {actual}", len(data), started)
    if not pin.sha256:
        say("", f"not pinned yet: once it is checked, write the sha256 into {pin.where}")


def extract_runtime(machine):
    if machine not in RUNTIMES:
        known = ", ".join(RUNTIMES)
        raise BuildError(f"no ONNX Runtime is pinned for {machine}, only for {known}: add its wheel to RUNTIMES")
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
    for pictures in PICTURE_SETS:
        paths = [PICTURES / name for name in pictures.names]
        present = all(path.exists() for path in paths)
        if present and combined_digest(path.read_bytes() for path in paths) == pictures.sha256:
            verb = "keep"
        else:
            extract_picture_set(pictures)
            verb = "write"
        size = sum(path.stat().st_size for path in paths)
        say(verb, f"{show(PICTURES)}/: {len(paths)} pictures of {pictures.wheel.file}", size)


def extract_picture_set(pictures):
    data = [wheels.read(pictures.wheel, f"{pictures.folder}/{name}") for name in pictures.names.values()]
    actual = combined_digest(data)
    if actual != pictures.sha256:
        raise BuildError(f"the pictures of {pictures.wheel.file} have digest {actual}, but {pictures.sha256} is pinned")
    for name, picture in zip(pictures.names, data, strict=True):
        wheels.write(PICTURES / name, picture)


def combined_digest(files):
    """The SHA-256 of the concatenated SHA-256 digests of several files."""
    return hashlib.sha256(b"".join(hashlib.sha256(data).digest() for data in files)).hexdigest()


if __name__ == "__main__":
    main()
