"""Reads files out of package wheels, which pip downloads to target/ and which are checked by their SHA-256.

Everything that the project does not commit comes from wheels, because a package index is the one download source that
closed build environments usually offer. Nothing is installed into the user's Python: data files are read from the
wheel itself, and Python packages are installed into folders of their own.
"""

import contextlib
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
# The options with which pip takes the wheels of a requirements file and nothing else.
PINNED_ONLY = ("--no-deps", "--require-hashes", "--only-binary", ":all:")


class BuildError(Exception):
    """A problem that the user can solve; the message says how."""


@dataclasses.dataclass(frozen=True)
class Wheel:
    """One wheel file, whose name states the package, the version and the platforms."""

    file: str
    sha256: str

    def pip_arguments(self):
        """The arguments that make pip choose exactly this file, whatever Python and machine run it."""
        _name_and_version, python, abi, platforms = self.file.removesuffix(".whl").rsplit("-", 3)
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
    """Returns the bytes of one file inside a wheel; the wheel is downloaded first if necessary."""
    with zipfile.ZipFile(_fetch(wheel)) as archive:
        try:
            data = archive.read(member)
        except KeyError:
            raise BuildError(f"{wheel.file} has no file {member}: correct the name where it is pinned") from None
    if sha256 and digest(data) != sha256:
        raise BuildError(f"{member} in {wheel.file} has sha256 {digest(data)}, but {sha256} is pinned")
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
            [
                "download",
                *PINNED_ONLY,
                "--dest",
                str(scratch),
                *wheel.pip_arguments(),
                "--requirement",
                str(requirements),
            ],
            f"or put {wheel.file} into {show(DOWNLOADS)}/ by hand",
        )
        if not (scratch / wheel.file).exists():
            raise BuildError(f"pip fetched something other than {wheel.file}: correct the file name where it is pinned")
        (scratch / wheel.file).replace(path)
    say("fetch", wheel.file, path.stat().st_size, started)
    return path


def install(requirements):
    """Installs the packages of a hash-pinned requirements file and returns their folder, for PYTHONPATH.

    `pip install --target` needs no venv module, and works where a distribution marks its Python as externally managed.
    The folder is created by one rename, so if it exists it is complete. Its name is a digest of everything that
    determines its contents.
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
            [
                "install",
                *PINNED_ONLY,
                "--no-compile",
                "--target",
                str(scratch / "packages"),
                "--requirement",
                str(requirements),
            ],
            f"(Python {platform.python_version()} on {platform.machine()}; the file pins wheels for Linux only)",
        )
        try:
            (scratch / "packages").rename(folder)
        except OSError:
            # A concurrent build has created the same folder.
            if not folder.exists():
                raise
    say("install", show(folder), sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()), started)
    return folder


def _pip(what, arguments, hint):
    if importlib.util.find_spec("pip") is None:
        raise BuildError("this Python has no pip: run 'apt-get install python3-pip' or 'python3 -m ensurepip'")
    options = ["--quiet", "--no-input", "--disable-pip-version-check"]
    if arguments[0] == "install":
        options += ["--root-user-action", "ignore"]
    done = subprocess.run([sys.executable, "-m", "pip", arguments[0], *options, *arguments[1:]], check=False)
    if done.returncode != 0:
        raise BuildError(
            f"pip could not {arguments[0]} {what} (its own words are above): check that a package index "
            f"can be reached ('{pathlib.Path(sys.executable).name} -m pip config list'), {hint}"
        )


@contextlib.contextmanager
def _scratch(parent):
    """A temporary folder inside `parent`, on the same file system, so that its contents can be renamed into place."""
    parent.mkdir(parents=True, exist_ok=True)
    path = pathlib.Path(tempfile.mkdtemp(prefix=".unfinished-", dir=parent))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def digest(data):
    return hashlib.sha256(data).hexdigest()


def matches(path, sha256):
    """Whether the file exists and has this SHA-256."""
    return path.exists() and digest(path.read_bytes()) == sha256


def write(path, data):
    """Writes a file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(data)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def show(path):
    """A path relative to the root of the repository, if it lies inside it."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def say(verb, what, size=None, started=None):
    """Prints one line of progress, such as `fetch   some.whl  17.4 MB  0.6 s`."""
    parts = [f"{verb:8}{what}"]
    if size is not None:
        parts.append(f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB")
    if started is not None:
        parts.append(f"{time.monotonic() - started:.1f} s")
    print("  ".join(parts), flush=True)
