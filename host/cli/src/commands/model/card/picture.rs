//! What an image classifier's card says of pictures and classes.

use anyhow::{Result, bail, ensure};
use modelfn_card::image::{Color, Layout, Resize, Scale};
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

/// A model of pictures: what of it the graph says, and what was said on the command line.
pub(super) struct PictureTask {
    input: PictureInput,
    preset: Preset,
    /// Whether nobody named the preset.
    guessed: bool,
    scores: Option<ClassScores>,
}

/// What the scores of an image classifier are.
struct ClassScores {
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
    /// Whether it has one channel.
    is_gray: bool,
    dtype: DType,
}

impl PictureInput {
    /// Reads the axes of `spec`; `None` where it can't be a picture of three channels, or a gray one.
    pub(super) fn of(spec: &TensorSpec) -> Option<PictureInput> {
        let [_, second, third, fourth] = spec.shape[..] else { return None };
        let (layout, channels, height, width) = match (second, fourth) {
            (3, _) => (Layout::Nchw, 3, third, fourth),
            (_, 3) => (Layout::Nhwc, 3, second, third),
            (1, _) => (Layout::Nchw, 1, third, fourth),
            (_, 1) => (Layout::Nhwc, 1, second, third),
            _ => return None,
        };
        let is_open = width < 1 || height < 1;
        let or_usual = |axis: i64| if axis < 1 { USUAL_SIZE } else { axis };
        let takes_pixels = matches!(spec.dtype, DType::Fp32 | DType::Fp16 | DType::U8);
        takes_pixels.then(|| PictureInput {
            layout,
            size: (or_usual(width), or_usual(height)),
            is_open,
            is_gray: channels == 1,
            dtype: spec.dtype,
        })
    }

    /// The shape of one picture.
    pub(super) fn shape(self) -> Vec<i64> {
        let (width, height) = self.size;
        let channels = if self.is_gray { 1 } else { 3 };
        match self.layout {
            Layout::Nchw => vec![1, channels, height, width],
            Layout::Nhwc => vec![1, height, width, channels],
        }
    }

    /// The preset that most models of such an input were trained with.
    fn usual_preset(self) -> Preset {
        match (self.dtype, self.layout) {
            (DType::U8, _) => Preset::Raw,
            _ if self.is_gray => Preset::ZeroOne,
            (_, Layout::Nchw) => Preset::Imagenet,
            (_, Layout::Nhwc) => Preset::Keras,
        }
    }

    /// Why a preset is not one for such an input: a sentence.
    fn contradiction(self, preset: Preset) -> Option<String> {
        let Numbers { mean, std, .. } = preset.numbers();
        let word = preset.word();
        if self.dtype == DType::U8 && preset != Preset::Raw {
            return Some(format!("the graph takes bytes, which it normalises itself: --preset raw instead of {word}"));
        }
        let is_one_number = |values: [f64; 3]| values.iter().all(|value| value.to_bits() == values[0].to_bits());
        (self.is_gray && !(is_one_number(mean) && is_one_number(std)))
            .then(|| format!("the graph takes gray pictures, and preset {word} has numbers for three colors"))
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
                "the graph takes {input}, which is no picture: that is FP32, FP16 or U8 of four axes, of which one has three \
                 channels or one, such as [-1, 3, 224, 224]"
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
        let guessed = preset.is_none();
        let preset = preset.unwrap_or_else(|| picture.usual_preset());
        if let Some(contradiction) = picture.contradiction(preset) {
            bail!("{contradiction}");
        }
        Ok(PictureTask {
            input: picture,
            preset,
            guessed,
            scores: Some(ClassScores { labels, probabilities: PROBABILITIES.iter().any(|word| name.contains(word)) }),
        })
    }

    /// The task of a graph that finds things in pictures.
    ///
    /// # Errors
    ///
    /// Its first input is no picture.
    pub(super) fn detection(graph: &Signature) -> Result<PictureTask> {
        let picture = graph.inputs.first().and_then(PictureInput::of);
        let Some(input) = picture else { bail!("the first input of the graph is no picture") };
        let preset = if input.dtype == DType::U8 { Preset::Raw } else { Preset::ZeroOne };
        Ok(PictureTask { input, preset, guessed: true, scores: None })
    }

    /// The tables of the task.
    pub(super) fn sections(&self) -> Vec<Vec<String>> {
        let postprocessing = self.scores.as_ref().map(ClassScores::postprocessing);
        [self.preprocessing()].into_iter().chain(postprocessing).collect()
    }

    /// The lines of `[preprocessing]`.
    fn preprocessing(&self) -> Vec<String> {
        let Numbers { resize, crop, filter, color, scale, mean, std } = self.preset.numbers();
        // Who looks for things everywhere must see the whole picture.
        let (resize, crop) = if self.scores.is_some() { (resize, crop) } else { (Resize::Pad, 1.0) };
        let PictureInput { layout, size: (width, height), is_open, is_gray, .. } = self.input;
        let whence = if self.guessed {
            "These numbers are a guess: take them from the code that trained the model, or name a --preset."
        } else {
            "Compare these numbers with the code that trained the model."
        };
        let open = if is_open { "; the graph takes any, this is usual" } else { "" };
        let (most, whose) = (u8::from(scale), if scale == Scale::Unit { "torchvision's" } else { "the file's" });
        let numbers = |values: [f64; 3]| if is_gray { format!("{:?}", &values[..1]) } else { format!("{values:?}") };
        let color = if is_gray { Color::Gray } else { color };
        vec![
            format!("# How a picture becomes the input, as preset `{}` has it.", self.preset.word()),
            format!("# {whence}"),
            "# A model with wrong ones still answers, and mostly well.".to_owned(),
            "[preprocessing]".to_owned(),
            format!("size = [{width}, {height}]  # width and height of the network's picture{open}"),
            format!("resize = \"{}\"  # a picture of another shape: \"crop\", \"squash\" or \"pad\"", resize.name()),
            format!("crop = {crop:?}  # the centred box that is looked at, as a part of the largest one that fits"),
            format!("filter = \"{}\"  # or \"{}\"", filter.name(), filter.other().name()),
            format!("layout = \"{}\"  # order of the axes", layout.name()),
            format!("color = \"{}\"  # the channels and their order: \"RGB\", \"BGR\" or \"GRAY\"", color.name()),
            "# The input is (value - mean) / std for each channel.".to_owned(),
            format!("scale = {most}  # values are 0 to {most}, {whose}"),
            format!("mean = {}", numbers(mean)),
            format!("std = {}", numbers(std)),
        ]
    }
}

impl ClassScores {
    /// The lines of `[postprocessing]`.
    fn postprocessing(&self) -> Vec<String> {
        let scores = if self.probabilities { "probabilities" } else { "logits" };
        let labels = match &self.labels {
            Some(LabelFile { path, .. }) => format!("labels = {}", quoted(path)),
            None => "# labels = \"labels.txt\"".to_owned(),
        };
        vec![
            "# How the scores of the first output become classes.".to_owned(),
            "[postprocessing]".to_owned(),
            format!("{labels}  # line n, counted from 0, is the name of class n"),
            "# \"logits\": softmax is applied; \"probabilities\": taken as they are; \"sigmoid\": several classes may be right."
                .to_owned(),
            format!("scores = \"{scores}\""),
            "# top_k = 5  # classes in a response when the request does not say".to_owned(),
        ]
    }
}

/// A TOML string of one line.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}
