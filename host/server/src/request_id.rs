//! `X-Request-Id`: the client's own, or a new one. The log, the guest and the response carry the same id.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use http::Response;
use http::header::{HeaderMap, HeaderName, HeaderValue};

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id of a client's own that is kept.
const MAX_LENGTH: usize = 64;

/// The client's own id when it is short and plain, else a new one, which replaces it in the request's headers.
pub(crate) fn assign(headers: &mut HeaderMap) -> HeaderValue {
    let is_plain = |value: &&HeaderValue| {
        (1..=MAX_LENGTH).contains(&value.len())
            && value.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
    };
    let id = headers.get(&REQUEST_ID).filter(is_plain).cloned().unwrap_or_else(new_id);
    headers.insert(REQUEST_ID.clone(), id.clone());
    id
}

/// Adds the id to a response.
pub(crate) fn add<B>(response: &mut Response<B>, id: HeaderValue) {
    response.headers_mut().insert(REQUEST_ID.clone(), id);
}

/// A start time and a counter: unique within this process, and hardly the same twice among several.
fn new_id() -> HeaderValue {
    static COUNTER: AtomicUsize = AtomicUsize::new(0);
    static START: LazyLock<u64> = LazyLock::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::from(since.subsec_nanos()) ^ since.as_secs().rotate_left(32) ^ u64::from(std::process::id())
    });
    let id = format!("{:016x}-{:x}", *START, COUNTER.fetch_add(1, Ordering::Relaxed));
    HeaderValue::try_from(id).expect("hex digits make a header value")
}
