//! The form of OpenAI's API, so that its clients work: requests, responses and errors.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use modelfn_guest::{Method, Problem, Request, Response, Stopwatch};
use serde::{Deserialize, Serialize, Serializer};

use crate::input::{self, Input};
use crate::model::Embedder;

const EMBEDDINGS: &str = "/v1/embeddings";
const MODELS: &str = "/v1/models";

/// The body of `POST /v1/embeddings`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmbeddingsRequest {
    input: Input,
    model: String,
    #[serde(default)]
    encoding_format: EncodingFormat,
    dimensions: Option<usize>,
    /// Who asks, which OpenAI watches for abuse: it changes nothing here.
    #[serde(rename = "user")]
    _user: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum EncodingFormat {
    #[default]
    Float,
    /// The bytes of the f32, little-endian.
    Base64,
}

#[derive(Serialize)]
struct List<T> {
    object: &'static str,
    data: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

#[derive(Serialize)]
struct Embedding<'a> {
    object: &'static str,
    index: usize,
    embedding: Vector<'a>,
}

/// A vector in the form that was asked for.
struct Vector<'a>(EncodingFormat, &'a [f32]);

#[derive(Serialize)]
struct ModelEntry {
    id: String,
    object: &'static str,
    created: u32,
    owned_by: &'static str,
}

/// A problem, and what clients of this API know of it besides.
struct Refusal {
    problem: Problem,
    param: Option<&'static str>,
    code: Option<&'static str>,
}

#[derive(Serialize)]
struct ErrorDocument<'a> {
    error: ErrorObject<'a>,
}

#[derive(Serialize)]
struct ErrorObject<'a> {
    message: &'a str,
    r#type: &'static str,
    param: Option<&'static str>,
    code: Option<&'static str>,
}

/// The response to a request below `/v1/`: what went wrong is told in this API's form, too.
pub(crate) fn respond(request: &Request) -> Response {
    let response = match (request.path.as_str(), &request.method) {
        (EMBEDDINGS, Method::Post) => embeddings(request),
        (MODELS, Method::Get | Method::Head) => models(),
        (EMBEDDINGS, _) => Err(Problem::method_not_allowed("POST").into()),
        (MODELS, _) => Err(Problem::method_not_allowed("GET, HEAD").into()),
        (path, _) => {
            let detail = format!("nothing is at {path}; try POST {EMBEDDINGS} or GET {MODELS}");
            Err(Problem::not_found(detail).into())
        }
    };
    response.unwrap_or_else(|refusal| refusal.response())
}

fn models() -> Result<Response, Refusal> {
    let id = Embedder::open()?.card.name;
    let entry = ModelEntry { id, object: "model", created: 0, owned_by: "modelfn" };
    Ok(Response::json(&List { object: "list", data: vec![entry], model: None, usage: None }))
}

fn embeddings(request: &Request) -> Result<Response, Refusal> {
    let asked: EmbeddingsRequest = request.json()?;
    let mut stopwatch = Stopwatch::start();
    let embedder = Embedder::open()?;
    stopwatch.lap("card");
    check_model(&asked, &embedder)?;
    let texts = asked.input.tokens(&embedder.tokenizer).map_err(|problem| Refusal::of(problem, "input"))?;
    stopwatch.lap("tokenize");
    let vectors = embedder.embed(&texts)?;
    stopwatch.lap("compute");
    check_dimensions(&asked, vectors.dimensions())?;

    let embedding =
        |(index, vector)| Embedding { object: "embedding", index, embedding: Vector(asked.encoding_format, vector) };
    let tokens = input::count(&texts);
    let body = List {
        object: "list",
        data: vectors.rows().enumerate().map(embedding).collect(),
        model: Some(embedder.card.name),
        usage: Some(Usage { prompt_tokens: tokens, total_tokens: tokens }),
    };
    Ok(Response::json(&body).timing(stopwatch).header("cache-control", "no-store"))
}

/// The function has one model; a request for another must not get this one's vectors.
fn check_model(asked: &EmbeddingsRequest, embedder: &Embedder) -> Result<(), Refusal> {
    if asked.model == embedder.card.name {
        return match embedder.dimensions() {
            Some(dimensions) => check_dimensions(asked, dimensions),
            None => Ok(()),
        };
    }
    let detail = format!("the model of this function is '{}'; ask for that one", embedder.card.name);
    let refusal = Refusal::of(Problem::not_found(detail), "model");
    Err(Refusal { code: Some("model_not_found"), ..refusal })
}

/// Vectors can be cut only of models that were trained for it, which cards do not say.
fn check_dimensions(asked: &EmbeddingsRequest, dimensions: usize) -> Result<(), Refusal> {
    match asked.dimensions {
        Some(other) if other != dimensions => {
            let detail = format!("the vectors of this model have {dimensions} dimensions; leave `dimensions` out");
            Err(Refusal::of(Problem::bad_request(detail), "dimensions"))
        }
        _ => Ok(()),
    }
}

impl Serialize for Vector<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            EncodingFormat::Float => self.1.serialize(serializer),
            EncodingFormat::Base64 => {
                let bytes: Vec<u8> = self.1.iter().flat_map(|value| value.to_le_bytes()).collect();
                serializer.serialize_str(&STANDARD.encode(bytes))
            }
        }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { problem, param: None, code: None }
    }
}

impl Refusal {
    /// A problem of one parameter of the request.
    fn of(problem: Problem, param: &'static str) -> Self {
        Self { problem, param: Some(param), code: None }
    }

    fn response(&self) -> Response {
        let Problem { status, ref detail, allow, .. } = self.problem;
        let r#type = if status < 500 { "invalid_request_error" } else { "server_error" };
        let error = ErrorObject { message: detail, r#type, param: self.param, code: self.code };
        let response = Response::json(&ErrorDocument { error }).status(status);
        match allow {
            Some(methods) => response.header("allow", methods),
            None => response,
        }
    }
}
