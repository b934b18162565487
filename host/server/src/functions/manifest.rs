//! The application: `spin.toml`, the Spin manifest (version 2), as far as this host supports it.
//!
//! What the host doesn't support is refused by name, so that no part of a manifest is silently ignored. Settings that
//! only this host knows stand in the table that the format has for them: `[component.<id>.tool.modelfn]`. Format:
//! <https://spinframework.dev/manifest-reference>.

mod static_response;
mod syntax;

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::de::DeserializeOwned;
use toml::Value;

pub use self::static_response::StaticResponse;
use self::syntax::{
    ApplicationSettings, ComponentTable, Files, HandlerSyntax, HttpTrigger, Manifest, Placement, RegistrySource,
    RouteSyntax, Source, ToolSettings, UrlSource,
};
use crate::functions::public_route::PublicRoute;
use crate::functions::route::Route;
use crate::units::{ByteSize, parse_duration};

/// A checked manifest.
#[derive(Debug)]
pub struct App {
    /// `application.name`.
    pub name: String,
    /// The routes and their handlers, in the order of the manifest.
    pub routes: Vec<(Route, Handler)>,
    /// The components by id.
    pub components: BTreeMap<String, Component>,
    /// Whether the server has pages of its own for its models, on paths that no route has.
    pub model_pages: bool,
}

/// What responds on a route.
#[derive(Clone, Debug, PartialEq)]
pub enum Handler {
    /// The component of this id.
    Component(String),
    /// A response that is always the same.
    Static(StaticResponse),
}

/// Where the code of a component comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum CodeSource {
    /// A file, resolved against the manifest's folder.
    File(PathBuf),
    /// What the program carries.
    Embedded(&'static [u8]),
}

impl fmt::Display for CodeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CodeSource::File(path) => path.display().fmt(f),
            CodeSource::Embedded(_) => f.write_str("what this program carries"),
        }
    }
}

/// A component of the manifest, or one that comes with a model.
#[derive(Debug)]
pub struct Component {
    /// Its code.
    pub source: CodeSource,
    /// Hex SHA-256 that a file must have.
    pub sha256: Option<String>,
    /// Its whole environment.
    pub environment: BTreeMap<String, String>,
    /// Folder on the host (resolved) and absolute path in the guest.
    pub files: Vec<(PathBuf, String)>,
    /// Registry models that it may load by name.
    pub models: Vec<String>,
    /// Whether it may load graphs from its own bytes.
    pub allow_load: bool,
    /// Its timeout, instead of the server's.
    pub timeout: Option<Duration>,
    /// Its limit of linear memory in bytes, instead of the server's.
    pub memory: Option<usize>,
    /// The most instances that it may have at the same time.
    pub max_instances: Option<NonZeroUsize>,
    /// The requests that need no API key.
    pub public: Vec<PublicRoute>,
}

impl App {
    /// The application of models without a manifest: `/v2`, and the pages of models.
    pub fn of_models() -> App {
        App { name: "models".to_owned(), routes: Vec::new(), components: BTreeMap::new(), model_pages: true }
    }

    /// Reads and checks the manifest at `path`.
    ///
    /// # Errors
    ///
    /// A message that names the key and what to do about it.
    pub fn load(path: &Path) -> Result<App> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("the manifest {} can't be read; name another with --app", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        App::parse(&text, folder).with_context(|| format!("in the manifest {}", path.display()))
    }

    /// Checks a manifest's text; relative paths are below `folder`.
    ///
    /// # Errors
    ///
    /// As [`App::load`].
    pub fn parse(text: &str, folder: &Path) -> Result<App> {
        let manifest: Manifest = toml::from_str(text)?;
        ensure!(
            manifest.spin_manifest_version == 2,
            "spin_manifest_version = {}: only version 2 is read",
            manifest.spin_manifest_version
        );
        refuse_rest("the manifest", &manifest.rest, &["variables"], &[])?;
        refuse_rest(
            "[application]",
            &manifest.application.rest,
            &["trigger"],
            &["version", "description", "authors", "targets"],
        )?;
        let ApplicationSettings { model_pages } = tool_settings(manifest.application.tool, "application.")?;
        refuse_rest("[trigger]", &manifest.trigger.rest, &["redis", "sqs", "mqtt", "cron", "command"], &[])?;
        let components = manifest
            .component
            .into_iter()
            .map(|(id, component)| {
                let checked = component.check(folder).with_context(|| format!("in [component.{id}]"))?;
                Ok((id, checked))
            })
            .collect::<Result<BTreeMap<_, _>>>()?;
        let routes =
            manifest.trigger.http.into_iter().map(|trigger| trigger.check(&components)).collect::<Result<Vec<_>>>()?;
        ensure!(model_pages || !routes.is_empty(), "no [[trigger.http]]: nothing would be served");
        for (n, (route, _)) in routes.iter().enumerate() {
            if let Some((other, _)) = routes[..n].iter().find(|(other, _)| other == route) {
                bail!(
                    "route \"{}\" stands there twice: it matches the same paths as \"{}\"; leave one out",
                    route.written(),
                    other.written()
                );
            }
        }
        Ok(App { name: manifest.application.name, routes, components, model_pages })
    }

    /// The models that the components name, each once.
    pub fn models(&self) -> Vec<String> {
        let mut models: Vec<_> =
            self.components.values().flat_map(|component| component.models.iter().cloned()).collect();
        models.sort();
        models.dedup();
        models
    }
}

impl HttpTrigger {
    fn check(self, components: &BTreeMap<String, Component>) -> Result<(Route, Handler)> {
        refuse_rest("[[trigger.http]]", &self.rest, &["components", "dependencies"], &["id"])?;
        if let Some(executor) = self.executor {
            ensure!(
                executor.r#type == "http" || executor.r#type == "spin",
                "executor type \"{}\" is not supported by modelfn; it has: http",
                executor.r#type
            );
        }
        let path = match self.route {
            RouteSyntax::Path(path) => path,
            RouteSyntax::Private => bail!(
                "route = {{ private = true }}: private routes are not supported by modelfn; components can't call each other here"
            ),
        };
        let route = path.parse().with_context(|| format!("route = \"{path}\""))?;
        let handler = match (self.component, self.static_response) {
            (None, Some(response)) | (Some(HandlerSyntax::Static(response)), None) => {
                response.check().with_context(|| format!("route \"{path}\": static_response"))?;
                Handler::Static(response)
            }
            (Some(HandlerSyntax::Inline), None) => bail!(
                "route \"{path}\": inline components are not supported by modelfn; give it a [component.<id>] of its own"
            ),
            (Some(HandlerSyntax::Id(id)), None) => {
                let have = || components.keys().cloned().collect::<Vec<_>>().join(", ");
                ensure!(components.contains_key(&id), "route \"{path}\": no component \"{id}\"; have: {}", have());
                Handler::Component(id)
            }
            (None, None) => bail!("route \"{path}\" has neither `component` nor `static_response`; write one"),
            (Some(_), Some(_)) => bail!("route \"{path}\" has both `component` and `static_response`; leave one out"),
        };
        Ok((route, handler))
    }
}

/// Keys of Spin's component table that this host does not support.
const UNSUPPORTED: &[&str] = &[
    "allowed_http_hosts",
    "allowed_outbound_hosts",
    "ai_models",
    "dependencies",
    "dependencies_inherit_configuration",
    "exclude_files",
    "key_value_stores",
    "profile",
    "sqlite_databases",
    "variables",
];

impl ComponentTable {
    fn check(self, folder: &Path) -> Result<Component> {
        refuse_rest("it", &self.rest, UNSUPPORTED, &["description", "build", "targets"])?;
        let tool: ToolSettings = tool_settings(self.tool, "")?;
        let (source, mut digest) = self.source.check(folder)?;
        if let Some(own) = &tool.digest {
            let own = sha256_of(own)?;
            ensure!(
                digest.as_ref().is_none_or(|other| *other == own),
                "two digests that differ: source and tool.modelfn"
            );
            digest = Some(own);
        }
        check_environment(&self.environment)?;
        let files = self.files.into_iter().map(|files| files.check(folder)).collect::<Result<Vec<_>>>()?;
        for (n, (_, destination)) in files.iter().enumerate() {
            ensure!(
                !files[..n].iter().any(|(_, other)| other == destination),
                "files: two folders have the destination \"{destination}\"; choose another for one"
            );
        }
        let memory = tool
            .memory
            .map(|size| size.parse::<ByteSize>().with_context(|| format!("memory = \"{size}\"")))
            .transpose()?;
        Ok(Component {
            source: CodeSource::File(source),
            sha256: digest,
            environment: self.environment,
            files,
            models: tool.models,
            allow_load: tool.allow_load,
            timeout: tool
                .timeout
                .map(|time| parse_duration(&time).with_context(|| format!("timeout = \"{time}\"")))
                .transpose()?,
            memory: memory.map(ByteSize::bytes),
            max_instances: tool.max_instances,
            public: tool.public.iter().map(|public| public.parse()).collect::<Result<_>>().context("public")?,
        })
    }
}

impl Source {
    fn check(self, folder: &Path) -> Result<(PathBuf, Option<String>)> {
        match self {
            Source::Path(path) => Ok((folder.join(path), None)),
            Source::Url(UrlSource { url, digest }) => match url.strip_prefix("file://") {
                Some(path) => Ok((folder.join(path), Some(sha256_of(&digest)?))),
                None => bail!(
                    "source url \"{url}\": modelfn fetches nothing; download it and write source = \"<file>\", with digest in tool.modelfn"
                ),
            },
            Source::Registry(RegistrySource { registry, package, version }) => {
                let registry =
                    registry.map_or("the default registry".to_owned(), |name| format!("registry \"{name}\""));
                bail!(
                    "source package \"{package}@{version}\" of {registry}: modelfn fetches nothing; download it (`wkg get`) and write source = \"<file>\""
                )
            }
        }
    }
}

impl Files {
    fn check(self, folder: &Path) -> Result<(PathBuf, String)> {
        match self {
            Files::Pattern(pattern) => bail!(
                "files = [\"{pattern}\"]: patterns are not supported by modelfn; write {{ source = \"<folder>\", destination = \"/<path>\" }}"
            ),
            Files::Placement(Placement { source, destination }) => {
                let destination = destination_of(&destination).with_context(|| {
                    format!("files: destination \"{destination}\" must be an absolute path, without `.` and `..`")
                })?;
                let path = folder.join(&source);
                ensure!(path.is_dir(), "files: source \"{source}\" is not a folder; modelfn mounts whole folders");
                Ok((path, destination))
            }
        }
    }
}

/// The path of a mounted folder as a guest sees it, if it is one that every guest reads in the same way.
fn destination_of(path: &str) -> Option<String> {
    let path = path.strip_prefix('/').filter(|path| !path.contains('\0'))?;
    let parts: Vec<_> = path.trim_end_matches('/').split('/').collect();
    let is_root = parts == [""];
    (is_root || parts.iter().all(|part| !matches!(*part, "" | "." | ".."))).then(|| format!("/{}", parts.join("/")))
}

/// A name with `=` would be another variable's name and value.
fn check_environment(environment: &BTreeMap<String, String>) -> Result<()> {
    for (name, value) in environment {
        ensure!(
            !name.is_empty() && !name.contains(['=', '\0']),
            "environment: {name:?} is no name of a variable; it may not be empty or have `=` or NUL"
        );
        ensure!(
            !value.contains('\0'),
            "environment: the value of {name:?} has NUL, which no variable can; leave it out"
        );
    }
    Ok(())
}

/// What the table `tool.modelfn` says, which stands in `place`.
fn tool_settings<T: Default + DeserializeOwned>(mut tool: BTreeMap<String, Value>, place: &str) -> Result<T> {
    let settings = tool.remove("modelfn").map_or_else(|| Ok(T::default()), Value::try_into);
    settings.with_context(|| format!("in {place}tool.modelfn"))
}

fn sha256_of(digest: &str) -> Result<String> {
    match digest.strip_prefix("sha256:") {
        Some(hex) if hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()) => Ok(hex.to_ascii_lowercase()),
        _ => bail!("digest \"{digest}\" must be \"sha256:\" and 64 hex digits"),
    }
}

/// Keys that are not read: `unsupported` ones are refused unless they ask for nothing, `harmless` ones tell
/// other programs something, and any other is a mistake.
fn refuse_rest(place: &str, rest: &BTreeMap<String, Value>, unsupported: &[&str], harmless: &[&str]) -> Result<()> {
    for (key, value) in rest {
        match key.as_str() {
            key if harmless.contains(&key) => {}
            key if unsupported.contains(&key) => {
                ensure!(
                    asks_for_nothing(value),
                    "{place} has `{key}`, which modelfn does not support; remove it, or use a host that does"
                );
            }
            key => bail!("{place} has `{key}`, which the manifest format does not know"),
        }
    }
    Ok(())
}

fn asks_for_nothing(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Table(table) => table.is_empty(),
        Value::Boolean(on) => !on,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "spin_manifest_version = 2\n[application]\nname = \"a\"\n";
    const HTTP: &str = "[[trigger.http]]\nroute = \"/...\"\ncomponent = \"c\"\n";

    fn parse(rest: &str) -> Result<App> {
        App::parse(&format!("{HEAD}{rest}"), Path::new("/srv"))
    }

    fn error(rest: &str) -> String {
        format!("{:#}", parse(rest).unwrap_err())
    }

    #[test]
    fn a_component_gets_what_it_names_and_nothing_else() {
        let app = parse(&format!(
            "{HTTP}[component.c]\nsource = \"c.wasm\"\nallowed_outbound_hosts = []\nenvironment = {{ A = \"1\" }}\n\
             files = [{{ source = \"/tmp\", destination = \"/model\" }}]\n[component.c.build]\ncommand = \"make\"\n\
             [component.c.tool.modelfn]\nmodels = [\"m\"]\ntimeout = \"2s\"\nmemory = \"64MiB\"\nmax_instances = 3\npublic = [\"GET /\"]\n[component.c.tool.other]\nx = 1\n"
        ))
        .unwrap();
        let component = &app.components["c"];
        assert_eq!(component.source, CodeSource::File("/srv/c.wasm".into()));
        assert_eq!(component.files, [(PathBuf::from("/tmp"), "/model".to_owned())]);
        assert_eq!((component.timeout, component.memory), (Some(Duration::from_secs(2)), Some(64 << 20)));
        assert_eq!(component.max_instances, NonZeroUsize::new(3));
        assert!(!component.allow_load);
        assert_eq!(component.public, ["GET /".parse().unwrap()]);
        assert_eq!(app.models(), ["m"]);
    }

    #[test]
    fn a_digest_is_taken_from_both_places() {
        let hex = "AB".repeat(32);
        for source in [
            format!("source = \"c.wasm\"\n[component.c.tool.modelfn]\ndigest = \"sha256:{hex}\""),
            format!("source = {{ url = \"file:///srv/c.wasm\", digest = \"sha256:{hex}\" }}"),
        ] {
            let app = parse(&format!("{HTTP}[component.c]\n{source}")).unwrap();
            assert_eq!(app.components["c"].sha256, Some("ab".repeat(32)));
            assert_eq!(app.components["c"].source, CodeSource::File("/srv/c.wasm".into()));
        }
    }

    /// The manifests `spin.toml` in `folder` and below, but not of what was built.
    fn manifests(folder: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap_or_default().to_owned();
            if path.is_dir() && name != "target" && name != ".git" {
                found.extend(manifests(&path));
            } else if name == "spin.toml" {
                found.push(path);
            }
        }
        found
    }

    #[test]
    fn every_manifest_that_is_shipped_is_read() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let shipped = manifests(&root);
        assert!(shipped.len() >= 3, "{shipped:?}");
        for path in shipped {
            let text = std::fs::read_to_string(&path).unwrap();
            // What an image has in its root is in the repository here.
            let read = if path.starts_with(root.join("k8s")) {
                App::parse(&text.replace("\"/models/", "\"models/"), &root)
            } else {
                App::parse(&text, path.parent().unwrap())
            };
            assert!(read.is_ok(), "{}: {:#}", path.display(), read.unwrap_err());
        }
    }

    #[test]
    fn a_static_response_needs_no_component() {
        let response = "static_response = { status_code = 404, body = \"no\" }";
        // As Spin has it, and within `component`.
        for handler in [response.to_owned(), format!("component = {{ {response} }}")] {
            let app = parse(&format!("[[trigger.http]]\nroute = \"/x\"\n{handler}\n")).unwrap();
            let Handler::Static(response) = &app.routes[0].1 else { panic!("{:?}", app.routes) };
            assert_eq!((response.status_code, response.body.as_str()), (404, "no"));
        }
    }

    #[test]
    fn destinations_are_plain_paths() {
        for (path, expected) in [("/", "/"), ("/a", "/a"), ("/a/b/", "/a/b"), ("//", "/"), ("/..a", "/..a")] {
            assert_eq!(destination_of(path).as_deref(), Some(expected), "{path}");
        }
        for path in ["", "a", "./a", "/a//b", "/.", "/../a", "/a/..", "/a\0"] {
            assert_eq!(destination_of(path), None, "{path}");
        }
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        let component = format!("{HTTP}[component.c]\nsource = \"c.wasm\"\n");
        for (manifest, says) in [
            (format!("{component}key_value_stores = [\"default\"]"), "`key_value_stores`"),
            (format!("{component}allowed_outbound_hosts = [\"https://a\"]"), "`allowed_outbound_hosts`"),
            (format!("{component}ai_models = [\"llama\"]"), "`ai_models`"),
            (format!("{component}sauce = 1"), "`sauce`, which the manifest format does not know"),
            (format!("{component}files = [\"*.txt\"]"), "patterns are not supported"),
            (format!("{component}files = [{{ source = \"nowhere\", destination = \"/x\" }}]"), "is not a folder"),
            (format!("{component}[component.c.tool.modelfn]\nmodel = \"m\""), "unknown field `model`"),
            (format!("{component}[component.c.tool.modelfn]\nmemory = \"lots\""), "memory = \"lots\""),
            (format!("{component}[component.c.tool.modelfn]\nmax_instances = 0"), "nonzero"),
            (format!("{component}[component.c.tool.modelfn]\npublic = [\"/\"]"), "is no method and path"),
            (
                format!("{HTTP}[component.c]\nsource = {{ url = \"https://a/c.wasm\", digest = \"sha256:00\" }}"),
                "fetches nothing",
            ),
            (
                format!(
                    "{HTTP}[component.c]\nsource = {{ registry = \"ghcr.io\", package = \"a:b\", version = \"1.0.0\" }}"
                ),
                "package \"a:b@1.0.0\" of registry \"ghcr.io\"",
            ),
            (
                format!("{HTTP}[component.c]\nsource = {{ package = \"a:b\", version = \"1.0.0\" }}"),
                "package \"a:b@1.0.0\" of the default registry",
            ),
            (format!("{HTTP}[component.c]\nsource = {{ package = \"a:b\" }}"), "source: missing field `version`"),
            (format!("{HTTP}[component.c]\nsource = {{ url = \"file:///c\" }}"), "source: missing field `digest`"),
            (format!("{HTTP}[component.c]\nsource = {{ path = \"c\" }}"), "write source = \"<file>\""),
            (format!("{component}files = [{{ source = \"/\" }}]"), "files: missing field `destination`"),
            (
                format!("{component}files = [{{ source = \"/\", destination = \"/a/../b\" }}]"),
                "must be an absolute path",
            ),
            (
                format!(
                    "{component}files = [{{ source = \"/\", destination = \"/a\" }}, {{ source = \"/tmp\", destination = \"/a\" }}]"
                ),
                "two folders have the destination \"/a\"",
            ),
            (format!("{component}environment = {{ \"A=B\" = \"c\" }}"), "\"A=B\" is no name of a variable"),
            (format!("{component}environment = {{ A = \"\\u0000\" }}"), "the value of \"A\" has NUL"),
            ("[[trigger.http]]\nroute = 1\ncomponent = \"c\"\n".to_owned(), "1 is no route"),
            ("[[trigger.http]]\nroute = \"/x\"\ncomponent = 1\n".to_owned(), "1 is no component"),
            ("[[trigger.http]]\nroute = \"/x\"\n".to_owned(), "neither `component` nor `static_response`"),
            (
                "[[trigger.http]]\nroute = \"/x\"\ncomponent = \"c\"\nstatic_response = {}\n".to_owned(),
                "both `component` and `static_response`",
            ),
            (
                "[[trigger.http]]\nroute = \"/x\"\ncomponent = { static_response = { status = 404 } }\n".to_owned(),
                "static_response: unknown field `status`",
            ),
            (
                "[[trigger.http]]\nroute = \"/x\"\ncomponent = { static_response = { status_code = 1000 } }".to_owned(),
                "route \"/x\": static_response: status_code = 1000",
            ),
            (format!("{HTTP}[component.d]\nsource = \"c.wasm\""), "no component \"c\"; have: d"),
            (format!("{component}{HTTP}"), "stands there twice"),
            (
                format!(
                    "{component}[[trigger.http]]\nroute = \"/:a\"\ncomponent = \"c\"\n[[trigger.http]]\nroute = \"/:b/\"\ncomponent = \"c\"\n"
                ),
                "route \"/:b/\" stands there twice: it matches the same paths as \"/:a\"",
            ),
            ("[[trigger.http]]\nroute = { private = true }\ncomponent = \"c\"\n".to_owned(), "private routes"),
            ("[[trigger.redis]]\nchannel = \"x\"\n".to_owned(), "`redis`"),
            ("[variables]\nx = { default = \"1\" }\n".to_owned(), "`variables`"),
            (String::new(), "nothing would be served"),
            ("[application.tool.modelfn]\nmodel_page = true".to_owned(), "unknown field `model_page`"),
        ] {
            let error = error(&manifest);
            assert!(error.contains(says), "{error:?} does not say {says:?}");
        }
        let error = format!(
            "{:#}",
            App::parse("spin_manifest_version = 1\napplication.name = \"a\"", Path::new(".")).unwrap_err()
        );
        assert!(error.contains("only version 2"), "{error}");
    }
}
