#!/usr/bin/env python3
"""Tests the image and k8s/ on a real containerd with runc, and on a real Kubernetes cluster of one node.

This needs root and what tests/kubernetes/setup.sh installs; `make test-kubernetes` runs both. All daemons run in
namespaces of their own, and nothing of them remains afterwards.
"""

import argparse
import os
import pathlib
import sys
import time

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CHECKERS = ROOT / "target/kubernetes-checkers"
if CHECKERS.exists():
    sys.path.insert(1, CHECKERS.read_text().strip())

import sandbox
from report import Report, say


class Context:
    """What all tests share: rendered manifests, checkers, and, once they run, containerd and the cluster."""

    def __init__(self, root):
        import manifests

        self.root = root
        self.packages = pathlib.Path(CHECKERS.read_text().strip())
        self.python_environment = os.environ | {"PYTHONPATH": str(self.packages)}
        self.rendered, self.overlays = manifests.load_overlays(root)
        self.containerd = self.cluster = None

    def checker(self, name):
        return self.packages / "bin" / name

    def kubectl(self, *arguments, **options):
        return self.cluster.kubectl(*arguments, **options)

    def get(self, *arguments, **options):
        return self.cluster.get(*arguments, **options)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="WORD", help="run only tests whose name contains one of the words")
    return parser.parse_args()


def main():
    arguments = parse()
    if os.geteuid() != 0 or not CHECKERS.exists():
        sys.exit("run tests/kubernetes/setup.sh first, and be root: these tests make namespaces and cgroups")
    scratch = sandbox.inside()
    if scratch is None:
        sys.exit(sandbox.enter([__file__, *arguments.words], ROOT / f"target/kubernetes-test-{os.getpid()}"))
    os.environ["CONTAINERS_STORAGE_CONF"] = str(ROOT / "target/image/storage.conf")
    os.environ["BUILDAH_ISOLATION"] = "chroot"
    sys.exit(run_all(scratch, arguments.words))


def run_all(scratch, words):
    # These modules import packages of CHECKERS, which only setup.sh installs.
    # ruff: noqa: PLC0415
    import cluster
    import containerd
    import deployment
    import image
    import manifests
    import runtimeclass

    report, context = Report(words), Context(scratch)
    report.run(manifests, context)
    sandbox.prepare()
    context.containerd = containerd.Containerd(scratch)
    try:
        report.run(image, context)
        context.containerd.import_pause()
        report.run(runtimeclass, context)
        if report.tests(deployment):
            started = time.monotonic()
            context.containerd.import_image(image.ARCHIVE, image.NAME)
            context.cluster = cluster.Cluster(scratch, context.containerd)
            say(f"a cluster of one node, ready after {time.monotonic() - started:.0f} s")
            report.run(deployment, context)
    except (AssertionError, SystemExit) as error:
        report.failed.append(f"could not continue: {error}")
    finally:
        show_logs(scratch, report)
        if context.cluster:
            context.cluster.stop()
        context.containerd.stop()
    return report.end()


def show_logs(scratch, report):
    """Prints the ends of the daemons' logs if a test failed."""
    for log in sorted(scratch.glob("*.log")) if report.failed else ():
        print(f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}")


if __name__ == "__main__":
    main()
