//! The file of API keys: one a line, `name sha256:HEX [max_in_flight=N]`. `#` starts a comment.
//!
//! The file has hashes only. A plain SHA-256 is enough for what [`new_key`] makes, which nobody can guess; it is
//! not for passwords. A name may have several keys, so that a client can change from one to the next.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::num::NonZeroUsize;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

use modelfn_artifact::digest::hex;

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// The most keys of a file: each request is compared with all of them.
const MAX_KEYS: usize = 1000;

/// The start of every key, which scanners for leaked secrets can look for.
const PREFIX: &str = "mfn_";

/// Bytes of a new key.
const KEY_BYTES: usize = 32;

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name of the client that has the key.
    pub name: String,
    /// The key's SHA-256.
    pub digest: [u8; 32],
    /// Requests of that name in flight; beyond that they are turned away.
    pub max_in_flight: Option<NonZeroUsize>,
}

/// Reads the text of the file at `path`; `None` if there is no such file. Never waits, as reading from a pipe would.
///
/// # Errors
///
/// It can't be read, is no regular file, can be written by everyone, is too large, or is not text.
pub fn read(path: &Path) -> Result<Option<String>> {
    let no_wait = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = match OpenOptions::new().read(true).custom_flags(no_wait).open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.with_context(|| format!("the key file {} can't be read", path.display()))?,
    };
    let metadata = file.metadata().with_context(|| format!("the key file {} can't be read", path.display()))?;
    ensure!(metadata.is_file(), "the key file {} is no regular file", path.display());
    ensure!(
        metadata.mode() & 0o002 == 0,
        "everyone can write the key file {} (mode {:o}), and so let themselves in; `chmod o-w` it",
        path.display(),
        metadata.mode() & 0o7777
    );
    let mut text = String::new();
    let read = file.take(MAX_FILE + 1).read_to_string(&mut text);
    read.with_context(|| format!("the key file {} can't be read", path.display()))?;
    ensure!(text.len() as u64 <= MAX_FILE, "the key file {} is larger than {MAX_FILE} bytes", path.display());
    Ok(Some(text))
}

/// Reads the keys out of a file's text.
///
/// # Errors
///
/// A line is wrong; the message names it.
pub fn parse(text: &str) -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let words = line.split('#').next().unwrap_or_default().split_ascii_whitespace().collect::<Vec<_>>();
        if !words.is_empty() {
            let entry = entry(&words).and_then(|entry| check_with(entry, &entries));
            entries.push(entry.with_context(|| format!("line {}", n + 1))?);
        }
    }
    ensure!(entries.len() <= MAX_KEYS, "there are {} keys in it, which is more than {MAX_KEYS}", entries.len());
    Ok(entries)
}

/// An error quotes no word of the line, which may be a key.
fn entry(words: &[&str]) -> Result<Entry> {
    let (name, digest, settings) = match words {
        [name, digest, settings @ ..] => (name, digest, settings),
        _ => bail!("a key is `name sha256:HEX [max_in_flight=N]`; `modelfn key NAME` makes one"),
    };
    check_name(name)?;
    let digest = digest.strip_prefix("sha256:").and_then(parse_hex);
    let digest = digest.context("after the name comes sha256: and 64 hex digits, which `modelfn key NAME` makes")?;
    let max_in_flight = match settings {
        [] => None,
        [setting] => {
            let number = setting.strip_prefix("max_in_flight=").and_then(|n| n.parse().ok());
            Some(number.context("after the hash may come max_in_flight=N, N above zero, and nothing else")?)
        }
        _ => bail!("after the hash may come max_in_flight=N and nothing else"),
    };
    Ok(Entry { name: (*name).to_owned(), digest, max_in_flight })
}

/// Checks a name, which appears in logs and metrics.
fn check_name(name: &str) -> Result<()> {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    ensure!(
        plain && (1..=64).contains(&name.len()),
        "a key's name has 1 to 64 letters, digits, hyphens, underscores and dots"
    );
    Ok(())
}

fn check_with(entry: Entry, others: &[Entry]) -> Result<Entry> {
    let name = &entry.name;
    ensure!(others.iter().all(|other| other.digest != entry.digest), "this hash stands in an earlier line, too");
    let agrees = |other: &Entry| other.name != *name || other.max_in_flight == entry.max_in_flight;
    ensure!(others.iter().all(agrees), "an earlier key of {name} has another max_in_flight; they share one");
    Ok(entry)
}

fn parse_hex(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != digest.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
        let digit = |c: &u8| char::from(*c).to_digit(16);
        *byte = u8::try_from((digit(high)? << 4) | digit(low)?).ok()?;
    }
    Some(digest)
}

/// The digest of a key, which is what the file has of it.
pub fn digest(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

/// A key that nobody can guess, from the system's random numbers.
///
/// # Errors
///
/// The system has no random numbers.
pub fn new_key() -> Result<String> {
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes).map_err(|e| anyhow::anyhow!("the system gives no random numbers: {e}"))?;
    Ok(format!("{PREFIX}{}", hex(&bytes)))
}

/// The line of `key` for the file, without its end.
///
/// # Errors
///
/// The name is not valid.
pub fn line(name: &str, key: &str, max_in_flight: Option<NonZeroUsize>) -> Result<String> {
    check_name(name)?;
    let setting = max_in_flight.map_or_else(String::new, |n| format!(" max_in_flight={n}"));
    Ok(format!("{name} sha256:{}{setting}", hex(&digest(key.as_bytes()))))
}

/// Adds `line` to the file at `path`, which is made if it's not there.
///
/// # Errors
///
/// The file can't be written, or would be invalid with the line.
pub fn append(path: &Path, line: &str) -> Result<()> {
    let before = read(path)?.unwrap_or_default();
    let gap = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
    let added = format!("{gap}{line}\n");
    parse(&format!("{before}{added}")).with_context(|| format!("in the key file {}", path.display()))?;
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    let written = file.and_then(|mut file| std::io::Write::write_all(&mut file, added.as_bytes()));
    written.with_context(|| format!("the key file {} can't be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_found_in_the_line_that_is_made_for_it() {
        let (key, other) = (new_key().unwrap(), new_key().unwrap());
        assert!(key != other && key.len() == 68 && key.starts_with("mfn_"), "{key}");
        let line = line("ci-7.x_", &key, NonZeroUsize::new(3)).unwrap();
        let text = format!("# who\n\n {line}\t# since May\r\n");
        let entries = parse(&text).unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!((entries[0].name.as_str(), entries[0].max_in_flight), ("ci-7.x_", NonZeroUsize::new(3)));
        assert!(entries[0].digest == digest(key.as_bytes()) && entries[0].digest != digest(other.as_bytes()));
    }

    /// FIPS 180-2, B.1: anybody's `sha256sum` makes the same.
    #[test]
    fn the_hash_is_sha256() {
        let expected = "a sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(line("a", "abc", None).unwrap(), expected);
    }

    #[test]
    fn a_file_may_have_no_keys() {
        assert!(parse("").unwrap().is_empty() && parse("# nothing\n").unwrap().is_empty());
    }

    #[test]
    fn a_name_may_have_two_keys_with_one_share() {
        let (a, b) = ("0".repeat(64), "F".repeat(64));
        let entries = parse(&format!("a sha256:{a} max_in_flight=2\na sha256:{b} max_in_flight=2\n")).unwrap();
        assert!(entries.len() == 2 && entries.iter().all(|entry| entry.max_in_flight == NonZeroUsize::new(2)));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_no_key_is_quoted() {
        let hash = "ab".repeat(32);
        let good = format!("a sha256:{hash}\n");
        for (text, says) in [
            (format!("{good}b\n"), "line 2: a key is"),
            (format!("{good}b mfn_secret\n"), "line 2: after the name comes sha256:"),
            (format!("\nb sha256:{hash}00"), "line 2: after the name comes sha256:"),
            (format!("b sha256:{}", "zz".repeat(32)), "line 1: after the name comes sha256:"),
            (format!("é sha256:{hash}"), "line 1: a key's name"),
            (format!("{} sha256:{hash}", "n".repeat(65)), "line 1: a key's name"),
            (format!("b sha256:{hash} max_in_flight=0"), "line 1: after the hash may come"),
            (format!("b sha256:{hash} max_in_flight=1 x=2"), "line 1: after the hash may come"),
            (format!("{good}b sha256:{hash}"), "line 2: this hash stands in an earlier line"),
            (format!("{good}a sha256:{} max_in_flight=1", "cd".repeat(32)), "line 2: an earlier key of a"),
        ] {
            let error = format!("{:#}", parse(&text).unwrap_err());
            assert!(error.contains(says) && !error.contains("secret"), "{text:?}: {error}");
        }
    }
}
