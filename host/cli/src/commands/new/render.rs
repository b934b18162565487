//! Fills in the files of a template.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;
use serde_json::{Value, json};

use super::signature::{FunctionSignature, FunctionTensor};
use super::template::{Language, Template};
use crate::bundle::{self, SDK_FOLDER};

/// Files that are no text, by their extensions: they stay as they are.
const BINARY: [&str; 2] = ["onnx", "png"];

/// The most elements of an example that stands in the file of requests. More are a file of their own.
const MAX_INLINE: i64 = 32;

/// The most elements of an example.
const MAX_ELEMENTS: i64 = 1 << 20;

/// What a template is filled in with.
pub(super) struct NewFunction<'a> {
    pub(super) name: &'a str,
    pub(super) template: Template,
    pub(super) language: Language,
    pub(super) signature: &'a FunctionSignature,
    /// Whether the model is the one that the template brings.
    pub(super) is_example: bool,
}

/// The words of templates.
#[derive(Serialize)]
struct Words<'a> {
    name: &'a str,
    /// The name as an identifier.
    module: String,
    template: String,
    language: String,
    sdk: &'static str,
    version: &'static str,
    is_example: bool,
    inputs: &'a [FunctionTensor],
    outputs: &'a [FunctionTensor],
    left_out: &'a [String],
    /// The rows that the model takes, or -1.
    rows: i64,
    /// The variables of all outputs as the pattern of zipped iterators.
    pattern: String,
    /// An example for templates that take tensors, as JSON.
    tensors: Option<String>,
    /// Whether that is a file of its own.
    has_file: bool,
    /// An example for templates that take rows, as TOML.
    row: String,
}

/// Writes all files of the function into `folder`.
///
/// # Errors
///
/// The template does not exist in the language, or a file can't be written.
pub(super) fn write(function: &NewFunction<'_>, folder: &Path) -> Result<()> {
    let (template, language) = (function.template, function.language);
    let have = template.languages();
    ensure!(
        have.contains(&language),
        "the template {template} does not exist in {language}; it exists in: {}",
        have.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    );
    let words = Words::of(function);
    let mut files = BTreeMap::new();
    // Later ones take the place of earlier ones.
    for layer in
        ["base/any".to_owned(), format!("base/{language}"), format!("{template}/any"), format!("{template}/{language}")]
    {
        files.extend(bundle::template(&layer)?);
    }
    for (path, bytes) in files {
        let rendered = if is_binary(&path) { bytes } else { render(&path, bytes, &words)? };
        // A file that has nothing to say to this function.
        if !rendered.iter().all(u8::is_ascii_whitespace) {
            save(&folder.join(place(&path)), &rendered)?;
        }
    }
    if let Some(tensors) = words.tensors.as_ref().filter(|_| words.has_file) {
        save(&folder.join("tests/tensors.json"), tensors.as_bytes())?;
    }
    if language == Language::Rust {
        save(&folder.join("Cargo.lock"), &bundle::file("Cargo.lock")?)?;
        format(folder);
    }
    Ok(())
}

/// Formats the sources, where there is a formatter. Without one they are right all the same.
fn format(folder: &Path) {
    let mut rustfmt = Command::new("rustfmt");
    rustfmt.args(["--edition", "2024", "src/lib.rs"]).current_dir(folder);
    let _ = rustfmt.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// Where a file of a template goes. Git does not read `gitignore`, and cargo no `Cargo.toml.jinja` in this repository.
fn place(path: &Path) -> PathBuf {
    let without = path.to_str().and_then(|path| path.strip_suffix(".jinja"));
    without.map_or_else(|| path.to_owned(), PathBuf::from)
}

fn is_binary(path: &Path) -> bool {
    path.extension().is_some_and(|extension| BINARY.iter().any(|binary| extension == *binary))
}

fn render(path: &Path, template: Vec<u8>, words: &Words<'_>) -> Result<Vec<u8>> {
    let broken = || format!("the template's {} is broken, which is a fault of modelfn", path.display());
    let text = String::from_utf8(template).with_context(broken)?;
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_keep_trailing_newline(true);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    Ok(environment.render_str(&text, words).with_context(broken)?.into_bytes())
}

fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
    std::fs::write(path, bytes).with_context(|| format!("{} can't be written", path.display()))
}

impl<'a> Words<'a> {
    fn of(function: &NewFunction<'a>) -> Words<'a> {
        let FunctionSignature { inputs, outputs, left_out } = function.signature;
        let elements: i64 = inputs.iter().map(|input| input.example_shape.iter().product::<i64>()).sum();
        let pattern = outputs.iter().map(|output| output.ident.clone()).reduce(|all, next| format!("({all}, {next})"));
        Words {
            name: function.name,
            module: function.name.replace('-', "_"),
            template: function.template.to_string(),
            language: function.language.to_string(),
            sdk: SDK_FOLDER,
            version: env!("CARGO_PKG_VERSION"),
            is_example: function.is_example,
            inputs,
            outputs,
            left_out,
            rows: function.signature.rows().unwrap_or(-1),
            pattern: pattern.unwrap_or_default(),
            tensors: (function.template == Template::Blank && elements <= MAX_ELEMENTS).then(|| tensors(inputs)),
            has_file: elements > MAX_INLINE,
            row: row(inputs),
        }
    }
}

/// Zeros for all inputs, as requests of the template `blank` have them.
fn tensors(inputs: &[FunctionTensor]) -> String {
    let tensors = inputs.iter().map(|input| {
        let count = input.example_shape.iter().product::<i64>();
        let data = vec![0; usize::try_from(count).unwrap_or(0)];
        (input.name.clone(), json!({ "shape": input.example_shape, "data": data }))
    });
    Value::Object(tensors.collect()).to_string()
}

/// A row of zeros: an array for one input, a table for several.
fn row(inputs: &[FunctionTensor]) -> String {
    let values = |input: &FunctionTensor| match input.columns {
        1 => "0".to_owned(),
        columns => format!("[{}]", vec!["0"; usize::try_from(columns).unwrap_or(1)].join(", ")),
    };
    match inputs {
        [input] if input.shape.len() == 2 && input.columns == 1 => "[0]".to_owned(),
        [input] => values(input),
        inputs => {
            let pairs =
                inputs.iter().map(|input| format!("{} = {}", toml::Value::from(input.name.as_str()), values(input)));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
    }
}
