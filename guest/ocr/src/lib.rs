//! The function: one picture in, its lines of text out, as a component for any host with `wasi:http` and `wasi:nn`.
//!
//! | request | response |
//! |---|---|
//! | `GET /` | the page, which shows the boxes on the picture and the text beside it |
//! | `GET /models` | names, descriptions and licences of the three models |
//! | `POST /ocr?max_lines=N` | the lines of text in the picture in the body, with boxes and scores, in reading order |
//!
//! Three networks of any input size do it. The first makes of the picture a map of how likely each pixel is one of text,
//! which becomes boxes around lines; the second says which lines are upside down; the third reads them. This file reads as
//! the story of a request.

mod geometry;
mod components;
mod boxes;
mod sheet;
mod models;
mod strip;
mod text;
mod reading;

use boxes::text_boxes;
use components::HeatMap;
use geometry::Quad;
use modelfn_guest::card::Card;
use modelfn_guest::imaging::{Window, decode};
use modelfn_guest::{FileKind, Method, Problem, Request, Response, Stopwatch};
use models::{DETECTION, Detection, run};
use reading::Reader;
use serde::Serialize;
use sheet::Sheet;
use text::Text;

const PICTURE: FileKind = FileKind { name: "a picture", media_type: "image/", example: "page.jpg" };

const PAGE: &str = include_str!("page.html");

/// The page has no part that a request could write, so its own inline script and style are all there is.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
    img-src blob: data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Lines that are read of one picture, where the request asks for no fewer. Each costs the host a computation.
const MAX_LINES: usize = 300;

/// A model in the response to `GET /models`.
#[derive(Serialize)]
struct Description<'a> {
    name: &'a str,
    description: &'a str,
    license: &'a str,
}

impl<'a> Description<'a> {
    fn of(card: &'a Card) -> Self {
        Self { name: &card.name, description: &card.description, license: &card.license }
    }
}

/// The response to `POST /ocr`.
#[derive(Serialize)]
struct Reading {
    /// Of the upright picture, in pixels.
    width: u32,
    height: u32,
    lines: Vec<Line>,
    /// Boxes that were found after the last one that was read.
    left_out: usize,
}

/// A line of text.
#[derive(Serialize)]
struct Line {
    text: String,
    /// The average probability of its characters.
    score: f32,
    /// Upper left, upper right, lower right and lower left corner in pixels of the upright picture, as x and y.
    r#box: [(u32, u32); 4],
}

#[modelfn_guest::handler]
fn route(request: &Request) -> Result<Response, Problem> {
    match (request.path.as_str(), &request.method) {
        ("/", Method::Get | Method::Head) => Ok(page()),
        ("/models", Method::Get | Method::Head) => models(),
        ("/ocr", Method::Post) => ocr(request),
        ("/" | "/models", _) => Err(Problem::method_not_allowed("GET, HEAD")),
        ("/ocr", _) => Err(Problem::method_not_allowed("POST")),
        (path, _) => Err(Problem::not_found(format!("nothing is at {path}; try GET /, GET /models or POST /ocr"))),
    }
}

fn page() -> Response {
    Response::html(PAGE)
        .header("content-security-policy", PAGE_POLICY)
        .header("referrer-policy", "no-referrer")
        .header("cache-control", "max-age=300")
}

fn models() -> Result<Response, Problem> {
    let (detection, reader) = (Detection::open()?, Reader::open()?);
    let [direction, recognition] = reader.cards();
    let body = [&detection.card, direction, recognition].map(Description::of);
    Ok(Response::json(&body).header("cache-control", "no-cache"))
}

fn ocr(request: &Request) -> Result<Response, Problem> {
    let max_lines = max_lines(request)?;
    let upload = request.upload(PICTURE)?;
    let file = upload.file("image")?;
    let mut stopwatch = Stopwatch::start();

    let (detection, reader) = (Detection::open()?, Reader::open()?);
    stopwatch.lap("cards");

    let sheet = Sheet::new(&decode(file, Window::whole(detection.sizes.max_side))?, &detection.sizes)?;
    stopwatch.lap("decode");

    let mut boxes = detect(&detection, &sheet, &mut stopwatch)?;
    let left_out = boxes.len().saturating_sub(max_lines);
    boxes.truncate(max_lines);

    let mut lines = Vec::with_capacity(boxes.len());
    for corners in &boxes {
        if let Some(Text { text, score }) = reader.read(&sheet.pixels, corners, &mut stopwatch)? {
            lines.push(Line { text, score, r#box: sheet.in_original(corners) });
        }
    }
    let (width, height) = sheet.original;
    let body = Reading { width, height, lines, left_out };
    Ok(Response::json(&body).timing(stopwatch).header("cache-control", "no-store"))
}

/// The boxes around the lines of text of a sheet, in its pixels.
fn detect(detection: &Detection, sheet: &Sheet, stopwatch: &mut Stopwatch) -> Result<Vec<Quad>, Problem> {
    let seen = sheet.for_network(&detection.sizes);
    let (width, height) = seen.dimensions();
    stopwatch.lap("resize");

    let heat = run(DETECTION, (width, height), seen.into_raw())?.get::<f32>("heat")?;
    stopwatch.lap("detection");

    let (width, height) = (width as usize, height as usize);
    if heat.data().len() != width * height {
        return Err(Problem::bad_gateway(format!("model '{DETECTION}' did not compute a number for each pixel")));
    }
    let map = HeatMap { values: heat.data(), width, height };
    let boxes = text_boxes(map, &detection.boxes, sheet.pixels.dimensions());
    stopwatch.lap("boxes");
    Ok(boxes)
}

/// How many lines to read, at most.
fn max_lines(request: &Request) -> Result<usize, Problem> {
    let Some(asked) = request.query("max_lines") else { return Ok(MAX_LINES) };
    asked
        .parse()
        .ok()
        .filter(|lines| (1..=MAX_LINES).contains(lines))
        .ok_or_else(|| Problem::bad_request(format!("max_lines must be a number from 1 to {MAX_LINES}")))
}
