//! What the heads of requests take of memory.
//!
//! HTTP/2 compresses heads: 64 KiB of short fields are a few hundred bytes on the wire and half a megabyte here, and a
//! connection may have many requests open whose bodies never come.

use http::Request;

/// What the heads of the requests of one connection may take together, in bytes.
pub(super) const MAX_OF_CONNECTION: usize = 1 << 20;

/// What the heads of all requests may take together, in bytes.
pub(super) const MAX_OF_ALL: usize = 64 << 20;

/// What a field takes beside its characters: a bucket of the map, and two allocations.
const FIELD_OVERHEAD: usize = 200;

/// What the head of `request` takes of memory: an estimate from above, in bytes.
pub(super) fn of<B>(request: &Request<B>) -> usize {
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_OVERHEAD);
    let uri = request.uri();
    fields.sum::<usize>() + uri.path().len() + uri.query().map_or(0, str::len) + FIELD_OVERHEAD
}
