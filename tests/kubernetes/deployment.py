"""Tests of the Deployment on a real cluster: it is applied, updated, broken, repaired and scaled under load."""

import base64
import hashlib
import json
import pathlib
import re
import shutil
import time
import urllib.error
import urllib.request

import yaml

from load import Load
from manifests import CUSTOM, K8S, ROOT, one
from report import say
from sandbox import until

PICTURE = (ROOT / "target/pictures/imagenet_00_243.jpg").read_bytes()
# Kubernetes 1.20 has only older API versions of these; manifests.py checks their schemas.
NEWER = {"HorizontalPodAutoscaler", "PodDisruptionBudget"}
SELECT = "app.kubernetes.io/name=modelfn"


def test_the_overlay_for_one_node_becomes_ready(context):
    context.kubectl("apply", "--kustomize", context.root / "k8s/overlays/dev")
    context.kubectl("rollout", "status", "deployment/modelfn", "--timeout=90s")
    pod = the_pod(context)
    started = pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
    ready = next(c["lastTransitionTime"] for c in pod["status"]["conditions"] if c["type"] == "Ready")
    say(f"container started {started}, pod ready {ready} (whole seconds, and a probe a second)")


def test_the_runtime_class_decides_how_it_runs(context):
    pod = the_pod(context)
    assert pod["spec"]["runtimeClassName"] == "modelfn"
    assert pod["spec"]["overhead"] == {"cpu": "10m", "memory": "16Mi"}
    assert pod["spec"]["nodeSelector"] == {"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux"}
    name = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
    assert json.loads(context.containerd.ctr("containers", "info", name))["Runtime"]["Name"] == "io.containerd.runc.v2"


def test_the_overhead_is_what_a_pod_costs(_):
    """A pod costs its pause process and the shim, which runs outside the pod's cgroup."""
    shims = {}
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        arguments = (process / "cmdline").read_bytes().split(b"\0")
        if b"containerd-shim" in arguments[0] and b"k8s.io" in arguments:
            pages = int((process / "statm").read_text().split()[1])
            shims[process.name] = pages * 4096
    say("shims: " + ", ".join(f"{size / 2**20:.1f} MiB" for size in shims.values()))
    assert shims and max(shims.values()) < 16 << 20, shims


def test_an_unknown_handler_keeps_pods_from_starting(context):
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "nosuch"},
        "spec": {"runtimeClassName": "nosuch", "containers": [{"name": "c", "image": "localhost/pause:1"}]},
    }
    handler = {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": "nosuch"},
        "handler": "nosuch",
    }
    for thing in (handler, pod):
        context.kubectl("apply", "--filename", "-", input=json.dumps(thing))
    try:
        until(
            "an event names the handler",
            lambda: (
                'no runtime for "nosuch" is configured'
                in context.kubectl("get", "events", "--field-selector", "reason=FailedCreatePodSandBox")
            ),
        )
    finally:
        context.kubectl("delete", "pod/nosuch", "runtimeclass/nosuch", "--grace-period=0", "--force")


def test_the_service_answers(context):
    with Load(address(context), PICTURE) as load:
        load.reach(20)
    load.check()


def test_a_rolling_update_under_load_loses_nothing(context):
    with Load(address(context), PICTURE) as load:
        load.reach(50)
        before = the_pod(context)["metadata"]["name"]
        context.kubectl("rollout", "restart", "deployment/modelfn")
        await_rollout(context, "deployment")
        await_end_of_pod(context, before)
        load.reach(max(500, load.sent() + 50))
    say(f"{load.sent()} requests, {len(load.lost)} lost: {dict(load.responses)}")
    load.check()


def test_a_change_of_the_card_is_a_rolling_update(context):
    """Changes the card as an operator does, by an edit and `apply -k`; no request is lost."""
    before = the_pod(context)["metadata"]["name"]
    changed = overlay_with_card(context, "changed", lambda card: card.replace("queue_size = 64", "queue_size = 65"))
    with Load(address(context), PICTURE) as load:
        context.kubectl("apply", "--kustomize", changed)
        await_rollout(context, "deployment")
        await_end_of_pod(context, before)
    load.check()


def test_a_bad_model_never_takes_the_old_pod_down(context):
    other = f'sha256 = "{"0" * 64}"'
    broken = overlay_with_card(context, "broken", lambda card: re.sub(r'(?m)^sha256 = ".*"$', other, card))
    with Load(address(context), PICTURE) as load:
        context.kubectl("apply", "--kustomize", broken)
        until("a new pod fails", lambda: restarts(context) > 0, 90)
        load.reach(load.sent() + 50)
        undo_rollout(context)
    load.check()


def test_a_bad_image_never_takes_the_old_pod_down(context):
    with Load(address(context), PICTURE) as load:
        context.kubectl("set", "image", "deployment/modelfn", "modelfn=localhost/nosuch:1")
        failed = ("ErrImage", "ImagePull")
        until("an image can't be had", lambda: any(why.startswith(failed) for why in waiting(context)), 90)
        load.reach(load.sent() + 50)
        undo_rollout(context)
    load.check()


def test_a_deleted_pod_is_replaced(context):
    before = the_pod(context)["metadata"]["name"]
    started = time.monotonic()
    context.kubectl("delete", "pod", before, "--wait=false")
    until("another pod is ready", lambda: any(p["metadata"]["name"] != before for p in ready_pods(context)), 60)
    say(f"another pod was ready {time.monotonic() - started:.1f} s after the deletion")
    context.kubectl("wait", "--for=delete", f"pod/{before}", "--timeout=90s")
    test_the_service_answers(context)


def test_scaling_up_and_down_under_load_loses_nothing(context):
    with Load(address(context), PICTURE) as load:
        for replicas in (3, 1):
            context.kubectl("scale", "deployment/modelfn", f"--replicas={replicas}")
            until(f"{replicas} pods", lambda n=replicas: len(pods(context)) == n == len(ready_pods(context)), 120)
            load.reach(load.sent() + 50)
    say(f"{load.sent()} requests, {len(load.lost)} lost")
    load.check()


def test_the_keys_overlay_asks_for_keys_and_takes_new_ones(context):
    """The pod takes the keys of a changed Secret without a restart."""

    def status_with_key(key):
        request = urllib.request.Request(f"http://{address(context)}/classify", PICTURE, {"X-API-Key": key})
        try:
            with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - the scheme is written above
                return response.status
        except urllib.error.HTTPError as error:
            return error.code

    def give_keys(*names):
        lines = [f"{name} sha256:{hashlib.sha256(key_of(name).encode()).hexdigest()}" for name in names]
        secret = one(context.overlays["api-keys"], "Secret")
        secret["data"] = {"keys": base64.b64encode("\n".join([*lines, ""]).encode()).decode()}
        context.kubectl("apply", "--filename", "-", input=json.dumps(secret))

    give_keys("alice")
    apply_overlay(context, "api-keys", workload="Deployment", kinds={"Deployment"})
    await_rollout(context, "deployment")
    until("the old pod is gone", lambda: len(pods(context)) == 1, 90)
    before = the_pod(context)
    assert [status_with_key(""), status_with_key(key_of("bob")), status_with_key(key_of("alice"))] == [401, 401, 200]
    give_keys("alice", "bob")
    until("the new key is taken", lambda: status_with_key(key_of("bob")) == 200, 180)
    assert the_pod(context)["metadata"]["uid"] == before["metadata"]["uid"] and restarts(context) == 0
    undo_rollout(context)


def test_the_cache_overlay_compiles_once(context):
    """Compiled code is stored on the pod's volume: the first start compiles, the second one does not."""
    volume = context.root / "cache-volume"
    volume.mkdir(mode=0o777)
    volume.chmod(0o777)
    context.kubectl("apply", "--filename", "-", input=json.dumps(persistent_volume("cache", volume, "ReadWriteOnce")))
    apply_overlay(context, "cache", workload="StatefulSet", kinds={"StatefulSet", "Service"})
    await_rollout(context, "statefulset")
    assert "compiling" in context.kubectl("logs", "modelfn-0")
    context.kubectl("delete", "pod", "modelfn-0")
    until("it is back", lambda: "modelfn-0" in [p["metadata"]["name"] for p in ready_pods(context)], 90)
    assert "compiling" not in context.kubectl("logs", "modelfn-0")
    context.kubectl("delete", "statefulset/modelfn", "pvc/cache-modelfn-0", "--wait=false")
    context.kubectl("wait", "--for=delete", "pod/modelfn-0", "--timeout=90s")


def test_every_overlay_is_taken_by_the_api_server(context):
    """The API server's own validation accepts every overlay (`--dry-run=server`).

    Custom resources are left out, because this old server, built with a much newer Go, crashes on them.
    """
    namespace = one(context.overlays["base"], "Namespace")
    context.kubectl("apply", "--filename", "-", input=json.dumps(namespace))
    for overlay, objects in context.overlays.items():
        known = [thing for thing in objects if thing["kind"] not in NEWER | CUSTOM]
        text = yaml.safe_dump_all(known)
        printed = context.kubectl("apply", "--dry-run=server", "--filename", "-", input=text)
        assert len(printed.splitlines()) == len(known), f"{overlay}: {printed}"
        without = ", ".join(sorted((NEWER | CUSTOM) & kinds_of(objects))) or "none"
        say(f"{overlay}: {len(known)} of {len(objects)} objects, without {without}")


def await_rollout(context, workload):
    context.kubectl("rollout", "status", f"{workload}/modelfn", "--timeout=120s")


def undo_rollout(context):
    context.kubectl("rollout", "undo", "deployment/modelfn")
    await_rollout(context, "deployment")


def await_end_of_pod(context, name):
    until("the old pod is gone", lambda: name not in context.kubectl("get", "pods"), 90)


def apply_overlay(context, name, *, workload, kinds):
    """Applies an overlay's objects of some kinds; its workload gets the local image and one replica."""
    objects = [thing for thing in context.overlays[name] if thing["kind"] in kinds]
    spec = one(objects, workload)["spec"]
    spec["replicas"] = 1
    spec["template"]["spec"]["containers"][0]["image"] = "docker.io/library/modelfn:0.1.0"
    context.kubectl("apply", "--filename", "-", input=yaml.safe_dump_all(objects))


def overlay_with_card(context, name, change):
    """Copies the manifests with a changed card, and returns the copy's overlay for one node."""
    copy = context.root / f"k8s-{name}"
    shutil.copytree(K8S, copy)
    card = copy / "base/cards/efficientnet-lite0-int8.toml"
    changed = change(card.read_text())
    assert changed != card.read_text(), "the card has no such line"
    card.write_text(changed)
    return copy / "overlays/dev"


def persistent_volume(name, folder, mode):
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": [mode],
            "hostPath": {"path": str(folder)},
            "persistentVolumeReclaimPolicy": "Retain",
        },
    }


def kinds_of(objects):
    return {thing["kind"] for thing in objects}


def key_of(name):
    return "mfn_" + hashlib.sha256(name.encode()).hexdigest()


def address(context):
    return context.get("service", "modelfn")["spec"]["clusterIP"]


def pods(context):
    return context.get("pods", "--selector", SELECT)["items"]


def ready_pods(context):
    def ready(pod):
        conditions = pod["status"].get("conditions", [])
        return "deletionTimestamp" not in pod["metadata"] and any(
            c["type"] == "Ready" and c["status"] == "True" for c in conditions
        )

    return [pod for pod in pods(context) if ready(pod)]


def the_pod(context):
    return until("one pod is ready", lambda: len(ready_pods(context)) == 1 and ready_pods(context)[0])


def restarts(context):
    return sum(s["restartCount"] for pod in pods(context) for s in pod["status"].get("containerStatuses", []))


def waiting(context):
    states = [s["state"] for pod in pods(context) for s in pod["status"].get("containerStatuses", [])]
    return [state["waiting"]["reason"] for state in states if "waiting" in state]
