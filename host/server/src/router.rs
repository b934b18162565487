//! (method, path) to handler: what is below `/v2`, then the routes of the manifest, the most specific first.
//!
//! A guest learns what its route left of the path from `spin-path-info`, as under Spin, so that one component
//! can be mounted anywhere. Such headers from a client are removed.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response};
use http_body_util::Full;

use crate::functions::manifest::StaticResponse;
use crate::functions::public_route::PublicRoute;
use crate::functions::route::Route;
use crate::oip::rest;
use modelfn_wasm::function::Function;

/// Headers that only the host may set.
const PREFIX: &str = "spin-";

/// What a route left of the path.
const PATH_INFO: &str = "spin-path-info";

/// The routes of an application.
pub struct Router {
    routes: Vec<(Route, Target)>,
}

/// What answers a route.
#[derive(Clone)]
pub enum Target {
    /// A guest.
    Function {
        /// Which.
        function: Arc<Function>,
        /// Instead of the server's timeout.
        timeout: Option<std::time::Duration>,
        /// What of it needs no API key.
        public: Arc<[PublicRoute]>,
    },
    /// A model itself, without a function: the Open Inference Protocol.
    Inference,
    /// Always the same.
    Static(StaticResponse),
}

impl Target {
    /// Whether a request that was routed here needs no API key.
    pub(crate) fn is_public<B>(&self, request: &Request<B>) -> bool {
        match self {
            Target::Function { public, .. } => {
                let rest = request.headers().get(PATH_INFO).and_then(|rest| rest.to_str().ok());
                rest.is_some_and(|rest| public.iter().any(|public| public.has(request.method().as_str(), rest)))
            }
            Target::Inference => rest::is_public(request.uri().path()),
            Target::Static(_) => true,
        }
    }
}

impl Router {
    /// A router over `routes`, in any order.
    pub fn new(mut routes: Vec<(Route, Target)>) -> Self {
        routes.sort_by_key(|(route, _)| route.specificity());
        Router { routes }
    }

    /// Finds what answers `request`, and tells it how its path was matched.
    ///
    /// # Errors
    ///
    /// The path, when no route has it.
    pub fn route<B>(&self, request: &mut Request<B>) -> Result<Target, String> {
        let (path, headers) = {
            let path = request.uri().path().to_owned();
            (path, request.headers_mut())
        };
        remove_ours(headers);
        if rest::has(&path) {
            return Ok(Target::Inference);
        }
        for (route, target) in &self.routes {
            if let Some(found) = route.matches(&path) {
                insert(headers, PATH_INFO.to_owned(), found.rest);
                insert(headers, "spin-matched-route".to_owned(), &route.to_string());
                for (name, value) in found.names {
                    insert(headers, format!("spin-path-match-{name}"), value);
                }
                return Ok(target.clone());
            }
        }
        Err(path)
    }
}

/// The response that the manifest spells out.
pub fn static_response(response: &StaticResponse) -> Response<Full<Bytes>> {
    let mut built = Response::new(Full::from(response.body.clone()));
    *built.status_mut() = http::StatusCode::from_u16(response.status_code).unwrap_or_default();
    for (name, value) in &response.headers {
        insert(built.headers_mut(), name.clone(), value);
    }
    built
}

fn remove_ours(headers: &mut HeaderMap) {
    let ours: Vec<_> = headers.keys().filter(|name| name.as_str().starts_with(PREFIX)).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
}

/// Leaves out what can't be a header, such as a path that is not ASCII: percent-encoding keeps paths plain.
fn insert(headers: &mut HeaderMap, name: String, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
        headers.insert(name, value);
    }
}
