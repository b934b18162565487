//! Routes of the manifest: literal segments, `:name` for one segment, and a trailing `/...` for any rest.
//!
//! Of the routes that match a path the most specific one is taken, as in Spin: a literal segment before a name,
//! a name before the rest.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use http::header::HeaderName;

/// A parsed route. Two routes are equal if they match the same paths, whatever their names are called.
#[derive(Clone, Debug)]
pub struct Route {
    /// The route as the manifest has it.
    written: String,
    segments: Vec<Segment>,
    rest: bool,
}

#[derive(Clone, Debug)]
enum Segment {
    Literal(String),
    Name { name: String, header: HeaderName },
}

impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        self.rest == other.rest && self.segments == other.segments
    }
}

impl Eq for Route {}

impl PartialEq for Segment {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Segment::Literal(one), Segment::Literal(other)) => one == other,
            (Segment::Name { .. }, Segment::Name { .. }) => true,
            _ => false,
        }
    }
}

impl Eq for Segment {}

/// How a route matched a path.
#[derive(Debug, PartialEq, Eq)]
pub struct Match<'p> {
    /// The part of the path that `...` stands for, with its leading slash; empty without `...` or without such a part.
    pub rest: &'p str,
    /// The segment that each `:name` stands for, by the header that tells a guest.
    pub names: Vec<(HeaderName, &'p str)>,
}

impl Route {
    /// The route as the manifest has it: with a slash at its end, for example.
    pub fn written(&self) -> &str {
        &self.written
    }

    /// Matches an absolute path without its query.
    pub fn matches<'p>(&self, path: &'p str) -> Option<Match<'p>> {
        let mut left = path;
        let mut names = Vec::new();
        for segment in &self.segments {
            let (part, after) = split_first(left)?;
            match segment {
                Segment::Literal(literal) if literal == part => {}
                Segment::Name { header, .. } if !part.is_empty() => names.push((header.clone(), part)),
                _ => return None,
            }
            left = after;
        }
        let rest = if self.rest { left } else { "" };
        (self.rest || left.is_empty() || left == "/").then_some(Match { rest, names })
    }

    /// Sorts before the routes that are less specific: segment by segment, a literal before a name, and the end of
    /// the route or a name before the rest.
    pub fn specificity(&self) -> impl Ord + use<> {
        let kind = |segment: &Segment| u8::from(matches!(segment, Segment::Name { .. }));
        self.segments.iter().map(kind).chain(self.rest.then_some(2)).collect::<Vec<_>>()
    }
}

/// Splits `/a/b` into `a` and `/b`.
fn split_first(path: &str) -> Option<(&str, &str)> {
    let path = path.strip_prefix('/')?;
    let end = path.find('/').unwrap_or(path.len());
    Some(path.split_at(end))
}

impl FromStr for Route {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        anyhow::ensure!(text.starts_with('/'), "a route starts with a slash");
        let (path, rest) = match text.strip_suffix("/...") {
            Some(path) => (path, true),
            None => (text.strip_suffix('/').unwrap_or(text), false),
        };
        let segments = path.split('/').skip(1).map(segment).collect::<Result<Vec<_>, _>>()?;
        let mut headers = BTreeSet::new();
        for segment in &segments {
            if let Segment::Name { name, header } = segment {
                anyhow::ensure!(
                    headers.insert(header.as_str()),
                    "`:{name}` stands there twice; functions could not tell the two apart, so choose another name"
                );
            }
        }
        Ok(Route { written: text.to_owned(), segments, rest })
    }
}

fn segment(text: &str) -> anyhow::Result<Segment> {
    anyhow::ensure!(
        !text.is_empty() && !text.contains("..."),
        "segments are not empty, and `...` stands only at the end"
    );
    anyhow::ensure!(
        !text.contains(|c: char| c.is_control() || " ?#".contains(c)),
        "a path has no spaces, `?` and `#`: no request would match; write %20, %3F or %23"
    );
    anyhow::ensure!(
        text != "*",
        "`*` is no segment; write `/...` at the end for any rest, or `/:name` for one segment"
    );
    match text.strip_prefix(':') {
        Some("") => anyhow::bail!("`:` wants a name"),
        Some(name) => Ok(Segment::Name { header: name_header(name)?, name: name.to_owned() }),
        None => Ok(Segment::Literal(text.to_owned())),
    }
}

/// The header that tells a guest what `:name` stands for. Spin writes it with hyphens, too.
fn name_header(name: &str) -> anyhow::Result<HeaderName> {
    HeaderName::try_from(format!("spin-path-match-{}", name.replace('_', "-"))).map_err(|_| {
        anyhow::anyhow!("`:{name}`: functions are told names in headers; use letters, digits, `-` and `_`")
    })
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => write!(f, "/{text}")?,
                Segment::Name { name, .. } => write!(f, "/:{name}")?,
            }
        }
        match (self.rest, self.segments.is_empty()) {
            (true, _) => f.write_str("/..."),
            (false, true) => f.write_str("/"),
            (false, false) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest<'p>(route: &str, path: &'p str) -> Option<&'p str> {
        route.parse::<Route>().unwrap().matches(path).map(|found| found.rest)
    }

    #[test]
    fn literal_routes_match_themselves_with_or_without_a_slash() {
        assert_eq!(rest("/hello", "/hello"), Some(""));
        assert_eq!(rest("/hello", "/hello/"), Some(""));
        assert_eq!(rest("/hello", "/hello/x"), None);
        assert_eq!(rest("/hello", "/hell"), None);
        assert_eq!(rest("/", "/"), Some(""));
        assert_eq!(rest("/", "/x"), None);
    }

    #[test]
    fn a_rest_takes_everything_below() {
        assert_eq!(rest("/...", "/"), Some("/"));
        assert_eq!(rest("/...", "/a/b"), Some("/a/b"));
        assert_eq!(rest("/v/...", "/v"), Some(""));
        assert_eq!(rest("/v/...", "/v/classify"), Some("/classify"));
        assert_eq!(rest("/v/...", "/vx"), None);
    }

    #[test]
    fn names_take_one_segment_that_is_not_empty() {
        let route: Route = "/users/:id/...".parse().unwrap();
        let found = route.matches("/users/7/x").unwrap();
        assert_eq!((found.rest, found.names), ("/x", vec![(HeaderName::from_static("spin-path-match-id"), "7")]));
        let route: Route = "/:User_Id".parse().unwrap();
        assert_eq!(route.matches("/7").unwrap().names[0].0, "spin-path-match-user-id");
        assert_eq!(rest("/users/:id", "/users/"), None);
        assert_eq!(rest("/users/:id", "/users/7/8"), None);
    }

    #[test]
    fn the_most_specific_route_sorts_first() {
        let routes = ["/...", "/a/...", "/:x/:y", "/:x", "/a/:x", "/:x/b/...", "/a/b", "/a"];
        let mut routes: Vec<Route> = routes.iter().map(|r| r.parse().unwrap()).collect();
        routes.sort_by_key(Route::specificity);
        let sorted: Vec<_> = routes.iter().map(ToString::to_string).collect();
        assert_eq!(sorted, ["/a", "/a/b", "/a/:x", "/a/...", "/:x", "/:x/b/...", "/:x/:y", "/..."]);
    }

    #[test]
    fn routes_that_match_the_same_paths_are_equal() {
        let route = |text: &str| text.parse::<Route>().unwrap();
        for (one, other) in [("/a", "/a/"), ("/:x/...", "/:y/..."), ("/", "/")] {
            assert_eq!(route(one), route(other));
        }
        for (one, other) in [("/a", "/b"), ("/a", "/:a"), ("/a", "/a/..."), ("/:x", "/:x/:y")] {
            assert_ne!(route(one), route(other));
        }
        assert_eq!((route("/a/").written(), route("/a/").to_string().as_str()), ("/a/", "/a"));
    }

    #[test]
    fn malformed_routes_are_refused() {
        for route in [
            "",
            "a",
            "/a//b",
            "/.../a",
            "/:",
            "/a...",
            "/a/*",
            "/*",
            "/:x/:X",
            "/:a_b/:a-b",
            "/:é",
            "/a b",
            "/?a",
            "/a#",
        ] {
            assert!(route.parse::<Route>().is_err(), "{route}");
        }
    }
}
