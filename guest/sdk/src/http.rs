//! Requests and responses over `wasi:http`, each with a whole body in memory.
//!
//! The limit on a body's size is here, and what is said of a body that ends early.

use std::borrow::Cow;

use serde::Serialize;

pub use crate::bindings::wasi::http::types::Method;
use crate::bindings::wasi::http::types::{
    ErrorCode, Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam, http_error_code,
};
use crate::bindings::wasi::io::streams::{InputStream, StreamError};
use crate::files::append;
use crate::multipart;
use crate::problem::Problem;

/// Most bytes of a request's body.
const MAX_BODY_BYTES: usize = 16 << 20;

/// Bytes asked for in one host call where the length of the body is not known.
const READ_BYTES: u64 = 256 << 10;

/// What `blocking-write-and-flush` takes at once, by its documentation.
const WRITE_BYTES: usize = 4096;

/// Where a host puts the part of the path that a route's `...` stands for.
const PATH_HEADER: &str = "spin-path-info";

/// A request, of which the body is still to be read.
#[derive(Debug)]
pub struct Request {
    inner: IncomingRequest,
    headers: Fields,
    /// GET, HEAD, POST and so on.
    pub method: Method,
    /// Path below the function's route, without the query.
    pub path: String,
    query: String,
}

/// The whole body of a request, and its content type.
#[derive(Debug)]
pub struct Upload {
    bytes: Vec<u8>,
    content_type: String,
}

/// The kind of files that a function takes, for [`Request::upload`].
#[derive(Debug, Clone, Copy)]
pub struct FileKind {
    /// What people call it, with an article: `a picture`.
    pub name: &'static str,
    /// The beginning of its media types, in lower case: `image/` stands for all pictures.
    pub media_type: &'static str,
    /// The name of a file that an example uploads: `cat.jpg`.
    pub example: &'static str,
}

/// A whole response.
#[derive(Debug)]
pub struct Response {
    status: u16,
    headers: Vec<(&'static str, Cow<'static, str>)>,
    body: Cow<'static, [u8]>,
}

impl Request {
    /// Takes what is known before the body arrives.
    pub fn new(inner: IncomingRequest) -> Self {
        let target = inner.path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        // A host that mounts functions on routes says what the route left of the path, as Spin does.
        let headers = inner.headers();
        let below = header(&headers, PATH_HEADER);
        let path = below.map_or_else(|| path.to_owned(), |path| if path.is_empty() { "/".to_owned() } else { path });
        Self { method: inner.method(), path, query: query.to_owned(), headers, inner }
    }

    /// The value of the first query parameter of that name, as it was written.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// Reads the body, which is a file of that kind or a form that holds one. The declared type and length are checked
    /// first, so that nothing unfit is uploaded.
    ///
    /// # Errors
    ///
    /// 415 for another media type or a body that is still compressed, 413 for more than 16 MiB or more than the host takes, 408 for a body that did not
    /// arrive in time, 400 for one that is empty or broke off.
    pub fn upload(&self, kind: FileKind) -> Result<Upload, Problem> {
        let content_type = header(&self.headers, "content-type").unwrap_or_default();
        kind.check_content_type(&content_type)?;
        check_content_encoding(&self.headers)?;
        let declared =
            header(&self.headers, "content-length").and_then(|length| length.parse::<u64>().ok()).unwrap_or(0);
        let declared = usize::try_from(declared).ok().filter(|&bytes| bytes <= MAX_BODY_BYTES);
        let declared = declared.ok_or_else(|| kind.too_large())?;
        let bytes = self.read_body(declared, kind)?;
        if bytes.is_empty() {
            let example = kind.example;
            return Err(Problem::bad_request(format!("the body is empty; try: curl --data-binary @{example} URL")));
        }
        Ok(Upload { bytes, content_type })
    }

    fn read_body(&self, declared: usize, kind: FileKind) -> Result<Vec<u8>, Problem> {
        let unreadable = |()| Problem::internal("the host gave no body to read");
        let body = self.inner.consume().map_err(unreadable)?;
        let stream = body.stream().map_err(unreadable)?;
        read(&stream, declared, kind)
    }
}

fn header(headers: &Fields, name: &str) -> Option<String> {
    let value = headers.get(name).into_iter().next()?;
    Some(String::from_utf8_lossy(&value).into_owned())
}

impl Upload {
    /// The file that was sent: the body itself, or in a form its field `name`.
    ///
    /// # Errors
    ///
    /// 400 for a form that is broken, cut off, lacks the field, or has no file in it.
    pub fn file(&self, name: &str) -> Result<&[u8], Problem> {
        if !is_form(&self.content_type) {
            return Ok(&self.bytes);
        }
        match multipart::part(&self.bytes, &self.content_type, name)? {
            [] => Err(Problem::bad_request(format!("the file in the form's field '{name}' is empty; choose another"))),
            file => Ok(file),
        }
    }
}

/// Refuses a body that is still compressed here: a host undoes the codings that it knows, and removes the header.
fn check_content_encoding(headers: &Fields) -> Result<(), Problem> {
    match header(headers, "content-encoding").as_deref() {
        None | Some("" | "identity") => Ok(()),
        Some(_) => Err(Problem::unsupported_media("this Content-Encoding is not supported; send the file as it is")),
    }
}

fn read(stream: &InputStream, declared: usize, kind: FileKind) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(READ_BYTES.max(declared as u64)) {
            Ok(chunk) if bytes.len() + chunk.len() > MAX_BODY_BYTES => return Err(kind.too_large()),
            Ok(chunk) => {
                if bytes.is_empty() && chunk.len() < declared {
                    bytes.reserve_exact(declared);
                }
                append(&mut bytes, chunk);
            }
            Err(StreamError::Closed) => return Ok(bytes),
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(kind.broken_off(http_error_code(&error)));
            }
        }
    }
}

impl FileKind {
    /// Refuses a body whose declared type rules out this kind of file, before it is uploaded.
    ///
    /// `application/x-www-form-urlencoded` passes, since `curl --data-binary` declares it for any file.
    fn check_content_type(self, content_type: &str) -> Result<(), Problem> {
        let essence = essence(content_type);
        match essence.as_str() {
            "" | "application/octet-stream" | "application/x-www-form-urlencoded" => Ok(()),
            form if is_form(form) => Ok(()),
            own if own.starts_with(self.media_type) => Ok(()),
            _ => {
                let any = if self.media_type.ends_with('/') { "*" } else { "" };
                Err(Problem::unsupported_media(format!(
                    "the Content-Type is not that of {}; send {}{any}, application/octet-stream or multipart/form-data",
                    self.name, self.media_type
                )))
            }
        }
    }

    /// The problem of a body that ended early, by the host's error code.
    fn broken_off(self, code: Option<ErrorCode>) -> Problem {
        match code {
            Some(ErrorCode::HttpRequestBodySize(_)) => {
                Problem::too_large(format!("the body has more bytes than this host takes; send {}", self.smaller()))
            }
            Some(ErrorCode::ConnectionReadTimeout | ErrorCode::ConnectionTimeout) => {
                Problem::request_timeout("the body did not arrive in time; send it again")
            }
            Some(code) => Problem::bad_request(format!("the body broke off ({code:?}); send it again")),
            None => Problem::bad_request("the body broke off; send it again"),
        }
    }

    fn too_large(self) -> Problem {
        let limit = MAX_BODY_BYTES >> 20;
        Problem::too_large(format!("the body has more than {limit} MiB; send {}", self.smaller()))
    }

    /// `a smaller picture`, of the name `a picture`.
    fn smaller(self) -> String {
        let (_, noun) = self.name.split_once(' ').unwrap_or(("", self.name));
        format!("a smaller {noun}")
    }
}

fn is_form(content_type: &str) -> bool {
    essence(content_type) == "multipart/form-data"
}

/// The type without its parameters.
fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

impl Response {
    /// 200 with a body of that content type.
    pub fn new(content_type: &'static str, body: impl Into<Cow<'static, [u8]>>) -> Self {
        Self { status: 200, headers: vec![("content-type", content_type.into())], body: body.into() }
    }

    /// 200 with `body` as JSON.
    pub fn json(body: &impl Serialize) -> Self {
        Self::new("application/json", to_json(body))
    }

    /// Adds a header.
    pub fn header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Sends the response, for HEAD without its body.
    ///
    /// Nothing is reported: when the client is gone there is nobody to tell.
    pub fn send(self, method: &Method, out: ResponseOutparam) {
        let head = matches!(method, Method::Head);
        let response = OutgoingResponse::new(self.fields(head));
        // Every status here is a constant between 200 and 599, which no host refuses.
        let _ = response.set_status_code(self.status);
        let Ok(body) = response.body() else { return };
        ResponseOutparam::set(out, Ok(response));
        if !head {
            write(&body, &self.body);
        }
        let _ = OutgoingBody::finish(body, None);
    }

    /// Without a length for HEAD: hosts compare it with the body that follows.
    fn fields(&self, head: bool) -> Fields {
        let fields = Fields::new();
        let length = (!head).then(|| ("content-length", self.body.len().to_string().into()));
        let sniffing = Some(("x-content-type-options", Cow::Borrowed("nosniff")));
        for (name, value) in self.headers.iter().cloned().chain(length).chain(sniffing) {
            // Fails only for names that hosts keep to themselves, of which none is used.
            let _ = fields.append(name, value.as_bytes());
        }
        fields
    }
}

impl From<Problem> for Response {
    fn from(problem: Problem) -> Self {
        let response = Self::new("application/problem+json", to_json(&problem.document()));
        let response = Self { status: problem.status, ..response };
        match problem.allow {
            Some(methods) => response.header("allow", methods),
            None => response,
        }
    }
}

/// JSON with a line feed behind it, for terminals. Serialising to memory fails only for maps with odd keys and for
/// types that refuse: none is here.
fn to_json(body: &impl Serialize) -> Vec<u8> {
    let mut json = serde_json::to_vec(body).unwrap_or_default();
    json.push(b'\n');
    json
}

fn write(body: &OutgoingBody, bytes: &[u8]) {
    let Ok(stream) = body.write() else { return };
    for chunk in bytes.chunks(WRITE_BYTES) {
        if stream.blocking_write_and_flush(chunk).is_err() {
            return;
        }
    }
}
