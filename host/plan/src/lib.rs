//! `modelfn plan`: from a model to the CPU, memory and replicas that it needs.
//!
//! The model is measured as it will be served: by `modelfn serve` in child processes, under load. Coefficients are fitted
//! to the measurement ([`coefficients`]), and the formulas ([`formula`], [`queue`]) give the numbers. This crate uses the
//! layer `nn` for cards and weights, and knows the server only as its clients do.

#![forbid(unsafe_code)]

pub mod settings;

pub mod formula;

pub mod queue;

pub mod coefficients;

pub mod resources;

mod client;

mod load;

mod request;

mod server;

mod machine;

pub mod measure;

mod advice;

pub mod model_size;

mod table;

pub mod patch;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use self::advice::Hardware;
use self::coefficients::Coefficients;
use self::measure::{Measurement, Progress, Subject};
use self::model_size::ModelSize;
use self::queue::{Demand, Fleet, ReplicaQueue, Unreachable};
use self::resources::{Resources, Scaling};
use self::settings::{Method, PlanSettings};
use modelfn_nn::files::ModelFiles;
use modelfn_nn::inspect;
use modelfn_nn::registry::{EngineSettings, Source};
use modelfn_nn::warm_up::WarmUpOutcome;

/// Everything that `modelfn plan` says.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The model's name.
    pub model: String,
    /// How large the model is.
    pub size: ModelSize,
    /// How a replica serves the model.
    pub layout: Layout,
    /// The coefficients of the formulas.
    pub coefficients: Coefficients,
    /// What was measured; `None` of a static plan.
    pub measurement: Option<Measurement>,
    /// One replica as a queueing model; `None` where the time of a request is unknown.
    pub service: Option<ReplicaQueue>,
    /// Peak of a replica's resident memory, in bytes.
    pub memory_bytes: f64,
    /// Cores that a replica keeps busy at full load.
    pub cores: Option<f64>,
    /// Requests per second that are planned for.
    pub rate: Option<f64>,
    /// The replicas for that rate.
    pub fleet: Option<Fleet>,
    /// Resources and autoscaling for Kubernetes.
    pub resources: Resources,
    /// Advice in sentences, the most useful first.
    pub advice: Vec<String>,
}

/// How a replica serves the model.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Layout {
    /// Engine instances: computations at the same time. They share the weights.
    pub instances: usize,
    /// Threads of one computation.
    pub threads: usize,
    /// Rows of a request.
    pub batch: usize,
    /// How busy the instances may be, 0 to 1.
    pub utilisation: f64,
}

/// Plans a model: reads it, measures it unless the plan is to be static, and computes.
///
/// # Errors
///
/// The model can't be read or served, or no number of replicas does what is asked. Tells the remedy.
pub fn plan(settings: &PlanSettings, engines: &EngineSettings, progress: &Progress<'_>) -> Result<Plan> {
    let backends = engines.backends.as_slice();
    let files = ModelFiles::read(std::slice::from_ref(&settings.source), &settings.model)?;
    let size = ModelSize::of(files.weights(backends)?);
    let serving = &files.card.serving;
    let layout = Layout {
        instances: settings.instances.or(serving.instances).unwrap_or(settings.default_instances).get(),
        threads: serving.threads.get(),
        batch: settings.batch.get(),
        utilisation: settings.utilisation,
    };
    let hardware = Hardware::of(&files, backends);
    let (coefficients, measurement) = match settings.method {
        Method::Estimate(time) => {
            let missing = "--rate needs to know how long a row takes: give --time, or leave --static out to measure it";
            ensure!(settings.rate.is_none() || time.is_some(), missing);
            (Coefficients::estimated(time.map(|time| time.as_secs_f64()), size.bytes), None)
        }
        Method::Measure(time) => {
            let external = files.external_files(backends)?;
            let files = with_shapes(settings, engines, files)?;
            let subject = Subject { external, ..subject(settings, files, layout, time)? };
            let measurement = subject.measure(progress)?;
            (Coefficients::fitted(&measurement, size.bytes, layout.batch), Some(measurement))
        }
    };
    let service = service(&coefficients, measurement.as_ref(), layout);
    let fleets = service.zip(settings.rate).map(|(service, rate)| fleets(service, demand(settings, rate))).transpose();
    let fleets = fleets.with_context(|| {
        measurement.as_ref().and_then(advice::interference).unwrap_or_else(|| settings.model.clone())
    })?;
    let memory_bytes = coefficients.memory(size.bytes, layout.instances);
    let cores = service.and_then(|service| coefficients.cores(layout.batch, service.capacity));
    let needs = resources::Needs {
        cores,
        memory_bytes,
        peak_concurrency_bytes: measurement.as_ref().map(|measured| measured.peak_concurrency_bytes),
        largest_request_bytes: settings.server.largest_request(),
    };
    let resources = Resources::of(&needs, fleets.map(|(_, scaling)| scaling));
    let advice = advice::advise(&size, measurement.as_ref(), &hardware);
    let (model, rate) = (settings.model.clone(), settings.rate);
    Ok(Plan {
        model,
        size,
        layout,
        coefficients,
        measurement,
        service,
        memory_bytes,
        cores,
        rate,
        fleet: fleets.map(|(fleet, _)| fleet),
        resources,
        advice,
    })
}

fn demand(settings: &PlanSettings, rate: f64) -> Demand {
    Demand { rate, p99_seconds: settings.p99.map(|p99| p99.as_secs_f64()), utilisation: settings.utilisation }
}

/// The replicas for `demand`, and the bounds of autoscaling.
fn fleets(service: ReplicaQueue, demand: Demand) -> Result<(Fleet, Scaling), Unreachable> {
    let usual = queue::fleet(service, demand)?;
    let highest = queue::fleet(service, Demand { rate: demand.rate * resources::BURST, ..demand })?;
    let utilisation = queue::highest_rate(service, demand)? / service.capacity;
    Ok((usual, Scaling::of(usual, highest, utilisation)))
}

/// Completes the card by the graph's inputs and outputs, and by shapes that the model computes: those that were given, or
/// those of its warm-up.
fn with_shapes(settings: &PlanSettings, engines: &EngineSettings, files: ModelFiles) -> Result<ModelFiles> {
    let trial = inspect::try_out(std::slice::from_ref(&settings.source), &settings.model, engines)?;
    let mut card = files.card.completed(&settings.model, &trial.signature);
    let names = card.inputs.iter().map(|spec| spec.name.clone());
    match trial.warm_up {
        Some(WarmUpOutcome::Computed(shapes)) => card.serving.warmup.extend(names.zip(shapes)),
        Some(WarmUpOutcome::Unknown(reason)) if settings.shapes.is_empty() => {
            anyhow::bail!("model '{}': {reason}; say a shape: --shape NAME=1x3x320x320", settings.model)
        }
        _ => {}
    }
    card.serving.warmup.extend(settings.shapes.clone());
    for (name, shape) in &settings.shapes {
        let spec = card.inputs.iter().find(|spec| spec.name == *name);
        let spec = spec.with_context(|| format!("--shape {name}: the model has no such input"))?;
        ensure!(spec.admits(spec.dtype, shape), "--shape {name}: {shape:?} is no shape of {spec}");
    }
    Ok(ModelFiles { card, ..files })
}

/// What to measure.
fn subject(settings: &PlanSettings, files: ModelFiles, layout: Layout, time: Duration) -> Result<Subject> {
    let request = match &settings.route {
        Some(route) => request::to_route(&route.path, &route.body)?,
        None => request::zeros(&files.card, layout.batch)?,
    };
    let absolute = |path: &Path| std::path::absolute(path).with_context(|| path.display().to_string());
    if let Some(app) = &settings.app {
        let remedy = "name the application with --app, or plan the model without functions with --no-app";
        ensure!(app.is_file(), "{}: no such file; {remedy}", app.display());
    }
    Ok(Subject {
        card: files.card,
        folder: files.folder,
        external: Vec::new(),
        source: match &settings.source {
            Source::Folder(folder) | Source::OptionalFolder(folder) => Source::Folder(absolute(folder)?),
            Source::Model(path) => Source::Model(absolute(path)?),
        },
        onnxruntime: settings.onnxruntime.clone(),
        app: settings.app.as_deref().map(absolute).transpose()?,
        is_route: settings.route.is_some(),
        request,
        batch: layout.batch,
        instances: layout.instances,
        time,
        server: settings.server,
    })
}

/// One replica as a queueing model, from the measurement or from the time of a row that the user gave.
fn service(coefficients: &Coefficients, measurement: Option<&Measurement>, layout: Layout) -> Option<ReplicaQueue> {
    let servers = layout.instances;
    if let Some(Measurement { busy, layouts, .. }) = measurement {
        return Some(ReplicaQueue {
            servers,
            capacity: layouts.first()?.requests_per_second,
            mean_seconds: busy.mean_seconds,
            p99_seconds: busy.p99_seconds,
            variation: busy.variation,
        });
    }
    let seconds = coefficients.seconds_per_row? * layout.batch as f64;
    let capacity = servers as f64 / seconds;
    Some(ReplicaQueue { servers, capacity, mean_seconds: seconds, p99_seconds: seconds, variation: 0.0 })
}
