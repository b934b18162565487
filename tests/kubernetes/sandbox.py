"""Namespaces for the tests' daemons, with which processes, mounts and network devices disappear.

The runner starts itself again under `unshare` with its own network, mount and process namespace. Inside, no other
machine can be reached, mounts are private, and all processes end with the first one. Only folders and cgroups remain
outside, and `cleaned` removes them.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

INSIDE = "MODELFN_TEST_INSIDE"
CGROUPS = pathlib.Path("/sys/fs/cgroup")


def enter(arguments, scratch):
    """Runs this script again inside new namespaces, and returns its exit status."""
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command += ["--propagation", "private", sys.executable, *arguments]
    # SIGTERM cleans up, too; after SIGKILL the next run does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    for left in scratch.parent.glob(scratch.name.rsplit("-", 1)[0] + "-*"):
        if not pathlib.Path("/proc", left.name.rsplit("-", 1)[1]).exists():
            remove(left)
    with cleaned(scratch):
        return subprocess.run(command, env=os.environ | {INSIDE: str(scratch)}, check=False).returncode


def inside():
    """Returns the scratch folder if this process runs inside the namespaces."""
    return pathlib.Path(os.environ[INSIDE]) if INSIDE in os.environ else None


@contextlib.contextmanager
def cleaned(scratch):
    remove(scratch)
    scratch.mkdir(parents=True)
    try:
        yield
    finally:
        remove(scratch)


def remove(scratch):
    remove_cgroups(scratch.name)
    shutil.rmtree(scratch, ignore_errors=True)


def remove_cgroups(name):
    """Removes the cgroups that the container runtimes left, children before parents."""
    for controller in CGROUPS.iterdir():
        root = controller / name
        if root.is_dir():
            for folder, _, _ in os.walk(root, topdown=False):
                with contextlib.suppress(OSError):
                    pathlib.Path(folder).rmdir()


def prepare():
    """Sets up what the daemons expect: a loopback device, a node address, an empty /run, and shared mounts."""
    run("mount", "--make-rshared", "/")
    run("mount", "-t", "tmpfs", "tmpfs", "/run")
    run("ip", "link", "set", "lo", "up")
    # The node's address is on a virtual device, since nothing leads out of this namespace.
    run("ip", "link", "add", "node0", "type", "veth", "peer", "name", "node1")
    run("ip", "link", "set", "node1", "up")
    run("ip", "addr", "add", "10.99.0.1/24", "dev", "node0")
    run("ip", "link", "set", "node0", "up")
    run("ip", "route", "add", "default", "dev", "node0")
    pathlib.Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def run(*command, **options):
    """Runs a command that must succeed, and returns its standard output."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    done = subprocess.run([str(word) for word in command], check=False, **options)
    if done.returncode != 0:
        output = f"{done.stdout or ''}{done.stderr or ''}".strip()
        raise AssertionError(f"{' '.join(map(str, command))}: exit status {done.returncode}\n{output[-4000:]}")
    return done.stdout


def until(what, condition, seconds=60):
    """Waits until `condition` returns something true, and returns that."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found, error = condition(), None
        except (AssertionError, OSError) as failed:
            found, error = None, failed
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}" + (f" ({error})" if error else ""))
        time.sleep(0.05)


class Daemon:
    """A child process with a log file."""

    def __init__(self, log, *command, **options):
        self.name = pathlib.Path(command[0]).name
        self.log = log
        with log.open("a") as output:
            self.process = subprocess.Popen(
                [str(word) for word in command], stdout=output, stderr=output, stdin=subprocess.DEVNULL, **options
            )

    def alive(self):
        if self.process.poll() is not None:
            raise SystemExit(f"{self.name} ended by itself:\n{self.tail()}")
        return True

    def tail(self, size=3000):
        return self.log.read_text(errors="replace")[-size:]

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
