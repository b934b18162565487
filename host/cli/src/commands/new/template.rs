//! The templates: what they are for, which models suit them, and which is chosen for a model.

use std::fmt;

use clap::ValueEnum;
use modelfn_card::{DType, TensorSpec};

use super::super::model::card::{self, Purpose};
use super::signature::{FunctionSignature, FunctionTensor};

/// A kind of function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Template {
    /// A picture goes in, the likeliest classes come out.
    Classify,
    /// Texts go in, vectors come out.
    Embed,
    /// A picture goes in, boxes with scores come out.
    Detect,
    /// Rows of JSON go in, a prediction for each comes out.
    Tabular,
    /// Tensors as JSON go in and come out: a start for anything else.
    Blank,
}

/// What a function is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Language {
    /// The quickest and smallest functions.
    #[default]
    Rust,
    /// Pure Python, by componentize-py.
    Python,
}

impl Template {
    pub(super) const ALL: [Template; 5] =
        [Template::Classify, Template::Embed, Template::Detect, Template::Tabular, Template::Blank];

    /// The template that a model suits best.
    pub(super) fn suiting(signature: &FunctionSignature) -> Template {
        let order = [Template::Detect, Template::Classify, Template::Embed, Template::Tabular];
        order.into_iter().find(|template| template.misfit(signature).is_none()).unwrap_or(Template::Blank)
    }

    /// A file that must lie beside the graph, and what it is.
    pub(super) fn companion(self) -> Option<(&'static str, &'static str)> {
        (self == Template::Embed).then_some(("vocab.txt", "the vocabulary of the model, a piece a line"))
    }

    /// Why a model does not suit the template; `None` where it does.
    pub(super) fn misfit(self, signature: &FunctionSignature) -> Option<String> {
        let FunctionSignature { inputs, outputs, .. } = signature;
        match self {
            Template::Classify => no_picture(inputs).or_else(|| {
                (outputs[0].shape.len() > 2).then(|| "its first output is more than a score for each class".to_owned())
            }),
            Template::Detect => no_picture(inputs).or_else(|| no_detections(outputs)),
            Template::Embed => no_texts(inputs).or_else(|| no_vectors(outputs)),
            Template::Tabular => no_rows(signature),
            Template::Blank => None,
        }
    }

    /// What a card must say for it.
    pub(super) fn purpose(self, labels: Option<(String, usize)>) -> Purpose {
        match self {
            Template::Classify => Purpose::Classification(labels),
            Template::Detect => Purpose::Detection,
            Template::Embed | Template::Tabular | Template::Blank => Purpose::Tensors,
        }
    }

    /// The models that it is for.
    pub(super) fn models(self) -> &'static str {
        match self {
            Template::Classify => "classifiers of pictures: [n, 3, h, w] to [n, classes]",
            Template::Embed => "encoders of texts (BERT): ids, mask to [n, tokens, size]",
            Template::Detect => "detectors of objects (YOLO): [n, 3, h, w] to [n, 4 + classes, boxes]",
            Template::Tabular => "scikit-learn, XGBoost, LightGBM: columns to labels, probabilities or numbers",
            Template::Blank => "any other",
        }
    }

    /// What requests it takes.
    pub(super) fn request(self) -> &'static str {
        match self {
            Template::Classify | Template::Detect => "a picture",
            Template::Embed => "texts in JSON",
            Template::Tabular => "rows in JSON",
            Template::Blank => "tensors in JSON",
        }
    }

    /// The languages that it exists in.
    pub(super) fn languages(self) -> &'static [Language] {
        match self {
            // Pictures are decoded, and texts cut into tokens, by crates of Rust.
            Template::Classify | Template::Detect | Template::Embed => &[Language::Rust],
            Template::Tabular | Template::Blank => &[Language::Rust, Language::Python],
        }
    }
}

fn no_picture(inputs: &[FunctionTensor]) -> Option<String> {
    let spec = |tensor: &FunctionTensor| TensorSpec {
        name: tensor.name.clone(),
        dtype: tensor.dtype,
        shape: tensor.shape.clone().into(),
    };
    let is_one = matches!(inputs, [input] if card::is_picture(&spec(input)));
    (!is_one).then(|| "it does not take one picture, which is FP32, FP16 or U8 such as [1, 3, 224, 224]".to_owned())
}

fn no_detections(outputs: &[FunctionTensor]) -> Option<String> {
    let [output] = outputs else { return Some("it has several outputs".to_owned()) };
    let is_fitting = output.dtype == DType::Fp32 && output.shape.len() == 3;
    (!is_fitting).then(|| "its output is not FP32 [n, 4 + classes, boxes]".to_owned())
}

fn no_texts(inputs: &[FunctionTensor]) -> Option<String> {
    let is_ids = |input: &FunctionTensor| input.dtype == DType::I64 && input.shape.len() == 2;
    let has = |word: &str| inputs.iter().any(|input| input.name.contains(word));
    let is_fitting = (2..=3).contains(&inputs.len()) && inputs.iter().all(is_ids) && has("ids") && has("mask");
    (!is_fitting).then(|| "its inputs are not input_ids and attention_mask, I64 [n, tokens]".to_owned())
}

fn no_vectors(outputs: &[FunctionTensor]) -> Option<String> {
    let first = &outputs[0];
    let is_fitting = first.dtype == DType::Fp32 && first.shape.len() == 3;
    (!is_fitting).then(|| "its first output is not FP32 [n, tokens, size]".to_owned())
}

fn no_rows(signature: &FunctionSignature) -> Option<String> {
    let FunctionSignature { inputs, outputs, .. } = signature;
    if inputs.is_empty() || inputs.iter().any(|input| input.shape.is_empty() || input.shape.len() > 2) {
        return Some("its inputs are not columns, [rows, values] or [rows]".to_owned());
    }
    if let Some(tensor) = inputs.iter().chain(outputs).find(|tensor| !tensor.is_plain()) {
        return Some(format!("'{}' is of {}", tensor.name, tensor.dtype));
    }
    let rows = signature.rows();
    if let Some(input) = inputs.iter().find(|input| !input.has_rows(rows)) {
        return Some(format!("its input '{}' has not as many rows as the others", input.name));
    }
    let output = outputs.iter().find(|output| !output.has_rows(rows))?;
    Some(format!("its output '{}' has no row for each row of the request", output.name))
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Template::Classify => "classify",
            Template::Embed => "embed",
            Template::Detect => "detect",
            Template::Tabular => "tabular",
            Template::Blank => "blank",
        })
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Language::Rust => "rust",
            Language::Python => "python",
        })
    }
}
