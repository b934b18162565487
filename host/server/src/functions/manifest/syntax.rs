//! The manifest as it is written. What a key means, and whether it is supported, is checked by `manifest.rs`: every table
//! keeps the keys that it doesn't know in `rest`.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use serde::Deserialize;
use serde::de::DeserializeOwned;
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
    pub(crate) component: Option<HandlerSyntax>,
    pub(crate) static_response: Option<StaticResponse>,
    pub(crate) executor: Option<Executor>,
    #[serde(flatten)]
    pub(crate) rest: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(try_from = "Value")]
pub(crate) enum RouteSyntax {
    Path(String),
    Private,
}

impl TryFrom<Value> for RouteSyntax {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::String(path) => Ok(RouteSyntax::Path(path)),
            Value::Table(table) if table.get("private") == Some(&Value::Boolean(true)) => Ok(RouteSyntax::Private),
            other => Err(format!("{other} is no route; write \"/path\", \"/path/:name\" or \"/path/...\"")),
        }
    }
}

#[derive(Deserialize)]
#[serde(try_from = "Value")]
pub(crate) enum HandlerSyntax {
    Id(String),
    Static(StaticResponse),
    Inline,
}

impl TryFrom<Value> for HandlerSyntax {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::String(id) => Ok(HandlerSyntax::Id(id)),
            Value::Table(mut table) => match table.remove("static_response") {
                Some(response) if table.is_empty() => read("static_response", response).map(HandlerSyntax::Static),
                _ => Ok(HandlerSyntax::Inline),
            },
            other => Err(format!("{other} is no component; write the <id> of a [component.<id>]")),
        }
    }
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
#[serde(try_from = "Value")]
pub(crate) enum Source {
    Path(String),
    Url(UrlSource),
    Registry(RegistrySource),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UrlSource {
    pub(crate) url: String,
    pub(crate) digest: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegistrySource {
    pub(crate) registry: Option<String>,
    pub(crate) package: String,
    pub(crate) version: String,
}

impl TryFrom<Value> for Source {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let has = |key| value.as_table().is_some_and(|table| table.contains_key(key));
        match &value {
            Value::String(path) => Ok(Source::Path(path.clone())),
            _ if has("url") => read("source", value).map(Source::Url),
            _ if has("package") => read("source", value).map(Source::Registry),
            _ => Err(format!("source = {value} is no component's file; write source = \"<file>\"")),
        }
    }
}

#[derive(Deserialize)]
#[serde(try_from = "Value")]
pub(crate) enum Files {
    Pattern(String),
    Placement(Placement),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Placement {
    pub(crate) source: String,
    pub(crate) destination: String,
}

impl TryFrom<Value> for Files {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::String(pattern) => Ok(Files::Pattern(pattern)),
            placement => read("files", placement).map(Files::Placement),
        }
    }
}

/// Reads one of the forms that a value may have. An untagged enum would not say what is wrong with it.
fn read<T: DeserializeOwned>(key: &str, value: Value) -> Result<T, String> {
    value.try_into().map_err(|error| format!("{key}: {}", error.message()))
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
