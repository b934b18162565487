//! What every function needs: requests and responses, problem documents, forms, the model's folder, tensors, models.
//!
//! A function is a component for any host with `wasi:http` and `wasi:nn`. Hosts start a fresh instance for each request:
//! nothing is kept between requests, and a panic costs one request.
//!
//! ```ignore
//! use modelfn_guest::{Problem, Request, Response};
//!
//! modelfn_guest::export!(handle);
//!
//! fn handle(request: &Request) -> Result<Response, Problem> {
//!     Ok(Response::new("text/plain", request.path.clone().into_bytes()))
//! }
//! ```

pub mod bindings;
mod problem;
mod multipart;
mod files;
mod card;
mod http;
mod model;
mod timing;
#[cfg(test)]
#[path = "../../../tests/random.rs"]
mod random;

pub use card::{ModelFolder, broken};
pub use files::Folder;
pub use http::{FileKind, Method, Request, Response, Upload};
pub use model::{Model, Tensor};
pub use problem::Problem;
pub use timing::Stopwatch;

/// Exports a handler, `fn(&Request) -> Result<Response, Problem>`, to the host as `wasi:http/incoming-handler`.
#[macro_export]
macro_rules! export {
    ($handler:path) => {
        /// The component that the host calls.
        #[derive(Debug)]
        pub struct Function;

        impl $crate::bindings::exports::wasi::http::incoming_handler::Guest for Function {
            fn handle(
                request: $crate::bindings::wasi::http::types::IncomingRequest,
                out: $crate::bindings::wasi::http::types::ResponseOutparam,
            ) {
                $crate::respond(request, out, $handler);
            }
        }

        #[cfg(target_family = "wasm")]
        $crate::bindings::export!(Function with_types_in $crate::bindings);
    };
}

/// Calls `handler` with the request and sends its response, or the document of its problem. [`export!`] calls this.
pub fn respond(
    request: bindings::wasi::http::types::IncomingRequest,
    out: bindings::wasi::http::types::ResponseOutparam,
    handler: fn(&Request) -> Result<Response, Problem>,
) {
    let request = Request::new(request);
    let response = handler(&request).unwrap_or_else(Response::from);
    response.send(&request.method, out);
}
