//! The data of a request's store, and the resource limits that the store enforces.
//!
//! The state is created for one request and dropped with it, so no state survives between requests.

use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::body::{HostOutgoingBody, StreamContext};
use wasmtime_wasi_http::{RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};

use super::error::RefusedGrowth;
use super::mounts::OpenMounts;
use super::process_memory::{MemoryFull, MemoryReservation, ProcessMemory};
use super::settings::SandboxLimits;
use super::wasi_nn::Nn;

/// The most handles (streams, tensors, errors …) that a guest may hold at once.
const MAX_HANDLES: usize = 512;

/// The most bytes of host memory that one set of header fields may take.
const MAX_FIELDS: usize = 64 << 10;

/// Handles from which on further fields may only take [`MAX_FURTHER_FIELDS`]. No guest that means well holds so many.
const MANY_HANDLES: usize = 64;

/// The most bytes of one set of header fields of a guest that holds [`MANY_HANDLES`].
const MAX_FURTHER_FIELDS: usize = 4 << 10;

/// Bytes of a guest's memory that are a small reservation.
const SMALL_GUEST: usize = 8 << 20;

/// Bytes that are reserved for what else the host holds for a guest: fields, bodies that are not sent, its stack.
const HOST_BYTES: usize = 1 << 20;

/// Bytes of one chunk of a response body. A guest that writes may be ahead of the host by a few chunks.
const BODY_CHUNK: usize = 64 << 10;

/// Bodies that a guest may create with chunks of that size. One is a response's; the host can't tell which.
const LARGE_BODIES: usize = 8;

/// Bytes of one chunk of further bodies.
const SMALL_BODY_CHUNK: usize = 4 << 10;

/// The data of a request's store.
pub(super) struct State {
    pub(super) table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    outbound: NoOutbound,
    pub(super) limiter: Limiter,
    pub(super) nn: Nn,
    /// Whether the guest's thread may read the files of its folders itself.
    pub(super) reads_directly: bool,
}

impl State {
    /// The state of one request.
    pub(super) fn new(mounts: OpenMounts, limiter: Limiter, nn: Nn) -> State {
        let OpenMounts { wasi, reads_directly } = mounts;
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        let outbound = NoOutbound { bodies: 0 };
        State { table, wasi, http: WasiHttpCtx::new(), outbound, limiter, nn, reads_directly }
    }
}

impl State {
    /// Aborts the response bodies that the guest has not finished, so that the client sees them as incomplete. wasmtime
    /// would treat a body that is merely dropped with the store as finished.
    pub(super) fn abort_unfinished_bodies(&mut self) {
        for body in self.table.iter_mut().filter_map(|entry| entry.downcast_mut::<HostOutgoingBody>()) {
            let (spare, _) = HostOutgoingBody::new(StreamContext::Response, None, 1, 1);
            std::mem::replace(body, spare).abort();
        }
    }
}

/// Limits the linear memory of all instances of the store together, and the size of each table.
///
/// Growth beyond a limit is refused rather than trapped: `memory.grow` returns -1, as the specification has it, and the
/// guest may cope with that.
pub(super) struct Limiter {
    limits: SandboxLimits,
    /// Bytes of linear memory that all instances have now.
    memory: usize,
    /// The largest value that `memory` had, in bytes.
    pub(super) peak_memory: usize,
    reservation: MemoryReservation,
    refused: Option<RefusedGrowth>,
}

impl Limiter {
    /// A limiter of one request, which reserves from `memory`.
    ///
    /// # Errors
    ///
    /// All memory is reserved.
    pub(super) fn new(limits: SandboxLimits, memory: &ProcessMemory) -> Result<Self, MemoryFull> {
        let mut reservation = memory.reservation(SMALL_GUEST);
        reservation.grow(HOST_BYTES)?;
        Ok(Limiter { limits, memory: 0, peak_memory: 0, reservation, refused: None })
    }

    /// Why growth was refused the last time, if it was: the likely cause should the guest trap later.
    pub(super) fn refused_growth(&self) -> Option<RefusedGrowth> {
        self.refused
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let growth = desired.saturating_sub(current);
        let total = self.memory.saturating_add(growth);
        if total > self.limits.memory {
            self.refused = Some(RefusedGrowth::OwnLimit);
            return Ok(false);
        }
        if self.reservation.grow(growth).is_err() {
            self.refused = Some(RefusedGrowth::MemoryFull);
            return Ok(false);
        }
        self.memory = total;
        self.peak_memory = self.peak_memory.max(total);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = Some(RefusedGrowth::OwnLimit);
        Ok(())
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let granted = desired <= self.limits.table_elements;
        if !granted {
            self.refused = Some(RefusedGrowth::OwnLimit);
        }
        Ok(granted)
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = Some(RefusedGrowth::OwnLimit);
        Ok(())
    }
}

/// Denies every outgoing request: guests handle requests and make none.
struct NoOutbound {
    /// Outgoing bodies that the guest has created.
    bodies: usize,
}

type OutgoingResult = Result<
    (http::Response<WasiBody>, Box<dyn Future<Output = Result<(), wasmtime_wasi_http::Error>> + Send>),
    wasmtime_wasi_http::Error,
>;

impl WasiHttpHooks for NoOutbound {
    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        self.bodies += 1;
        if self.bodies <= LARGE_BODIES { BODY_CHUNK } else { SMALL_BODY_CHUNK }
    }

    fn send_request(
        &mut self,
        _: http::Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), wasmtime_wasi_http::Error>> + Send>,
    ) -> Box<dyn Future<Output = OutgoingResult> + Send> {
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
        let has_many = self.table.iter_mut().nth(MANY_HANDLES).is_some();
        self.http.set_field_size_limit(if has_many { MAX_FURTHER_FIELDS } else { MAX_FIELDS });
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.outbound }
    }
}
