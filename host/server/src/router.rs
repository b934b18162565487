//! (method, path) to handler: what is below `/v2`, then the routes of the manifest, the most specific first, then the
//! pages of models.
//!
//! A guest learns from headers how its path was matched, as under Spin, so that one component can be mounted anywhere.
//! Such headers from a client are removed.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response};
use http_body_util::Full;

use crate::functions::manifest::StaticResponse;
use crate::functions::public_route::PublicRoute;
use crate::functions::route::{Match, Route};
use crate::functions::without_function::WithoutFunction;
use crate::model_page::{ModelPages, PageRequest};
use crate::oip::rest;
use modelfn_wasm::function::Function;

/// Headers that only the host may set.
const PREFIX: &str = "spin-";

/// The part of the path that the route's `/...` stands for.
static PATH_INFO: HeaderName = HeaderName::from_static("spin-path-info");

/// The route that matched, without a slash at its end: the empty string is `/`.
pub(crate) static MATCHED_ROUTE: HeaderName = HeaderName::from_static("spin-matched-route");

/// The route that matched as the manifest has it.
static RAW_COMPONENT_ROUTE: HeaderName = HeaderName::from_static("spin-raw-component-route");

/// The same without its trailing `/...`.
static COMPONENT_ROUTE: HeaderName = HeaderName::from_static("spin-component-route");

/// What is before all routes. Applications have no such prefix here, nor in Spin since its manifest's version 2.
static BASE_PATH: HeaderName = HeaderName::from_static("spin-base-path");

/// The URL that the client asked for, with its query.
static FULL_URL: HeaderName = HeaderName::from_static("spin-full-url");

/// The client's address and port.
static CLIENT_ADDR: HeaderName = HeaderName::from_static("spin-client-addr");

/// The address of a request's client: an extension of requests that came over a socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientAddress(pub(crate) SocketAddr);

/// The routes of an application.
pub struct Router {
    routes: Vec<(Route, Target)>,
    /// The routes of functions that come with models.
    of_models: Vec<(Route, Target)>,
    pages: Option<ModelPages>,
    without_function: WithoutFunction,
}

/// What responds on a route.
#[derive(Clone)]
pub enum Target {
    /// A guest.
    Function {
        /// Its component.
        function: Arc<Function>,
        /// Its own timeout, instead of the server's.
        timeout: Option<std::time::Duration>,
        /// The requests that need no API key.
        public: Arc<[PublicRoute]>,
    },
    /// A model itself, without a function: the Open Inference Protocol.
    Inference,
    /// A page of the server's own.
    Page(PageRequest),
    /// A response that is always the same.
    Static(StaticResponse),
}

impl Target {
    /// Whether a request that was routed here needs no API key.
    pub(crate) fn is_public<B>(&self, request: &Request<B>) -> bool {
        match self {
            Target::Function { public, .. } => {
                let rest = request.headers().get(&PATH_INFO).and_then(|rest| rest.to_str().ok());
                rest.is_some_and(|rest| public.iter().any(|public| public.has(request.method().as_str(), rest)))
            }
            Target::Inference => rest::is_public(request.uri().path()),
            Target::Page(page) => page.is_public(),
            Target::Static(_) => true,
        }
    }
}

impl Router {
    /// A router over `routes`, in any order.
    pub fn new(routes: Vec<(Route, Target)>) -> Self {
        Router {
            routes: sorted(routes),
            of_models: Vec::new(),
            pages: None,
            without_function: WithoutFunction::default(),
        }
    }

    /// Also has these functions of models on paths that no route has, and these pages on paths that remain. What is asked of
    /// models that are `without` a function is refused with the reason.
    #[must_use]
    pub(crate) fn with_models(
        self,
        functions: Vec<(Route, Target)>,
        pages: ModelPages,
        without: WithoutFunction,
    ) -> Self {
        Router { of_models: sorted(functions), pages: Some(pages), without_function: without, ..self }
    }

    /// Finds what responds to `request`, and tells it how its path was matched.
    ///
    /// # Errors
    ///
    /// The path, when no route has it, with what to do about it where that is known.
    pub fn route<B>(&self, request: &mut Request<B>) -> Result<Target, String> {
        remove_ours(request.headers_mut());
        let path = request.uri().path().to_owned();
        if rest::has(&path) {
            return Ok(Target::Inference);
        }
        if let Some(target) = take(&self.routes, request, &path) {
            return Ok(target);
        }
        let Some(pages) = &self.pages else { return Err(path) };
        if let Some(page) = pages.find_hidden(&path) {
            return Ok(Target::Page(page));
        }
        let target = take(&self.of_models, request, &path).or_else(|| pages.find(&path).map(Target::Page));
        target.ok_or_else(|| match self.without_function.reason(&path) {
            Some(reason) => format!("{path}: {reason}"),
            None => path,
        })
    }
}

/// What the first of `routes` that has the path leads to. The request is told how it was matched.
fn take<B>(routes: &[(Route, Target)], request: &mut Request<B>, path: &str) -> Option<Target> {
    let (route, target, found) =
        routes.iter().find_map(|(route, target)| Some((route, target, route.matches(path)?)))?;
    describe(request, route, found);
    Some(target.clone())
}

/// The most specific routes first.
fn sorted(mut routes: Vec<(Route, Target)>) -> Vec<(Route, Target)> {
    routes.sort_by_key(|(route, _)| route.specificity());
    routes
}

/// Tells a guest in headers what Spin tells it: how its path was matched, and whose request it is.
fn describe<B>(request: &mut Request<B>, route: &Route, found: Match<'_>) {
    let url = full_url(request);
    let client = request.extensions().get::<ClientAddress>().map(|ClientAddress(address)| address.to_string());
    let headers = request.headers_mut();
    let written = route.written();
    for (name, value) in [
        (&PATH_INFO, found.rest),
        (&MATCHED_ROUTE, written.strip_suffix('/').unwrap_or(written)),
        (&RAW_COMPONENT_ROUTE, written),
        (&COMPONENT_ROUTE, written.strip_suffix("/...").unwrap_or(written)),
        (&BASE_PATH, "/"),
        (&FULL_URL, &url),
        (&CLIENT_ADDR, client.as_deref().unwrap_or_default()),
    ] {
        insert(headers, name.clone(), value);
    }
    for (name, value) in found.names {
        insert(headers, name, value);
    }
}

/// The URL that the client asked for, as far as the server knows: connections have no TLS here.
fn full_url<B>(request: &Request<B>) -> String {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let host = request.uri().authority().map(|authority| authority.as_str()).or(host).unwrap_or("localhost");
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    format!("http://{host}{path}")
}

/// The response that the manifest spells out.
pub fn static_response(response: &StaticResponse) -> Response<Full<Bytes>> {
    let mut built = Response::new(Full::from(response.body.clone()));
    *built.status_mut() = http::StatusCode::from_u16(response.status_code).unwrap_or_default();
    for (name, value) in &response.headers {
        if let Ok(name) = HeaderName::try_from(name) {
            insert(built.headers_mut(), name, value);
        }
    }
    built
}

fn remove_ours(headers: &mut HeaderMap) {
    let ours: Vec<_> = headers.keys().filter(|name| name.as_str().starts_with(PREFIX)).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
}

/// Leaves out what can't be a header. Paths can be: one that is not percent-encoded is UTF-8, which headers may have.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
