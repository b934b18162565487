#!/usr/bin/env python3
"""Prints the bill of materials of an image in CycloneDX 1.5: image/sbom.py OUT, the output folder of image/build.sh.

It lists the crates that are compiled into the program and the function (as cargo resolves them), the inference engine
(as pinned in models/build.py), the models (by their cards) and the copied Debian libraries (as dpkg knows them). If
target/metadata.json exists, it is read instead of calling `cargo metadata`, which may need a network.
"""

import hashlib
import json
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
MEMBERS = {"modelfn": "x86_64-unknown-linux-gnu", "classify": "wasm32-wasip2"}


def main():
    out = pathlib.Path(sys.argv[1])
    components = [*crates(metadata()), engine(out), *models(out), *debian(out)]
    components.sort(key=lambda component: component["bom-ref"])
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    root = {"type": "container", "name": "modelfn", "version": version, "bom-ref": "modelfn"}
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": root},
        "components": components,
        "dependencies": [{"ref": "modelfn", "dependsOn": [component["bom-ref"] for component in components]}],
    }
    json.dump(bom, sys.stdout, indent=1, sort_keys=True)
    print()


def metadata():
    saved = ROOT / "target" / "metadata.json"
    if saved.exists():
        return json.loads(saved.read_text())
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", MEMBERS["modelfn"]]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


def crates(metadata):
    """Returns the crates that are linked; dependencies of tests and build scripts are left out."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    packages = {package["id"]: package for package in metadata["packages"]}
    waiting = [package["id"] for package in metadata["packages"] if package["name"] in MEMBERS]
    seen = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for dependency in nodes[name]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])  # noqa: PERF401 - the list is being consumed
    return [crate(packages[name]) for name in sorted(seen)]


def crate(package):
    reference = f"pkg:cargo/{package['name']}@{package['version']}"
    found = {"type": "library", "name": package["name"], "version": package["version"], "bom-ref": reference}
    if package["source"]:
        found["purl"] = reference
    if package["license"]:
        # Before SPDX expressions, Cargo wrote "/" for OR.
        found["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    return found


def engine(out):
    (library,) = (out / "engine/usr/local/lib").glob("libonnxruntime.so.*")
    version = library.name.removeprefix("libonnxruntime.so.")
    return {
        "type": "library",
        "name": "onnxruntime",
        "version": version,
        "bom-ref": f"pkg:pypi/onnxruntime@{version}",
        "purl": f"pkg:pypi/onnxruntime@{version}",
        "licenses": [{"license": {"id": "MIT"}}],
        "hashes": [{"alg": "SHA-256", "content": digest(library)}],
    }


def models(out):
    for card in sorted((out / "models/models").glob("*/model.toml")):
        values = tomllib.loads(card.read_text())
        graph = card.parent / values["graph"]["file"]
        yield {
            "type": "machine-learning-model",
            "name": values["name"],
            "version": digest(graph)[:12],
            "bom-ref": f"model:{values['name']}",
            "description": values["description"],
            "licenses": [{"expression": values["license"]}],
            "hashes": [{"alg": "SHA-256", "content": digest(graph)}],
            "externalReferences": [{"type": "distribution", "url": values["source"]}],
        }


def debian(out):
    """Yields the Debian packages that own the copied files.

    dpkg may know a file by its path before Debian merged /lib into /usr/lib, so that path is looked up, too.
    """
    owners = set()
    for file in sorted((out / "base").rglob("*")):
        path = "/" + str(file.relative_to(out / "base"))
        for name in (path, path.removeprefix("/usr"), str(pathlib.Path(path).resolve())):
            done = subprocess.run(["dpkg-query", "--search", name], capture_output=True, text=True, check=False)
            if file.is_file() and done.returncode == 0:
                owners.update(re.findall(r"^([^\s:,]+)(?::\w+)?: ", done.stdout, re.MULTILINE))
    for name in sorted(owners | {"ca-certificates"}):
        shown = subprocess.run(
            ["dpkg-query", "--show", "--showformat", "${Version} ${Architecture}", name],
            capture_output=True,
            text=True,
            check=True,
        )
        version, architecture = shown.stdout.split()[:2]
        reference = f"pkg:deb/debian/{name}@{version}?arch={architecture}"
        yield {"type": "library", "name": name, "version": version, "bom-ref": reference, "purl": reference}


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
