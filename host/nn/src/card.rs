//! The model card, `model.toml`: what its author says of a model.
//!
//! The host reads the graph and serving parts; preprocessing and postprocessing are for the function, which
//! reads the same file. They are parsed here too, so that a wrong card is found when the host starts and not
//! by the first request. The format is documented in `models/README.md`.

use std::num::NonZeroUsize;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::backend::{Engine, Target};
use super::tensor::{DType, Signature, TensorSpec};

/// The name of the file.
pub const CARD_FILE: &str = "model.toml";

/// A model card, as written.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// The name guests load the model by; the same as its folder's.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// SPDX expression.
    pub license: String,
    /// Where the weights come from.
    pub source: String,
    /// The graph file and its engine.
    pub graph: GraphFile,
    /// Promised inputs, in the graph's order.
    pub inputs: Vec<TensorSpec>,
    /// Promised outputs, in the graph's order.
    pub outputs: Vec<TensorSpec>,
    /// How the host runs it.
    #[serde(default)]
    pub serving: Serving,
    /// How the function makes the input from a picture.
    pub preprocessing: Option<Preprocessing>,
    /// How the function reads the output.
    pub postprocessing: Option<Postprocessing>,
}

/// The `[graph]` table.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GraphFile {
    /// Path within the model's folder.
    pub file: PathBuf,
    /// The engine that runs it.
    pub engine: Engine,
    /// The device that it runs on.
    #[serde(default)]
    pub target: Target,
    /// Hex SHA-256 of the file; an empty string means that any file is taken.
    #[serde(default)]
    pub sha256: String,
}

/// The `[serving]` table.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Serving {
    /// Computations at the same time, which share the weights; `--model-instances` when absent.
    pub instances: Option<NonZeroUsize>,
    /// Threads that one computation uses.
    pub threads: NonZeroUsize,
    /// Computations that may wait. Beyond them requests are shed.
    pub queue_size: NonZeroUsize,
    /// The largest axis 0 that one engine call may have, where the graph leaves it open: of a client's own batch, and
    /// of what is stacked.
    pub max_batch_size: NonZeroUsize,
    /// Whether computations of different requests are stacked.
    pub dynamic_batching: bool,
    /// How long a computation may wait for company, in milliseconds. 0 stacks what queued while the engine was busy.
    pub max_queue_delay_ms: f64,
}

impl Default for Serving {
    fn default() -> Self {
        let n = |n| NonZeroUsize::new(n).expect("a literal above zero");
        Serving {
            instances: None,
            threads: n(1),
            queue_size: n(256),
            max_batch_size: n(8),
            dynamic_batching: false,
            max_queue_delay_ms: 0.0,
        }
    }
}

/// The `[preprocessing]` table. The function applies it; see `guest/src/preprocess.rs`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "described in models/README.md, used by the function")]
pub struct Preprocessing {
    pub size: [u32; 2],
    pub crop: f64,
    pub filter: Filter,
    pub layout: Layout,
    pub color: Color,
    pub mean: [f32; 3],
    pub std: [f32; 3],
}

/// The `[postprocessing]` table. The function applies it; see `guest/src/postprocess.rs`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "described in models/README.md, used by the function")]
pub struct Postprocessing {
    pub labels: PathBuf,
    pub scores: Scores,
    pub top_k: NonZeroUsize,
}

/// How a picture is scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the field's own")]
pub enum Filter {
    Bicubic,
    Bilinear,
}

/// The order of the input's axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names are the field's own")]
pub enum Layout {
    Nchw,
    Nhwc,
}

/// The order of the channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names are the field's own")]
pub enum Color {
    Rgb,
    Bgr,
}

/// What the output's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "described in models/README.md")]
pub enum Scores {
    Logits,
    Probabilities,
}

impl Card {
    /// Parses the text of a card for the folder `name`.
    ///
    /// # Errors
    ///
    /// A sentence that names the key: unknown or missing keys, a name that is not the folder's, a file
    /// outside of the folder.
    pub fn parse(name: &str, text: &str) -> Result<Card, String> {
        let card: Card = toml::from_str(text).map_err(|e| e.to_string())?;
        if card.name != name {
            return Err(format!("name = \"{}\" must be the folder's name, \"{name}\"", card.name));
        }
        let delay = card.serving.max_queue_delay_ms;
        if !(0.0..=60_000.0).contains(&delay) {
            return Err(format!("serving.max_queue_delay_ms = {delay} must be 0 to 60000"));
        }
        inside(&card.graph.file, "graph.file")?;
        if let Some(postprocessing) = &card.postprocessing {
            inside(&postprocessing.labels, "postprocessing.labels")?;
        }
        Ok(card)
    }

    /// Where card and graph disagree, and what is wrong within the card itself: a sentence each, none when
    /// all is well. `labels` is the text of the label file, if the card names one.
    pub fn disagreements(&self, graph: &Signature, labels: Option<&str>) -> Vec<String> {
        let mut found = compare("input", &self.inputs, &graph.inputs);
        found.extend(compare("output", &self.outputs, &graph.outputs));
        found.extend(self.preprocessing.as_ref().and_then(|p| self.input_disagreement(p)));
        found.extend(labels.and_then(|text| self.label_disagreement(text)));
        found.extend(self.mistake(labels));
        found
    }

    /// The preprocessed picture must have the shape of the first input.
    fn input_disagreement(&self, preprocessing: &Preprocessing) -> Option<String> {
        let [width, height] = preprocessing.size.map(i64::from);
        let picture = match preprocessing.layout {
            Layout::Nhwc => [1, height, width, 3],
            Layout::Nchw => [1, 3, height, width],
        };
        let input = self.inputs.first()?;
        let shape = picture.map(|axis| usize::try_from(axis).unwrap_or(0));
        let fits = [DType::Fp32, DType::U8].iter().any(|&dtype| input.admits(dtype, &shape));
        (!fits).then(|| {
            format!("preprocessing makes FP32 or U8 {picture:?} ({:?}), but the input is {input}", preprocessing.layout)
        })
    }

    /// Numbers that no function could work with.
    fn mistake(&self, labels: Option<&str>) -> Option<String> {
        if let Some(Preprocessing { crop, mean, std, .. }) = &self.preprocessing {
            if !(*crop > 0.0 && *crop <= 1.0) {
                return Some(format!("preprocessing.crop = {crop} must be above 0 and at most 1"));
            }
            if std.contains(&0.0) || !mean.iter().chain(std).all(|value| value.is_finite()) {
                return Some("preprocessing.mean and .std must be finite, and .std not 0".to_owned());
            }
        }
        let (top_k, classes) = (self.postprocessing.as_ref()?.top_k.get(), labels?.lines().count());
        (top_k > classes).then(|| format!("postprocessing.top_k = {top_k}, but there are {classes} labels"))
    }

    fn label_disagreement(&self, labels: &str) -> Option<String> {
        let count = i64::try_from(labels.lines().count()).unwrap_or(i64::MAX);
        let classes = *self.outputs.first()?.shape.last()?;
        (classes >= 0 && classes != count)
            .then(|| format!("the label file has {count} lines, but the output has {classes} classes"))
    }
}

fn compare(kind: &str, card: &[TensorSpec], graph: &[TensorSpec]) -> Vec<String> {
    if card.len() != graph.len() {
        return vec![format!("the card has {} {kind}(s), the graph has {}", card.len(), graph.len())];
    }
    let pairs = card.iter().zip(graph);
    pairs
        .filter(|(card, graph)| card != graph)
        .map(|(c, g)| format!("{kind}: the card says {c}, the graph has {g}"))
        .collect()
}

fn inside(path: &Path, key: &str) -> Result<(), String> {
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    if plain && !path.as_os_str().is_empty() {
        return Ok(());
    }
    Err(format!("{key} = \"{}\" must be a path inside of the model's folder", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: &str = r#"
        name = "m"
        description = "d"
        license = "MIT"
        source = "s"
        graph = { file = "m.onnx", engine = "onnx" }
        inputs = [{ name = "x", dtype = "FP32", shape = [-1, 3, 8, 8] }]
        outputs = [{ name = "y", dtype = "FP32", shape = [-1, 2] }]
    "#;

    fn signature() -> Signature {
        let card = Card::parse("m", CARD).unwrap();
        Signature { inputs: card.inputs, outputs: card.outputs }
    }

    #[test]
    fn a_card_that_agrees_has_nothing_to_say() {
        let card = Card::parse("m", CARD).unwrap();
        assert_eq!(card.disagreements(&signature(), Some("a\nb\n")), Vec::<String>::new());
        assert_eq!(card.graph.target, Target::Cpu);
        assert_eq!(card.serving.queue_size.get(), 256);
    }

    #[test]
    fn disagreements_name_both_sides() {
        let card = Card::parse("m", CARD).unwrap();
        let mut graph = signature();
        graph.inputs[0].shape = vec![-1, 3, 9, 9];
        let said = card.disagreements(&graph, Some("a\n"));
        assert_eq!(said[0], "input: the card says 'x' FP32 [-1, 3, 8, 8], the graph has 'x' FP32 [-1, 3, 9, 9]");
        assert_eq!(said[1], "the label file has 1 lines, but the output has 2 classes");
        graph.outputs.clear();
        assert_eq!(card.disagreements(&graph, None)[1], "the card has 1 output(s), the graph has 0");
    }

    #[test]
    fn preprocessing_must_make_the_input() {
        let text = format!(
            "{CARD}\npreprocessing = {{ size = [8, 9], crop = 1.0, filter = \"bicubic\", layout = \"NCHW\", \
             color = \"RGB\", mean = [0, 0, 0], std = [1, 1, 1] }}"
        );
        let said = Card::parse("m", &text).unwrap().disagreements(&signature(), None);
        assert_eq!(said.len(), 1);
        assert!(said[0].contains("[1, 3, 9, 8] (Nchw)"), "{said:?}");
    }

    #[test]
    fn a_card_is_refused_by_the_key_that_is_wrong() {
        for (wrong, says) in [
            (CARD.replace("\"m\"", "\"n\""), "must be the folder's name"),
            (CARD.replace("m.onnx", "../m.onnx"), "graph.file"),
            (CARD.replace("m.onnx", "/etc/passwd"), "graph.file"),
            (CARD.replace("license", "licence"), "licence"),
            (CARD.replace("FP32", "FP33"), "FP33"),
            (format!("{CARD}\npostprocessing = {{ labels = \"l\", scores = \"odds\", top_k = 1 }}"), "odds"),
            (CARD.replace("\"onnx\"", "\"torch\""), "torch"),
        ] {
            let error = Card::parse("m", &wrong).unwrap_err();
            assert!(error.contains(says), "{error} does not say {says}");
        }
    }
}
