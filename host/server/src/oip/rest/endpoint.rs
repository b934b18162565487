//! The protocol's paths.

use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;

use crate::problem::Problem;

/// The path that all endpoints are below.
pub const ROOT: &str = "/v2";

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words are the protocol's")]
pub enum Endpoint<'p> {
    Server,
    Live,
    Ready,
    Models,
    Index,
    /// Of all models. A model that is called "stats" has its metadata below its version.
    AllStatistics,
    Model(Named<'p>),
    ModelReady(Named<'p>),
    Statistics(Named<'p>),
    Infer(Named<'p>),
}

/// A model as a path names it.
#[derive(Debug, PartialEq, Eq)]
pub struct Named<'p> {
    /// Its name, decoded.
    pub model: Cow<'p, str>,
    /// Its version, where the path has one.
    pub version: Option<u64>,
}

/// Whether this path is the protocol's.
pub fn has(path: &str) -> bool {
    path.strip_prefix(ROOT).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a request for this path needs no key: load balancers that probe have none.
pub(crate) fn is_public(path: &str) -> bool {
    matches!(Endpoint::parse(path), Ok(Endpoint::Live | Endpoint::Ready))
}

impl<'p> Endpoint<'p> {
    /// Reads a path, which is still percent-encoded: a name may have any characters.
    ///
    /// # Errors
    ///
    /// The protocol has no such path, a name in it is not UTF-8, or a version is no number above zero.
    pub fn parse(path: &'p str) -> Result<Self, Problem> {
        let none = || Problem::NoEndpoint(path.to_owned());
        let rest = path.strip_prefix(ROOT).ok_or_else(none)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let segments: Vec<_> = rest.split('/').skip(1).take(8).collect();
        let (name, version, rest) = match segments.as_slice() {
            [] => return Ok(Endpoint::Server),
            ["health", "live"] => return Ok(Endpoint::Live),
            ["health", "ready"] => return Ok(Endpoint::Ready),
            ["models"] => return Ok(Endpoint::Models),
            ["models", "stats"] => return Ok(Endpoint::AllStatistics),
            ["repository", "index"] => return Ok(Endpoint::Index),
            ["models", name, "versions", version, rest @ ..] => (name, Some(version), rest),
            ["models", name, rest @ ..] => (name, None, rest),
            _ => return Err(none()),
        };
        let of: fn(Named<'p>) -> Self = match rest {
            [] => Endpoint::Model,
            ["ready"] => Endpoint::ModelReady,
            ["stats"] => Endpoint::Statistics,
            ["infer"] => Endpoint::Infer,
            _ => return Err(none()),
        };
        Ok(of(Named { model: decode(name)?, version: version.map(|version| number(version)).transpose()? }))
    }

    /// The path with names left out, for traces.
    pub fn pattern(&self) -> &'static str {
        let versioned = |named: &Named| named.version.is_some();
        match self {
            Endpoint::Server => "/v2",
            Endpoint::Live => "/v2/health/live",
            Endpoint::Ready => "/v2/health/ready",
            Endpoint::Models => "/v2/models",
            Endpoint::Index => "/v2/repository/index",
            Endpoint::AllStatistics => "/v2/models/stats",
            Endpoint::Model(named) if versioned(named) => "/v2/models/{model}/versions/{version}",
            Endpoint::Model(_) => "/v2/models/{model}",
            Endpoint::ModelReady(named) if versioned(named) => "/v2/models/{model}/versions/{version}/ready",
            Endpoint::ModelReady(_) => "/v2/models/{model}/ready",
            Endpoint::Statistics(named) if versioned(named) => "/v2/models/{model}/versions/{version}/stats",
            Endpoint::Statistics(_) => "/v2/models/{model}/stats",
            Endpoint::Infer(named) if versioned(named) => "/v2/models/{model}/versions/{version}/infer",
            Endpoint::Infer(_) => "/v2/models/{model}/infer",
        }
    }

    /// Checks that a request may have this method.
    ///
    /// # Errors
    ///
    /// [`Problem::Method`].
    pub fn check_method(&self, method: &Method) -> Result<(), Problem> {
        match (self, method) {
            (Endpoint::Infer(_) | Endpoint::Index, &Method::POST) => Ok(()),
            (Endpoint::Infer(_) | Endpoint::Index, _) => Err(Problem::Method("POST")),
            (_, &Method::GET | &Method::HEAD) => Ok(()),
            _ => Err(Problem::Method("GET, HEAD")),
        }
    }
}

/// Decodes a name of a path.
pub(crate) fn decode(segment: &str) -> Result<Cow<'_, str>, Problem> {
    let decoded = percent_decode_str(segment).decode_utf8();
    decoded.map_err(|_| Problem::Invalid(format!("{segment} in the path is not UTF-8, percent-encoded")))
}

fn number(version: &str) -> Result<u64, Problem> {
    let number = version.parse().ok().filter(|&number| number > 0);
    number.ok_or_else(|| Problem::Invalid("a model's version is a number above zero".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(model: &str, version: Option<u64>) -> Named<'_> {
        Named { model: model.into(), version }
    }

    #[test]
    fn paths_are_the_protocols_and_no_others() {
        for (path, expected) in [
            ("/v2", Endpoint::Server),
            ("/v2/", Endpoint::Server),
            ("/v2/models/stats", Endpoint::AllStatistics),
            ("/v2/models/m", Endpoint::Model(named("m", None))),
            ("/v2/models/m/versions/1", Endpoint::Model(named("m", Some(1)))),
            ("/v2/models/m/versions/20/ready", Endpoint::ModelReady(named("m", Some(20)))),
            ("/v2/models/ready/ready", Endpoint::ModelReady(named("ready", None))),
            ("/v2/models/stats/versions/1", Endpoint::Model(named("stats", Some(1)))),
            ("/v2/models/m/versions/1/stats", Endpoint::Statistics(named("m", Some(1)))),
            ("/v2/models/m/infer", Endpoint::Infer(named("m", None))),
            ("/v2/models/a%20b%2fc%C3%A9/infer", Endpoint::Infer(named("a b/cé", None))),
            ("/v2/models/100%/infer", Endpoint::Infer(named("100%", None))),
        ] {
            assert_eq!(Endpoint::parse(path).unwrap(), expected, "{path}");
            let pattern = expected.pattern().replace("{model}", "").replace("{version}", "");
            let kept: Vec<_> = pattern.split('/').filter(|word| !word.is_empty()).collect();
            assert!(kept.iter().all(|word| path.split('/').any(|segment| segment == *word)), "{path}: {pattern}");
        }
        for path in ["/v2/models/m/versions", "/v2//models", "/v2/x", "/v2/models/m/infer/x", "/v2/models/m%2Finfer/x"]
        {
            assert!(matches!(Endpoint::parse(path), Err(Problem::NoEndpoint(_))), "{path}");
        }
        for path in ["/v2/models/%ff", "/v2/models/m/versions/0", "/v2/models/m/versions/-1/infer"] {
            assert!(matches!(Endpoint::parse(path), Err(Problem::Invalid(_))), "{path}");
        }
        assert!(has("/v2") && has("/v2/x") && !has("/v2x") && !has("/v1/v2"));
    }
}
