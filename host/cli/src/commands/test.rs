//! `modelfn test`: sends an application the requests of its tests in one process, and compares the responses.

mod compare;
mod request_file;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use http_body_util::{BodyExt, Full};
use modelfn_server::admission::RequestLimits;
use modelfn_server::loader::AppLoader;
use modelfn_server::service::Service;
use modelfn_server::services::Services;
use serde_json::json;

use self::compare::Answer;
use self::request_file::TestRequest;
use crate::engines::engines;
use crate::settings::{ApplicationSettings, RequestSettings};
use crate::{block_on, print_lines};

pub(super) const EXAMPLES: &str = "Examples:
  modelfn test
  modelfn test my-function --json

A file of requests, tests/NAME.toml:
  [[request]]
  name = \"two rows\"
  path = \"/\"
  json = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]
  expect.status = 200
  expect.json = [{ label = 0 }, { label = 2 }]

A request has `path`, and may have `method`, `headers`, and `json`, `body` (a text) or `file` (a path beside the file). Of the
response `expect` has `status`, `headers`, `text` (a part of the body) and `json`: objects may have more keys, and numbers
differ by `tolerance` (0.0001 of the number).

Exits 1 if a response is not what is expected.";

/// The arguments of `modelfn test`.
#[derive(Clone, Debug, Args)]
#[command(next_display_order = None)]
pub(crate) struct TestArguments {
    /// The application's folder, with `spin.toml` and `tests/*.toml`.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    application: ApplicationSettings,
    #[command(flatten)]
    request: RequestSettings,
}

impl TestArguments {
    /// Whether a program reads the results.
    pub(super) fn prints_json(&self) -> bool {
        self.json
    }
}

/// What became of a request.
struct TestResult {
    file: PathBuf,
    name: String,
    took: Duration,
    /// Where the response is not what is expected: a line each.
    differences: Vec<String>,
}

/// Loads the application, sends all requests, and prints what became of each.
pub(super) fn test(arguments: TestArguments) -> Result<ExitCode> {
    // All paths of settings and manifest are seen from there. No thread of this program has started that reads files.
    std::env::set_current_dir(&arguments.folder)
        .with_context(|| format!("{} is no folder that can be entered", arguments.folder.display()))?;
    let requests = request_file::read_all(Path::new("tests"))?;
    ensure!(
        !requests.is_empty(),
        "there are no tests: {} has no tests/*.toml with a [[request]]; `modelfn test --help` shows one",
        arguments.folder.display()
    );
    let as_json = arguments.json;
    block_on(async move {
        let service = open(arguments).await?;
        let mut results = Vec::new();
        for request in requests {
            results.push(send(&service, request).await?);
        }
        print_lines(&if as_json { in_json(&results)? } else { in_words(&results) })?;
        let has_failed = results.iter().any(|result| !result.differences.is_empty());
        Ok(if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    })
}

async fn open(arguments: TestArguments) -> Result<Arc<Service>> {
    let TestArguments { application, request, .. } = arguments;
    let services = Services::new(Arc::default());
    let engines = engines(&application.models)?;
    // A function may still end what it does after its response was read.
    let limits = RequestLimits { waiting: 1, ..request.single_request_limits()? };
    let settings = application.app_settings(&[], &request)?;
    let (_, service) = AppLoader::open(settings, limits, engines, services.clone()).await?;
    services.readiness.ready(service.readiness_check());
    Ok(service)
}

async fn send(service: &Service, test: TestRequest) -> Result<TestResult> {
    let TestRequest { file, name, request, expect } = test;
    let started = Instant::now();
    let (head, body) = service.respond(request.map(Full::from)).await.into_parts();
    let answer = match body.collect().await {
        Ok(body) => Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes().to_vec() }),
        Err(error) => Err(format!("the response broke off: {error}")),
    };
    let differences = answer.map_or_else(|broken| vec![broken], |answer| compare::differences(&expect, &answer));
    Ok(TestResult { file, name, took: started.elapsed(), differences })
}

fn in_words(results: &[TestResult]) -> Vec<String> {
    let failed = results.iter().filter(|result| !result.differences.is_empty()).count();
    let lines = results.iter().map(ToString::to_string);
    lines.chain([format!("{} passed, {failed} failed", results.len() - failed)]).collect()
}

fn in_json(results: &[TestResult]) -> Result<Vec<String>> {
    let rows = results.iter().map(|TestResult { file, name, took, differences }| {
        json!({
            "file": file,
            "name": name,
            "passed": differences.is_empty(),
            "ms": (took.as_secs_f64() * 1e6).round() / 1e3,
            "differences": differences,
        })
    });
    Ok(vec![serde_json::to_string_pretty(&rows.collect::<Vec<_>>())?])
}

impl fmt::Display for TestResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TestResult { file, name, took, differences } = self;
        let word = if differences.is_empty() { "ok    " } else { "FAILED" };
        let shown = name.replace(char::is_control, "\u{FFFD}");
        write!(f, "{word}  {}: {shown} ({:.1} ms)", file.display(), took.as_secs_f64() * 1e3)?;
        differences
            .iter()
            .try_for_each(|difference| write!(f, "\n          {}", difference.replace(char::is_control, "\u{FFFD}")))
    }
}
