//! Metrics and `Server-Timing`: the phases of a request, and the process.

use crate::harness::{Setup, app, guest};

const SETTINGS: &str = "[component.it.tool.modelfn]\nmodels = [\"m\"]\ntimeout = \"400ms\"";

fn probe() -> Setup {
    let setup = Setup::app(&app(&guest("probe"), SETTINGS));
    setup.fake_model("m", "dtype = \"U8\", shape = [-1, 4]", ("compute = \"echo\"", ""))
}

#[tokio::test]
async fn each_phase_is_measured_once_a_request() {
    let server = probe().start();
    server.post("/echo", "body").await;
    server.get("/nn/compute?model=m&input=x&dtype=U8&shape=1,4&bytes=4").await;
    server.wait_for_metric("modelfn_guest_cpu_seconds_count{function=\"it\"}", |n| n > 1.5).await;
    for (phase, count) in [
        ("modelfn_body_duration_seconds_count", 2.0),
        ("modelfn_admission_duration_seconds_count", 2.0),
        ("modelfn_guest_instantiate_seconds_count", 2.0),
        ("modelfn_guest_duration_seconds_count", 2.0),
        ("modelfn_guest_memory_peak_bytes_count", 2.0),
        ("modelfn_queue_duration_seconds_count{model=\"m\"}", 1.0),
        ("modelfn_compute_duration_seconds_count{model=\"m\"}", 1.0),
    ] {
        server.expect_metric(phase, count).await;
    }
}

/// A guest that waits and a guest that computes live equally long, but use different amounts of processor time.
#[tokio::test]
async fn waiting_is_no_processor_time_of_a_guest() {
    let server = probe().start();
    let (used, lived) = ("modelfn_guest_cpu_seconds_sum{function=\"it\"}", "modelfn_guest_duration_seconds_sum");
    assert_eq!(server.get("/wait?ms=300").await.status, 200);
    server.wait_for_metric("modelfn_guest_cpu_seconds_count{function=\"it\"}", |n| n > 0.5).await;
    let (waiter_used, waiter_lived) = (server.metric(used).await, server.metric(lived).await);
    assert!(waiter_used > 0.0 && waiter_used < 0.3 * waiter_lived, "{waiter_used} of {waiter_lived}");
    assert_eq!(server.get("/spin").await.status, 504);
    server.wait_for_metric("modelfn_guest_cpu_seconds_count{function=\"it\"}", |n| n > 1.5).await;
    let (spinner_used, spinner_lived) =
        (server.metric(used).await - waiter_used, server.metric(lived).await - waiter_lived);
    assert!(spinner_used > 0.5 * spinner_lived && spinner_used <= spinner_lived, "{spinner_used} of {spinner_lived}");
}

/// Only the second request waits for an instance, and the metric says so.
#[tokio::test]
async fn the_wait_for_an_instance_is_measured() {
    let server = probe().args(&["--max-instances", "1"]).start();
    let first = server.start_get("/wait?ms=200");
    server.wait_for_in_flight(|n| n > 0.5).await;
    let second = server.get("/hello").await;
    first.await.unwrap();
    let waited = server.metric("modelfn_admission_duration_seconds_sum").await;
    assert!(waited > 0.02 && waited < 0.4, "{waited}");
    let timing = second.header("server-timing");
    assert!(timing.contains("admission;dur=") && !timing.contains("admission;dur=0."), "{timing}");
}

#[tokio::test]
async fn each_response_has_the_times_of_its_phases() {
    let server = probe().start();
    let infer = r#"{"inputs":[{"name":"x","datatype":"UINT8","shape":[1,4],"data":[1,2,3,4]}]}"#;
    let phases = |answer: crate::harness::Answer| {
        let timing = answer.header("server-timing").to_owned();
        timing.split(", ").map(|entry| entry.split_once(";dur=").unwrap().0.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(phases(server.get("/hello").await), ["body", "admission", "sandbox", "total"]);
    assert_eq!(phases(server.post("/v2/models/m/infer", infer).await), ["body", "queue", "compute", "total"]);
    for path in ["/v2", "/v2/models/none", "/trap", "/spin"] {
        assert_eq!(phases(server.get(path).await).last().unwrap(), "total", "{path}");
    }
}

#[tokio::test]
async fn the_process_has_the_usual_metrics() {
    let server = probe().start();
    server.get("/hello").await;
    let resident = server.metric("process_resident_memory_bytes").await;
    assert!(resident > 5e6 && resident < server.metric("process_virtual_memory_bytes").await, "{resident}");
    assert!(server.metric("process_cpu_seconds_total").await > 0.001);
    let files = server.metric("process_open_fds").await;
    assert!(files > 5.0 && files < server.metric("process_max_fds").await, "{files}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let age = now - server.metric("process_start_time_seconds").await;
    assert!((0.0..120.0).contains(&age), "{age}");
    let build =
        format!("modelfn_build_info{{version=\"{}\",arch=\"{}\"}}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    server.expect_metric(&build, 1.0).await;
}
