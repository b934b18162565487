//! `modelfn invoke`: one request through router, sandbox and model, as a client would see it.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use http_body_util::{BodyExt, Full};
use modelfn_server::loader::AppLoader;
use modelfn_server::services::Services;

use crate::engines::engines;
use crate::settings::{ApplicationSettings, RequestSettings};

pub(super) const EXAMPLES: &str = "Examples:
  modelfn invoke /classify cat.jpg
  modelfn invoke '/classify?top_k=3' - < cat.jpg
  modelfn invoke /model

Prints the response's body to stdout, and exits 1 if its status is an error.";

/// The arguments of `modelfn invoke`.
#[derive(Clone, Debug, Args)]
#[command(next_display_order = None)]
pub(crate) struct InvokeArguments {
    /// Path and query, such as `/classify?top_k=3`.
    route: String,
    /// The request's body, `-` for stdin. Without it the request is a GET, with it a POST.
    file: Option<PathBuf>,
    /// Also print status and headers.
    #[arg(short, long)]
    include: bool,
    #[command(flatten)]
    application: ApplicationSettings,
    #[command(flatten)]
    request: RequestSettings,
}

/// Loads the application, sends it one request, and prints the response.
pub(super) async fn invoke(arguments: InvokeArguments) -> Result<ExitCode> {
    let body = arguments.file.as_deref().map(read_input).transpose()?;
    let request = http::Request::builder()
        .method(if body.is_some() { http::Method::POST } else { http::Method::GET })
        .uri(&arguments.route)
        .header(http::header::HOST, "localhost")
        .body(Full::from(body.unwrap_or_default()))
        .context("the route must be a path, such as /classify?top_k=3")?;
    let InvokeArguments { application, request: limits, include, .. } = arguments;
    let services = Services::new(Arc::default());
    let engines = engines(&application.models)?;
    let settings = application.app_settings(&[], &limits)?;
    let (_, service) = AppLoader::open(settings, limits.single_request_limits()?, engines, services.clone()).await?;
    services.readiness.ready(service.readiness_check());
    let (head, body) = service.respond(request).await.into_parts();
    let body = body.collect().await.map_err(|e| anyhow::anyhow!("the response broke off: {e}"))?.to_bytes();
    print_response(&head, &body, include)?;
    Ok(if head.status.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_response(head: &http::response::Parts, body: &[u8], include: bool) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if include {
        writeln!(out, "{}", head.status)?;
        for (name, value) in &head.headers {
            writeln!(out, "{name}: {}", String::from_utf8_lossy(value.as_bytes()))?;
        }
        writeln!(out)?;
    }
    Ok(out.write_all(body)?)
}

fn read_input(path: &Path) -> Result<Vec<u8>> {
    if path.as_os_str() == "-" {
        let mut body = Vec::new();
        std::io::stdin().read_to_end(&mut body).context("stdin")?;
        return Ok(body);
    }
    std::fs::read(path).with_context(|| format!("{} can't be read", path.display()))
}
