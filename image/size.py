#!/usr/bin/env python3
"""Prints an image's size by part: image/size.py ARCHIVE, where ARCHIVE is an OCI or docker archive.

Sizes are in MB of 1,000,000 bytes: unpacked, and compressed as registries store layers, with gzip and with zstd (level
19, if that program is installed). The sizes in bytes are written to ARCHIVE.sizes.json.
"""

import gzip
import io
import json
import pathlib
import shutil
import subprocess
import sys
import tarfile


def main():
    archive = sys.argv[1]
    with tarfile.open(archive) as image:
        parts = [measure(name, data) for name, data in layers(image)]
    total = {"part": "all", **{key: sum(part[key] for part in parts) for key in parts[0] if key != "part"}}
    pathlib.Path(archive + ".sizes.json").write_text(json.dumps({part["part"]: part for part in [*parts, total]}))
    print(f"{pathlib.Path(archive).name:42} unpacked   gzip   zstd  MB")
    for part in [*parts, total]:
        sizes = "  ".join(f"{part[key] / 1e6:5.1f}" for key in ("unpacked", "gzip", "zstd"))
        print(f"  {part['part']:40}    {sizes}")


def layers(image):
    """Yields for each layer the command that created it and its uncompressed tar."""
    manifest, config = describe(image)
    history = [entry["created_by"] for entry in config["history"] if not entry.get("empty_layer")]
    for made_by, member in zip(history, manifest, strict=True):
        data = image.extractfile(member).read()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        yield made_by, data


def describe(image):
    """Returns the archive members that are layers, and the image's configuration."""

    def read(name):
        return json.load(image.extractfile(name))

    def blob(digest):
        return "blobs/" + digest.replace(":", "/")

    names = image.getnames()
    if "index.json" in names and "manifest.json" not in names:
        manifest = read(blob(read("index.json")["manifests"][0]["digest"]))
        return [blob(layer["digest"]) for layer in manifest["layers"]], read(blob(manifest["config"]["digest"]))
    manifest = read("manifest.json")[0]
    return manifest["Layers"], read(manifest["Config"])


def measure(made_by, data):
    """Measures one layer, which is named after its two largest files."""
    with tarfile.open(fileobj=io.BytesIO(data)) as layer:
        files = [member for member in layer.getmembers() if member.isfile()]
    largest = sorted(files, key=lambda file: -file.size)[:2]
    name = ", ".join(pathlib.Path(file.name).name[:28] for file in largest) or made_by[:40]
    zstd = b""
    if shutil.which("zstd"):
        zstd = subprocess.run(["zstd", "-q", "-19", "-T0", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout
    return {"part": name, "unpacked": len(data), "gzip": len(gzip.compress(data, 6)), "zstd": len(zstd)}


if __name__ == "__main__":
    main()
