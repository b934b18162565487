//! The pages that the server itself has: one for each model, to try it on, and at `/` the list of models.
//!
//! | request | response |
//! |---|---|
//! | `GET /` | the page of the only model, or the list of models |
//! | `GET /models/{model}` | the page of a model |
//! | `GET /models/{model}/card` | what the page shows beyond the protocol's metadata |
//!
//! A page has no part that a request or a model could write: it is one document, which reads what it shows from `/v2` with
//! the visitor's key. So it needs no key itself, and its own inline script and style are all there is.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::Response;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY};
use serde::Serialize;

use crate::oip::Inference;
use crate::oip::rest::endpoint::decode;
use crate::problem::Problem;

/// The document: its parts are files of their own, so that each can be read by itself.
const PAGE: &str = concat!(
    include_str!("model_page/head.html"),
    "<style>\n",
    include_str!("model_page/style.css"),
    "</style>\n</head>\n",
    include_str!("model_page/body.html"),
    "<script>\n\"use strict\";\n",
    include_str!("model_page/tensor.js"),
    include_str!("model_page/server.js"),
    include_str!("model_page/picture.js"),
    include_str!("model_page/inputs.js"),
    include_str!("model_page/outputs.js"),
    include_str!("model_page/snippets.js"),
    include_str!("model_page/page.js"),
    "</script>\n</body>\n</html>\n",
);

/// The policy of the page of the example's function, too.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src blob: data:; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The models that have a page.
#[derive(Debug, Default)]
pub struct ModelPages {
    models: BTreeSet<String>,
    /// Whether every name has a page, so that who has no key does not learn which models there are.
    hides_names: bool,
}

/// What a path below the pages asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageRequest {
    /// The document.
    Page,
    /// What the model of this name says beyond the protocol's metadata.
    Card(String),
}

/// The response to `GET /models/{model}/card`.
#[derive(Serialize)]
struct CardDocument<'a> {
    name: &'a str,
    /// A sentence for people; empty where the card has none.
    description: &'a str,
    /// The names of the elements of the first output; empty where the card has none.
    labels: &'a [String],
    /// The card's `[preprocessing]` of pictures, as it is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    preprocessing: Option<toml::Table>,
}

impl ModelPages {
    /// Pages for the models of these names.
    pub fn new(models: impl IntoIterator<Item = String>) -> Self {
        ModelPages { models: models.into_iter().collect(), hides_names: false }
    }

    /// With `is_hiding`, names that no model has get the same page. It tells what is there to those who have a key.
    #[must_use]
    pub(crate) fn hiding_names(self, is_hiding: bool) -> Self {
        ModelPages { hides_names: is_hiding, ..self }
    }

    /// What `path` asks for where names are hidden: the same of every name, whether its model has a function or not.
    pub(crate) fn find_hidden(&self, path: &str) -> Option<PageRequest> {
        if self.hides_names && path != "/" { self.find(path) } else { None }
    }

    /// What `path`, which is still percent-encoded, asks for; `None` if no page has it.
    pub(crate) fn find(&self, path: &str) -> Option<PageRequest> {
        if path == "/" {
            return Some(PageRequest::Page);
        }
        let rest = path.strip_prefix("/models/")?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (segment, is_card) = rest.strip_suffix("/card").map_or((rest, false), |name| (name, true));
        let is_there = |name: &str| self.hides_names || self.models.contains(name);
        let name = decode(segment).ok().filter(|name| !segment.contains('/') && !name.is_empty() && is_there(name))?;
        Some(if is_card { PageRequest::Card(name.into_owned()) } else { PageRequest::Page })
    }
}

impl PageRequest {
    /// Whether the request needs no key.
    pub(crate) fn is_public(&self) -> bool {
        *self == PageRequest::Page
    }

    /// The response.
    ///
    /// # Errors
    ///
    /// The model does not serve at the moment.
    pub(crate) fn respond(&self, inference: &Inference) -> Result<Response<Bytes>, Problem> {
        match self {
            PageRequest::Page => Ok(page()),
            PageRequest::Card(name) => card(inference, name),
        }
    }
}

fn page() -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(PAGE.as_bytes()));
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-cache"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn card(inference: &Inference, name: &str) -> Result<Response<Bytes>, Problem> {
    let model = inference.model(name, None)?;
    let card = model.card();
    let of_pictures = card.image_preprocessing().is_ok_and(|table| table.is_some());
    let preprocessing = if of_pictures { card.table("preprocessing").ok() } else { None };
    let (name, description, labels) = (model.name(), &card.description, model.labels());
    let document = CardDocument { name, description, labels, preprocessing };
    let text = serde_json::to_vec(&document).map_err(|e| crate::oip::core::internal(e.to_string()))?;
    let mut response = Response::new(Bytes::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_models_that_there_are_have_pages() {
        let pages = ModelPages::new(["m".to_owned(), "a b/cé".to_owned(), "card".to_owned()]);
        for path in ["/", "/models/m", "/models/m/", "/models/a%20b%2Fc%C3%A9", "/models/card"] {
            assert_eq!(pages.find(path), Some(PageRequest::Page), "{path}");
        }
        assert_eq!(pages.find("/models/a%20b%2fc%C3%A9/card"), Some(PageRequest::Card("a b/cé".to_owned())));
        assert_eq!(pages.find("/models/card/card"), Some(PageRequest::Card("card".to_owned())));
        for path in
            ["", "/m", "/models", "/models/", "/models/x", "/models/m/x", "/models/a b/cé", "/models/%ff", "/models//m"]
        {
            assert_eq!(pages.find(path), None, "{path}");
        }
    }

    #[test]
    fn hidden_names_are_like_those_that_are_not_there() {
        let open = ModelPages::new(["m".to_owned()]);
        assert_eq!(open.find_hidden("/models/m"), None);
        let pages = open.hiding_names(true);
        for (path, expected) in [
            ("/models/m", Some(PageRequest::Page)),
            ("/models/x/", Some(PageRequest::Page)),
            ("/models/x/card", Some(PageRequest::Card("x".to_owned()))),
            ("/models/m/x", None),
            ("/models/", None),
            ("/", None),
        ] {
            assert_eq!(pages.find_hidden(path), expected, "{path}");
        }
    }

    #[test]
    fn the_document_loads_nothing_and_is_whole() {
        assert!(PAGE.starts_with("<!doctype html>") && PAGE.ends_with("</html>\n"));
        assert_eq!((PAGE.matches("<script>").count(), PAGE.matches("</script>").count()), (1, 1));
        assert_eq!((PAGE.matches("<style>").count(), PAGE.matches("</style>").count()), (1, 1));
        for outside in ["src=\"", "href=\"http", "@import", "url(", "innerHTML", "insertAdjacentHTML", "eval("] {
            assert!(!PAGE.contains(outside), "{outside}");
        }
    }
}
