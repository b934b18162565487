"""A separate containerd with runc for the tests, and its images."""

import pathlib
import re

from sandbox import Daemon, run, until

CONFIG = """
version = 2
root = "{root}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  # Lowering an OOM score needs a capability that root in a container may lack.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{root}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
    # A second handler, such as a RuntimeClass of an overlay would name.
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.sandboxed]
      runtime_type = "io.containerd.runc.v2"
"""

NETWORK = """
{ "cniVersion": "0.4.0", "name": "pods", "plugins": [
  { "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
    "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.88.0.0/16" }]], "routes": [{ "dst": "0.0.0.0/0" }],
              "dataDir": "/run/cni" } },
  { "type": "portmap", "capabilities": { "portMappings": true } } ] }
"""

PAUSE = "#include <unistd.h>\nint main(void) { for (;;) pause(); }\n"


class Containerd:
    """The daemon, and its command line `ctr`."""

    def __init__(self, root):
        self.root = root
        self.socket = f"{root}/containerd.sock"
        (root / "cni").mkdir()
        (root / "cni" / "10-pods.conflist").write_text(NETWORK)
        config = root / "containerd.toml"
        config.write_text(CONFIG.format(root=root, socket=self.socket))
        self.daemon = Daemon(root / "containerd.log", "containerd", "--config", config)
        until("containerd answers", lambda: self.daemon.alive() and self.ctr("version"))

    def ctr(self, *arguments, namespace="k8s.io", **options):
        return run("ctr", "--address", self.socket, "--namespace", namespace, *arguments, **options)

    def import_image(self, archive, name):
        """Imports an archive and tags the image with `name`, whatever its name is in the archive."""
        printed = self.ctr("images", "import", archive)
        (imported,) = set(re.findall(r"unpacking (\S+)", printed)) or {name}
        if imported != name:
            self.ctr("images", "tag", "--force", imported, name)
        return name

    def import_pause(self):
        """Builds and imports the image of the pause process, which holds a pod's namespaces."""
        folder = self.root / "pause"
        folder.mkdir()
        (folder / "pause.c").write_text(PAUSE)
        run("gcc", "-static", "-Os", "-s", "-o", folder / "pause", folder / "pause.c")
        (folder / "Dockerfile").write_text('FROM scratch\nCOPY pause /pause\nENTRYPOINT ["/pause"]\n')
        archive = self.root / "pause.tar"
        run("buildah", "build", "--tag", "localhost/pause:1", folder)
        run("buildah", "push", "localhost/pause:1", f"oci-archive:{archive}:localhost/pause:1")
        self.import_image(archive, "localhost/pause:1")

    def stop(self):
        self.daemon.stop()


def main_process(containerd, task, namespace):
    """Returns the host's process id of a container's first process."""
    for line in containerd.ctr("tasks", "ls", namespace=namespace).splitlines():
        words = line.split()
        if words and words[0] == task:
            return int(words[1])
    raise AssertionError(f"no task {task}")


def status(pid):
    """Returns /proc/PID/status of every thread, as dictionaries."""
    threads = sorted(pathlib.Path(f"/proc/{pid}/task").iterdir())
    lines = [(thread / "status").read_text().splitlines() for thread in threads]
    return [dict(line.split(":\t", 1) for line in thread if ":\t" in line) for thread in lines]
