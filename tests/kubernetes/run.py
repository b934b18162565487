#!/usr/bin/env python3
"""Tests of the image and of k8s/ on the real things: containerd with runc, and a Kubernetes cluster of one node.

usage: tests/kubernetes/run.py [WORD...]     only tests whose name has one of the words

Needs root, and what tests/kubernetes/setup.sh gets: `make test-kubernetes` runs both. All daemons run in
namespaces of their own, and nothing stays behind.
"""

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
    """What tests share."""

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


def main():
    if os.geteuid() != 0 or not CHECKERS.exists():
        sys.exit("run tests/kubernetes/setup.sh first, and be root: these tests make namespaces and cgroups")
    scratch = sandbox.inside()
    if scratch is None:
        sys.exit(sandbox.enter([__file__, *sys.argv[1:]], ROOT / f"target/kubernetes-test-{os.getpid()}"))
    os.environ["CONTAINERS_STORAGE_CONF"] = str(ROOT / "target/image/storage.conf")
    os.environ["BUILDAH_ISOLATION"] = "chroot"
    sys.exit(run_all(scratch))


def run_all(scratch):
    import cluster
    import containerd
    import deployment
    import manifests
    import runtimeclass

    import image

    report, context = Report(sys.argv[1:]), Context(scratch)
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
        report.failed.append(f"could not go on: {error}")
    finally:
        show_logs(scratch, report)
        if context.cluster:
            context.cluster.stop()
        context.containerd.stop()
    return report.end()


def show_logs(scratch, report):
    """What the daemons said last, where something failed."""
    for log in sorted(scratch.glob("*.log")) if report.failed else ():
        print(f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}")


if __name__ == "__main__":
    main()
