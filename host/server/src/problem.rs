//! The problems of requests, and what the client is told of them: a status and a problem document (RFC 9457), below
//! `/v2` the Open Inference Protocol's document with the same text.
//!
//! This is the one place that maps errors to status codes. What a guest or an engine said stays in the log.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use http_body_util::Full;

use modelfn_nn::batcher::Failure;
use modelfn_nn::model::ModelError;
use modelfn_telemetry::metrics::Outcome;
use modelfn_telemetry::metrics::admission::Rejection;
use modelfn_wasm::function::InvokeError;

/// The seconds after which a client that was shed should try again.
const RETRY_AFTER_SECONDS: u64 = 1;

/// The longest error text below `/v2`, in bytes: some of it may be the client's own words.
const MAX_DETAIL: usize = 2048;

/// What can go wrong with a request before and around the guest.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// No route has this path.
    #[error("no function answers {0}")]
    NoRoute(String),
    /// Neither the request's line nor its head says whom it is for.
    #[error("the header Host is missing or not ASCII")]
    NoHost,
    /// The head says twice whom the request is for.
    #[error("the header Host is there more than once")]
    TwoHosts,
    /// The body is compressed in a way that is not undone here.
    #[error("this Content-Encoding is not supported; send the body as it is, or compress it by gzip or deflate")]
    UnknownCoding,
    /// The request wants an API key, and has none.
    #[error("this needs an API key; send it as X-API-Key: KEY or Authorization: Bearer KEY")]
    NoKey,
    /// The request's API key is none of those that are valid.
    #[error("this API key is not valid here")]
    WrongKey,
    /// The key's name has this many requests in flight, and may not have more.
    #[error("{0} requests with keys of this name are in flight, which is their share; try again in a moment")]
    KeyShare(usize),
    /// The value of this header is no time.
    #[error("the header {0} must be a time above zero, such as 2s or 500ms (grpc-timeout: 2S or 500m)")]
    BadTimeout(&'static str),
    /// The body is above the limit.
    #[error("the body is {}; this server takes {limit}", .actual.map_or_else(|| "larger".to_owned(), |n| format!("{n} bytes")))]
    BodyTooLarge {
        /// What the client announced, in bytes.
        actual: Option<u64>,
        /// What the server takes, in bytes.
        limit: u64,
    },
    /// The body wasn't there by the deadline.
    #[error("the body did not arrive in time")]
    BodyTooSlow,
    /// The client left or broke the protocol.
    #[error("the body broke off: {0}")]
    BodyBroken(String),
    /// The bodies of all requests take more memory than they may.
    #[error("the bodies of all requests in flight are as large as they may be")]
    BodiesFull,
    /// All memory that requests may take together is reserved.
    #[error("all requests together have reserved the memory that they may")]
    MemoryFull,
    /// A body and what becomes of it take more memory than all requests together may.
    #[error("the body and its tensors take {needed} bytes; all requests together may hold {limit}")]
    #[expect(missing_docs, reason = "the message says it")]
    NeverFits { needed: usize, limit: usize },
    /// The heads of the requests of this connection, or of all connections, take as much memory as they may.
    #[error("the heads of the requests in flight are as large as they may be")]
    HeadsFull,
    /// Too many inferences are in flight already.
    #[error("{0} inferences are in flight already")]
    InferencesFull(usize),
    /// Too many requests wait already.
    #[error("{0} requests wait for an instance already")]
    QueueFull(usize),
    /// The wait for an instance would be longer than is wanted of any request.
    #[error("a request would wait about {0:?} for an instance")]
    WaitTooLong(Duration),
    /// The requests that wait already leave this one too little time.
    #[error("the requests ahead take about {0:?}, which leaves too little time for this one")]
    DeadlineUnreachable(Duration),
    /// Waiting for an instance took until the deadline.
    #[error("no instance was free within {0:?}")]
    NoInstance(Duration),
    /// The guest gave no response.
    #[error(transparent)]
    Invoke(#[from] InvokeError),
    /// The Open Inference Protocol has no such path.
    #[error("the Open Inference Protocol has no {0}")]
    NoEndpoint(String),
    /// The path does not take this method. Has the methods that it takes.
    #[error("this path wants one of these methods: {0}")]
    Method(&'static str),
    /// No model has this name.
    #[error("no model '{name}'; have: {have}")]
    #[expect(missing_docs, reason = "the message says it")]
    NoModel { name: String, have: String },
    /// The model of this name was to be served, but could not be loaded.
    #[error("model '{0}' could not be loaded; this server is not ready")]
    Unavailable(String),
    /// The model of this name is there and could not be loaded, which keeps the server from nothing else.
    #[error("model '{0}' is here, but could not be loaded, and is left out; the server's log says why")]
    LeftOut(String),
    /// The model has no such version.
    #[error("model '{name}' has no version {version}; it has: {have}")]
    #[expect(missing_docs, reason = "the message says it")]
    NoVersion { name: String, version: u64, have: u32 },
    /// An inference request that is wrong in itself.
    #[error("{0}")]
    Invalid(String),
    /// The server starts or drains. Has the model whose readiness was asked for, if any.
    #[error("the server is not ready")]
    NotReady(Option<String>),
    /// The model gave no outputs.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// A sentence about the request.
impl From<String> for Problem {
    fn from(what: String) -> Self {
        Problem::Invalid(what)
    }
}

impl Problem {
    /// The response for a client of a function: a problem document.
    pub fn response(&self) -> Response<Full<Bytes>> {
        let (status, detail) = (self.status(), self.detail());
        // RFC 9110 renamed this one.
        let title = match status {
            StatusCode::PAYLOAD_TOO_LARGE => "Content Too Large",
            status => status.canonical_reason().unwrap_or("Error"),
        };
        let document = ProblemDocument { r#type: "about:blank", title, status: status.as_u16(), detail };
        self.with_headers(respond(status, "application/problem+json", &document))
    }

    /// The response for a client that speaks the Open Inference Protocol.
    pub fn inference_response(&self) -> Response<Full<Bytes>> {
        let (status, mut detail) = (self.status(), self.detail());
        detail.truncate(detail.floor_char_boundary(MAX_DETAIL));
        let mut document = serde_json::json!({ "error": detail });
        if let Problem::NotReady(_) | Problem::Unavailable(_) | Problem::LeftOut(_) = self {
            document["ready"] = false.into();
        }
        if let Problem::NotReady(Some(name)) | Problem::Unavailable(name) | Problem::LeftOut(name) = self {
            document["name"] = name.as_str().into();
        }
        self.with_headers(respond(status, "application/json", &document))
    }

    fn with_headers(&self, mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
        let (name, value) = match self {
            Problem::Method(methods) => (ALLOW, *methods),
            Problem::UnknownCoding => (ACCEPT_ENCODING, "gzip, deflate"),
            Problem::NoKey => (WWW_AUTHENTICATE, "Bearer realm=\"modelfn\""),
            Problem::WrongKey => (WWW_AUTHENTICATE, "Bearer realm=\"modelfn\", error=\"invalid_token\""),
            _ => return response,
        };
        response.headers_mut().insert(name, HeaderValue::from_static(value));
        response
    }

    /// The response's status.
    pub fn status(&self) -> StatusCode {
        self.reaction().status
    }

    /// How the request ended, for the metrics.
    pub fn outcome(&self) -> Outcome {
        self.reaction().outcome
    }

    /// Which limit or mistake it was, for the metrics; `None` where the function or the engine failed.
    pub fn rejection(&self) -> Option<Rejection> {
        self.reaction().rejection
    }

    /// What the client is told: a sentence.
    fn detail(&self) -> String {
        match self.reaction().detail {
            Some(detail) => detail.to_owned(),
            None => sentence(&self.to_string()),
        }
    }

    /// What each problem leads to: the one table.
    fn reaction(&self) -> Reaction {
        use Failure::{Deadline, Engine, Overloaded, Unavailable};
        use ModelError::{InvalidInput, TooLarge};
        match self {
            Problem::NoRoute(_) | Problem::NoEndpoint(_) | Problem::NoModel { .. } | Problem::NoVersion { .. } => {
                Reaction::refuse(StatusCode::NOT_FOUND, Rejection::NoRoute)
            }
            Problem::Method(_) => Reaction::refuse(StatusCode::METHOD_NOT_ALLOWED, Rejection::Method),
            Problem::NoHost
            | Problem::TwoHosts
            | Problem::BadTimeout(_)
            | Problem::Invalid(_)
            | Problem::Model(InvalidInput(_)) => Reaction::refuse(StatusCode::BAD_REQUEST, Rejection::BadRequest),
            Problem::UnknownCoding => Reaction::refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, Rejection::BadRequest),
            Problem::NoKey => Reaction::refuse(StatusCode::UNAUTHORIZED, Rejection::NoKey),
            Problem::WrongKey => Reaction::refuse(StatusCode::UNAUTHORIZED, Rejection::WrongKey),
            Problem::KeyShare(_) => Reaction::shed(StatusCode::TOO_MANY_REQUESTS, Rejection::KeyShare),
            Problem::BodyTooLarge { .. } | Problem::NeverFits { .. } => {
                Reaction::refuse(StatusCode::PAYLOAD_TOO_LARGE, Rejection::TooLarge)
            }
            Problem::Model(TooLarge(_)) => Reaction::refuse(StatusCode::BAD_REQUEST, Rejection::TooLarge),
            Problem::BodyTooSlow => Reaction::refuse(StatusCode::REQUEST_TIMEOUT, Rejection::BodyIncomplete),
            Problem::BodyBroken(_) => Reaction::refuse(StatusCode::BAD_REQUEST, Rejection::BodyIncomplete)
                .saying("The body broke off; send it again."),
            Problem::BodiesFull => Reaction::busy(Rejection::BodiesFull),
            Problem::HeadsFull => Reaction::busy(Rejection::HeadsFull),
            Problem::MemoryFull | Problem::Invoke(InvokeError::MemoryFull(_)) => Reaction::busy(Rejection::MemoryFull),
            Problem::InferencesFull(_) => Reaction::busy(Rejection::InferencesFull),
            Problem::QueueFull(_) => Reaction::busy(Rejection::WaitingFull),
            Problem::DeadlineUnreachable(_) | Problem::WaitTooLong(_) => Reaction::busy(Rejection::WouldBeLate),
            Problem::NoInstance(_) => Reaction::busy(Rejection::NoInstance),
            Problem::Invoke(InvokeError::Overloaded(_)) | Problem::Model(ModelError::Failure(Overloaded(_))) => {
                Reaction::busy(Rejection::ModelQueueFull)
            }
            Problem::NotReady(_) => Reaction::shed(StatusCode::SERVICE_UNAVAILABLE, Rejection::NotReady),
            Problem::Unavailable(_) | Problem::LeftOut(_) | Problem::Invoke(InvokeError::NoModel(_)) => {
                Reaction::shed(StatusCode::SERVICE_UNAVAILABLE, Rejection::NoModel)
            }
            Problem::Model(ModelError::Failure(Unavailable { .. })) => {
                Reaction::shed(StatusCode::SERVICE_UNAVAILABLE, Rejection::NoModel)
                    .saying("The model has failed several times in a row; try again in a moment.")
            }
            Problem::Model(ModelError::Failure(Deadline(_))) => Reaction::late("The model did not answer in time."),
            Problem::Invoke(InvokeError::Deadline(_) | InvokeError::Unread(_)) => {
                Reaction::late("The function did not answer in time.")
            }
            Problem::Model(ModelError::Failure(Engine(_))) => Reaction::fail("The model failed on this request."),
            Problem::Invoke(InvokeError::Trapped(_)) => Reaction::fail("The function failed on this request."),
            Problem::Invoke(InvokeError::NoResponse) => Reaction::fail("The function ended without an answer."),
            Problem::Invoke(InvokeError::Refused(_)) => Reaction::fail("The function could not handle this request."),
            Problem::Invoke(InvokeError::OutOfMemory(_)) => Reaction {
                status: StatusCode::INSUFFICIENT_STORAGE,
                outcome: Outcome::OutOfMemory,
                rejection: None,
                detail: Some("The function needed more memory for this request than it may use; send a smaller one."),
            },
        }
    }
}

/// What a problem leads to.
struct Reaction {
    status: StatusCode,
    outcome: Outcome,
    /// Where a limit or a mistake of the client is the reason.
    rejection: Option<Rejection>,
    /// What the client is told where the problem's own text is not fit for the public.
    detail: Option<&'static str>,
}

impl Reaction {
    /// The client made a mistake.
    fn refuse(status: StatusCode, rejection: Rejection) -> Self {
        Reaction { status, outcome: Outcome::ClientError, rejection: Some(rejection), detail: None }
    }

    /// The server sheds load; the client may try again.
    fn shed(status: StatusCode, rejection: Rejection) -> Self {
        Reaction { status, outcome: Outcome::Shed, rejection: Some(rejection), detail: None }
    }

    /// The server sheds load, and its numbers are none of the client's business.
    fn busy(rejection: Rejection) -> Self {
        Self::shed(StatusCode::SERVICE_UNAVAILABLE, rejection).saying("The server is busy; try again in a moment.")
    }

    /// The deadline passed.
    fn late(detail: &'static str) -> Self {
        let (status, outcome) = (StatusCode::GATEWAY_TIMEOUT, Outcome::TimedOut);
        Reaction { status, outcome, rejection: Some(Rejection::Deadline), detail: Some(detail) }
    }

    /// The function or the engine failed.
    fn fail(detail: &'static str) -> Self {
        let (status, outcome) = (StatusCode::INTERNAL_SERVER_ERROR, Outcome::FunctionError);
        Reaction { status, outcome, rejection: None, detail: Some(detail) }
    }

    fn saying(self, detail: &'static str) -> Self {
        Reaction { detail: Some(detail), ..self }
    }
}

/// RFC 9457, in the order of its examples.
#[derive(serde::Serialize)]
struct ProblemDocument<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: String,
}

fn respond(status: StatusCode, kind: &'static str, document: &impl serde::Serialize) -> Response<Full<Bytes>> {
    let text = serde_json::to_string(document).unwrap_or_default();
    let mut response = Response::new(Full::from(text + "\n"));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    }
    response
}

/// Makes a sentence of an error's text.
fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(characters).chain(['.']).collect()
}
