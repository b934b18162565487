#!/usr/bin/env python3
"""Pins the packages of peers: bench/peers/lock.py [PEER ...] reads requirements.in and writes requirements.txt.

pip resolves the versions for this Python. The SHA-256 are those of the wheels for CPython 3.11 to 3.13 on Linux, x86_64
and aarch64, as far as they exist.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PYTHONS = ("3.11", "3.12", "3.13")
MACHINES = ("x86_64", "aarch64")
GLIBC = (17, 24, 26, 27, 28)


def main():
    for peer in sys.argv[1:] or sorted(path.parent.name for path in HERE.glob("*/requirements.in")):
        source = HERE / peer / "requirements.in"
        pins = resolve(["--requirement", str(source)])
        hashes = {name: {sha256} for name, (_, sha256, _) in pins.items()}
        built = [name for name, (_, _, url) in pins.items() if not url.endswith("-any.whl")]
        for python in PYTHONS:
            for machine in MACHINES:
                tags = [tag for glibc in GLIBC for tag in ("--platform", f"manylinux_2_{glibc}_{machine}")]
                tags += ["--platform", f"manylinux2014_{machine}", "--implementation", "cp", "--python-version", python]
                for name in built:
                    wanted = f"{name}=={pins[name][0]}"
                    found = resolve(["--no-deps", "--target", "/nonexistent", *tags, wanted], missing_ok=True)
                    hashes[name].update(sha256 for _, sha256, _ in found.values())
        lines = ["# Made by bench/peers/lock.py from requirements.in.\n"]
        for name, (version, _, _) in sorted(pins.items()):
            lines.append(
                " \\\n".join([f"{name}=={version}", *(f"    --hash=sha256:{each}" for each in sorted(hashes[name]))])
            )
            lines.append("\n")
        (HERE / peer / "requirements.txt").write_text("".join(lines))
        print(f"{peer}: {len(pins)} packages", flush=True)


def resolve(arguments, *, missing_ok=False):
    """Returns what pip would install, as {name: (version, sha256, url)}."""
    with tempfile.NamedTemporaryFile() as report:
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--dry-run",
            "--ignore-installed",
            "--only-binary",
            ":all:",
        ]
        done = subprocess.run([*command, "--report", report.name, *arguments], check=False, capture_output=missing_ok)
        if done.returncode:
            if missing_ok:
                return {}
            sys.exit("pip could not resolve it, see above")
        installs = json.load(report)["install"]
    pins = {}
    for each in installs:
        wheel = each["download_info"]
        name = each["metadata"]["name"].lower().replace("_", "-")
        pins[name] = each["metadata"]["version"], wheel["archive_info"]["hashes"]["sha256"], wheel["url"]
    return pins


if __name__ == "__main__":
    main()
