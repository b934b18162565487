//! The function: one image in, labels out, as a component for any host with `wasi:http` and `wasi:nn`.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | the upload page |
//! | `GET /model` | the model's name, description, licence, number of classes and input size |
//! | `POST /classify?top_k=N` | the N most likely classes of the picture in the body |
//!
//! This file reads as the story of a request. Hosts start a fresh instance for each one: nothing is
//! kept between requests, and a panic (of which none is known) costs one request.

// The edges.
mod bindings;
mod http;
mod multipart;
// The model's card.
mod card;
mod files;
// A file becomes pixels.
mod flatten;
mod jpeg;
mod picture;
// Pixels become a tensor, the tensor scores, the scores labels.
mod color;
mod fixed;
mod preprocess;
mod resample;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd;

mod infer;

mod postprocess;
// For all of them.
mod problem;
mod timing;

use bindings::exports::wasi::http::incoming_handler::Guest;
use bindings::wasi::http::types::{IncomingRequest, Method, ResponseOutparam};
use card::Card;
use http::{Request, Response};
use postprocess::Prediction;
use problem::Problem;
use serde::Serialize;
use timing::Stopwatch;

/// Exported to the host as `wasi:http/incoming-handler`.
#[derive(Debug)]
pub struct Function;

const PAGE: &str = include_str!("page.html");

/// The page has no part that a request could write, so its own inline script and style are all there is.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
    img-src blob: data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The answer to `GET /model`.
#[derive(Serialize)]
struct Description<'a> {
    name: &'a str,
    description: &'a str,
    license: &'a str,
    classes: usize,
    input: Size,
}

/// In pixels.
#[derive(Serialize)]
struct Size {
    width: u32,
    height: u32,
}

/// The answer to `POST /classify`.
#[derive(Serialize)]
struct Answer<'a> {
    class: &'a str,
    model: &'a str,
    predictions: &'a [Prediction<'a>],
}

impl Guest for Function {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let request = Request::new(request);
        let response = route(&request).unwrap_or_else(Response::from);
        response.send(&request.method, out);
    }
}

fn route(request: &Request) -> Result<Response, Problem> {
    match (request.path.as_str(), &request.method) {
        ("/", Method::Get | Method::Head) => Ok(page()),
        ("/model", Method::Get | Method::Head) => model(),
        ("/classify", Method::Post) => classify(request),
        ("/" | "/model", _) => Err(Problem::method_not_allowed("GET, HEAD")),
        ("/classify", _) => Err(Problem::method_not_allowed("POST")),
        (path, _) => Err(Problem::not_found(path)),
    }
}

fn page() -> Response {
    Response::new("text/html; charset=utf-8", PAGE.as_bytes())
        .header("content-security-policy", PAGE_POLICY)
        .header("referrer-policy", "no-referrer")
        .header("cache-control", "max-age=300")
}

fn model() -> Result<Response, Problem> {
    let card = Card::read()?;
    let (width, height) = card.preprocessing.size;
    let description = Description {
        name: &card.name,
        description: &card.description,
        license: &card.license,
        classes: card.labels.len(),
        input: Size { width, height },
    };
    Ok(Response::json(&description).header("cache-control", "no-cache"))
}

fn classify(request: &Request) -> Result<Response, Problem> {
    let upload = request.upload()?;
    let file = upload.picture()?;
    let mut stopwatch = Stopwatch::start();

    let card = Card::read()?;
    let top_k = top_k(request, &card)?;
    stopwatch.lap("card");

    let picture = picture::decode(file, card.preprocessing.window())?;
    stopwatch.lap("decode");

    let tensor = preprocess::tensor(&picture, &card)?;
    stopwatch.lap("preprocess");

    let scores = infer::compute(&card, &tensor)?;
    stopwatch.lap("compute");

    let predictions = postprocess::rank(&card, scores, top_k)?;
    stopwatch.lap("postprocess");

    // top_k is at least 1.
    let class = predictions.first().map_or("", |best| best.class);
    let answer = Answer { class, model: &card.name, predictions: &predictions };
    Ok(Response::json(&answer).header("server-timing", stopwatch.into_header()).header("cache-control", "no-store"))
}

/// How many classes to name: what the request says, else what the card says.
fn top_k(request: &Request, card: &Card) -> Result<usize, Problem> {
    let Some(asked) = request.parameter("top_k") else {
        return Ok(card.postprocessing.top_k);
    };
    let classes = card.labels.len();
    asked
        .parse()
        .ok()
        .filter(|k| (1..=classes).contains(k))
        .ok_or_else(|| Problem::bad_request(format!("top_k must be a number from 1 to {classes}")))
}
