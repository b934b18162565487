//! What a fresh sandbox for each request costs: store, instance, and dropping both, on one thread.
//!
//! `cargo bench -p modelfn --bench instantiate -- [COMPONENT.wasm ...]`; prints a JSON line for each component.

#![expect(clippy::print_stdout, reason = "its output is its result")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use modelfn_nn::registry::{EngineSettings, Registry};
use modelfn_telemetry::metrics::Metrics;
use modelfn_wasm::code_cache::CodeCache;
use modelfn_wasm::engine::{self, PoolSize};
use modelfn_wasm::function::{Function, FunctionServices, FunctionSettings, HostLinker, Mount, SandboxLimits};
use modelfn_wasm::guest_threads::GuestThreads;
use modelfn_wasm::process_memory::ProcessMemory;

const ROUNDS: usize = 20_000;

fn main() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let named: Vec<PathBuf> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).map(PathBuf::from).collect();
    let components = if named.is_empty() { vec![root.join("target/guest/classify.wasm")] } else { named };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for component in components {
        let mut times = runtime.block_on(async { measure(&load(&component, &root)).await });
        times.sort_unstable();
        let at = |part: usize| times[ROUNDS * part / 1000].as_secs_f64() * 1e6;
        println!(
            "{}",
            serde_json::json!({
                "component": component.file_name().map(|name| name.to_string_lossy()),
                "rounds": ROUNDS, "p50_us": at(500), "p90_us": at(900), "p99_us": at(990),
            })
        );
    }
}

async fn measure(function: &Function) -> Vec<Duration> {
    let mut times = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS + ROUNDS / 10 {
        let started = Instant::now();
        function.warm().await.expect("the component can be instantiated");
        if round >= ROUNDS / 10 {
            times.push(started.elapsed());
        }
    }
    times
}

fn load(component: &PathBuf, root: &std::path::Path) -> Function {
    let limits = SandboxLimits { memory: 256 << 20, table_elements: 20_000, tensor_bytes: 64 << 20 };
    let pool = PoolSize { instances: 64, memory: limits.memory, table_elements: limits.table_elements };
    let engine = engine::open(pool).expect("an engine");
    let wasm = std::fs::read(component).unwrap_or_else(|e| panic!("{}: {e}; run `make guest`", component.display()));
    let compiled = CodeCache::new(None).load(&engine, &wasm).expect("a component");
    let metrics = Arc::new(Metrics::new());
    let registry = Arc::new(Registry::new(EngineSettings::on_threads(Vec::new()), metrics.clone()));
    let mount = Mount { source: root.join("models/efficientnet-lite0-int8"), destination: "/model".to_owned() };
    let settings = FunctionSettings {
        component: "bench".into(),
        environment: Vec::new(),
        mounts: vec![mount],
        models: Arc::new([]),
        allow_load: false,
        limits,
    };
    let code =
        HostLinker::new(&engine).and_then(|linker| linker.link(compiled)).expect("a component that can be linked");
    let services = FunctionServices {
        registry,
        memory: ProcessMemory::unlimited(metrics.clone()),
        metrics,
        threads: GuestThreads::start(1).expect("a thread"),
        response_stall: Duration::from_secs(10),
    };
    Function::new(code, settings, services)
}
