//! Requests of a component that need no API key: a method and a path, such as `GET /` or `GET /static/...`.
//!
//! The path is relative to the component's route, so that a component can be mounted anywhere. `GET` is also
//! `HEAD`.

use std::str::FromStr;

use anyhow::{Context, Result, ensure};

use crate::functions::route::Route;

/// Requests that are open to everyone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicRoute {
    method: String,
    path: Route,
}

impl PublicRoute {
    /// Whether a request is one of these. `rest` is the part of its path below its route, which may be empty.
    pub fn has(&self, method: &str, rest: &str) -> bool {
        let rest = if rest.is_empty() { "/" } else { rest };
        if is_ambiguous(rest) {
            return false;
        }
        let method = if method == "HEAD" { "GET" } else { method };
        self.method == method && self.path.matches(rest).is_some()
    }
}

/// Whether a component may read a path as another one. Such a path is never public.
fn is_ambiguous(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    let steps = path.split('/').any(|segment| segment == "." || segment == "..");
    steps || ["//", "\\", "%2e", "%2f", "%5c"].iter().any(|part| path.contains(part))
}

impl FromStr for PublicRoute {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let remedy = || format!("\"{text}\" is no method and path; write \"GET /\" or \"GET /static/...\"");
        let (method, path) = text.split_once(' ').with_context(remedy)?;
        ensure!(!method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase()), remedy());
        ensure!(method != "HEAD", "\"{text}\": HEAD is public where GET is; write GET");
        Ok(PublicRoute { method: method.to_owned(), path: path.parse().with_context(remedy)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_public_by_method_and_path() {
        let has = |public: &str, method, rest| public.parse::<PublicRoute>().unwrap().has(method, rest);
        for rest in ["", "/"] {
            assert!(has("GET /", "GET", rest) && has("GET /", "HEAD", rest) && !has("GET /", "POST", rest));
        }
        assert!(!has("GET /", "GET", "/classify") && !has("GET /", "get", "/"));
        assert!(has("GET /static/...", "GET", "/static/a/b") && !has("GET /static/...", "GET", "/statics"));
        for path in
            ["/static/../classify", "/static/%2E%2e/classify", "/static//classify", "/static/a%2F..", "/static/."]
        {
            assert!(!has("GET /static/...", "GET", path), "{path}");
        }
        assert!(has("GET /static/...", "GET", "/static/..a/b..css/%20"));
        assert!(has("POST /:any", "POST", "/x") && !has("POST /:any", "HEAD", "/x"));
    }

    #[test]
    fn what_is_none_is_refused_with_a_remedy() {
        for text in ["", "/", "GET", "GET  /", "get /", "GET x", "HEAD /", "* /"] {
            let error = text.parse::<PublicRoute>().unwrap_err().to_string();
            assert!(error.contains("write"), "{text:?}: {error}");
        }
    }
}
