//! The plan as a kustomize patch: a strategic merge patch of the Deployment and the HorizontalPodAutoscaler `modelfn`.

use std::fmt::Write;

use super::Plan;

/// The patch, in YAML. Without a rate there's no document for the HorizontalPodAutoscaler.
pub fn patch(plan: &Plan) -> String {
    let mut text = deployment(plan);
    if let Some(scaling) = &plan.resources.scaling {
        let _ = write!(
            text,
            "---\n\
             apiVersion: autoscaling/v2\n\
             kind: HorizontalPodAutoscaler\n\
             metadata:\n  \
               name: modelfn\n\
             spec:\n  \
               minReplicas: {}\n  \
               maxReplicas: {}\n  \
               metrics:\n    \
                 - type: Resource\n      \
                   resource:\n        \
                     name: cpu\n        \
                     target:\n          \
                       type: Utilization\n          \
                       averageUtilization: {}\n",
            scaling.min_replicas, scaling.max_replicas, scaling.cpu_percent
        );
    }
    text
}

fn deployment(plan: &Plan) -> String {
    let resources = &plan.resources;
    let amounts = |cpu: Option<u64>, memory: u64| {
        let cpu = cpu.map(|millis| format!("              cpu: {millis}m\n")).unwrap_or_default();
        format!("{cpu}              memory: {memory}Mi\n")
    };
    let (requests, limits) = (
        amounts(resources.cpu_request_millis, resources.memory_request_mib),
        amounts(resources.cpu_limit_millis, resources.memory_limit_mib),
    );
    format!(
        "# Made by `modelfn plan`. Use it in a kustomization.yaml: patches: [{{ path: plan.yaml }}]\n\
         apiVersion: apps/v1\n\
         kind: Deployment\n\
         metadata:\n  \
           name: modelfn\n\
         spec:\n  \
           template:\n    \
             spec:\n      \
               containers:\n        \
                 - name: modelfn\n          \
                   env:\n            \
                     - name: MODELFN_MODEL_INSTANCES\n              \
                       value: \"{}\"\n          \
                   resources:\n            \
                     requests:\n{requests}            \
                     limits:\n{limits}",
        plan.layout.instances
    )
}
