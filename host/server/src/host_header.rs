//! Whom a request is for: `Host`, or the authority of HTTP/2 (RFC 9112, section 3.2).

use http::header::{HOST, HeaderValue};
use http::{Request, Version};

use crate::problem::Problem;

/// What a request of HTTP/1.0 is for, whose clients (probes, mostly) need not say it. Guests are told something.
const UNNAMED: HeaderValue = HeaderValue::from_static("localhost");

/// Checks that the request says once whom it is for.
///
/// # Errors
///
/// It does not, although its version of HTTP wants that, or it does so twice, or not in ASCII.
pub(crate) fn check<B>(request: &mut Request<B>) -> Result<(), Problem> {
    let has_authority = request.uri().authority().is_some();
    let is_http10 = request.version() <= Version::HTTP_10;
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => Err(Problem::TwoHosts),
        (Some(host), None) if host.to_str().is_err() => Err(Problem::NoHost),
        (Some(_), None) => Ok(()),
        (None, _) if has_authority => Ok(()),
        (None, _) if is_http10 => {
            request.headers_mut().insert(HOST, UNNAMED);
            Ok(())
        }
        (None, _) => Err(Problem::NoHost),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_once_whom_it_is_for() {
        let check = |version, uri: &str, hosts: &[&[u8]]| {
            let mut request = Request::builder().version(version).uri(uri);
            for host in hosts {
                request = request.header(HOST, HeaderValue::from_bytes(host).unwrap());
            }
            let mut request = request.body(()).unwrap();
            let checked = super::check(&mut request).map_err(|problem| problem.status().as_u16());
            checked.map(|()| request.headers().get(HOST).cloned())
        };
        assert_eq!(check(Version::HTTP_11, "/", &[b"a"]), Ok(Some("a".parse().unwrap())));
        assert_eq!(check(Version::HTTP_10, "/", &[]), Ok(Some(UNNAMED)));
        assert_eq!(check(Version::HTTP_2, "http://a/", &[]), Ok(None));
        for (version, hosts) in [
            (Version::HTTP_11, &[][..]),
            (Version::HTTP_11, &[&b"a"[..], b"a"]),
            (Version::HTTP_10, &[b"a", b"b"]),
            (Version::HTTP_11, &[b"\xff"]),
        ] {
            assert_eq!(check(version, "/", hosts), Err(400), "{version:?} {hosts:?}");
        }
        assert_eq!(check(Version::HTTP_2, "http://a/", &[b"a", b"b"]), Err(400));
    }
}
