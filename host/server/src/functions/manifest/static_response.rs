//! Responses that need no component.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use serde::Deserialize;

/// Headers that the server sets, or that are about the connection.
const NOT_THEIRS: &[HeaderName] = &[CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE];

/// A response that needs no component.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticResponse {
    /// The status, 200 when absent.
    #[serde(default = "ok")]
    pub status_code: u16,
    /// The names and values of headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body.
    #[serde(default)]
    pub body: String,
}

impl StaticResponse {
    /// Checks that a client would get the response as it is written.
    ///
    /// # Errors
    ///
    /// A value that can't be sent; the message names it.
    pub(super) fn check(&self) -> Result<()> {
        let StaticResponse { status_code, headers, body } = self;
        ensure!(
            (200..600).contains(status_code),
            "status_code = {status_code} is no status of a response; 200 to 599 are"
        );
        ensure!(
            body.is_empty() || !matches!(status_code, 204 | 205 | 304),
            "a response of status {status_code} has no body; leave it out, or choose another status"
        );
        let mut names = BTreeSet::new();
        for (name, value) in headers {
            let Ok(parsed) = HeaderName::try_from(name) else {
                anyhow::bail!("\"{name}\" is no name of a header");
            };
            ensure!(!NOT_THEIRS.contains(&parsed), "the header \"{name}\" is set by the server; leave it out");
            ensure!(
                HeaderValue::from_str(value).is_ok(),
                "the header \"{name}\" has a value that no header can have: {value:?}"
            );
            ensure!(
                names.insert(parsed.as_str().to_owned()),
                "the header \"{name}\" stands there twice: upper and lower case are the same; leave one out"
            );
        }
        Ok(())
    }
}

fn ok() -> u16 {
    200
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<()> {
        toml::from_str::<StaticResponse>(text).unwrap().check()
    }

    #[test]
    fn what_can_be_sent_is_taken_and_what_can_not_is_named() {
        for text in
            ["", "status_code = 599", "status_code = 204", "body = \"x\"\nheaders = { Location = \"/é\", x = \"\" }"]
        {
            assert!(check(text).is_ok(), "{text}");
        }
        for (text, says) in [
            ("status_code = 1000", "1000 is no status"),
            ("status_code = 100", "100 is no status"),
            ("status_code = 199", "199 is no status"),
            ("status_code = 600", "600 is no status"),
            ("status_code = 204\nbody = \"x\"", "has no body"),
            ("headers = { \"bad name\" = \"1\" }", "\"bad name\" is no name"),
            ("headers = { x = \"a\\nb\" }", "\"x\" has a value"),
            ("headers = { Content-Length = \"1000\" }", "set by the server"),
            ("headers = { X-A = \"1\", x-a = \"2\" }", "stands there twice"),
            ("headers = { transfer-encoding = \"chunked\" }", "set by the server"),
        ] {
            let error = check(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
