//! Files of requests: TOML, with what is sent and what is expected.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderName, HeaderValue, Method, Request};
use serde::Deserialize;
use serde_json::Value;

/// What numbers may differ by, as a part of the expected number, where a test does not say.
const USUAL_TOLERANCE: f64 = 1e-4;

/// A request, and what is expected of its response.
#[derive(Debug)]
pub(super) struct TestRequest {
    /// The file that has it.
    pub(super) file: PathBuf,
    pub(super) name: String,
    pub(super) request: Request<Vec<u8>>,
    pub(super) expect: Expectation,
}

/// What is expected of a response. What is not named may be anything.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expectation {
    /// The status.
    pub(super) status: Option<u16>,
    /// Headers with their whole values.
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    /// A part of the body.
    pub(super) text: Option<String>,
    /// The body as JSON; objects may have more keys.
    pub(super) json: Option<Value>,
    /// What numbers may differ by, as a part of the expected one or, below 1, of 1.
    #[serde(default = "usual_tolerance")]
    pub(super) tolerance: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestFile {
    #[serde(default)]
    request: Vec<RequestTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestTable {
    name: Option<String>,
    method: Option<String>,
    path: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    json: Option<Value>,
    body: Option<String>,
    file: Option<PathBuf>,
    expect: Expectation,
}

/// The bytes of a request, and what they are where the request does not say.
struct Body {
    bytes: Vec<u8>,
    content_type: Option<&'static str>,
}

fn usual_tolerance() -> f64 {
    USUAL_TOLERANCE
}

/// The requests of all `*.toml` files of `folder`, by the names of the files.
///
/// # Errors
///
/// A file can't be read, or is wrong.
pub(super) fn read_all(folder: &Path) -> Result<Vec<TestRequest>> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    let mut requests = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).with_context(|| format!("{} can't be read", file.display()))?;
        requests.extend(parse(&text, &file).with_context(|| format!("in {}", file.display()))?);
    }
    Ok(requests)
}

fn parse(text: &str, file: &Path) -> Result<Vec<TestRequest>> {
    let RequestFile { request } = toml::from_str(text)?;
    let tables = request.into_iter().enumerate();
    tables.map(|(n, table)| table.check(file).with_context(|| format!("[[request]] {}", n + 1))).collect()
}

impl RequestTable {
    fn check(self, file: &Path) -> Result<TestRequest> {
        let tolerance = self.expect.tolerance;
        ensure!(tolerance.is_finite() && tolerance >= 0.0, "expect.tolerance = {tolerance} must be 0 or more");
        let expects = self.expect.status.is_some() || self.expect.text.is_some() || self.expect.json.is_some();
        ensure!(expects || !self.expect.headers.is_empty(), "`expect` is empty, so that the test could not fail");
        let body = self.body(file)?;
        let usual = if body.is_some() { "POST" } else { "GET" };
        let method = self.method.unwrap_or_else(|| usual.to_owned());
        let name = self.name.unwrap_or_else(|| format!("{method} {}", self.path));
        let method: Method = method.parse().with_context(|| format!("method = \"{method}\""))?;
        let path = &self.path;
        ensure!(path.starts_with('/'), "path = \"{path}\" must begin with /");
        let mut request = Request::builder().method(method).uri(path).header(HOST, "localhost");
        let says_type = self.headers.keys().any(|name| name.eq_ignore_ascii_case(CONTENT_TYPE.as_str()));
        let content_type = body.as_ref().and_then(|body| body.content_type).filter(|_| !says_type);
        if let Some(content_type) = content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        for (name, value) in &self.headers {
            let pair = (HeaderName::try_from(name), HeaderValue::from_str(value));
            let (Ok(name), Ok(value)) = pair else { bail!("headers: \"{name}\" = \"{value}\" can't be sent") };
            request = request.header(name, value);
        }
        let bytes = body.map(|body| body.bytes).unwrap_or_default();
        let request = request.body(bytes).with_context(|| format!("path = \"{path}\""))?;
        Ok(TestRequest { file: file.to_owned(), name, request, expect: self.expect })
    }

    fn body(&self, file: &Path) -> Result<Option<Body>> {
        let body = |bytes, content_type| Ok(Some(Body { bytes, content_type }));
        match (&self.json, &self.body, &self.file) {
            (None, None, None) => Ok(None),
            (Some(json), None, None) => body(serde_json::to_vec(json)?, Some("application/json")),
            (None, Some(text), None) => body(text.clone().into_bytes(), Some("text/plain; charset=utf-8")),
            (None, None, Some(path)) => {
                let path = file.parent().unwrap_or(Path::new(".")).join(path);
                let bytes = std::fs::read(&path).with_context(|| format!("file: {} can't be read", path.display()))?;
                body(bytes, None)
            }
            _ => bail!("a request has one of `json`, `body` and `file`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<TestRequest> {
        Ok(parse(&format!("[[request]]\n{text}"), Path::new("tests/a.toml"))?.remove(0))
    }

    fn error(text: &str) -> String {
        format!("{:#}", one(text).unwrap_err())
    }

    #[test]
    fn what_a_request_does_not_say_follows_from_its_body() {
        let test = one("path = \"/a?b=1\"\nexpect.status = 200").unwrap();
        assert_eq!((test.request.method(), test.name.as_str()), (&Method::GET, "GET /a?b=1"));
        let test = one("path = \"/\"\njson = [1, { a = 2.5 }]\nexpect.json = {}").unwrap();
        assert_eq!(test.request.method(), Method::POST);
        assert_eq!(test.request.headers()[CONTENT_TYPE], "application/json");
        assert_eq!(test.request.body(), b"[1,{\"a\":2.5}]");
        let own = "path = \"/\"\nname = \"n\"\nmethod = \"PUT\"\nbody = \"x\"\nheaders = { Content-Type = \"text/csv\" }\n\
                   expect.text = \"y\"";
        let test = one(own).unwrap();
        assert_eq!((test.request.method(), test.name.as_str()), (&Method::PUT, "n"));
        assert_eq!(test.request.headers().get_all(CONTENT_TYPE).iter().collect::<Vec<_>>(), ["text/csv"]);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("path = \"/\"\nexpect = {}", "`expect` is empty"),
            ("path = \"/\"", "expect"),
            ("path = \"a\"\nexpect.status = 200", "path = \"a\" must begin with /"),
            ("path = \"/\"\njson = 1\nbody = \"\"\nexpect.status = 200", "one of `json`, `body` and `file`"),
            ("path = \"/\"\nfile = \"no-such\"\nexpect.status = 200", "tests/no-such can't be read"),
            ("path = \"/\"\nexpect.states = 200", "states"),
            ("path = \"/\"\nexpect = { status = 200, tolerance = -1.0 }", "must be 0 or more"),
            ("path = \"/\"\nmethod = \"G T\"\nexpect.status = 200", "method = \"G T\""),
            ("path = \"/\"\nheaders = { \"a b\" = \"c\" }\nexpect.status = 200", "headers: \"a b\""),
        ] {
            let error = error(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
