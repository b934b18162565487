//! A function that misbehaves on command: the path says how, the query how much.
//!
//! It keeps every rule of components but the one that a test breaks. `/hello` is also what benchmarks call,
//! so that path comes first and does as little as an answer needs.

mod bindings;
mod http;
mod answers;
mod failures;
mod memory;
mod reach;
mod nn;

use bindings::exports::wasi::http::incoming_handler::Guest;
use bindings::wasi::http::types::{IncomingRequest, ResponseOutparam};
use http::{Request, answer};

struct Probe;

impl Guest for Probe {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let request = Request::new(request);
        match request.path() {
            "/hello" => answer(out, 200, b"hello"),
            "/count" => answers::count(out),
            "/header" => answers::header(&request, out),
            "/echo" => answers::echo(&request, out),
            "/ignore-body" => answer(out, 200, b"ignored"),
            "/stream" => answers::stream(&request, out),
            "/wait" => answers::wait(&request, out),
            "/log" => answers::log(&request, out),
            "/log-streams" => answers::log_streams(&request, out),

            "/trap" => failures::trap(),
            "/panic" => panic!("told to panic"),
            "/overflow" => failures::overflow(out),
            "/spin" => failures::spin(),
            "/never" => failures::never(),
            "/no-answer" => drop(out),
            "/error-answer" => failures::error_answer(out),
            "/head-then-spin" => failures::head_then(&request, out, failures::spin),
            "/head-then-trap" => failures::head_then(&request, out, failures::trap),
            "/head-then-return" => failures::head_then_return(&request, out),
            "/finish-then-spin" => failures::finish_then_spin(out),
            "/finish-then-set-again" => failures::finish_then_set_again(out),

            "/allocate" => memory::allocate(&request, out),
            "/try-allocate" => memory::try_allocate(&request, out),
            "/grow-to" => memory::grow_to(&request, out),
            "/scribble" => memory::scribble(&request, out),
            "/fields" => memory::fields(&request, out),
            "/bodies" => memory::bodies(&request, out),
            "/handles" => memory::handles(&request, out),

            "/env" => reach::environment(out),
            "/list" => reach::list(out),
            "/read" => reach::read(&request, out),
            "/write" => reach::write(&request, out),
            "/connect" => reach::connect(&request, out),

            "/nn/compute" => nn::compute(&request, out),
            "/nn/echo" => nn::echo(&request, out),
            "/nn/load" => nn::load(&request, out),
            "/nn/tensors" => nn::tensors(&request, out),
            path if path.starts_with("/static") => reach::file_server(&request, out),
            path if path.split('/').any(|part| part == "header") => answers::header(&request, out),
            _ => answer(out, 404, b"the probe has no such path"),
        }
    }
}
