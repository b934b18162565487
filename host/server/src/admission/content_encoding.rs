//! Request bodies that are compressed (`Content-Encoding`), as Triton's clients can send them.
//!
//! A body is decompressed piece by piece, so that no piece keeps others from being served, and no further than a body
//! may be large: a few kilobytes can become gigabytes.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap};

use super::memory_budget::Reservation;
use crate::problem::Problem;

/// Bytes that are decompressed before others have their turn.
const PIECE: usize = 64 << 10;

/// A coding that is undone here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    Deflate,
}

/// How a body is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coded {
    /// It is sent as it is.
    Plain,
    /// It is decompressed here.
    By(Coding),
    /// Nobody here knows this coding.
    Unknown,
}

/// How the headers say that the body is coded.
pub(crate) fn coded(headers: &HeaderMap) -> Coded {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    let (first, second) = (codings.next(), codings.next());
    match (first.map(|coding| coding.as_bytes().trim_ascii().to_ascii_lowercase()).as_deref(), second) {
        (None | Some(b"identity" | b""), None) => Coded::Plain,
        (Some(b"gzip" | b"x-gzip"), None) => Coded::By(Coding::Gzip),
        (Some(b"deflate"), None) => Coded::By(Coding::Deflate),
        _ => Coded::Unknown,
    }
}

/// Decompresses a body to at most `max_bytes`, which are reserved.
///
/// # Errors
///
/// It is broken, or becomes larger than a body may be, or all bodies together would be too large.
pub(crate) async fn decode(
    coding: Coding,
    compressed: Bytes,
    max_bytes: usize,
    reservation: &mut Reservation,
) -> Result<Bytes, Problem> {
    let mut decoder = decoder(coding, &compressed);
    let mut decoded = Vec::new();
    loop {
        let before = decoded.len();
        let read = decoder.by_ref().take(PIECE as u64).read_to_end(&mut decoded);
        read.map_err(|_| Problem::Invalid("the body is not what its Content-Encoding says".to_owned()))?;
        if decoded.len() == before {
            return Ok(decoded.into());
        }
        if decoded.len() > max_bytes {
            return Err(Problem::BodyTooLarge { actual: None, limit: max_bytes as u64 });
        }
        reservation.grow(decoded.len() - before)?;
        tokio::task::yield_now().await;
    }
}

/// Makes the headers those of the decompressed body, of `length` bytes.
pub(crate) fn undo(headers: &mut HeaderMap, length: usize) {
    headers.remove(CONTENT_ENCODING);
    headers.insert(CONTENT_LENGTH, length.into());
}

/// Most of what is called deflate has the header of zlib, as RFC 9110 demands, and some of it has none.
fn decoder(coding: Coding, compressed: &[u8]) -> Box<dyn Read + Send + '_> {
    let has_zlib_header = |bytes: &[u8]| match bytes {
        [method, flags, ..] => method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31),
        _ => true,
    };
    match coding {
        Coding::Gzip if compressed.is_empty() => Box::new(io::empty()),
        Coding::Gzip => Box::new(MultiGzDecoder::new(compressed)),
        Coding::Deflate if has_zlib_header(compressed) => Box::new(ZlibDecoder::new(compressed)),
        Coding::Deflate => Box::new(DeflateDecoder::new(compressed)),
    }
}

#[cfg(test)]
mod tests {
    use modelfn_wasm::process_memory::ProcessMemory;

    use std::io::Write;
    use std::sync::Arc;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use http::header::HeaderValue;

    use super::*;
    use crate::admission::memory_budget::MemoryBudget;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn decoded(coding: Coding, compressed: Vec<u8>, max_bytes: usize) -> Result<Bytes, Problem> {
        let budget = MemoryBudget::new(1 << 20, ProcessMemory::unlimited(Arc::default()), Arc::default());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(decode(coding, compressed.into(), max_bytes, &mut budget.reserve()))
    }

    #[test]
    fn each_coding_is_undone() {
        let plain: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(&plain).unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::fast());
        raw.write_all(&plain).unwrap();
        for (coding, compressed) in [
            (Coding::Gzip, gzip(&plain)),
            (Coding::Gzip, [gzip(&plain[..7]), gzip(&plain[7..])].concat()),
            (Coding::Deflate, zlib.finish().unwrap()),
            (Coding::Deflate, raw.finish().unwrap()),
        ] {
            assert_eq!(decoded(coding, compressed, plain.len()).unwrap(), plain);
        }
        assert!(decoded(Coding::Gzip, Vec::new(), 9).unwrap().is_empty());
    }

    #[test]
    fn a_bomb_ends_at_the_limit_of_a_body_and_at_that_of_all() {
        let bomb = gzip(&vec![0; 100 << 20]);
        assert!(bomb.len() < 1 << 20);
        let error = decoded(Coding::Gzip, bomb.clone(), 1000).unwrap_err();
        assert!(matches!(error, Problem::BodyTooLarge { actual: None, limit: 1000 }), "{error}");
        let error = decoded(Coding::Gzip, bomb, 16 << 20).unwrap_err();
        assert!(matches!(error, Problem::NeverFits { .. }), "{error}");
    }

    #[test]
    fn what_is_broken_is_an_error() {
        let whole = gzip(b"whole");
        let mut wrong_sum = whole.clone();
        wrong_sum[whole.len() - 5] ^= 1;
        for broken in [whole[..whole.len() - 1].to_vec(), wrong_sum, b"plain".to_vec(), [&whole[..], b"rest"].concat()]
        {
            let error = decoded(Coding::Gzip, broken, 100).unwrap_err();
            assert!(matches!(error, Problem::Invalid(_)), "{error}");
        }
    }

    #[test]
    fn only_one_known_coding_is_undone() {
        let of = |values: &[&'static str]| {
            let values = values.iter().map(|value| (CONTENT_ENCODING, HeaderValue::from_static(value)));
            coded(&values.collect())
        };
        assert_eq!((of(&[]), of(&["identity"])), (Coded::Plain, Coded::Plain));
        assert_eq!((of(&["GZIP"]), of(&["deflate"])), (Coded::By(Coding::Gzip), Coded::By(Coding::Deflate)));
        for unknown in [&["br"][..], &["gzip, br"], &["gzip", "gzip"]] {
            assert_eq!(of(unknown), Coded::Unknown, "{unknown:?}");
        }
    }
}
