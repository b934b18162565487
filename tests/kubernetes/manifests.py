"""Tests of the manifests as text: every overlay is valid, secure by a scanner's and our own rules, and consistent."""

import json
import pathlib
import re
import shutil
import tomllib

import kubernetes_validate
import yaml

from report import say
from sandbox import run

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
K8S = ROOT / "k8s"
# The oldest release that the manifests support, and the newest one whose schemas the validator has.
RELEASES = ("1.32", "1.37")
# Custom resources, for which the validator has no schema; test_custom_resources_lead_to_what_is_there checks them.
CUSTOM = {"ServiceMonitor", "ScaledObject", "ServingRuntime", "InferenceService"}
# Memory of the program without requests. The pause process and the shim do not count towards a container's limit.
PROGRAM = 256 << 20
# Rules of the scanner that are waived, with the reasons.
WAIVED = {
    "CKV_K8S_15": "tags are versions, never given twice; a pod must start where the registry is away",
    "CKV_K8S_43": "images are named by tag in the base: the digest is known after a push, and set by kustomize",
}


def test_every_overlay_builds_and_is_valid(context):
    for overlay, objects in context.overlays.items():
        assert objects, overlay
        for thing in objects:
            if thing["kind"] in CUSTOM:
                continue
            for release in RELEASES:
                try:
                    kubernetes_validate.validate(thing, release, strict=True)
                except Exception as error:
                    raise AssertionError(f"{overlay}: {thing['kind']} by {release}: {error}") from None
    say(f"{len(context.overlays)} overlays by the schemas of {' and '.join(RELEASES)}")


def test_the_validator_finds_a_planted_error(context):
    """A misspelt key fails, which shows that the validation is strict."""
    deployment = json.loads(json.dumps(one(context.overlays["base"], "Deployment")))
    deployment["spec"]["template"]["spec"]["containers"][0]["livenessProb"] = {}
    try:
        kubernetes_validate.validate(deployment, RELEASES[0], strict=True)
    except Exception:
        return
    raise AssertionError("a misspelt key was taken")


def test_scanner_finds_nothing(context):
    folder = context.root / "rendered"
    folder.mkdir()
    for overlay, text in context.rendered.items():
        (folder / f"{overlay}.yaml").write_text(text)
    command = ["python3", "-m", "checkov.main", "--framework", "kubernetes", "--skip-download", "--quiet", "--compact"]
    run(*command, "--skip-check", ",".join(WAIVED), "--directory", folder, env=context.python_environment)


def test_drain_ends_before_the_grace_period(context):
    """Shutdown delay, drain and a second of reserve fit into the grace period, so no request is killed."""
    for overlay, pod in pods(context):
        env = environment(pod)
        total = seconds(env["MODELFN_SHUTDOWN_DELAY"]) + seconds(env["MODELFN_DRAIN_TIMEOUT"])
        grace = pod.get("terminationGracePeriodSeconds", 30)
        assert total + 1 < grace, f"{overlay}: {total} s of delay and drain, {grace} s of grace"
        probe = pod["containers"][0]["readinessProbe"]
        unready = probe["periodSeconds"] * probe.get("failureThreshold", 3)
        delay = seconds(env["MODELFN_SHUTDOWN_DELAY"])
        assert unready < delay, f"{overlay}: unready after {unready} s, but serving for {delay} s only"


def test_requests_fit_the_memory_limit(context):
    for overlay, pod in pods(context):
        env = environment(pod)
        if "MODELFN_MAX_INSTANCES" not in env:
            assert overlay == "kserve", overlay
            continue
        each = size(env["MODELFN_MAX_MEMORY"]) + size(env["MODELFN_MAX_TENSORS"])
        most = PROGRAM + int(env["MODELFN_MAX_INSTANCES"]) * each + size(env["MODELFN_MAX_BODIES"])
        limit = size(pod["containers"][0]["resources"]["limits"]["memory"])
        assert most <= limit, f"{overlay}: requests may take {most >> 20} MiB, the limit is {limit >> 20} MiB"


def test_pods_are_restricted(context):
    """Pods meet the namespace's "restricted" security profile, which Kubernetes 1.20 can't enforce yet."""
    for overlay, pod in pods(context):
        outer, (container,) = pod.get("securityContext", {}), pod["containers"]
        inner = container["securityContext"]
        both = outer | inner
        assert both["runAsNonRoot"] is True and both["runAsUser"] == 65532, overlay
        assert both["seccompProfile"] == {"type": "RuntimeDefault"}, overlay
        assert inner["allowPrivilegeEscalation"] is False and inner["readOnlyRootFilesystem"] is True, overlay
        assert inner["capabilities"] == {"drop": ["ALL"]}, overlay
        kinds = {next(key for key in volume if key != "name") for volume in pod.get("volumes", [])}
        assert kinds <= {"configMap", "secret", "persistentVolumeClaim", "emptyDir"}, overlay


def test_names_lead_to_what_is_there(context):
    """Selectors match the pods, ports have the names that are used, and the server has the paths of the probes."""
    for overlay, objects in context.overlays.items():
        if overlay == "kserve":
            continue
        workload = next(thing for thing in objects if thing["kind"] in ("Deployment", "StatefulSet"))
        pod = workload["spec"]["template"]
        labels, container = pod["metadata"]["labels"].items(), pod["spec"]["containers"][0]
        ports = {port["name"] for port in container["ports"]}
        for thing in objects:
            if thing["kind"] == "Service":
                assert thing["spec"]["selector"].items() <= labels, overlay
                assert {port["targetPort"] for port in thing["spec"]["ports"]} <= ports, overlay
            if thing["kind"] == "PodDisruptionBudget":
                assert thing["spec"]["selector"]["matchLabels"].items() <= labels, overlay
            if thing["kind"] == "HorizontalPodAutoscaler":
                target = thing["spec"]["scaleTargetRef"]
                assert (target["kind"], target["name"]) == (workload["kind"], workload["metadata"]["name"]), overlay
        assert pod["spec"]["runtimeClassName"] == one(objects, "RuntimeClass")["metadata"]["name"], overlay
        admin = (ROOT / "host/server/src/admin.rs").read_text()
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert f'"{container[probe]["httpGet"]["path"]}"' in admin, overlay


def test_custom_resources_lead_to_what_is_there(context):
    """Ports, labels, workloads, metrics and runtimes that custom resources name exist."""
    monitor = one(context.overlays["monitoring"], "ServiceMonitor")["spec"]
    services = [thing for thing in context.overlays["monitoring"] if thing["kind"] == "Service"]
    (watched,) = [s for s in services if monitor["selector"]["matchLabels"].items() <= s["metadata"]["labels"].items()]
    assert {end["port"] for end in monitor["endpoints"]} <= {port["name"] for port in watched["spec"]["ports"]}

    keda = context.overlays["keda"]
    scaled = one(keda, "ScaledObject")["spec"]
    assert scaled["scaleTargetRef"]["name"] == one(keda, "Deployment")["metadata"]["name"]
    assert not [thing for thing in keda if thing["kind"] == "HorizontalPodAutoscaler"], "KEDA makes its own"
    metrics = "".join(file.read_text() for file in (ROOT / "host").rglob("*.rs"))
    assert "modelfn_queue_depth" in scaled["triggers"][0]["metadata"]["query"] and '"modelfn_queue_depth"' in metrics

    kserve = context.overlays["kserve"]
    runtime, service = one(kserve, "ServingRuntime"), one(kserve, "InferenceService")
    model = service["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["modelFormat"]["name"] in [known["name"] for known in runtime["spec"]["supportedModelFormats"]]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]
    assert (ROOT / "models" / service["metadata"]["name"] / "model.toml").exists(), "it is a model's name"
    (volume,) = runtime["spec"]["volumes"]
    assert volume["configMap"]["name"] == one(kserve, "ConfigMap")["metadata"]["name"]


def test_cards_differ_from_the_models_only_in_serving(_):
    for card in (K8S / "base/cards").glob("*.toml"):
        ours = tomllib.loads(card.read_text())
        theirs = tomllib.loads((ROOT / "models" / card.stem / "model.toml").read_text())
        assert ours.pop("serving"), card
        theirs.pop("serving", None)
        assert ours == theirs, card


def test_the_image_and_the_repository_serve_the_same_application(_):
    ours = tomllib.loads((K8S / "base/spin.toml").read_text())
    theirs = tomllib.loads((ROOT / "spin.toml").read_text())
    for key in ("source", "files"):
        del ours["component"]["classify"][key], theirs["component"]["classify"][key]
    del theirs["component"]["classify"]["build"], theirs["application"]["description"]
    assert ours == theirs


def load_overlays(root):
    """Renders each overlay with kustomize; returns the text and the parsed objects, by the overlay's name."""
    copy = root / "k8s"
    shutil.copytree(K8S, copy)
    (copy / "overlays/api-keys/keys").write_text("# no keys\n")
    folders = [copy / "base", *sorted((copy / "overlays").iterdir())]
    rendered = {folder.name: run("kubectl", "kustomize", folder) for folder in folders}
    return rendered, {name: list(yaml.safe_load_all(text)) for name, text in rendered.items()}


def one(objects, kind):
    (found,) = [thing for thing in objects if thing["kind"] == kind]
    return found


def pods(context):
    """Yields the name and the pod spec of each overlay."""
    for overlay, objects in context.overlays.items():
        for thing in objects:
            if thing["kind"] in ("Deployment", "StatefulSet"):
                yield overlay, thing["spec"]["template"]["spec"]
            if thing["kind"] == "ServingRuntime":
                # KServe leaves the grace period at the default of Kubernetes.
                yield overlay, thing["spec"]


def environment(pod):
    return {entry["name"]: entry["value"] for entry in pod["containers"][0]["env"]}


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(ms|s|m)", text).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60}[unit]


def size(text):
    number, unit = re.fullmatch(r"(\d+)(Mi|MiB|Gi|GiB)", text).groups()
    return int(number) << {"M": 20, "G": 30}[unit[0]]
