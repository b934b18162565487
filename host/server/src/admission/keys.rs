//! The API keys of a file, which is read again whenever it changes.
//!
//! - A client presents `X-API-Key: KEY` or `Authorization: Bearer KEY`; the former counts where both are there, so that
//!   a proxy in front can have the latter for itself.
//! - Comparing takes the same time for every key, valid or not: the digest of what was presented is compared with all
//!   digests, to their ends.
//! - The count of a name's requests in flight outlives a change of the file. A broken file changes nothing. A file that
//!   is gone or has no keys revokes all keys once it was found so twice, since an editor empties a file before it
//!   writes it.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, ensure};
use http::header::{AUTHORIZATION, HeaderMap, HeaderName};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::concurrency_limit::{ConcurrencyLimit, Permit};
use super::key_file::{self, Entry};
use crate::problem::Problem;
use modelfn_telemetry::metrics::Metrics;
use modelfn_telemetry::metrics::admission::KeyFile;

static API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The time between two looks at the file. Somebody who revokes a key by hand waits for it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The longest key that is hashed, in bytes. Longer ones are not valid.
const MAX_PRESENTED: usize = 512;

/// The keys that are valid now.
pub struct Keys {
    path: PathBuf,
    current: RwLock<Arc<[Key]>>,
    metrics: Arc<Metrics>,
}

/// The file as it was looked at last.
struct Seen {
    /// Its text, `None` if there was no file, or why it could not be read.
    text: Result<Option<String>, String>,
    /// Whether the last look found no keys. If the next one finds none either, all keys are revoked.
    is_empty: bool,
}

struct Key {
    digest: [u8; 32],
    client: Arc<Client>,
}

/// A name of the file, and the requests that all its keys together have in flight.
pub(crate) struct Client {
    name: String,
    in_flight: ConcurrencyLimit,
}

impl Keys {
    /// Reads the keys of the file at `path`, and again when it changes, on a thread of its own.
    ///
    /// # Errors
    ///
    /// The file can't be read or is wrong; the message names the line.
    pub fn open(path: PathBuf, metrics: Arc<Metrics>) -> anyhow::Result<Arc<Keys>> {
        let text = key_file::read(&path)?.with_context(|| format!("there is no key file {}", path.display()))?;
        let keys = Arc::new(Keys { path, current: RwLock::new(Arc::new([])), metrics });
        let entries = keys.parse(&text)?;
        ensure!(
            !entries.is_empty(),
            "there is no key in {}, so that nobody could enter; make one with `modelfn key NAME`",
            keys.path.display()
        );
        keys.take(entries);
        let watching = keys.clone();
        let seen = Seen { text: Ok(Some(text)), is_empty: false };
        std::thread::Builder::new().name("keys".to_owned()).spawn(move || watching.watch(seen))?;
        Ok(keys)
    }

    /// Finds the client whose key is in `headers`.
    ///
    /// # Errors
    ///
    /// The headers have no key, or none that is valid.
    pub(crate) fn find(&self, headers: &HeaderMap) -> Result<Arc<Client>, Problem> {
        let presented = presented(headers).ok_or(Problem::NoKey)?;
        if presented.len() > MAX_PRESENTED {
            return Err(Problem::WrongKey);
        }
        let digest = key_file::digest(presented);
        let keys = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut found = u32::MAX;
        for (n, key) in (0_u32..).zip(keys.iter()) {
            found.conditional_assign(&n, key.digest.ct_eq(&digest));
        }
        let key = usize::try_from(found).ok().and_then(|n| keys.get(n));
        key.map(|key| key.client.clone()).ok_or(Problem::WrongKey)
    }

    fn watch(&self, mut seen: Seen) {
        loop {
            std::thread::sleep(LOOK_EVERY);
            self.look(&mut seen);
        }
    }

    /// Takes the keys of the file if it has changed since it was `seen`. A broken file is logged once.
    fn look(&self, seen: &mut Seen) {
        let text = key_file::read(&self.path).map_err(|e| format!("{e:#}"));
        if text == seen.text {
            seen.is_empty = false;
            return;
        }
        let read = text.as_ref().map_err(|e| anyhow::anyhow!("{e}"));
        let entries = read.and_then(|text| self.parse(text.as_deref().unwrap_or_default()));
        let is_empty = entries.as_ref().is_ok_and(Vec::is_empty);
        if is_empty && !std::mem::replace(&mut seen.is_empty, is_empty) {
            // Perhaps it is being written.
            return;
        }
        *seen = Seen { text, is_empty };
        let outcome = match entries {
            Err(e) => {
                tracing::error!("{e:#}; the keys stay as they were");
                KeyFile::Refused
            }
            Ok(entries) if is_empty => {
                self.take(entries);
                let path = self.path.display();
                tracing::error!("the key file {path} has no key any more: all keys are revoked, and nobody may enter");
                KeyFile::Revoked
            }
            Ok(entries) => {
                self.take(entries);
                KeyFile::Taken
            }
        };
        self.metrics.admission.key_file_changed(outcome);
    }

    fn parse(&self, text: &str) -> anyhow::Result<Vec<Entry>> {
        key_file::parse(text).with_context(|| format!("in the key file {}", self.path.display()))
    }

    fn take(&self, entries: Vec<Entry>) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let mut keys: Vec<Key> = Vec::with_capacity(entries.len());
        for entry in entries {
            let known = current.iter().chain(&keys).find(|key| key.client.name == entry.name);
            let client = known.map_or_else(|| Client::new(&entry.name), |key| key.client.clone());
            client.in_flight.set_most(entry.max_in_flight.map_or(usize::MAX, Into::into));
            keys.push(Key { digest: entry.digest, client });
        }
        let names = keys.iter().map(|key| key.client.name.as_str()).collect::<Vec<_>>().join(" ");
        tracing::info!(names, "API keys that are valid: {}", keys.len());
        *current = keys.into();
    }
}

impl Client {
    fn new(name: &str) -> Arc<Client> {
        Arc::new(Client { name: name.to_owned(), in_flight: ConcurrencyLimit::new(0) })
    }

    /// Its name in the file.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Takes one of the requests that this name may have in flight.
    ///
    /// # Errors
    ///
    /// All of them are in flight.
    pub(crate) fn acquire(&self) -> Result<Permit, Problem> {
        self.in_flight.try_acquire().ok_or_else(|| Problem::KeyShare(self.in_flight.most()))
    }
}

/// Removes the headers that may contain a key, which no guest may see.
pub(crate) fn strip(headers: &mut HeaderMap) {
    headers.remove(&API_KEY);
    headers.remove(AUTHORIZATION);
}

fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(key) = headers.get(&API_KEY) {
        return Some(key.as_bytes().trim_ascii());
    }
    let (scheme, key) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| key.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(of: &[(&'static str, &str)]) -> HeaderMap {
        of.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_key_is_presented_in_one_of_two_headers() {
        for (of, expected) in [
            (&[("x-api-key", "k")][..], Some("k")),
            (&[("authorization", "Bearer k")], Some("k")),
            (&[("authorization", "bearer  k ")], Some("k")),
            (&[("authorization", "Bearer proxys"), ("x-api-key", "k")], Some("k")),
            (&[("authorization", "Basic k")], None),
            (&[("authorization", "Bearer")], None),
            (&[("cookie", "k")], None),
        ] {
            assert_eq!(presented(&headers(of)), expected.map(str::as_bytes), "{of:?}");
        }
    }

    fn keys(path: PathBuf) -> Keys {
        Keys { path, current: RwLock::new(Arc::new([])), metrics: Arc::default() }
    }

    fn take(keys: &Keys, text: &str) {
        keys.take(keys.parse(text).unwrap());
    }

    #[test]
    fn a_share_is_kept_over_a_change_of_the_file_and_over_both_keys_of_a_name() {
        let keys = keys(PathBuf::new());
        let two = ["one", "two"].map(|key| key_file::line("a", key, std::num::NonZeroUsize::new(2)).unwrap());
        let find = |key| keys.find(&headers(&[("x-api-key", key)]));
        take(&keys, &two.join("\n"));
        let permits = ["one", "two"].map(|key| find(key).unwrap().acquire().unwrap());
        assert!(matches!(find("one").unwrap().acquire(), Err(Problem::KeyShare(2))));

        take(&keys, &key_file::line("a", "three", std::num::NonZeroUsize::new(2)).unwrap());
        assert!(matches!(find("one").map(drop), Err(Problem::WrongKey)));
        assert!(find("three").unwrap().acquire().is_err());
        drop(permits);
        assert!(find("three").unwrap().acquire().is_ok());
        assert!(matches!(find(&"x".repeat(513)).map(drop), Err(Problem::WrongKey)));
        assert!(matches!(keys.find(&headers(&[])).map(drop), Err(Problem::NoKey)));
    }

    /// A file of keys that is removed with the test.
    struct File(PathBuf);

    impl Drop for File {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn no_keys_revoke_all_when_they_are_seen_twice_and_a_broken_file_revokes_none() {
        let path = std::env::temp_dir().join(format!("modelfn-keys-{}", std::process::id()));
        let (file, keys) = (File(path.clone()), keys(path));
        let line = key_file::line("a", "one", None).unwrap();
        let is_valid = || keys.find(&headers(&[("x-api-key", "one")])).is_ok();
        let changed = |outcome: &str| {
            let text = keys.metrics.text();
            let line = format!("key_files_total{{outcome=\"{outcome}\"}} ");
            text.split_once(&line).map_or(0, |(_, rest)| rest.lines().next().unwrap().parse::<u32>().unwrap())
        };
        let mut seen = Seen { text: Ok(None), is_empty: false };
        let mut look = || keys.look(&mut seen);
        let revocations: [fn(&PathBuf); 2] =
            [|path| std::fs::write(path, "# none\n").unwrap(), |path| std::fs::remove_file(path).unwrap()];
        for revoke in revocations {
            std::fs::write(&file.0, &line).unwrap();
            look();
            assert!(is_valid());
            revoke(&file.0);
            look();
            assert!(is_valid(), "it may be in the middle of a change");
            look();
            assert!(!is_valid());
            look();
        }
        assert_eq!((changed("Taken"), changed("Revoked")), (2, 2));
        std::fs::write(&file.0, &line).unwrap();
        look();
        std::fs::write(&file.0, "a").unwrap();
        look();
        look();
        assert!(is_valid());
        assert_eq!(changed("Refused"), 1);
    }
}
