#![doc = include_str!("../README.md")]

pub mod bindings;
mod log;
mod problem;
mod multipart;
mod files;
mod folder;
mod timing;
mod http;
mod tensor;
mod model;
#[cfg(feature = "imaging")]
mod classifier;
#[cfg(test)]
#[path = "../../../tests/random.rs"]
mod random;

pub use bindings::wasi::http::types::Method;
#[cfg(feature = "imaging")]
pub use classifier::{Classifier, Prediction};
pub use folder::Folder;
pub use half::{bf16, f16};
pub use http::{FileKind, Request, Response, Upload};
#[doc(hidden)]
pub use log::write_line;
pub use model::{Model, Outputs};
pub use modelfn_card as card;
pub use modelfn_guest_macros::handler;
#[cfg(feature = "imaging")]
pub use modelfn_imaging as imaging;
pub use multipart::{Form, Part, Parts};
pub use problem::Problem;
pub use tensor::{AsTensor, DynTensor, Element, Tensor};
pub use timing::Stopwatch;

/// Exports a handler, `fn(&Request) -> Result<Response, Problem>`, to the host as `wasi:http/incoming-handler`. The
/// attribute [`handler`] does the same where the function stands.
#[macro_export]
macro_rules! export {
    ($handler:path) => {
        // Of another type it is an error that names the types. It also uses the handler where nothing is exported.
        const _: fn(&$crate::Request) -> ::core::result::Result<$crate::Response, $crate::Problem> = $handler;

        #[cfg(target_family = "wasm")]
        const _: () = {
            /// The component that the host calls.
            struct Function;

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
    };
}

/// Calls `handler` with the request and sends its response, or the document of its problem. [`export!`] calls this.
#[doc(hidden)]
pub fn respond(
    request: bindings::wasi::http::types::IncomingRequest,
    out: bindings::wasi::http::types::ResponseOutparam,
    handler: fn(&Request) -> Result<Response, Problem>,
) {
    let request = Request::new(request);
    let response = handler(&request).unwrap_or_else(Response::from);
    response.send(&request.method, out);
}
