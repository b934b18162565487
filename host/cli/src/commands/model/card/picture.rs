//! What an image classifier's card says of pictures and classes.

use anyhow::{Result, bail, ensure};
use modelfn_card::image::{Filter, Layout};
use modelfn_card::{DType, Signature, TensorSpec};

use super::preset::{Numbers, Preset};

/// The size of pictures where the graph takes any.
const USUAL_SIZE: i64 = 224;

/// The names by which exporters call outputs that are probabilities already.
const PROBABILITIES: [&str; 3] = ["softmax", "prob", "predictions"];

/// A label file of the model's folder.
pub(super) struct LabelFile {
    /// Its path within the folder.
    pub(super) path: String,
    /// How many classes it names.
    pub(super) count: usize,
}

/// An image classifier: what of it the graph says, and what was said on the command line.
pub(super) struct PictureTask {
    input: PictureInput,
    preset: Preset,
    /// Whether nobody named the preset.
    guessed: bool,
    labels: Option<LabelFile>,
    probabilities: bool,
}

/// The axes of an input that takes pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PictureInput {
    pub(super) layout: Layout,
    /// Width and height.
    pub(super) size: (i64, i64),
    /// Whether the graph takes pictures of any size.
    pub(super) is_open: bool,
    dtype: DType,
}

impl PictureInput {
    /// Reads the axes of `spec`; `None` where it can't be a picture of three channels.
    pub(super) fn of(spec: &TensorSpec) -> Option<PictureInput> {
        let [_, second, third, fourth] = spec.shape[..] else { return None };
        let (layout, height, width) = match (second, fourth) {
            (3, _) => (Layout::Nchw, third, fourth),
            (_, 3) => (Layout::Nhwc, second, third),
            _ => return None,
        };
        let is_open = width < 1 || height < 1;
        let or_usual = |axis: i64| if axis < 1 { USUAL_SIZE } else { axis };
        let takes_pixels = matches!(spec.dtype, DType::Fp32 | DType::U8);
        takes_pixels.then(|| PictureInput {
            layout,
            size: (or_usual(width), or_usual(height)),
            is_open,
            dtype: spec.dtype,
        })
    }

    /// The preset that most models of such an input were trained with.
    fn usual_preset(self) -> Preset {
        match (self.dtype, self.layout) {
            (DType::U8, _) => Preset::Raw,
            (_, Layout::Nchw) => Preset::Imagenet,
            (_, Layout::Nhwc) => Preset::Keras,
        }
    }
}

impl PictureTask {
    /// The task of a graph.
    ///
    /// # Errors
    ///
    /// The graph takes no picture, or `labels` name another number of classes than it has.
    pub(super) fn of(graph: &Signature, preset: Option<Preset>, labels: Option<LabelFile>) -> Result<PictureTask> {
        let [input] = &graph.inputs[..] else {
            bail!("the graph takes {} inputs; an image classifier takes one picture", graph.inputs.len());
        };
        let Some(picture) = PictureInput::of(input) else {
            bail!(
                "the graph takes {input}, which is no picture: that is FP32 or U8 of four axes, of which one has three \
                 channels, such as [-1, 3, 224, 224]"
            );
        };
        let Some(output) = graph.outputs.first() else { bail!("the graph has no output") };
        if let (Some(file), Some(&classes)) = (&labels, output.shape.last()) {
            ensure!(
                classes < 0 || usize::try_from(classes) == Ok(file.count),
                "{} names {} classes, but the graph's output is {output}",
                file.path,
                file.count
            );
        }
        let name = output.name.to_lowercase();
        Ok(PictureTask {
            input: picture,
            preset: preset.unwrap_or_else(|| picture.usual_preset()),
            guessed: preset.is_none(),
            labels,
            probabilities: PROBABILITIES.iter().any(|word| name.contains(word)),
        })
    }

    /// The lines of `[preprocessing]`.
    pub(super) fn preprocessing(&self) -> Vec<String> {
        let Numbers { crop, filter, color, mean, std } = self.preset.numbers();
        let PictureInput { layout, size: (width, height), is_open, .. } = self.input;
        let whence = if self.guessed {
            "These numbers are a guess: take them from the code that trained the model, or name a --preset."
        } else {
            "Compare these numbers with the code that trained the model."
        };
        let open = if is_open { "; the graph takes any, this is usual" } else { "" };
        vec![
            format!("# How a picture becomes the input, as preset `{}` has it.", self.preset.word()),
            format!("# {whence}"),
            "# A model with wrong ones still answers, and mostly well.".to_owned(),
            "[preprocessing]".to_owned(),
            format!("size = [{width}, {height}]  # width and height of the network's picture{open}"),
            format!("crop = {crop:?}  # the centred box that is looked at, as a part of the largest one that fits"),
            format!("filter = \"{}\"  # or \"{}\"", filter_word(filter), filter_word(other(filter))),
            format!("layout = \"{}\"  # order of the axes", layout.name()),
            format!("color = \"{}\"  # order of the channels", color.name()),
            "# The input is (value - mean) / std for each channel; values are 0 to 255.".to_owned(),
            format!("mean = {mean:?}"),
            format!("std = {std:?}"),
        ]
    }

    /// The lines of `[postprocessing]`, commented out where there are no labels.
    pub(super) fn postprocessing(&self) -> Vec<String> {
        let classes = self.labels.as_ref().map_or(5, |labels| labels.count);
        let (scores, other) =
            if self.probabilities { ("probabilities", "logits") } else { ("logits", "probabilities") };
        let path = self.labels.as_ref().map_or("labels.txt", |labels| &labels.path);
        let lines = [
            "[postprocessing]".to_owned(),
            format!("labels = {}  # line n, counted from 0, is the name of class n", super::draft::quoted(path)),
            format!("scores = \"{scores}\"  # \"logits\": softmax is applied; or \"{other}\": taken as they are"),
            format!("top_k = {}  # classes in a response when the request does not say", classes.clamp(1, 5)),
        ];
        let comment = if self.labels.is_some() { "" } else { "# " };
        let head = "# How the scores of the first output become classes.".to_owned();
        [head].into_iter().chain(lines.into_iter().map(|line| format!("{comment}{line}"))).collect()
    }
}

fn other(filter: Filter) -> Filter {
    match filter {
        Filter::Bicubic => Filter::Bilinear,
        Filter::Bilinear => Filter::Bicubic,
    }
}

fn filter_word(filter: Filter) -> &'static str {
    match filter {
        Filter::Bicubic => "bicubic",
        Filter::Bilinear => "bilinear",
    }
}
