//! How long a request may take: the route's timeout, or less where its client says so.
//!
//! - `X-Request-Timeout: 1.5` in seconds, or with a unit: `1500ms`, `2s`.
//! - `grpc-timeout: 1500m`: at most eight digits and one of H, M, S, m, u, n
//!   (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
//!
//! A client can shorten its time, never lengthen it.

use std::time::Duration;

use http::header::HeaderMap;

use crate::problem::Problem;

const PLAIN: &str = "x-request-timeout";
const GRPC: &str = "grpc-timeout";

/// The time that a request with these headers gets, of at most `most`.
///
/// # Errors
///
/// [`Problem::BadTimeout`], with the header's name.
pub(crate) fn timeout(headers: &HeaderMap, most: Duration) -> Result<Duration, Problem> {
    let read = |name: &'static str, parse: fn(&str) -> Option<Duration>| {
        let value = headers.get(name)?;
        Some(value.to_str().ok().and_then(parse).filter(|time| !time.is_zero()).ok_or(Problem::BadTimeout(name)))
    };
    let asked = read(PLAIN, plain).or_else(|| read(GRPC, grpc)).transpose()?;
    Ok(asked.map_or(most, |asked| asked.min(most)))
}

fn plain(text: &str) -> Option<Duration> {
    match text.trim().parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => crate::units::parse_duration(text.trim()).ok(),
    }
}

fn grpc(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(n * 3600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &'static str, value: &str) -> Option<Duration> {
        let headers = HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())]);
        timeout(&headers, Duration::from_secs(30)).ok()
    }

    #[test]
    fn a_client_may_shorten_its_time_and_not_lengthen_it() {
        for (name, value, expected) in [
            (PLAIN, "2", 2000),
            (PLAIN, "1.5", 1500),
            (PLAIN, "250ms", 250),
            (PLAIN, "1m", 30_000),
            (GRPC, "250m", 250),
            (GRPC, "3S", 3000),
            (GRPC, "99999999H", 30_000),
        ] {
            assert_eq!(read(name, value), Some(Duration::from_millis(expected)), "{name}: {value}");
        }
        assert_eq!(timeout(&HeaderMap::new(), Duration::from_secs(3)).unwrap(), Duration::from_secs(3));
    }

    #[test]
    fn what_is_no_time_is_an_error() {
        for value in ["", "0", "-1", "soon", "NaN", "inf", "0ms"] {
            assert_eq!(read(PLAIN, value), None, "{value}");
        }
        for value in ["", "S", "1", "123456789S", "1s", "-1S", "1é"] {
            assert_eq!(read(GRPC, value), None, "{value}");
        }
    }
}
