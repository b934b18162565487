"""Tests of the handlers behind RuntimeClass, over the Container Runtime Interface that the kubelet uses."""

import sys
from pathlib import Path

import grpc

from sandbox import run


def test_a_configured_handler_runs_a_pod(context):
    for handler in ("", "runc", "sandboxed"):
        pod = run_pod(context, handler)
        try:
            status = call(context, "PodSandboxStatus", pod).status
            assert status.state == 0, f"not ready with handler {handler!r}"
            assert status.runtime_handler == handler
        finally:
            call(context, "StopPodSandbox", pod)
            call(context, "RemovePodSandbox", pod)


def test_an_unknown_handler_is_refused(context):
    try:
        run_pod(context, "nosuch")
    except grpc.RpcError as error:
        assert 'no runtime for "nosuch" is configured' in error.details(), error.details()
    else:
        raise AssertionError("a pod was created with a handler that is not configured")


def run_pod(context, handler):
    messages = protocol(context)
    config = messages.PodSandboxConfig(
        metadata=messages.PodSandboxMetadata(name="cri", uid=f"cri-{handler}", namespace="default", attempt=0),
        log_directory=str(context.root),
        linux=messages.LinuxPodSandboxConfig(cgroup_parent=f"/{context.root.name}/cri"),
    )
    request = messages.RunPodSandboxRequest(config=config, runtime_handler=handler)
    return messages.PodSandboxId(pod_sandbox_id=call(context, "RunPodSandbox", request).pod_sandbox_id)


def call(context, method, request):
    messages = protocol(context)
    (described,) = [m for m in messages.DESCRIPTOR.services_by_name["RuntimeService"].methods if m.name == method]
    response = getattr(messages, described.output_type.name)
    with grpc.insecure_channel(f"unix://{context.containerd.socket}") as channel:
        send = channel.unary_unary(
            f"/runtime.v1.RuntimeService/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )
        return send(request, timeout=60)


def protocol(context):
    """Returns cri.proto as a Python module, which is compiled once per run."""
    if str(context.root) not in sys.path:
        here = Path(__file__).parent
        command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={here}", f"--python_out={context.root}"]
        run(*command, here / "cri.proto", env=context.python_environment)
        sys.path.append(str(context.root))
    import cri_pb2  # noqa: PLC0415 - generated just before

    return cri_pb2
