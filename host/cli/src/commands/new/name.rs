//! Names of functions: what crates, components of manifests and models may be called.

use std::path::Path;

use anyhow::{Context, Result, ensure};

/// The longest name. Names of files have room for suffixes then.
const MAX_LENGTH: usize = 64;

/// Names that cargo refuses, or that are those of a function's own dependencies.
const TAKEN: [&str; 13] = [
    "alloc",
    "build",
    "core",
    "deps",
    "examples",
    "incremental",
    "model",
    "modelfn-guest",
    "proc-macro",
    "serde",
    "serde-json",
    "std",
    "test",
];

/// Words of Rust, which crates can't be called.
const KEYWORDS: [&str; 51] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true",
    "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// Words of Python beside those that are words of Rust, too.
const PYTHON_KEYWORDS: [&str; 17] = [
    "and", "assert", "class", "def", "del", "elif", "except", "finally", "from", "global", "import", "is", "lambda",
    "nonlocal", "not", "or", "pass",
];

/// The name of the function in `folder`.
///
/// # Errors
///
/// The folder has no name that a function may have. Says which it could have.
pub(super) fn of_folder(folder: &Path) -> Result<&str> {
    let name = folder.file_name().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("{} has no name for a function; type another", folder.display()))?;
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let is_kebab = name.split('-').all(is_word) && name.starts_with(|c: char| c.is_ascii_lowercase());
    if !is_kebab {
        let suggestion = suggestion(name).map(|name| format!(", such as {name}")).unwrap_or_default();
        anyhow::bail!(
            "\"{name}\" can't be the name of a function: it has lower-case letters, digits and single hyphens, and begins with \
             a letter{suggestion}"
        );
    }
    ensure!(
        name.len() <= MAX_LENGTH,
        "the name of a function has at most {MAX_LENGTH} characters, \"{name}\" has {}",
        name.len()
    );
    let is_taken = TAKEN.contains(&name) || KEYWORDS.contains(&name);
    ensure!(
        !is_taken,
        "\"{name}\" can't be the name of a function, since it means something to cargo or Rust; try my-{name}"
    );
    Ok(name)
}

/// A name that could be meant.
fn suggestion(name: &str) -> Option<String> {
    let words: Vec<_> = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let name = words.join("-").to_ascii_lowercase();
    name.starts_with(|c: char| c.is_ascii_lowercase()).then_some(name)
}

/// The name of a variable for what a graph calls `name`, in Rust as in Python. `taken` are those of others.
pub(super) fn identifier(name: &str, taken: &[String]) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let name: String = name.chars().map(plain).collect();
    let trimmed = name.trim_matches('_');
    let is_word = |name: &str| KEYWORDS.contains(&name) || PYTHON_KEYWORDS.contains(&name);
    let base = match trimmed {
        "" => "tensor".to_owned(),
        digit if digit.starts_with(|c: char| c.is_ascii_digit()) => format!("t{digit}"),
        word if is_word(word) => format!("{word}_"),
        name => name.to_owned(),
    };
    let mut candidates = (2..).map(|n| format!("{base}_{n}"));
    if !taken.contains(&base) {
        return base;
    }
    candidates.find(|candidate| !taken.contains(candidate)).unwrap_or(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_crates_and_components() {
        for name in ["iris", "my-function", "a1", "x-2-y", "some/where/iris"] {
            assert_eq!(of_folder(Path::new(name)).unwrap(), Path::new(name).file_name().unwrap());
        }
        let error = |name: &str| of_folder(Path::new(name)).unwrap_err().to_string();
        for (name, expected) in [
            ("My_Function", "such as my-function"),
            ("1st", "begins with a letter"),
            ("a--b", "such as a-b"),
            ("-a", "such as a"),
            ("a.b", "such as a-b"),
            ("ä", "begins with a letter"),
            ("..", "has no name"),
            ("/", "has no name"),
            ("test", "try my-test"),
            ("fn", "try my-fn"),
            ("modelfn-guest", "try my-modelfn-guest"),
        ] {
            assert!(error(name).contains(expected), "{name}: {}", error(name));
        }
        assert!(error(&"a".repeat(65)).contains("at most 64 characters"));
    }

    #[test]
    fn identifiers_are_those_of_both_languages() {
        for (name, expected) in [
            ("X", "x"),
            ("float_input", "float_input"),
            ("input.1", "input_1"),
            ("1", "t1"),
            ("/model/Add:0", "model_add_0"),
            ("type", "type_"),
            ("class", "class_"),
            ("语言", "tensor"),
            ("", "tensor"),
        ] {
            assert_eq!(identifier(name, &[]), expected);
        }
        assert_eq!(identifier("A", &["a".to_owned(), "a_2".to_owned()]), "a_3");
    }
}
