"""A Kubernetes 1.20.2 cluster of one node on this machine, with etcd and the tests' containerd.

See build-kubernetes.sh for the origin of its programs.
"""

import json
import os
import pathlib

from sandbox import CGROUPS, Daemon, run, until

CACHE = pathlib.Path(os.environ.get("MODELFN_CACHE", pathlib.Path.home() / ".cache/modelfn"))
BINARIES = CACHE / "kubernetes-1.20.2"
NODE = "10.99.0.1"
SERVER = f"https://{NODE}:6443"
TOKEN = "test-only"  # noqa: S105 - the API server exists in the tests' network namespace only

KUBECONFIG = f"""
apiVersion: v1
kind: Config
clusters: [{{name: test, cluster: {{server: "{SERVER}", insecure-skip-tls-verify: true}}}}]
users: [{{name: test, user: {{token: {TOKEN}}}}}]
contexts: [{{name: test, context: {{cluster: test, user: test}}}}]
current-context: test
"""

KUBELET = """
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {{anonymous: {{enabled: true}}, webhook: {{enabled: false}}}}
authorization: {{mode: AlwaysAllow}}
cgroupDriver: cgroupfs
cgroupRoot: /{cgroup}
oomScoreAdj: 0
failSwapOn: false
syncFrequency: 10s
readOnlyPort: 0
resolvConf: ""
# Almost no reserve, so that other programs on this machine do not make the kubelet evict the tests' pods.
evictionHard: {{memory.available: 50Mi, nodefs.available: 1Mi, nodefs.inodesFree: "1", imagefs.available: 1Mi}}
imageGCHighThresholdPercent: 100
volumePluginDir: {root}/plugins
"""

PROXY = """
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clusterCIDR: 10.88.0.0/16
hostnameOverride: node
clientConnection: {{kubeconfig: {root}/kubeconfig}}
# Do not change the machine's connection tracking.
conntrack: {{maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
"""


class Cluster:
    def __init__(self, root, containerd):
        self.root, self.containerd, self.daemons = root, containerd, []
        for folder in ("etcd", "kubelet", "certificates", "plugins"):
            (root / folder).mkdir()
        (root / "kubeconfig").write_text(KUBECONFIG)
        (root / "tokens.csv").write_text(f'{TOKEN},admin,admin,"system:masters"\n')
        (root / "kubelet.yaml").write_text(KUBELET.format(root=root, cgroup=root.name))
        (root / "proxy.yaml").write_text(PROXY.format(root=root))
        make_cgroups(root.name)
        self.start_control_plane()
        self.start_node()

    def start_control_plane(self):
        root, config = self.root, f"--kubeconfig={self.root}/kubeconfig"
        self.start("/usr/bin/etcd", f"--data-dir={root}/etcd", "--listen-peer-urls=http://127.0.0.1:0")
        run("openssl", "genrsa", "-out", root / "accounts.key", "2048")
        self.start(
            BINARIES / "kube-apiserver",
            "--etcd-servers=http://127.0.0.1:2379",
            "--service-cluster-ip-range=10.96.0.0/16",
            f"--advertise-address={NODE}",
            f"--cert-dir={root}/certificates",
            # The tests' network namespace has no name server.
            "--kubelet-preferred-address-types=InternalIP",
            f"--token-auth-file={root}/tokens.csv",
            "--authorization-mode=RBAC",
            f"--service-account-issuer={SERVER}",
            f"--service-account-key-file={root}/accounts.key",
            f"--service-account-signing-key-file={root}/accounts.key",
        )
        until("the API server is ready", lambda: self.all_alive() and self.kubectl("get", "--raw", "/readyz"), 120)
        key = f"--service-account-private-key-file={root}/accounts.key"
        certificates = f"--cert-dir={root}/certificates"
        self.start(BINARIES / "kube-controller-manager", config, key, certificates, "--leader-elect=false")
        self.start(BINARIES / "kube-scheduler", config, certificates, "--leader-elect=false")

    def start_node(self):
        root = self.root
        self.start(
            BINARIES / "kubelet",
            f"--config={root}/kubelet.yaml",
            f"--kubeconfig={root}/kubeconfig",
            f"--root-dir={root}/kubelet",
            f"--cert-dir={root}/certificates",
            "--hostname-override=node",
            f"--node-ip={NODE}",
            "--container-runtime=remote",
            f"--container-runtime-endpoint=unix://{self.containerd.socket}",
        )
        self.start(BINARIES / "kube-proxy", f"--config={root}/proxy.yaml")
        until("the node is ready", lambda: self.all_alive() and "True" in self.node_ready(), 120)

    def node_ready(self):
        return self.kubectl("get", "node", "node", "-o", 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')

    def start(self, program, *arguments):
        self.daemons.append(Daemon(self.root / f"{pathlib.Path(program).name}.log", program, *arguments))

    def all_alive(self):
        return all(daemon.alive() for daemon in self.daemons)

    def kubectl(self, *arguments, namespace="modelfn", **options):
        command = ["kubectl", f"--kubeconfig={self.root}/kubeconfig", f"--cache-dir={self.root}/cache"]
        return run(*command, "--namespace", namespace, *arguments, **options)

    def get(self, *arguments, **options):
        return json.loads(self.kubectl("get", *arguments, "-o", "json", **options))

    def stop(self):
        for daemon in reversed(self.daemons):
            daemon.stop()


def make_cgroups(name):
    """Creates a parent cgroup for this run's pods, so that all their cgroups can be found and removed."""
    for controller in CGROUPS.iterdir():
        if controller.is_dir() and not controller.is_symlink():
            folder = controller / name
            folder.mkdir(exist_ok=True)
            if (folder / "cpuset.cpus").exists():
                for file in ("cpuset.cpus", "cpuset.mems"):
                    (folder / file).write_text((controller / file).read_text())
