//! A response, and how it is sent.

use std::borrow::Cow;

use serde::Serialize;

use crate::bindings::wasi::http::types::{Fields, Method, OutgoingBody, OutgoingResponse, ResponseOutparam};
use crate::problem::Problem;
use crate::timing::Stopwatch;

/// What `blocking-write-and-flush` takes at once, by its documentation.
const WRITE_BYTES: usize = 4096;

/// Statuses that have no body (RFC 9110, sections 15.3.5 and 15.4.5).
const BODILESS: [u16; 2] = [204, 304];

/// A whole response.
#[derive(Debug, Clone)]
pub struct Response {
    status: u16,
    headers: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    body: Cow<'static, [u8]>,
}

impl Response {
    /// 200 with a body of that content type.
    pub fn new(content_type: impl Into<Cow<'static, str>>, body: impl Into<Cow<'static, [u8]>>) -> Self {
        Self { status: 200, headers: vec![("content-type".into(), content_type.into())], body: body.into() }
    }

    /// 200 with plain text.
    pub fn text(body: impl Into<String>) -> Self {
        Self::new("text/plain; charset=utf-8", body.into().into_bytes())
    }

    /// 200 with a page.
    pub fn html(body: impl Into<Cow<'static, str>>) -> Self {
        let body = match body.into() {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        Self::new("text/html; charset=utf-8", body)
    }

    /// 200 with `body` as JSON; 500 where it can't be written so, as a map whose keys are no text.
    pub fn json(body: &(impl Serialize + ?Sized)) -> Self {
        match to_json(body) {
            Ok(json) => Self::new("application/json", json),
            Err(error) => Problem::from(error).into(),
        }
    }

    /// Sets the status, 200 to 599.
    #[must_use]
    pub fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds the header `Server-Timing`, which says how long each phase took.
    #[must_use]
    pub fn timing(self, stopwatch: Stopwatch) -> Self {
        self.header("server-timing", stopwatch.into_header())
    }

    /// Sends the response, for HEAD without its body.
    ///
    /// Nothing is reported: when the client is gone there is nobody to tell.
    pub(crate) fn send(self, method: &Method, out: ResponseOutparam) {
        let head = matches!(method, Method::Head);
        let bodiless = BODILESS.contains(&self.status);
        let response = OutgoingResponse::new(self.fields(head || bodiless));
        if response.set_status_code(self.status).is_err() {
            crate::log!("a response has the status {}, which is none; 500 is sent", self.status);
            // 500 is a status, so this can't fail.
            let _ = response.set_status_code(500);
        }
        let Ok(body) = response.body() else { return };
        ResponseOutparam::set(out, Ok(response));
        if !head && !bodiless {
            write(&body, &self.body);
        }
        let _ = OutgoingBody::finish(body, None);
    }

    /// Without a length for HEAD: hosts compare it with the body that follows.
    fn fields(&self, without_body: bool) -> Fields {
        let fields = Fields::new();
        let length = (!without_body).then(|| ("content-length".into(), self.body.len().to_string().into()));
        let sniffing = Some(("x-content-type-options".into(), Cow::Borrowed("nosniff")));
        for (name, value) in self.headers.iter().cloned().chain(length).chain(sniffing) {
            if fields.append(&name, value.as_bytes()).is_err() {
                crate::log!("the header '{name}' is left out: hosts keep this name to themselves, or it can't be sent");
            }
        }
        fields
    }
}

impl From<Problem> for Response {
    fn from(problem: Problem) -> Self {
        // Text and JSON values, of which a problem consists, can always be written.
        let json = to_json(&problem.document()).unwrap_or_default();
        let response = Self::new("application/problem+json", json).status(problem.status);
        match problem.allow {
            Some(methods) => response.header("allow", methods),
            None => response,
        }
    }
}

/// JSON with a line feed behind it, for terminals.
fn to_json(body: &(impl Serialize + ?Sized)) -> Result<Vec<u8>, serde_json::Error> {
    let mut json = serde_json::to_vec(body)?;
    json.push(b'\n');
    Ok(json)
}

fn write(body: &OutgoingBody, bytes: &[u8]) {
    let Ok(stream) = body.write() else { return };
    for chunk in bytes.chunks(WRITE_BYTES) {
        if stream.blocking_write_and_flush(chunk).is_err() {
            return;
        }
    }
}
