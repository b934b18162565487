//! How people call the classes of a model: by a label, by the first of its synonyms, or by an index.

use std::collections::BTreeMap;

use modelfn_card::Labels;

/// How near a label must be to a name that is none, from 0 to 1, to be shown with it.
const NEAR: f64 = 0.75;

/// Near labels that are shown with a name that is none.
const SHOWN: usize = 3;

/// Finds classes by their names.
pub(super) struct ClassNames {
    /// By whole labels; `None` for one that several classes have.
    labels: BTreeMap<String, Option<usize>>,
    /// By what is before the first comma of a label, likewise.
    first_names: BTreeMap<String, Option<usize>>,
    /// The number of classes, if it is known.
    count: Option<usize>,
}

impl ClassNames {
    /// The names of a model with these labels, or with `count` classes.
    pub(super) fn new(labels: Option<&Labels>, count: Option<usize>) -> Self {
        let (mut whole, mut first_names) = (BTreeMap::new(), BTreeMap::new());
        for (index, label) in labels.into_iter().flat_map(Labels::iter).enumerate() {
            let first = label.split(',').next().unwrap_or(label);
            for (names, name) in [(&mut whole, label), (&mut first_names, first)] {
                names.entry(normalized(name)).and_modify(|class| *class = None).or_insert(Some(index));
            }
        }
        Self { labels: whole, first_names, count: labels.map(Labels::len).or(count) }
    }

    /// The index of a class.
    ///
    /// # Errors
    ///
    /// What is wrong with the name: a sentence that names it.
    pub(super) fn find(&self, name: &str) -> Result<usize, String> {
        let key = normalized(name);
        match self.labels.get(&key).or_else(|| self.first_names.get(&key)) {
            Some(Some(index)) => return Ok(*index),
            Some(None) => return Err(format!("'{name}' is the name of several classes: use the index of one of them")),
            None => {}
        }
        let is_number = !name.trim_start().starts_with('-');
        let index = key.strip_prefix("class ").unwrap_or(&key).parse().ok().filter(|_| is_number);
        index.filter(|index| self.count.is_none_or(|count| *index < count)).ok_or_else(|| self.unknown(name))
    }

    fn unknown(&self, name: &str) -> String {
        let key = normalized(name);
        let score = |known: &String| (strsim::normalized_damerau_levenshtein(&key, known), known.clone());
        let mut near: Vec<_> = self.first_names.keys().map(score).filter(|(score, _)| *score >= NEAR).collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        near.truncate(SHOWN);
        let near: Vec<_> = near.into_iter().map(|(_, known)| format!("'{known}'")).collect();
        let hint = if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(" or ")) };
        format!("'{name}' is no class of the model{hint}")
    }
}

/// Names of folders often have other case, and underscores for spaces.
fn normalized(name: &str) -> String {
    let words = name.split(|c: char| c.is_whitespace() || c == '_' || c == '-').filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> ClassNames {
        let labels = Labels::new("tench, Tinca tinca\ntiger cat\ncrane\nHen-of-the-woods, hen\ncrane\n7\n".to_owned());
        ClassNames::new(Some(&labels), None)
    }

    #[test]
    fn classes_have_labels_first_names_and_indices() {
        for (name, index) in [
            ("tench, Tinca tinca", 0),
            ("Tench", 0),
            ("tiger_cat", 1),
            ("hen of the woods", 3),
            ("4", 4),
            ("0002", 2),
            ("class 3", 3),
            ("7", 5),
        ] {
            assert_eq!(names().find(name), Ok(index), "{name}");
        }
        assert_eq!(ClassNames::new(None, None).find("900"), Ok(900));
        assert!(ClassNames::new(None, Some(10)).find("10").is_err());
    }

    #[test]
    fn names_that_are_none_are_told_with_those_that_are_near() {
        let said = |name| names().find(name).unwrap_err();
        assert_eq!(said("tigercat"), "'tigercat' is no class of the model; did you mean 'tiger cat'?");
        assert_eq!(said("tecnh"), "'tecnh' is no class of the model; did you mean 'tench'?");
        assert_eq!(said("6"), "'6' is no class of the model");
        assert_eq!(said("-1"), "'-1' is no class of the model");
        assert!(said("crane").contains("several classes"));
    }
}
