//! The function: one image in, labels out, as a component for any host with `wasi:http` and `wasi:nn`.
//!
//! | request | response |
//! |---|---|
//! | `GET /` | the upload page |
//! | `GET /model` | the model's name, description, licence, number of classes and input size |
//! | `POST /classify?top_k=N` | the N most likely classes of the picture in the body; of a model for which several may be
//! right, those that reach its card's threshold, at most N |

use modelfn_guest::{Classifier, FileKind, Method, Prediction, Problem, Request, Response, Stopwatch};
use serde::Serialize;

const PICTURE: FileKind = FileKind { name: "a picture", media_type: "image/", example: "cat.jpg" };
const PAGE: &str = include_str!("page.html");
/// The page's own inline script and style are all that it has.
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

#[modelfn_guest::handler]
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
    Response::html(PAGE)
        .header("content-security-policy", PAGE_POLICY)
        .header("referrer-policy", "no-referrer")
        .header("cache-control", "max-age=300")
}

fn model() -> Result<Response, Problem> {
    let model = Classifier::open()?;
    let card = &model.card;
    let description = Description {
        name: &card.name,
        description: &card.description,
        license: &card.license,
        classes: model.classes(),
        threshold: model.postprocessing.threshold(),
        input: Size { width: model.preprocessing.size.0, height: model.preprocessing.size.1 },
    };
    Ok(Response::json(&description).header("cache-control", "no-cache"))
}

fn classify(request: &Request) -> Result<Response, Problem> {
    let upload = request.upload(PICTURE)?;
    let file = upload.file("image")?;
    let mut stopwatch = Stopwatch::start();
    let model = Classifier::open()?;
    let top_k = top_k(request, &model)?;
    stopwatch.lap("card");
    let picture = model.decode(file)?;
    stopwatch.lap("decode");
    let tensor = model.tensor(&picture)?;
    stopwatch.lap("preprocess");
    let scores = model.scores(&tensor)?;
    stopwatch.lap("compute");
    let predictions = model.rank(scores, top_k)?;
    stopwatch.lap("postprocess");
    let body = Classification {
        class: predictions.first().map(|best| &*best.class),
        model: &model.card.name,
        threshold: model.postprocessing.threshold(),
        predictions: &predictions,
    };
    Ok(Response::json(&body).timing(stopwatch).header("cache-control", "no-store"))
}

/// How many classes to name, at most: what the request says, else what the card says.
fn top_k(request: &Request, model: &Classifier) -> Result<usize, Problem> {
    // Where nobody knows the number of classes, a response names as many as there are.
    let classes = model.classes().unwrap_or(usize::MAX);
    let Some(asked) = request.query("top_k") else { return Ok(model.postprocessing.top_k(classes)) };
    asked.parse().ok().filter(|k| (1..=classes).contains(k)).ok_or_else(|| match model.classes() {
        Some(classes) => Problem::bad_request(format!("top_k must be a number from 1 to {classes}")),
        None => Problem::bad_request("top_k must be a number from 1 on"),
    })
}
