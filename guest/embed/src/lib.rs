//! The function: texts in, vectors out, as a component for any host with `wasi:http` and `wasi:nn`.
//!
//! | request | response |
//! |---|---|
//! | `GET /` | a page that compares two texts |
//! | `GET /model` | the model's name, description, licence, and how many tokens of a text it reads |
//! | `POST /embed` | `{"input": "a text"}`, or a list of texts, or of lists of tokens: their vectors |
//! | `POST /v1/embeddings`, `GET /v1/models` | the same in the form of OpenAI's API, for its clients |

mod batches;
mod input;
mod model;
mod openai;
mod vectors;

use input::Input;
use model::Embedder;
use modelfn_guest::{Method, Problem, Request, Response, Stopwatch};
use serde::{Deserialize, Serialize};

const PAGE: &str = include_str!("page.html");

/// The page has no part that a request could write, so its own inline script and style are all there is.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; \
    connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

/// The response to `GET /model`. What the card does not say is left out.
#[derive(Serialize)]
struct Description<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    license: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<usize>,
    max_tokens: usize,
}

/// The body of `POST /embed`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmbedRequest {
    input: Input,
}

/// The response to `POST /embed`.
#[derive(Serialize)]
struct Embedded<'a> {
    model: &'a str,
    dimensions: usize,
    /// Tokens that the model read, in all.
    tokens: usize,
    /// Texts of which it read the beginning only.
    truncated: usize,
    /// A vector for each text, in their order.
    embeddings: Vec<&'a [f32]>,
}

#[modelfn_guest::handler]
fn route(request: &Request) -> Result<Response, Problem> {
    match (request.path.as_str(), &request.method) {
        ("/", Method::Get | Method::Head) => Ok(page()),
        ("/model", Method::Get | Method::Head) => model(),
        ("/embed", Method::Post) => embed(request),
        ("/" | "/model", _) => Err(Problem::method_not_allowed("GET, HEAD")),
        ("/embed", _) => Err(Problem::method_not_allowed("POST")),
        (path, _) if path.starts_with("/v1/") => Ok(openai::respond(request)),
        (path, _) => Err(Problem::not_found(format!(
            "nothing is at {path}; try GET /, GET /model, POST /embed or POST /v1/embeddings"
        ))),
    }
}

fn page() -> Response {
    Response::html(PAGE)
        .header("content-security-policy", PAGE_POLICY)
        .header("referrer-policy", "no-referrer")
        .header("cache-control", "max-age=300")
}

fn model() -> Result<Response, Problem> {
    let embedder = Embedder::open()?;
    let card = &embedder.card;
    let description = Description {
        name: &card.name,
        description: &card.description,
        license: &card.license,
        dimensions: embedder.dimensions(),
        max_tokens: embedder.max_tokens,
    };
    Ok(Response::json(&description).header("cache-control", "no-cache"))
}

fn embed(request: &Request) -> Result<Response, Problem> {
    let EmbedRequest { input } = request.json()?;
    let mut stopwatch = Stopwatch::start();
    let embedder = Embedder::open()?;
    stopwatch.lap("card");
    let texts = input.tokens(&embedder.tokenizer)?;
    stopwatch.lap("tokenize");
    let vectors = embedder.embed(&texts)?;
    stopwatch.lap("compute");

    let body = Embedded {
        model: &embedder.card.name,
        dimensions: vectors.dimensions(),
        tokens: input::count(&texts),
        truncated: texts.iter().filter(|tokens| tokens.truncated).count(),
        embeddings: vectors.rows().collect(),
    };
    Ok(Response::json(&body).timing(stopwatch).header("cache-control", "no-store"))
}
