//! The manifest as it is written. What a key means, and whether it is supported, is checked by `manifest.rs`: every table
//! keeps the keys that it doesn't know in `rest`.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Value;

use super::StaticResponse;

#[derive(Deserialize)]
pub(crate) struct Manifest {
    pub(crate) spin_manifest_version: i64,
    pub(crate) application: Application,
    #[serde(default)]
    pub(crate) trigger: Triggers,
    #[serde(default)]
    pub(crate) component: BTreeMap<String, ComponentTable>,
    #[serde(flatten)]
    pub(crate) rest: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
pub(crate) struct Application {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) tool: BTreeMap<String, Value>,
    #[serde(flatten)]
    pub(crate) rest: BTreeMap<String, Value>,
}

#[derive(Default, Deserialize)]
pub(crate) struct Triggers {
    #[serde(default)]
    pub(crate) http: Vec<HttpTrigger>,
    #[serde(flatten)]
    pub(crate) rest: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
pub(crate) struct HttpTrigger {
    pub(crate) route: RouteSyntax,
    pub(crate) component: HandlerSyntax,
    pub(crate) executor: Option<Executor>,
    #[serde(flatten)]
    pub(crate) rest: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub(crate) enum RouteSyntax {
    Path(String),
    Private { private: bool },
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum HandlerSyntax {
    Id(String),
    Static { static_response: StaticResponse },
    Inline(IgnoredAny),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Executor {
    pub(crate) r#type: String,
}

#[derive(Deserialize)]
pub(crate) struct ComponentTable {
    pub(crate) source: Source,
    #[serde(default)]
    pub(crate) environment: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) files: Vec<Files>,
    #[serde(default)]
    pub(crate) tool: BTreeMap<String, Value>,
    #[serde(flatten)]
    pub(crate) rest: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub(crate) enum Source {
    Path(String),
    Url { url: String, digest: String },
    Registry { registry: String, package: String, version: String },
}

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub(crate) enum Files {
    Pattern(String),
    Placement { source: String, destination: String },
}

/// `[application.tool.modelfn]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ApplicationSettings {
    pub(crate) model_pages: bool,
}

/// `[component.<id>.tool.modelfn]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ToolSettings {
    pub(crate) models: Vec<String>,
    pub(crate) allow_load: bool,
    pub(crate) timeout: Option<String>,
    pub(crate) memory: Option<String>,
    pub(crate) max_instances: Option<NonZeroUsize>,
    pub(crate) digest: Option<String>,
    pub(crate) public: Vec<String>,
}
