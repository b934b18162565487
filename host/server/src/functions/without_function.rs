//! Models that have no function for pictures, and what a client who asks for one is told.

use std::collections::BTreeMap;

use crate::oip::rest::endpoint::decode;

/// The path of the function of image classifiers, below that of its model.
const CLASSIFY: &str = "/classify";

/// Why models have no function, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct WithoutFunction {
    reasons: BTreeMap<String, String>,
    /// Whether the server has one model alone, whose function would be at `/classify`.
    is_only: bool,
}

impl WithoutFunction {
    /// Reasons by the names of models; `is_only` if the server has no other model.
    pub(crate) fn new(reasons: BTreeMap<String, String>, is_only: bool) -> Self {
        WithoutFunction { reasons, is_only }
    }

    /// Why nothing answers `path`, which is still percent-encoded, if a function for pictures would.
    pub(crate) fn reason(&self, path: &str) -> Option<&str> {
        let of_model = path.strip_suffix(CLASSIFY)?;
        if of_model.is_empty() && self.is_only {
            return self.reasons.values().next().map(String::as_str);
        }
        let name = decode(of_model.strip_prefix("/models/")?).ok()?;
        self.reasons.get(name.as_ref()).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_classify_has_a_reason_and_nothing_else_has() {
        let without = |is_only| WithoutFunction::new([("a b".to_owned(), "no card".to_owned())].into(), is_only);
        for (path, is_only, reason) in [
            ("/classify", true, Some("no card")),
            ("/classify", false, None),
            ("/models/a%20b/classify", false, Some("no card")),
            ("/models/a/classify", false, None),
            ("/models/a%20b", true, None),
            ("/x/classify", true, None),
            ("/models/%ff/classify", true, None),
        ] {
            assert_eq!(without(is_only).reason(path), reason, "{path}");
        }
    }
}
