//! The manifest as it is written. What a key means, and whether it is supported, is `app.rs`'s affair: every
//! table keeps the keys that it doesn't know in `rest`.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Value;

use super::StaticResponse;

#[derive(Deserialize)]
pub(super) struct Manifest {
    pub(super) spin_manifest_version: i64,
    pub(super) application: Application,
    #[serde(default)]
    pub(super) trigger: Triggers,
    #[serde(default)]
    pub(super) component: BTreeMap<String, ComponentTable>,
    #[serde(flatten)]
    pub(super) rest: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
pub(super) struct Application {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) rest: BTreeMap<String, Value>,
}

#[derive(Default, Deserialize)]
pub(super) struct Triggers {
    #[serde(default)]
    pub(super) http: Vec<HttpTrigger>,
    #[serde(flatten)]
    pub(super) rest: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
pub(super) struct HttpTrigger {
    pub(super) route: RouteSyntax,
    pub(super) component: HandlerSyntax,
    pub(super) executor: Option<Executor>,
    #[serde(flatten)]
    pub(super) rest: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub(super) enum RouteSyntax {
    Path(String),
    Private { private: bool },
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum HandlerSyntax {
    Id(String),
    Static { static_response: StaticResponse },
    Inline(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Executor {
    pub(super) r#type: String,
}

#[derive(Deserialize)]
pub(super) struct ComponentTable {
    pub(super) source: Source,
    #[serde(default)]
    pub(super) environment: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) files: Vec<Files>,
    #[serde(default)]
    pub(super) tool: BTreeMap<String, Value>,
    #[serde(flatten)]
    pub(super) rest: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub(super) enum Source {
    Path(String),
    Url { url: String, digest: String },
    Registry { registry: String, package: String },
}

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub(super) enum Files {
    Pattern(String),
    Placement { source: String, destination: String },
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ToolSettings {
    pub(super) models: Vec<String>,
    pub(super) allow_load: bool,
    pub(super) timeout: Option<String>,
    pub(super) memory: Option<String>,
    pub(super) digest: Option<String>,
    pub(super) public: Vec<String>,
}
