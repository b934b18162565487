"""A containerd of the tests' own, with runc, and the images in it."""

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
  # Not everybody who is root may lower a score.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{root}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
    # A second name, as an overlay's handler would be.
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
    """The daemon, and `ctr` for it."""

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
        """Also known as `name`, whatever the archive calls it."""
        printed = self.ctr("images", "import", archive)
        (found,) = set(re.findall(r"unpacking (\S+)", printed)) or {name}
        if found != name:
            self.ctr("images", "tag", "--force", found, name)
        return name

    def import_pause(self):
        """The process that holds a pod's namespaces: the smallest image that there can be."""
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
    """The host's id of a container's first process."""
    for line in containerd.ctr("tasks", "ls", namespace=namespace).splitlines():
        words = line.split()
        if words and words[0] == task:
            return int(words[1])
    raise AssertionError(f"no task {task}")


def status(pid):
    """/proc/PID/status of every thread."""
    threads = sorted(pathlib.Path(f"/proc/{pid}/task").iterdir())
    lines = [(thread / "status").read_text().splitlines() for thread in threads]
    return [dict(line.split(":\t", 1) for line in thread if ":\t" in line) for thread in lines]
