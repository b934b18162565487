//! `modelfn plan`: from a model to the CPU, memory and replicas that it needs.
//!
//! The model is measured where it will be served: by this program's own server, in processes of their own, under load.
//! Coefficients are fitted to what was measured ([`coefficients`]), the formulas ([`formula`], [`queue`]) give the
//! numbers, and each number can be printed with where it comes from. Nothing here knows an engine, a socket of the
//! server or a sandbox: of the other layers only `nn` is used, for cards and weights.

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

mod table;

pub mod patch;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use self::coefficients::Coefficients;
use self::measure::{Measurement, Subject, Watch};
use self::queue::{Demand, Fleet, Service, Unreachable};
use self::resources::{Resources, Scaling};
use self::settings::{Method, PlanSettings};
use modelfn_nn::backend::Backend;
use modelfn_nn::files::ModelFiles;
use modelfn_nn::weights::Weights;

/// Everything that `modelfn plan` says.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The model's name.
    pub model: String,
    /// Its weights.
    pub size: Size,
    /// How it's to be served.
    pub layout: Layout,
    /// What the formulas are computed with, and where that comes from.
    pub coefficients: Coefficients,
    /// What was measured; `None` of a static plan.
    pub measurement: Option<Measurement>,
    /// One replica at work, where the time of a request is known.
    pub service: Option<Service>,
    /// Bytes that a replica has resident at its peak.
    pub memory_bytes: f64,
    /// Cores that a replica keeps busy when it does all it can.
    pub cores: Option<f64>,
    /// Requests a second that were asked for.
    pub rate: Option<f64>,
    /// Replicas for that rate.
    pub fleet: Option<Fleet>,
    /// What to tell Kubernetes.
    pub resources: Resources,
    /// Sentences.
    pub advice: Vec<String>,
}

/// How a replica serves the model.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Layout {
    /// Computations at the same time, which share the weights.
    pub instances: usize,
    /// Threads of one computation.
    pub threads: usize,
    /// Rows of a request.
    pub batch: usize,
    /// How busy the instances may be.
    pub utilisation: f64,
}

/// How large a model is.
#[derive(Clone, Debug, Serialize)]
pub struct Size {
    /// Numbers in its weights.
    pub parameters: u64,
    /// Bytes of them as they are.
    pub bytes: u64,
    /// Bytes if its floating-point weights were FP16.
    pub bytes_as_fp16: u64,
    /// Bytes if they were INT8.
    pub bytes_as_int8: u64,
    /// Share of weights that are zero.
    pub sparsity: f64,
    /// By element type.
    pub weights: Weights,
}

impl Size {
    fn of(weights: Weights) -> Size {
        Size {
            parameters: weights.elements(),
            bytes: weights.bytes(),
            bytes_as_fp16: weights.bytes_with_floats_of(16),
            bytes_as_int8: weights.bytes_with_floats_of(8),
            sparsity: weights.zeros() as f64 / weights.elements().max(1) as f64,
            weights,
        }
    }
}

/// Plans a model: reads it, measures it unless the plan is to be static, and computes.
///
/// # Errors
///
/// The model can't be read or served, or no number of replicas does what is asked. Tells the remedy.
pub fn plan(settings: &PlanSettings, backends: &[Box<dyn Backend>], watch: &Watch<'_>) -> Result<Plan> {
    let files = ModelFiles::read(&settings.models, &settings.model)?;
    let size = Size::of(files.weights(backends)?);
    let serving = &files.card.serving;
    let layout = Layout {
        instances: settings.instances.or(serving.instances).unwrap_or(settings.default_instances).get(),
        threads: serving.threads.get(),
        batch: settings.batch.get(),
        utilisation: settings.utilisation,
    };
    let (engine, targets) = (files.card.graph.engine, advice::other_targets(&files, backends));
    let (coefficients, measurement) = match settings.method {
        Method::Estimate(time) => {
            let missing = "--rate needs to know how long a row takes: give --time, or leave --static out to measure it";
            ensure!(settings.rate.is_none() || time.is_some(), missing);
            (Coefficients::estimated(time.map(|time| time.as_secs_f64()), size.bytes), None)
        }
        Method::Measure(time) => {
            let measurement = subject(settings, files, layout, time)?.measure(watch)?;
            (Coefficients::fitted(&measurement, (size.bytes, layout)), Some(measurement))
        }
    };
    let service = service(&coefficients, measurement.as_ref(), layout);
    let fleets = service.zip(settings.rate).map(|(service, rate)| fleets(service, demand(settings, rate))).transpose();
    let fleets = fleets.with_context(|| {
        measurement.as_ref().and_then(advice::disturbance).unwrap_or_else(|| settings.model.clone())
    })?;
    let memory_bytes = coefficients.memory(size.bytes, layout.instances);
    let cores = service.and_then(|service| coefficients.cores(layout.batch, service.capacity));
    let needs = resources::Needs { cores, memory_bytes, crowd_bytes: measurement.as_ref().map(|m| m.crowd_peak_bytes) };
    let resources = Resources::of(&needs, fleets.map(|(_, scaling)| scaling));
    let advice = advice::advise(&size, measurement.as_ref(), (engine, &targets));
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

/// Replicas for `demand`, and how they are to be scaled.
fn fleets(service: Service, demand: Demand) -> Result<(Fleet, Scaling), Unreachable> {
    let usual = queue::fleet(service, demand)?;
    let highest = queue::fleet(service, Demand { rate: demand.rate * resources::BURST, ..demand })?;
    let utilisation = queue::highest_rate(service, demand)? / service.capacity;
    Ok((usual, Scaling::of(usual, highest, utilisation)))
}

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
        models: absolute(&settings.models)?,
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

/// What is known of a replica at work: measured, or from the time of a row that the user gave.
fn service(coefficients: &Coefficients, measurement: Option<&Measurement>, layout: Layout) -> Option<Service> {
    let servers = layout.instances;
    if let Some(Measurement { busy, layouts, .. }) = measurement {
        return Some(Service {
            servers,
            capacity: layouts.first()?.requests_per_second,
            mean_seconds: busy.mean_seconds,
            p99_seconds: busy.p99_seconds,
            variation: busy.variation,
        });
    }
    let seconds = coefficients.seconds_per_row? * layout.batch as f64;
    let capacity = servers as f64 / seconds;
    Some(Service { servers, capacity, mean_seconds: seconds, p99_seconds: seconds, variation: 0.0 })
}
