//! The function that is tried: an application of its own, with the model as it is and a card that may be changed between
//! two pictures, since a function reads it for each request.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full};
use modelfn_card::image::{Preprocessing, PreprocessingTable};
use modelfn_card::{CARD_FILE, DType, Labels};
use modelfn_server::admission::RequestLimits;
use modelfn_server::loader::AppLoader;
use modelfn_server::service::Service;
use modelfn_server::services::Services;
use serde::Deserialize;
use tokio::task::JoinSet;

use super::pictures::LabelledPicture;
use super::progress::Progress;
use super::trial_folder::TrialFolder;
use super::{CheckArguments, CheckedModel};
use crate::embedded;
use crate::engines::engines;
use crate::settings::ApplicationSettings;

/// The classes of a response that are looked at.
const TOP: usize = 5;

/// Where the function sees the model's card and labels.
const MODEL: &str = "model";

/// The file of this program's function.
const FUNCTION: &str = "classify.wasm";

/// What became of a picture.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    /// The likeliest classes, the likeliest first.
    Ranked(Vec<usize>),
    /// It can't be read: the reason.
    Unreadable(String),
}

/// A function in its sandbox, with its model.
pub(super) struct Trial {
    folder: TrialFolder,
    service: Arc<Service>,
    card: toml::Table,
    dtype: DType,
    request: TrialRequest,
    in_flight: usize,
}

/// What all requests have in common.
#[derive(Clone)]
struct TrialRequest {
    uri: String,
    /// The largest picture, in bytes.
    most: usize,
}

/// What is looked at in a response of the function, or in a problem document instead of it.
#[derive(Deserialize)]
struct Response {
    #[serde(default)]
    predictions: Vec<Prediction>,
    detail: Option<String>,
}

#[derive(Deserialize)]
struct Prediction {
    index: usize,
}

impl Outcome {
    /// Whether `class` is the likeliest one.
    pub(super) fn is_first(&self, class: usize) -> bool {
        matches!(self, Outcome::Ranked(classes) if classes.first() == Some(&class))
    }

    /// Whether `class` is among the likeliest ones.
    pub(super) fn has(&self, class: usize) -> bool {
        matches!(self, Outcome::Ranked(classes) if classes.contains(&class))
    }
}

impl Trial {
    /// Loads the model, and the function with the card as it is.
    ///
    /// # Errors
    ///
    /// A message with the remedy.
    pub(super) async fn open(arguments: &CheckArguments, model: &CheckedModel) -> Result<Self> {
        let CheckedModel { paths, files } = model;
        let (folder, name) = (TrialFolder::new()?, &files.card.name);
        if let (Some(labels), Some(table)) = (&files.labels, files.card.classification()?)
            && let Some(file) = table.labels
        {
            folder.write(&format!("{MODEL}/{}", file.display()), labels.text().as_bytes())?;
        }
        let card = toml::Table::try_from(&files.card)?;
        folder.write(&format!("{MODEL}/{CARD_FILE}"), card.to_string().as_bytes())?;
        let function = function(arguments.function.as_deref(), &folder)?;
        folder.write("spin.toml", manifest(&function, name)?.as_bytes())?;
        let in_flight = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let limits = arguments.request.single_request_limits()?;
        let limits = RequestLimits {
            instances: in_flight,
            waiting: in_flight,
            bodies: limits.body.saturating_mul(in_flight),
            ..limits
        };
        let settings = ApplicationSettings::of_one_model(&folder.path().join("spin.toml"), &arguments.models, name)?;
        let app = settings.app_settings(paths, &arguments.request)?;
        let services = Services::new(Arc::default());
        let (_, service) = AppLoader::open(app, limits, engines(&arguments.models)?, services.clone()).await?;
        services.readiness.ready(service.readiness_check());
        let classes = files.labels.as_ref().map(Labels::len).or(files.card.classes());
        let top = classes.unwrap_or(TOP).min(TOP);
        Ok(Self {
            folder,
            service,
            card,
            dtype: files.card.inputs.first().map_or(DType::Fp32, |input| input.dtype),
            request: TrialRequest { uri: format!("/classify?top_k={top}"), most: limits.body },
            in_flight,
        })
    }

    /// The element type of the model's input.
    pub(super) fn dtype(&self) -> DType {
        self.dtype
    }

    /// Changes the card for the pictures that come.
    ///
    /// # Errors
    ///
    /// It can't be written.
    pub(super) fn use_preprocessing(&self, preprocessing: &Preprocessing) -> Result<()> {
        let mut card = self.card.clone();
        let table = toml::Value::try_from(PreprocessingTable::from(preprocessing))?;
        card.insert(modelfn_card::image::TABLE.to_owned(), table);
        self.folder.write(&format!("{MODEL}/{CARD_FILE}"), card.to_string().as_bytes())
    }

    /// Classifies all pictures, one a core at the same time.
    ///
    /// # Errors
    ///
    /// The function or the model fails for a picture, and not because of the picture.
    pub(super) async fn run(&self, pictures: &[LabelledPicture], progress: &Progress) -> Result<Vec<Outcome>> {
        let mut outcomes: Vec<Option<Outcome>> = vec![None; pictures.len()];
        let mut running = JoinSet::new();
        let mut waiting = pictures.iter().enumerate();
        loop {
            while running.len() < self.in_flight
                && let Some((n, picture)) = waiting.next()
            {
                let (service, request, path) = (self.service.clone(), self.request.clone(), picture.path.clone());
                running.spawn(async move { (n, classify(&service, request, &path).await) });
            }
            let Some(done) = running.join_next().await else { break };
            let (n, outcome) = done.context("a picture was not classified")?;
            outcomes[n] = Some(outcome?);
            progress.step();
        }
        Ok(outcomes.into_iter().flatten().collect())
    }
}

/// Sends one picture through the whole path of a request.
async fn classify(service: &Service, request: TrialRequest, path: &Path) -> Result<Outcome> {
    let picture = match read(path, request.most) {
        Ok(picture) => picture,
        Err(reason) => return Ok(Outcome::Unreadable(reason)),
    };
    let request = http::Request::post(request.uri).header(http::header::HOST, "localhost").body(Full::from(picture))?;
    let (head, body) = service.respond(request).await.into_parts();
    let body = body.collect().await.map_err(|e| anyhow::anyhow!("the response broke off: {e}"))?.to_bytes();
    let response = serde_json::from_slice::<Response>(&body);
    let detail = |response: &Response| response.detail.clone().unwrap_or_default();
    match (head.status, response) {
        (status, Ok(response)) if status.is_success() => {
            Ok(Outcome::Ranked(response.predictions.into_iter().map(|prediction| prediction.index).collect()))
        }
        (
            http::StatusCode::BAD_REQUEST
            | http::StatusCode::PAYLOAD_TOO_LARGE
            | http::StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Ok(response),
        ) => Ok(Outcome::Unreadable(detail(&response))),
        (status, Ok(response)) => {
            bail!("{}: the function responds with {status}: {}", path.display(), detail(&response))
        }
        (status, Err(_)) => {
            bail!("the function responds with {status}, and not as classify.wasm does; name another with --function")
        }
    }
}

fn read(path: &Path, most: usize) -> Result<Vec<u8>, String> {
    let length = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
    if length > most as u64 {
        return Err(format!("it has {length} bytes, and --max-body is {most}"));
    }
    std::fs::read(path).map_err(|e| e.to_string())
}

/// The file of the function: the one that was named, or that of this program.
fn function(named: Option<&Path>, folder: &TrialFolder) -> Result<PathBuf> {
    if let Some(named) = named {
        let unreadable = || format!("the function {} can't be read; name another with --function", named.display());
        return named.canonicalize().with_context(unreadable);
    }
    let wasm = embedded::classify().context(
        "this program was built without the function that classifies; build it with `make guest`, and name \
         target/guest/classify.wasm with --function",
    )?;
    folder.write(FUNCTION, wasm)?;
    Ok(folder.path().join(FUNCTION))
}

/// An application of the function alone.
fn manifest(function: &Path, model: &str) -> Result<String> {
    let function = function.to_str().context("the path of the function must be UTF-8")?;
    let mut manifest = toml::toml! {
        spin_manifest_version = 2
        [application]
        name = "check"
        [[trigger.http]]
        route = "/..."
        component = "function"
        [component.function]
        source = ""
        files = [{ source = "", destination = "/model" }]
        [component.function.tool.modelfn]
        models = []
    };
    let entry = &mut manifest["component"]["function"];
    entry["source"] = function.into();
    entry["files"][0]["source"] = MODEL.into();
    entry["tool"]["modelfn"]["models"] = vec![model].into();
    Ok(manifest.to_string())
}
