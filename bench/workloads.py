"""The workloads of all contenders: a model, pictures, and the correct classes."""

import os
import subprocess
import sys

import wheels
from clients import Requests
from system import PICTURES, ROOT, folder, say

MADE = ROOT / "target/bench-pictures"
# SHA-256 of the pictures of bench/pictures.py, whose packages are pinned, so that the bytes are the same everywhere.
DIGESTS = {
    "thumbnail.jpg": "10c3007b4451b880306da49248f863956b2d0d9c21c318543adac08952f51653",
    "phone.jpg": "4ba4c99b75fac97745e6f07f45e3da54b79579a33fcd5b21d8d6b72d0f6b4603",
}
COFFEE = "espresso"
# Sets of pictures by name: a description, and for each picture its class of ImageNet.
SETS = {
    "thumbnail": ("thumbnail, 224 × 224", {MADE / "thumbnail.jpg": COFFEE}),
    "photograph": ("photograph, 640 × 427", {PICTURES / "rocket.jpg": "missile"}),
    "phone": ("photograph, 12 megapixels", {MADE / "phone.jpg": COFFEE}),
    # A realistic mix of small pictures, a PNG and a large one.
    "mixed": (
        "eight of 13 kB to 3.2 MB, mixed",
        {
            MADE / "thumbnail.jpg": COFFEE,
            PICTURES / "rocket.jpg": "missile",
            PICTURES / "imagenet_14_129.jpg": "spoonbill",
            PICTURES / "imagenet_16_251.jpg": "dalmatian, coach dog, carriage dog",
            PICTURES / "imagenet_11_630.jpg": "Loafer",
            PICTURES / "coffee.png": COFFEE,
            PICTURES / "chelsea.png": "tiger cat",
            MADE / "phone.jpg": COFFEE,
        },
    ),
}
# The classes that the CIFAR-10 model finds in the same pictures.
CIFAR10 = {"thumbnail": "automobile", "photograph": "bird", "phone": "automobile"}
# Number of functions in one process: of the same file, and of a file each, which takes two seconds to compile.
FUNCTIONS = {"same": 1000, "distinct": 100}
MODEL_WORDS = {
    "int8": "EfficientNet-Lite0 int8",
    "lite0": "EfficientNet-Lite0 float",
    "lite2": "EfficientNet-Lite2 float",
    "cifar10": "CIFAR-10 CNN",
}


class Workload:
    """A model and its pictures."""

    component = "classify"

    def __init__(self, model, pictures):
        self.model, self.pictures, self.folder = model, pictures, folder(model)
        self.files = dict(SETS[pictures][1])
        if model == "cifar10":
            self.files = dict.fromkeys(self.files, CIFAR10[pictures])

    @property
    def words(self):
        return f"{MODEL_WORDS[self.model]}, {SETS[self.pictures][0]}"

    def requests(self, form=None):
        """The requests in a server's format."""
        return Requests(self, form)


def make_pictures():
    """Makes the pictures of SETS that no package contains."""
    if all(wheels.matches(MADE / name, sha256) for name, sha256 in DIGESTS.items()):
        return
    say("making pictures")
    packages = [wheels.install(ROOT / "models" / name) for name in ("requirements.txt", "requirements-quantize.txt")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, packages))}
    subprocess.run([sys.executable, "-S", ROOT / "bench/pictures.py", PICTURES, MADE], env=environment, check=True)
    for name, sha256 in DIGESTS.items():
        made = wheels.digest((MADE / name).read_bytes())
        if made != sha256:
            sys.exit(f"{name} came out with sha256 {made}, but {sha256} is pinned in bench/workloads.py")
