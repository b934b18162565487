#!/usr/bin/env python3
"""Tests the wheel as somebody meets it who has Python, a model and nothing else.

    tests/wheel/run.py target/wheels/modelfn-*.whl

Each test has an empty folder. The wheel is installed by pip into a fresh environment, and its program is started
without anything else on PATH, so that neither Rust nor this checkout helps it.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
REQUIREMENTS = pathlib.Path(__file__).with_name("requirements.txt")
START_SECONDS = 60


class Installation:
    """A fresh environment of Python with the wheel in it."""

    def __init__(self, folder, wheel):
        self.wheel = wheel
        self.home = folder / "home"
        self.home.mkdir()
        environment = folder / "environment"
        run([sys.executable, "-m", "venv", environment])
        self.bin = environment / "bin"
        run([self.bin / "pip", "install", "--quiet", "--disable-pip-version-check", wheel])

    def environment(self, *path):
        """The variables of a program that finds these folders and nothing else."""
        kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_", "SSL_"))}
        return kept | {"PATH": os.pathsep.join(map(str, path)), "HOME": str(self.home)}

    def modelfn(self, *arguments, folder):
        command = [self.bin / "modelfn", *arguments]
        return run(command, cwd=folder, env=self.environment(self.bin))

    @contextlib.contextmanager
    def serve(self, *arguments, folder):
        """The address of a server that was started in `folder`."""
        command = [self.bin / "modelfn", "serve", *arguments]
        with serving(command, folder, self.environment(self.bin)) as address:
            yield address


def run(command, **options):
    """Runs a program to its end and returns what it printed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


@contextlib.contextmanager
def serving(command, folder, environment):
    """Starts a server on a free port, and yields its address once it is ready."""
    command = [*map(str, command), "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-format", "json"]
    log = folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
    try:
        yield wait_for_address(process, log)
    finally:
        process.terminate()
        process.wait(timeout=60)


def wait_for_address(process, log):
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        for line in log.read_text().splitlines():
            with contextlib.suppress(ValueError, KeyError):
                return json.loads(line)["address"]
        time.sleep(0.05)
    raise AssertionError(f"the server did not start:\n{log.read_text()}")


def ask(url, body=None):
    request = urllib.request.Request(url, data=body)  # noqa: S310 - the address is our own server's
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
        return json.load(response)


def test_a_model_of_an_empty_folder_is_served(installation, folder):
    """The sum of two vectors, by the protocol that Triton's clients speak."""
    shutil.copy(ROOT / "tests/fixtures/hostile/add/model.onnx", folder / "model.onnx")
    with installation.serve("model.onnx", folder=folder) as address:
        metadata = ask(f"http://{address}/v2/models/model")
        rows = [[1, 2], [3, 4]]
        inputs = [
            {"name": spec["name"], "datatype": spec["datatype"], "shape": [1, len(row)], "data": row}
            for spec, row in zip(metadata["inputs"], rows, strict=True)
        ]
        answer = ask(f"http://{address}/v2/models/model/infer", json.dumps({"inputs": inputs}).encode())
    assert answer["outputs"][0]["data"] == [4, 6], answer


def test_a_picture_is_classified_by_the_function_in_the_program(installation, folder):
    model = folder / "lite"
    model.mkdir()
    for name in ("model.onnx", "model.toml", "labels.txt"):
        shutil.copy(ROOT / "models/efficientnet-lite0-int8" / name, model / name)
    card = model / "model.toml"
    card.write_text(re.sub(r'(?m)^name = "efficientnet-lite0-int8"$', 'name = "lite"', card.read_text(), count=1))
    picture = (ROOT / "target/pictures/coffee.png").read_bytes()
    with installation.serve("lite", folder=folder) as address:
        answer = ask(f"http://{address}/classify?top_k=1", picture)
    assert answer["class"] == "espresso", answer


def test_a_card_is_written_from_a_graph(installation, folder):
    shutil.copy(ROOT / "tests/fixtures/hostile/add/model.onnx", folder / "model.onnx")
    installation.modelfn("model", "card", "model.onnx", "--output", "model.toml", folder=folder)
    assert "check" in installation.modelfn("model", "inspect", ".", folder=folder)


def test_uvx_runs_it(installation, folder):
    """`uvx modelfn`, as it would be from an index."""
    tools = python_tools()
    command = [tools / "bin/uvx", "--from", installation.wheel, "modelfn"]
    environment = installation.environment(tools / "bin", pathlib.Path(sys.executable).parent)
    assert run([*command, "--version"], cwd=folder, env=environment).startswith("modelfn ")
    shutil.copy(ROOT / "tests/fixtures/hostile/add/model.onnx", folder / "model.onnx")
    with serving([*command, "serve", "model.onnx"], folder, environment) as address:
        assert ask(f"http://{address}/v2/models/model")["name"] == "model"


def test_the_tag_is_true(installation, folder):
    """The program needs no newer C library than the name of the wheel says, as auditwheel reads it."""
    report = run(
        [sys.executable, "-m", "auditwheel", "show", installation.wheel],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(python_tools())},
    )
    claimed = re.search(r"manylinux_(\d+)_(\d+)_", installation.wheel.name)
    assert claimed, f"{installation.wheel.name} has no manylinux tag"
    consistent = re.search(r'platform tag:\s*"manylinux_(\d+)_(\d+)_', report)
    assert consistent, report
    assert version(consistent) <= version(claimed), report


def version(match):
    return tuple(map(int, match.groups()))


def python_tools():
    """The folder of uv and auditwheel, which are installed there once."""
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(ROOT / "models"))
    import wheels  # noqa: PLC0415 - the path is set above

    with contextlib.redirect_stdout(sys.stderr):
        return wheels.install(REQUIREMENTS)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=lambda path: pathlib.Path(path).resolve(strict=True))
    parser.add_argument("only", nargs="*", help="a part of the names of the tests to run")
    arguments = parser.parse_args()
    tests = {name: test for name, test in globals().items() if name.startswith("test_")}
    chosen = {n: t for n, t in tests.items() if not arguments.only or any(part in n for part in arguments.only)}
    failed = 0
    with tempfile.TemporaryDirectory(prefix="modelfn-wheel-") as root:
        scratch = pathlib.Path(root)
        installation = Installation(scratch, arguments.wheel)
        for name, test in chosen.items():
            folder = scratch / name
            folder.mkdir()
            started = time.monotonic()
            try:
                test(installation, folder)
                result = "ok"
            except Exception:
                traceback.print_exc()
                result, failed = "FAILED", failed + 1
            print(f"test {name} ... {result} ({time.monotonic() - started:.1f} s)", flush=True)
    print(f"{len(chosen) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
