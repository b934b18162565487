//! A request: its head, which is there from the start, and its body, which is read when the handler asks for it.

use serde::de::DeserializeOwned;

use super::body::Body;
use super::{FileKind, Upload, is_form};
use crate::bindings::wasi::http::types::{Fields, IncomingRequest, Method};
use crate::multipart::Form;
use crate::problem::Problem;

/// Where a host puts the part of the path that a route's `...` stands for.
const PATH_HEADER: &str = "spin-path-info";

/// Most characters of a parser's words about a body that a response repeats: they may quote the body.
const MAX_QUOTED_CHARS: usize = 200;

/// A request, of which the body is still to be read.
#[derive(Debug)]
pub struct Request {
    inner: IncomingRequest,
    headers: Fields,
    /// GET, HEAD, POST and so on.
    pub method: Method,
    /// Path below the function's route, without the query. Percent-encoding is left as it is.
    pub path: String,
    query: String,
}

impl Request {
    /// Takes what is known before the body arrives.
    pub(crate) fn new(inner: IncomingRequest) -> Self {
        let target = inner.path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        // A host that mounts functions on routes says what the route left of the path, as Spin does.
        let headers = inner.headers();
        let below = header(&headers, PATH_HEADER);
        let path = below.map_or_else(|| path.to_owned(), |path| if path.is_empty() { "/".to_owned() } else { path });
        Self { method: inner.method(), path, query: query.to_owned(), headers, inner }
    }

    /// The decoded value of the first query parameter of that name.
    pub fn query(&self, name: &str) -> Option<String> {
        let mut pairs = form_urlencoded::parse(self.query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    /// The value of the first header of that name, whatever its case. Bytes that are no UTF-8 are replaced.
    pub fn header(&self, name: &str) -> Option<String> {
        header(&self.headers, name)
    }

    /// All headers in their order, with names in lower case.
    pub fn headers(&self) -> Vec<(String, Vec<u8>)> {
        self.headers.entries()
    }

    /// Reads the body. A body can be read only once, by whichever of these methods.
    ///
    /// # Errors
    ///
    /// 413 for more than 16 MiB or more than the host takes, 415 for one that is compressed in a way that the host does
    /// not know, 408 for one that did not arrive in time, 400 for one that broke off.
    pub fn bytes(&self) -> Result<Vec<u8>, Problem> {
        self.read("a smaller one")
    }

    /// Reads the body as UTF-8 text.
    ///
    /// # Errors
    ///
    /// As [`Request::bytes`], and 400 for bytes that are no text.
    pub fn text(&self) -> Result<String, Problem> {
        String::from_utf8(self.bytes()?).map_err(|_| Problem::bad_request("the body is not UTF-8 text"))
    }

    /// Reads the body as JSON, whatever type it is declared to be: `curl --data` declares a form.
    ///
    /// # Errors
    ///
    /// As [`Request::bytes`], and 400 for what is no JSON or not of the type that the function takes; the detail says
    /// where.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let body = self.bytes()?;
        if body.is_empty() {
            return Err(Problem::bad_request("the body is empty; send JSON"));
        }
        serde_json::from_slice(&body).map_err(|error| {
            let reason: String = error.to_string().chars().take(MAX_QUOTED_CHARS).collect();
            Problem::bad_request(format!("the body is not the JSON that this function takes: {reason}"))
        })
    }

    /// Reads the body as a form, `multipart/form-data`.
    ///
    /// # Errors
    ///
    /// As [`Request::bytes`], and 415 for a body of another type, 400 for a form without a boundary.
    pub fn form(&self) -> Result<Form, Problem> {
        let content_type = self.header("content-type").unwrap_or_default();
        if !is_form(&content_type) {
            return Err(Problem::unsupported_media(
                "the Content-Type must be multipart/form-data; try: curl -F name=value URL",
            ));
        }
        Form::new(self.bytes()?, &content_type)
    }

    /// Reads the body, which is a file of that kind or a form that holds one. The declared type and length are checked
    /// first, so that nothing unfit is uploaded.
    ///
    /// # Errors
    ///
    /// As [`Request::bytes`], and 415 for another media type, 400 for a body that is empty.
    pub fn upload(&self, kind: FileKind) -> Result<Upload, Problem> {
        let content_type = self.header("content-type").unwrap_or_default();
        kind.check_content_type(&content_type)?;
        let bytes = self.read(&kind.smaller())?;
        if bytes.is_empty() {
            let example = kind.example;
            return Err(Problem::bad_request(format!("the body is empty; try: curl --data-binary @{example} URL")));
        }
        Upload::new(bytes, &content_type)
    }

    fn read(&self, smaller: &str) -> Result<Vec<u8>, Problem> {
        self.check_content_encoding()?;
        let declared_length = self.header("content-length");
        Body { declared_length: declared_length.as_deref(), smaller }.read(&self.inner)
    }

    /// Refuses a body that is still compressed here: a host undoes the codings that it knows, and removes the header.
    fn check_content_encoding(&self) -> Result<(), Problem> {
        match self.header("content-encoding").as_deref() {
            None | Some("" | "identity") => Ok(()),
            Some(_) => {
                Err(Problem::unsupported_media("this Content-Encoding is not supported; send the file as it is"))
            }
        }
    }
}

fn header(headers: &Fields, name: &str) -> Option<String> {
    let value = headers.get(name).into_iter().next()?;
    Some(String::from_utf8_lossy(&value).into_owned())
}
