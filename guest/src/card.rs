//! The model's card: what the function must know about the model it serves.
//!
//! The card and the labels reach the function as read-only files under `/model`, since that works on
//! every host (`files` in spin.toml, `wasmtime serve --dir DIR::/model`), lets one component serve
//! any model, and costs a few host calls. Parsing and checks are here; `files.rs` does the reading.
//! Keys that only the host needs (`[graph]`) are not looked at.

use serde::Deserialize;

use crate::files::Folder;
use crate::problem::Problem;

const FOLDER: &str = "/model";
const FILE: &str = "model.toml";

/// Longest side of a network's picture, in pixels: keeps a typing error from exhausting memory.
const MAX_SIDE: u32 = 4096;

/// A checked card: whatever is wrong with one is found before the first pixel is decoded.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Card {
    /// Name by which the host knows the graph.
    pub(crate) name: String,
    /// One sentence for people.
    #[serde(default)]
    pub(crate) description: String,
    /// SPDX expression of the weights' licence.
    #[serde(default)]
    pub(crate) license: String,
    /// The tensors that go in; this function feeds exactly one.
    pub(crate) inputs: Vec<Port>,
    /// The tensors that come out; the first holds the scores.
    pub(crate) outputs: Vec<Port>,
    /// From pixels to the input tensor.
    pub(crate) preprocessing: Preprocessing,
    /// From the output tensor to labels.
    pub(crate) postprocessing: Postprocessing,
    /// Names of the classes; filled from the labels file.
    #[serde(skip)]
    pub(crate) labels: Labels,
}

/// The labels file as it was read: an answer needs a few lines of a thousand, so none is copied.
#[derive(Debug, Clone, Default)]
pub(crate) struct Labels {
    text: String,
    /// Where each line ends, without its line feed.
    ends: Vec<usize>,
}

/// One input or output of the graph.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Port {
    /// Name in the graph.
    pub(crate) name: String,
    /// Element type.
    pub(crate) dtype: DataType,
    /// Dimensions; -1 where any size is taken.
    pub(crate) shape: Vec<i64>,
}

/// Element types, by their wasi-nn names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum DataType {
    Fp16,
    Fp32,
    Fp64,
    U8,
}

/// `[preprocessing]`
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Preprocessing {
    /// Width and height of the network's picture, in pixels.
    pub(crate) size: (u32, u32),
    /// Part of the largest centred box of that aspect ratio that is looked at, in (0, 1].
    pub(crate) crop: f64,
    /// How the box is scaled to `size`.
    pub(crate) filter: Filter,
    /// Order of the tensor's axes.
    pub(crate) layout: Layout,
    /// Order of the channels.
    pub(crate) color: Color,
    /// Subtracted from each channel (0 to 255), in the order of `color`.
    pub(crate) mean: [f32; 3],
    /// What the difference is divided by, in the order of `color`.
    pub(crate) std: [f32; 3],
}

/// Interpolation; both are antialiased when shrinking, as in PIL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Filter {
    Bicubic,
    Bilinear,
}

/// Axes of the input tensor: batch, channels, height, width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Layout {
    Nchw,
    Nhwc,
}

/// Order of the channels in the input tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Color {
    Rgb,
    Bgr,
}

/// `[postprocessing]`
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Postprocessing {
    /// File whose line n is the name of class n.
    pub(crate) labels: String,
    /// What the network's numbers are.
    pub(crate) scores: Scores,
    /// Predictions in an answer when the request does not say.
    pub(crate) top_k: usize,
}

/// What the network's numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scores {
    /// Softmax is still to be applied.
    Logits,
    /// Taken as they are.
    Probabilities,
}

impl Card {
    /// Reads and checks the card and its labels.
    ///
    /// Every failure is a 500 that names the file or the key: no request can cause one.
    pub(crate) fn read() -> Result<Self, Problem> {
        let folder = Folder::open(FOLDER).map_err(Problem::internal)?;
        let text = |name: &str| folder.read_text(name).map_err(Problem::internal);
        let card = Self::parse(&text(FILE)?)?;
        let labels = text(&card.postprocessing.labels)?;
        card.with_labels(labels)
    }

    /// Parses `model.toml` without the labels.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let card: Self = toml::from_str(text).map_err(|error| broken(error.to_string().trim_end()))?;
        card.check()?;
        Ok(card)
    }

    /// Adds the labels, one a line.
    pub(crate) fn with_labels(mut self, text: String) -> Result<Self, Problem> {
        self.labels = Labels::new(text);
        let (top_k, classes) = (self.postprocessing.top_k, self.labels.len());
        if (1..=classes).contains(&top_k) {
            Ok(self)
        } else {
            Err(broken(&format!(
                "postprocessing.top_k = {top_k} must be 1 to {classes}, the lines of {}",
                self.postprocessing.labels
            )))
        }
    }

    /// Dimensions of the input tensor for one picture.
    pub(crate) fn input_dimensions(&self) -> [u32; 4] {
        let (width, height) = self.preprocessing.size;
        match self.preprocessing.layout {
            Layout::Nchw => [1, 3, height, width],
            Layout::Nhwc => [1, height, width, 3],
        }
    }

    fn check(&self) -> Result<(), Problem> {
        let Preprocessing { size: (width, height), crop, std, mean, .. } = self.preprocessing;
        let [input] = self.inputs.as_slice() else {
            return Err(broken("[[inputs]] must be one: the picture"));
        };
        if self.outputs.is_empty() {
            return Err(broken("[[outputs]] is missing: its first names the scores"));
        }
        if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
            return Err(broken(&format!("preprocessing.size must be 1 to {MAX_SIDE} pixels a side")));
        }
        if !(crop > 0.0 && crop <= 1.0) {
            return Err(broken("preprocessing.crop must be above 0 and at most 1"));
        }
        if std.contains(&0.0) || !std.iter().chain(&mean).all(|value| value.is_finite()) {
            return Err(broken("preprocessing.mean and .std must be finite, and .std not 0"));
        }
        if !matches!(input.dtype, DataType::Fp32 | DataType::U8) {
            return Err(broken("inputs.dtype must be FP32 or U8"));
        }
        self.check_shape(&input.shape)
    }

    /// The shape must agree with size and layout; -1 agrees with anything.
    fn check_shape(&self, shape: &[i64]) -> Result<(), Problem> {
        let needed = self.input_dimensions();
        let agrees = |(&have, &need): (&i64, &u32)| have == -1 || have == i64::from(need);
        if shape.len() == needed.len() && shape.iter().zip(&needed).all(agrees) {
            Ok(())
        } else {
            Err(broken(&format!(
                "inputs.shape = {shape:?} contradicts preprocessing.size and .layout, which make {needed:?}"
            )))
        }
    }
}

impl Labels {
    /// One label a line; the last line may lack its line feed.
    fn new(text: String) -> Self {
        let mut ends: Vec<usize> = memchr::memchr_iter(b'\n', text.as_bytes()).collect();
        if !text.is_empty() && !text.ends_with('\n') {
            ends.push(text.len());
        }
        Self { text, ends }
    }

    /// Number of classes.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The name of class `index`, counted from 0; empty behind the last.
    pub(crate) fn name(&self, index: usize) -> &str {
        let Some(&end) = self.ends.get(index) else {
            return "";
        };
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before] + 1);
        self.text[start..end].trim_end_matches('\r')
    }
}

fn broken(why: &str) -> Problem {
    Problem::internal(format!("the model's card {FOLDER}/{FILE} is broken: {why}"))
}

#[cfg(test)]
pub(crate) mod tests;
