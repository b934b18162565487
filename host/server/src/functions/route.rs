//! Routes of the manifest: literal segments, `:name` for one segment, and a trailing `/...` for any rest.
//!
//! Of the routes that match a path the most specific one is taken, as in Spin: a literal segment before a name,
//! a name before the rest.

use std::fmt;
use std::str::FromStr;

/// A parsed route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    segments: Vec<Segment>,
    rest: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Name(String),
}

/// How a route matched a path.
#[derive(Debug, PartialEq, Eq)]
pub struct Match<'p> {
    /// The part of the path that `...` stands for, with its leading slash; empty without `...` or without such a part.
    pub rest: &'p str,
    /// The segment that each `:name` stands for.
    pub names: Vec<(String, &'p str)>,
}

impl Route {
    /// Matches an absolute path without its query.
    pub fn matches<'p>(&self, path: &'p str) -> Option<Match<'p>> {
        let mut left = path;
        let mut names = Vec::new();
        for segment in &self.segments {
            let (part, after) = split_first(left)?;
            match segment {
                Segment::Literal(literal) if literal == part => {}
                Segment::Name(name) if !part.is_empty() => names.push((name.clone(), part)),
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
        let kind = |segment: &Segment| u8::from(matches!(segment, Segment::Name(_)));
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
        let segments = path.split('/').skip(1).map(segment).collect::<Result<_, _>>()?;
        Ok(Route { segments, rest })
    }
}

fn segment(text: &str) -> anyhow::Result<Segment> {
    anyhow::ensure!(
        !text.is_empty() && !text.contains("..."),
        "segments are not empty, and `...` stands only at the end"
    );
    match text.strip_prefix(':') {
        Some("") => anyhow::bail!("`:` wants a name"),
        Some(name) => Ok(Segment::Name(name.to_owned())),
        None => Ok(Segment::Literal(text.to_owned())),
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => write!(f, "/{text}")?,
                Segment::Name(name) => write!(f, "/:{name}")?,
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
        assert_eq!((found.rest, found.names), ("/x", vec![("id".to_owned(), "7")]));
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
    fn malformed_routes_are_refused() {
        for route in ["", "a", "/a//b", "/.../a", "/:", "/a..."] {
            assert!(route.parse::<Route>().is_err(), "{route}");
        }
    }
}
