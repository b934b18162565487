//! A function that uses what the SDK has. Its first path segment says what it does.

use modelfn_guest::{AsTensor, Folder, Method, Model, Problem, Request, Response, Stopwatch, Tensor, log};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
struct Person {
    name: String,
    age: u8,
}

#[modelfn_guest::handler]
fn route(request: &Request) -> Result<Response, Problem> {
    match (&request.method, request.path.as_str()) {
        (Method::Get | Method::Head, "/hello") => Ok(Response::text("hello\n")),
        (Method::Get, "/head") => Ok(head(request)),
        (Method::Get, "/status") => status(request),
        (Method::Get, "/unwritable") => Ok(Response::json(&std::collections::BTreeMap::from([((1, 2), 3)]))),
        (Method::Post, "/person") => person(request),
        (Method::Post, "/text") => Ok(Response::text(request.text()?)),
        (Method::Post, "/bytes") => Ok(Response::new("application/octet-stream", request.bytes()?)),
        (Method::Post, "/twice") => request.bytes().and_then(|_| request.bytes()).map(|_| Response::text("")),
        (Method::Post, "/form") => form(request),
        (Method::Get, "/failure") => Err(std::io::Error::other("the secret reason"))?,
        (Method::Get, "/problem") => Err(Problem::unprocessable("row 3 is too short").with("row", 3)),
        (Method::Get, "/models") => models(),
        (Method::Get, "/outputs") => outputs(request),
        (Method::Get, "/file") => Ok(Response::text(Folder::of("one")?.text(&name(request))?)),
        (_, "/hello") => Err(Problem::method_not_allowed("GET, HEAD")),
        (_, path) => Err(Problem::not_found(format!("nothing is at {path}"))),
    }
}

/// What the request's head says.
fn head(request: &Request) -> Response {
    let names: Vec<String> = request.headers().into_iter().map(|(name, _)| name).collect();
    Response::json(&json!({ "q": request.query("q"), "x-one": request.header("X-One"), "names": names }))
}

/// The status and the header that the query names.
fn status(request: &Request) -> Result<Response, Problem> {
    let status = request.query("status").unwrap_or_default().parse().map_err(Problem::bad_request)?;
    let mut stopwatch = Stopwatch::start();
    stopwatch.lap("first");
    stopwatch.lap("second");
    let response = Response::text("body").status(status).timing(stopwatch);
    Ok(response.header(request.query("name").unwrap_or("x-a".to_owned()), request.query("value").unwrap_or_default()))
}

fn person(request: &Request) -> Result<Response, Problem> {
    let person: Person = request.json()?;
    log!("a person of {}", person.age);
    Ok(Response::json(&json!({ "greeting": format!("hello, {}", person.name) })).status(201))
}

fn form(request: &Request) -> Result<Response, Problem> {
    let form = request.form()?;
    let parts = form
        .parts()
        .map(|part| part.map(|part| json!([part.name, part.file_name, part.content_type, part.content.len()])));
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    Ok(Response::json(&json!({ "parts": parts, "a": form.text("a")?, "f": form.file("f")?.len() })))
}

/// Two models, one after the other, and what their cards say.
fn models() -> Result<Response, Problem> {
    let x = Tensor::new([2, 2], vec![1f32, 2.0, 3.0, 4.0])?;
    let first = Model::load("one")?.run([("x", &x)])?.get::<f32>("y")?;
    let second = Model::load("two")?.run([("x", &first as &dyn AsTensor)])?.get::<f32>("y")?;
    let descriptions = ["one", "two"].map(|name| Folder::of(name).and_then(|folder| folder.card()));
    let descriptions = descriptions.into_iter().map(|card| card.map(|card| card.description));
    Ok(Response::json(&json!({
        "shape": second.shape(),
        "y": second.rows().collect::<Vec<_>>(),
        "descriptions": descriptions.collect::<Result<Vec<_>, _>>()?,
    })))
}

/// What comes of an input or output, a type and a model that the query names.
fn outputs(request: &Request) -> Result<Response, Problem> {
    let model = Model::load(&request.query("model").unwrap_or("one".to_owned()))?;
    let input = request.query("input").unwrap_or("x".to_owned());
    let outputs = model.run([(input.as_str(), Tensor::new([1, 2], vec![1f32, 2.0])?)])?;
    let name = name(request);
    Ok(match request.query("type").as_deref() {
        Some("i64") => Response::json(outputs.get::<i64>(&name)?.data()),
        _ => Response::json(outputs.get::<f32>(&name)?.data()),
    })
}

fn name(request: &Request) -> String {
    request.query("name").unwrap_or_default()
}
