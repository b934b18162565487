//! The function: one image in, labels out, as a component for any host with `wasi:http` and `wasi:nn`.
//!
//! | request | response |
//! |---|---|
//! | `GET /` | the upload page |
//! | `GET /model` | the model's name, description, licence, number of classes and input size |
//! | `POST /classify?top_k=N` | the N most likely classes of the picture in the body; of a model for which several may be
//! right, those that reach its card's threshold, at most N |
//!
//! This file reads as the story of a request. Hosts start a fresh instance for each one: nothing is
//! kept between requests, and a panic costs one request.

mod model;
mod postprocess;

use model::Classifier;
use modelfn_guest::{FileKind, Method, Model, Problem, Request, Response, Stopwatch, Tensor};
use modelfn_imaging::{ErrorKind, Window};
use postprocess::Prediction;
use serde::Serialize;

modelfn_guest::export!(route);

const PICTURE: FileKind = FileKind { name: "a picture", media_type: "image/", example: "cat.jpg" };

const PAGE: &str = include_str!("page.html");

/// The page has no part that a request could write, so its own inline script and style are all there is.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
    img-src blob: data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The response to `GET /model`. What the card does not say is left out.
#[derive(Serialize)]
struct Description<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    license: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    classes: Option<usize>,
    /// The least probability of a class that is named, where several may be right.
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<f32>,
    input: Size,
}

/// Width and height in pixels.
#[derive(Serialize)]
struct Size {
    width: u32,
    height: u32,
}

/// The response to `POST /classify`.
#[derive(Serialize)]
struct Classification<'a> {
    /// The most likely class; `null` where none reaches the threshold.
    class: Option<&'a str>,
    model: &'a str,
    /// The least probability of the predictions, where several classes may be right.
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<f32>,
    predictions: &'a [Prediction<'a>],
}

fn route(request: &Request) -> Result<Response, Problem> {
    match (request.path.as_str(), &request.method) {
        ("/", Method::Get | Method::Head) => Ok(page()),
        ("/model", Method::Get | Method::Head) => model(),
        ("/classify", Method::Post) => classify(request),
        ("/" | "/model", _) => Err(Problem::method_not_allowed("GET, HEAD")),
        ("/classify", _) => Err(Problem::method_not_allowed("POST")),
        (path, _) => Err(Problem::not_found(format!("nothing is at {path}; try GET /, GET /model or POST /classify"))),
    }
}

fn page() -> Response {
    Response::new("text/html; charset=utf-8", PAGE.as_bytes())
        .header("content-security-policy", PAGE_POLICY)
        .header("referrer-policy", "no-referrer")
        .header("cache-control", "max-age=300")
}

fn model() -> Result<Response, Problem> {
    let model = Classifier::read()?;
    let (card, (width, height)) = (&model.card, model.preprocessing.size);
    let description = Description {
        name: &card.name,
        description: &card.description,
        license: &card.license,
        classes: model.classes(),
        threshold: model.postprocessing.threshold(),
        input: Size { width, height },
    };
    Ok(Response::json(&description).header("cache-control", "no-cache"))
}

fn classify(request: &Request) -> Result<Response, Problem> {
    let upload = request.upload(PICTURE)?;
    let file = upload.file("image")?;
    let mut stopwatch = Stopwatch::start();

    let model = Classifier::read()?;
    let top_k = top_k(request, &model)?;
    stopwatch.lap("card");

    let picture = modelfn_imaging::decode(file, Window::of(&model.preprocessing)).map_err(problem)?;
    stopwatch.lap("decode");

    let dtype = model.input().dtype;
    let data = modelfn_imaging::tensor(&picture, &model.preprocessing, dtype).map_err(problem)?;
    let tensor = Tensor { dtype, shape: model.preprocessing.input_shape().to_vec(), data };
    stopwatch.lap("preprocess");

    let scores = scores(&model, &tensor)?;
    stopwatch.lap("compute");

    let predictions = postprocess::rank(&model, scores, top_k)?;
    stopwatch.lap("postprocess");

    let body = Classification {
        class: predictions.first().map(|best| &*best.class),
        model: &model.card.name,
        threshold: model.postprocessing.threshold(),
        predictions: &predictions,
    };
    Ok(Response::json(&body).header("server-timing", stopwatch.into_header()).header("cache-control", "no-store"))
}

/// Runs the model. Its scores are in the output that the card names, else in the first: some engines number outputs.
fn scores(model: &Classifier, tensor: &Tensor) -> Result<Vec<f32>, Problem> {
    let name = &model.card.name;
    let outputs = Model::load(name)?.run(&[(&model.input().name, tensor)])?;
    let named = outputs.iter().find(|(name, _)| model.card.outputs.first().is_some_and(|output| output.name == *name));
    let (_, output) =
        named.or(outputs.first()).ok_or_else(|| Problem::bad_gateway(format!("model '{name}' computed no output")))?;
    output.floats().ok_or_else(|| {
        Problem::internal(format!(
            "model '{name}' answers in {:?}; scores must be floating-point numbers",
            output.dtype
        ))
    })
}

/// How many classes to name, at most: what the request says, else what the card says.
fn top_k(request: &Request, model: &Classifier) -> Result<usize, Problem> {
    // Where nobody knows the number of classes, a response names as many as there are.
    let classes = model.classes().unwrap_or(usize::MAX);
    let Some(asked) = request.parameter("top_k") else {
        return Ok(model.postprocessing.top_k(classes));
    };
    asked.parse().ok().filter(|k| (1..=classes).contains(k)).ok_or_else(|| match model.classes() {
        Some(classes) => Problem::bad_request(format!("top_k must be a number from 1 to {classes}")),
        None => Problem::bad_request("top_k must be a number from 1 on".to_owned()),
    })
}

/// A refused picture is the client's affair: 400, 413 or 415.
fn problem(error: modelfn_imaging::Error) -> Problem {
    match error.kind {
        ErrorKind::Unsupported => Problem::unsupported_media(error.detail),
        ErrorKind::TooLarge => Problem::too_large(error.detail),
        ErrorKind::Damaged => Problem::bad_request(error.detail),
        ErrorKind::Internal => Problem::internal(error.detail),
    }
}
