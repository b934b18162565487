//! Sockets: bind, accept, hand connections to hyper, and drain.
//!
//! Listener and shutdown are arguments. Connections are bounded; when all are taken, further clients wait in
//! the kernel's backlog instead of being turned away half-way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Version;
use http::header::{CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::activity::ConnectionActivity;
use super::limits::ConnectionLimits;
use super::timeout_stream::TimeoutStream;
use crate::service::Service;

/// Requests that one HTTP/2 connection may have open.
const MAX_STREAMS: u32 = 256;

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
    let server = http_server(limits);
    let graceful = hyper_util::server::graceful::GracefulShutdown::new();
    let permits = Arc::new(Semaphore::new(limits.connections));
    let leaving = Arc::new(AtomicBool::new(false));
    let mut shutdown = std::pin::pin!(async {
        signal.await;
        leaving.store(true, Ordering::Release);
        tokio::time::sleep(grace.delay).await;
    });
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &permits) => accepted,
            () = &mut shutdown => break,
        };
        let Some((stream, permit)) = accepted else { continue };
        let held = (permit, service.metrics().connected());
        let service = service.clone();
        let open = ConnectionActivity::new();
        let opened = open.clone();
        let leaving = leaving.clone();
        let service = service_fn(move |request| {
            let (service, request_open) = (service.clone(), opened.request());
            let leaving = leaving.clone();
            async move {
                let version = request.version();
                let mut response = service.respond(request).await;
                if leaving.load(Ordering::Acquire) && version <= Version::HTTP_11 {
                    // Kept alive, the connection would be closed on the client's next request.
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, std::convert::Infallible>(response.map(|body| request_open.responded(body)))
            }
        });
        let stream = TimeoutStream::new(stream, limits);
        let connection = server.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            tokio::select! {
                ended = connection => if let Err(e) = ended {
                    tracing::debug!("connection: {e}");
                },
                () = open.timed_out(limits) => {
                    tracing::debug!("connection: nothing moved for too long");
                }
            }
            drop(held);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(grace.drain, graceful.shutdown()).await;
    limits.connections - permits.available_permits()
}

fn http_server(limits: ConnectionLimits) -> Builder<TokioExecutor> {
    let mut server = Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(limits.header_timeout).max_buf_size(MAX_HEAD);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD as u32)
        .keep_alive_interval(limits.header_timeout)
        .keep_alive_timeout(limits.header_timeout);
    server
}

/// One connection with its permit. An accept that fails (out of file descriptors, say) is waited out.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = permits.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            let _ = stream.set_nodelay(true);
            Some((stream, permit))
        }
        Err(e) => {
            tracing::warn!("accept: {e}");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}
