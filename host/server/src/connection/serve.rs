//! Sockets: bind, accept, hand connections to hyper, and drain.
//!
//! Listener and shutdown are arguments. Connections are bounded: a newcomer takes the place of the one that has been idle
//! for longest, and waits in the kernel's backlog while none is.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpListener;

use super::acceptor::{Accepted, Acceptor, WithoutDescriptors};
use super::activity::{ConnectionActivity, OpenExchange};
use super::head_size;
use super::limits::ConnectionLimits;
use super::timeout_stream::TimeoutStream;
use crate::admission::concurrency_limit::ConcurrencyLimit;
use crate::problem::Problem;
use crate::router::ClientAddress;
use crate::service::Service;
use crate::tracked_body::TrackedBody;

/// Requests that one HTTP/2 connection may have open.
const MAX_STREAMS: u32 = 128;

/// What HTTP/2 buffers of one response, in bytes, beside what the client's window takes.
const MAX_SEND_BUFFER: usize = 64 << 10;

/// The longest head of a request, in bytes. HTTP/1 reads no more at once either, so that a connection's buffer stays
/// small however large a body is.
const MAX_HEAD: usize = 64 << 10;

/// How long a server that was told to end goes on.
#[derive(Clone, Copy, Debug)]
pub struct GracePeriods {
    /// New requests are still served for this long, so that clients and load balancers can go elsewhere.
    pub delay: Duration,
    /// After that, requests in flight may take this long to end.
    pub drain: Duration,
}

/// When and how a server ends.
pub struct GracefulShutdown<S> {
    /// Resolves when the server is told to end.
    pub signal: S,
    /// What it may do from then on.
    pub grace: GracePeriods,
}

/// Binds `address`.
///
/// # Errors
///
/// It is taken, or not this machine's. The message names the flag to change.
pub async fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    use anyhow::Context;
    TcpListener::bind(address).await.with_context(|| format!("can't listen on {address}; choose another with {flag}"))
}

/// Serves until the shutdown's signal and for its delay after that, then lets requests in flight end. Returns how many
/// connections were still open at the end.
pub async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    limits: ConnectionLimits,
    shutdown: GracefulShutdown<impl Future<Output = ()>>,
) -> usize {
    let GracefulShutdown { signal, grace } = shutdown;
    let graceful = hyper_util::server::graceful::GracefulShutdown::new();
    let mut acceptor = Acceptor::new(listener, limits, WithoutDescriptors::Refuse, service.metrics().clone());
    let open = acceptor.open().clone();
    let heads = ConcurrencyLimit::new(head_size::MAX_OF_ALL);
    let leaving = Arc::new(AtomicBool::new(false));
    let server = Server { http: http_server(limits), service, limits, heads, leaving: leaving.clone() };
    let mut shutdown = std::pin::pin!(async {
        signal.await;
        leaving.store(true, Ordering::Release);
        tokio::time::sleep(grace.delay).await;
    });
    loop {
        tokio::select! {
            accepted = acceptor.accept() => server.start(accepted, &graceful),
            () = &mut shutdown => break,
        }
    }
    drop(acceptor);
    let _ = tokio::time::timeout(grace.drain, graceful.shutdown()).await;
    open.len()
}

/// What all connections share.
struct Server {
    http: Builder<TokioExecutor>,
    service: Arc<Service>,
    limits: ConnectionLimits,
    /// Bytes that the heads of all requests take, until their responses.
    heads: ConcurrencyLimit,
    /// Whether clients are told to go elsewhere.
    leaving: Arc<AtomicBool>,
}

impl Server {
    /// Serves a connection in a task of its own.
    fn start(&self, accepted: Accepted, graceful: &hyper_util::server::graceful::GracefulShutdown) {
        let Accepted { stream, address, activity, slot } = accepted;
        let (limits, metrics) = (self.limits, self.service.metrics().clone());
        let held = (slot, metrics.connected());
        let requests = Requests {
            service: self.service.clone(),
            address: ClientAddress(address),
            activity: activity.clone(),
            heads: self.heads.clone(),
            leaving: self.leaving.clone(),
        };
        let service = service_fn(move |request| requests.respond(request));
        let stream = TimeoutStream::new(stream, activity.clone(), limits);
        let connection = graceful.watch(self.http.serve_connection(TokioIo::new(stream), service).into_owned());
        tokio::spawn(async move {
            tokio::select! {
                ended = connection => if let Err(e) = ended {
                    tracing::debug!("connection: {e}");
                },
                reason = activity.ended(limits) => {
                    metrics.connection_closed(reason);
                    tracing::debug!("connection closed: {reason:?}");
                }
            }
            drop(held);
        });
    }
}

/// What the requests of one connection share.
struct Requests {
    service: Arc<Service>,
    address: ClientAddress,
    activity: Arc<ConnectionActivity>,
    heads: ConcurrencyLimit,
    leaving: Arc<AtomicBool>,
}

impl Requests {
    /// Serves a request, which counts as open at once and not when the result is polled first.
    fn respond(
        &self,
        mut request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<TrackedBody<OpenExchange>>, Infallible>> + use<> {
        let (version, head) = (request.version(), head_size::of(&request));
        let exchange = self.activity.request(head);
        let mut memory = self.heads.empty_permit();
        let has_room = self.activity.heads() <= head_size::MAX_OF_CONNECTION && memory.try_grow(head);
        request.extensions_mut().insert(exchange.turn());
        request.extensions_mut().insert(self.address);
        let (service, leaving) = (self.service.clone(), self.leaving.clone());
        async move {
            let mut response =
                if has_room { service.respond(request).await } else { service.refuse(&request, &Problem::HeadsFull) };
            drop(memory);
            if leaving.load(Ordering::Acquire) && version <= Version::HTTP_11 {
                // Kept alive, the connection would be closed on the client's next request.
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response.map(|body| exchange.responded(body)))
        }
    }
}

fn http_server(limits: ConnectionLimits) -> Builder<TokioExecutor> {
    let mut server = Builder::new(TokioExecutor::new());
    // The time for a head is kept by `ConnectionActivity`: hyper's includes the time between two requests.
    server.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(MAX_HEAD);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD as u32)
        .max_send_buf_size(MAX_SEND_BUFFER)
        .keep_alive_interval(limits.header_timeout)
        .keep_alive_timeout(limits.header_timeout);
    server
}
