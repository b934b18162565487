//! The attribute [`macro@handler`], which `modelfn_guest` re-exports.
//!
//! It only has to find the name of the function that it stands on, so it does without a parser of Rust.

use proc_macro::{TokenStream, TokenTree};

/// Makes the function that it stands on the handler of the component: `fn(&Request) -> Result<Response, Problem>`.
///
/// ```
/// use modelfn_guest::{Problem, Request, Response};
///
/// #[modelfn_guest::handler]
/// fn handle(request: &Request) -> Result<Response, Problem> {
///     Ok(Response::text(format!("you asked for {}\n", request.path)))
/// }
/// ```
#[proc_macro_attribute]
pub fn handler(arguments: TokenStream, function: TokenStream) -> TokenStream {
    if !arguments.is_empty() {
        return error("#[modelfn_guest::handler] takes no arguments");
    }
    let Some(name) = name(function.clone()) else {
        return error(
            "#[modelfn_guest::handler] stands on a function: fn handle(request: &Request) -> Result<Response, Problem>",
        );
    };
    let export = format!("::modelfn_guest::export!({name});").parse::<TokenStream>();
    [function, export.unwrap_or_default()].into_iter().collect()
}

/// The word behind the first `fn`.
fn name(function: TokenStream) -> Option<String> {
    let mut tokens = function.into_iter();
    tokens.find(|token| matches!(token, TokenTree::Ident(word) if word.to_string() == "fn"))?;
    match tokens.next()? {
        TokenTree::Ident(name) => Some(name.to_string()),
        _ => None,
    }
}

fn error(text: &str) -> TokenStream {
    format!("::core::compile_error!({text:?});").parse().unwrap_or_default()
}
