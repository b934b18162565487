//! Keeps web pages from changing the server through the browser of somebody who reaches the admin port.
//!
//! A page of another site can send a plain `POST` here. It can't add a header of its own without asking first, by a
//! preflight that this port does not grant. A page whose site's name was made to point here (DNS rebinding) can, but its
//! requests carry that name as `Host`, and browsers send `Origin` with every `POST`.

use std::net::IpAddr;

use http::header::{HOST, HeaderName, ORIGIN};
use http::{HeaderMap, Request};

/// Says that the request was made by a program, on purpose.
static CONSENT: HeaderName = HeaderName::from_static("x-modelfn-admin");

/// What a request that is refused lacks.
pub(super) const REMEDY: &str = "a POST to the admin port needs the header X-Modelfn-Admin: 1, no Origin, and as Host an \
    address, localhost, or a name of the cluster; web pages may not send it";

/// The request may come from a web page.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MayBePage;

/// Checks that no web page can have made this request.
///
/// # Errors
///
/// One may have.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), MayBePage> {
    let headers = request.headers();
    let consents = headers.get(&CONSENT).is_some_and(|value| value == "1");
    let is_fine = consents && !headers.contains_key(ORIGIN) && host(headers).is_none_or(is_private);
    if is_fine { Ok(()) } else { Err(MayBePage) }
}

/// The header Host without its port. Clients of HTTP/1.0 send none, and are no browsers.
fn host(headers: &HeaderMap) -> Option<&str> {
    let host = headers.get(HOST)?.to_str().unwrap_or("(not.ascii)");
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => Some(address),
        None => Some(host.rsplit_once(':').map_or(host, |(name, _)| name)),
    }
}

/// Whether no site of the internet can have this name: addresses, names without a dot, and those of Kubernetes.
fn is_private(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let is_of_cluster = [".svc", ".cluster.local", ".localhost"].iter().any(|suffix| host.ends_with(suffix));
    host.parse::<IpAddr>().is_ok() || !host.contains('.') || is_of_cluster
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(headers: &[(&str, &str)]) -> Result<(), MayBePage> {
        let mut request = Request::post("/reload");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(()).unwrap())
    }

    #[test]
    fn programs_may_and_pages_may_not() {
        let consent = ("x-modelfn-admin", "1");
        for host in [
            "127.0.0.1:8081",
            "127.0.0.1",
            "[::1]:8081",
            "localhost:8081",
            "pod:1",
            "m.default.svc:8081",
            "M.svc.cluster.local.",
        ] {
            assert_eq!(checked(&[consent, ("host", host)]), Ok(()), "{host}");
            assert_eq!(checked(&[("host", host)]), Err(MayBePage), "{host} without the header");
            assert_eq!(checked(&[consent, ("host", host), ("origin", "http://evil.example")]), Err(MayBePage));
            assert_eq!(checked(&[consent, ("host", host), ("origin", "null")]), Err(MayBePage));
        }
        assert_eq!(checked(&[consent]), Ok(()), "HTTP/1.0");
        for host in ["evil.example", "evil.example:8081", "127.0.0.1.evil.example:8081", "svc.example", "é.svc"] {
            assert_eq!(checked(&[consent, ("host", host)]), Err(MayBePage), "{host}");
        }
        assert_eq!(checked(&[("x-modelfn-admin", "0"), ("host", "localhost")]), Err(MayBePage));
    }
}
