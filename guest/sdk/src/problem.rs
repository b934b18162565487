//! Failed requests, as the client is told them: `application/problem+json` (RFC 9457).
//!
//! A handler returns `Result<Response, Problem>`, so that `?` ends a request. A detail names the remedy.

use std::any::Any;
use std::error::Error;

use serde::Serialize;
use serde_json::{Map, Value};

/// A failed request: a status and one sentence for the person who sent it.
///
/// Every [`Error`] converts to one, so that `?` works on it: 500, whose cause goes to the log and not to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// HTTP status, 400 to 599.
    pub status: u16,
    /// What went wrong and what to do about it.
    pub detail: String,
    /// Value of the header `Allow`, which only 405 carries.
    pub allow: Option<&'static str>,
    members: Map<String, Value>,
}

/// RFC 9457, section 3.1.
///
/// The type is always `about:blank`: the status then says what kind of problem it is, and no client
/// has to learn another vocabulary.
#[derive(Serialize)]
struct Document<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(flatten)]
    members: &'a Map<String, Value>,
}

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident $status:literal)*) => {
        $(
            $(#[$doc])*
            pub fn $name(detail: impl ToString) -> Self {
                Self::new($status, detail)
            }
        )*
    };
}

impl Problem {
    /// A problem of any status, 400 to 599.
    pub fn new(status: u16, detail: impl ToString) -> Self {
        Self { status, detail: detail.to_string(), allow: None, members: Map::new() }
    }

    statuses! {
        /// 400: the request cannot be understood as it is.
        bad_request 400
        /// 404: no such path. The detail should say which paths there are.
        not_found 404
        /// 408: the client was too slow.
        request_timeout 408
        /// 413: the body, or what it decodes to, is too large.
        too_large 413
        /// 415: a body of a type or format that the function does not read.
        unsupported_media 415
        /// 422: the request is understood, and what it asks for can't be done.
        unprocessable 422
        /// 500: the function or the model's card is wrong; the client can only report it.
        internal 500
        /// 502: the host's engine failed or answered nonsense.
        bad_gateway 502
        /// 503: the host does not have the model.
        unavailable 503
        /// 504: the host gave the computation up.
        gateway_timeout 504
        /// 507: the host has not enough memory for the computation.
        insufficient_storage 507
    }

    /// 405: the path exists, the method does not fit it.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        Self { allow: Some(allow), ..Self::new(405, format!("this path answers {allow} only")) }
    }

    /// 500: the card of the model is wrong, and why.
    pub fn broken_card(why: &str) -> Self {
        Self::internal(format!("the model's card {} is broken: {}", modelfn_card::CARD_FILE, why.trim_end()))
    }

    /// Adds a member to the document, such as the index of the row that is wrong (RFC 9457, section 3.2). Members of the
    /// document itself can't be replaced.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        if !["type", "title", "status", "detail"].contains(&name) {
            self.members.insert(name.to_owned(), value.into());
        }
        self
    }

    /// The body of the response.
    pub(crate) fn document(&self) -> impl Serialize + '_ {
        Document {
            r#type: "about:blank",
            title: self.title(),
            status: self.status,
            detail: &self.detail,
            members: &self.members,
        }
    }

    /// The status' own phrase, as `about:blank` demands (RFC 9110, section 15).
    fn title(&self) -> &'static str {
        match self.status {
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            406 => "Not Acceptable",
            408 => "Request Timeout",
            409 => "Conflict",
            410 => "Gone",
            411 => "Length Required",
            412 => "Precondition Failed",
            413 => "Content Too Large",
            414 => "URI Too Long",
            415 => "Unsupported Media Type",
            416 => "Range Not Satisfiable",
            422 => "Unprocessable Content",
            429 => "Too Many Requests",
            500 => "Internal Server Error",
            501 => "Not Implemented",
            502 => "Bad Gateway",
            503 => "Service Unavailable",
            504 => "Gateway Timeout",
            507 => "Insufficient Storage",
            status if status < 500 => "Client Error",
            _ => "Server Error",
        }
    }
}

impl<E: Error + 'static> From<E> for Problem {
    fn from(error: E) -> Self {
        let any: &dyn Any = &error;
        if let Some(error) = any.downcast_ref::<modelfn_card::CardError>() {
            return Self::broken_card(&error.to_string());
        }
        #[cfg(feature = "imaging")]
        if let Some(error) = any.downcast_ref::<modelfn_imaging::Error>() {
            return refused_picture(error);
        }
        crate::log!("the function failed: {}", chain(&error));
        Self::internal("the function failed; its log says why")
    }
}

/// A refused picture is the client's affair: 400, 413 or 415.
#[cfg(feature = "imaging")]
fn refused_picture(error: &modelfn_imaging::Error) -> Problem {
    use modelfn_imaging::ErrorKind;

    let status = match error.kind {
        ErrorKind::Unsupported => 415,
        ErrorKind::TooLarge => 413,
        ErrorKind::Damaged => 400,
        ErrorKind::Internal => 500,
    };
    Problem::new(status, &error.detail)
}

/// An error and its causes.
fn chain(error: &dyn Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(problem: &Problem) -> Value {
        serde_json::to_value(problem.document()).unwrap()
    }

    #[test]
    fn members_are_added_and_none_is_replaced() {
        let problem = Problem::unprocessable("row 3 is too short").with("row", 3).with("status", 200);
        let expected = serde_json::json!({
            "type": "about:blank", "title": "Unprocessable Content", "status": 422, "detail": "row 3 is too short", "row": 3
        });
        assert_eq!(document(&problem), expected);
    }

    #[test]
    fn what_an_error_says_is_not_for_the_client() {
        fn parsed() -> Result<u8, Problem> {
            Ok("secret".parse::<u8>()?)
        }
        let problem = parsed().unwrap_err();
        assert_eq!((problem.status, problem.detail.as_str()), (500, "the function failed; its log says why"));
        assert_eq!(Problem::bad_request("x".parse::<u8>().unwrap_err()).detail, "invalid digit found in string");
    }

    #[test]
    fn a_broken_card_is_named() {
        let error = modelfn_card::Card::parse("name = 3").unwrap_err();
        assert!(Problem::from(error).detail.contains("the model's card"));
    }
}
