//! What one request's store holds, and the limits it enforces.
//!
//! Everything here is made for the request and dropped with it: no state survives.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::body::{HostOutgoingBody, StreamContext};
use wasmtime_wasi_http::{RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};

use super::function::{InvocationProgress, Limits, Settings};
use super::guest_log::GuestLog;
use super::wasi_nn::Nn;
use modelfn_nn::registry::Registry;

/// Handles (streams, tensors, errors …) that a guest may hold at once.
const MAX_HANDLES: usize = 512;

/// Bytes of one set of header fields, in the memory it takes here.
const MAX_FIELDS: usize = 64 << 10;

/// Bytes that an answer's body takes from the guest at once; two such pieces may wait for the client.
const BODY_CHUNK: usize = 64 << 10;

/// The data of a request's store.
pub(super) struct State {
    pub(super) table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    outbound: NoOutbound,
    pub(super) limiter: Limiter,
    pub(super) nn: Nn,
}

impl State {
    /// The state for one request that must end by its deadline.
    ///
    /// # Errors
    ///
    /// A mounted folder can't be opened.
    pub(super) fn new(
        settings: &Settings,
        registry: Arc<Registry>,
        (deadline, head): (Instant, Arc<InvocationProgress>),
    ) -> wasmtime::Result<State> {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(MAX_FIELDS);
        Ok(State {
            table,
            wasi: wasi(settings)?,
            http,
            outbound: NoOutbound,
            limiter: Limiter::new(settings.limits),
            nn: Nn::new(settings, registry, (deadline, head)),
        })
    }
}

impl State {
    /// A body that its guest has not finished is not whole. wasmtime takes one that is merely dropped with its
    /// store for one that has ended.
    pub(super) fn abort_unfinished_bodies(&mut self) {
        for body in self.table.iter_mut().filter_map(|entry| entry.downcast_mut::<HostOutgoingBody>()) {
            let (spare, _) = HostOutgoingBody::new(StreamContext::Response, None, 1, 1);
            std::mem::replace(body, spare).abort();
        }
    }
}

/// No network, no environment and no files but what the manifest names.
fn wasi(settings: &Settings) -> wasmtime::Result<WasiCtx> {
    let mut wasi = WasiCtx::builder();
    wasi.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
    wasi.envs(&settings.environment);
    wasi.stdout(GuestLog::new()).stderr(GuestLog::new());
    // The files are small, local and in the page cache (the card and its labels): a system call here takes
    // less than a trip to another thread would.
    wasi.allow_blocking_current_thread(true);
    for mount in &settings.mounts {
        wasi.preopened_dir(&mount.source, &mount.destination, FsPerms::ReadOnly)?;
    }
    Ok(wasi.build())
}

/// Counts linear memory and tables of all instances of the store, and refuses beyond the limits. A refused
/// guest sees -1, as the specification has it, and is free to cope.
pub(super) struct Limiter {
    limits: Limits,
    memory: usize,
    /// The most linear memory that the request had, in bytes.
    pub(super) peak_memory: usize,
    /// Whether memory or table growth was refused: the likely cause, should the guest trap later.
    pub(super) refused: bool,
}

impl Limiter {
    fn new(limits: Limits) -> Self {
        Limiter { limits, memory: 0, peak_memory: 0, refused: false }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory.saturating_add(desired.saturating_sub(current));
        if total > self.limits.memory {
            self.refused = true;
            return Ok(false);
        }
        self.memory = total;
        self.peak_memory = self.peak_memory.max(total);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = true;
        Ok(())
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let granted = desired <= self.limits.table_elements;
        self.refused |= !granted;
        Ok(granted)
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = true;
        Ok(())
    }
}

/// A guest answers requests; it makes none.
struct NoOutbound;

type Sent = Result<
    (http::Response<WasiBody>, Box<dyn Future<Output = Result<(), wasmtime_wasi_http::Error>> + Send>),
    wasmtime_wasi_http::Error,
>;

impl WasiHttpHooks for NoOutbound {
    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK
    }

    fn send_request(
        &mut self,
        _: http::Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), wasmtime_wasi_http::Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        Box::new(std::future::ready(Err(wasmtime_wasi_http::Error::HttpRequestDenied)))
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.outbound }
    }
}

/// How long the parts of a request took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Phases {
    /// Reading the body.
    pub body: Duration,
    /// Waiting for an instance to be free.
    pub admission: Duration,
    /// Making the instance.
    pub instantiate: Duration,
    /// Waiting for an engine thread, over all computations of the request.
    pub queue: Duration,
    /// In the engine, over all computations of the request.
    pub compute: Duration,
}
