//! The `[preprocessing]` table as it is written, and what it means for an input.

use serde::{Deserialize, Serialize};

use super::{Color, Filter, Layout, MAX_SIDE, Preprocessing, Resize, Scale};
use crate::{DType, TensorSpec};

/// The `[preprocessing]` table of an image model, as a card has it. What it leaves out is taken from the model's input, or
/// is the default.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct PreprocessingTable {
    /// Width and height; absent: those of the input.
    pub size: Option<(u32, u32)>,
    /// Absent: [`Resize::Crop`].
    pub resize: Option<Resize>,
    /// Absent: 1.
    pub crop: Option<f64>,
    /// Red, green and blue beside a padded picture; absent: black.
    pub pad_color: Option<[u8; 3]>,
    /// Absent: [`Filter::Bilinear`].
    pub filter: Option<Filter>,
    /// Absent: that of the input, where its shape tells.
    pub layout: Option<Layout>,
    /// Absent: [`Color::Gray`] for an input of one channel, [`Color::Rgb`] for others.
    pub color: Option<Color>,
    /// Absent: [`Scale::Byte`].
    pub scale: Option<Scale>,
    /// One value for all channels, or one for each; absent: 0.
    pub mean: Option<Vec<f32>>,
    /// The same; absent: 1.
    pub std: Option<Vec<f32>>,
}

impl PreprocessingTable {
    /// Keys that no table of another task has: one of them makes a table that of an image model.
    pub(crate) const TELLING_KEYS: [&str; 6] = ["size", "resize", "crop", "filter", "layout", "color"];

    /// Keys that tables of other tasks may have as well.
    pub(crate) const OTHER_KEYS: [&str; 4] = ["pad_color", "scale", "mean", "std"];

    /// What the table means for the model's first input, where that is known.
    ///
    /// # Errors
    ///
    /// A sentence that names the key for each thing that contradicts another, is out of range, or is missing although the
    /// input does not tell it.
    pub fn resolve(&self, input: Option<&TensorSpec>) -> Result<Preprocessing, Vec<String>> {
        let mut mistakes = self.contradictions(input);
        let layout = self.layout.or_else(|| self.layout_of(input?));
        if layout.is_none() {
            let why =
                input.map_or_else(|| "the card names no input".to_owned(), |input| format!("the input is {input}"));
            mistakes.push(format!("preprocessing.layout is missing, and {why}: write layout = \"NCHW\" or \"NHWC\""));
        }
        let size = self.size.or_else(|| size_of(input?, layout?));
        if layout.is_some() && size.is_none() {
            mistakes.push(
                "preprocessing.size is missing, and the input does not tell it: write size = [width, height]"
                    .to_owned(),
            );
        }
        if size.is_some_and(|(width, height)| ![width, height].iter().all(|side| (1..=MAX_SIDE).contains(side))) {
            mistakes.push(format!("preprocessing.size must be 1 to {MAX_SIDE} pixels a side"));
        }
        let color = self.color.unwrap_or_else(|| color_of(input, layout));
        let mut values = |key, given: &Option<Vec<f32>>, default| {
            per_channel(given.as_deref().unwrap_or(&[default]), color)
                .map_err(|why| mistakes.push(format!("preprocessing.{key} {why}")))
        };
        let (mean, std) = (values("mean", &self.mean, 0.0), values("std", &self.std, 1.0));
        match (layout, size, mean, std) {
            (Some(layout), Some(size), Ok(mean), Ok(std)) if mistakes.is_empty() => Ok(Preprocessing {
                resize: self.resize.unwrap_or_default(),
                crop: self.crop.unwrap_or(1.0),
                pad_color: self.pad_color.unwrap_or_default(),
                filter: self.filter.unwrap_or_default(),
                color,
                scale: self.scale.unwrap_or_default(),
                mean,
                std,
                ..Preprocessing::new(size, layout)
            }),
            _ => Err(mistakes),
        }
    }

    /// What is wrong whatever the input's axes are: a sentence each.
    fn contradictions(&self, input: Option<&TensorSpec>) -> Vec<String> {
        let mut found = Vec::new();
        let crop = self.crop.unwrap_or(1.0);
        let is_padded = self.resize == Some(Resize::Pad);
        if !(crop > 0.0 && crop <= 1.0) {
            found.push(format!("preprocessing.crop = {crop} must be above 0 and at most 1"));
        } else if is_padded && crop < 1.0 {
            found.push(format!(
                "preprocessing.crop = {crop} contradicts resize = \"pad\", which shows the whole picture"
            ));
        }
        if self.pad_color.is_some() && !is_padded {
            found.push("preprocessing.pad_color has no meaning without resize = \"pad\"".to_owned());
        }
        let (mean, std) = (self.mean.as_deref().unwrap_or_default(), self.std.as_deref().unwrap_or_default());
        if std.contains(&0.0) || !mean.iter().chain(std).all(|value| value.is_finite()) {
            found.push("preprocessing.mean and .std must be finite, and .std not 0".to_owned());
        }
        if self.scale == Some(Scale::Unit) && input.is_some_and(|input| input.dtype == DType::U8) {
            found.push("preprocessing.scale = 1 makes values of 0 to 1, but the input takes bytes: U8".to_owned());
        }
        found
    }

    /// The layout that the input's shape tells: that whose axis of channels has as many as a picture of `color`, or as any
    /// picture. `None` where both or neither have.
    fn layout_of(&self, input: &TensorSpec) -> Option<Layout> {
        let of_pictures: &[u32] = &[1, 3];
        let of_color = self.color.map(|color| [color.channels()]);
        let tells = |layout: Layout, channels: &[u32]| {
            input.shape.len() == 4 && channels.iter().any(|&n| input.shape[layout.axes()[0]] == i64::from(n))
        };
        let only = |channels: &[u32]| match (tells(Layout::Nchw, channels), tells(Layout::Nhwc, channels)) {
            (true, false) => Some(Layout::Nchw),
            (false, true) => Some(Layout::Nhwc),
            _ => None,
        };
        of_color.as_ref().and_then(|channels| only(channels)).or_else(|| only(of_pictures))
    }

    /// Whether an input has the shape of pictures: four axes, one of them of one or three channels.
    pub(crate) fn takes_pictures(input: &TensorSpec) -> bool {
        Self::default().layout_of(input).is_some()
    }
}

/// All of a preprocessing, with nothing left out but what has no meaning.
impl From<&Preprocessing> for PreprocessingTable {
    fn from(preprocessing: &Preprocessing) -> Self {
        let Preprocessing { size, resize, crop, pad_color, filter, layout, color, scale, mean, std } = preprocessing;
        let channels = color.channels() as usize;
        Self {
            size: Some(*size),
            resize: Some(*resize),
            crop: Some(*crop),
            pad_color: (*resize == Resize::Pad).then_some(*pad_color),
            filter: Some(*filter),
            layout: Some(*layout),
            color: Some(*color),
            scale: Some(*scale),
            mean: Some(mean[..channels].to_vec()),
            std: Some(std[..channels].to_vec()),
        }
    }
}

/// Width and height, where the input has them.
fn size_of(input: &TensorSpec, layout: Layout) -> Option<(u32, u32)> {
    let [_, height, width] = layout.axes().map(|axis| u32::try_from(*input.shape.get(axis)?).ok());
    Some((width?, height?))
}

fn color_of(input: Option<&TensorSpec>, layout: Option<Layout>) -> Color {
    let channels = input.zip(layout).and_then(|(input, layout)| input.shape.get(layout.axes()[0]));
    if channels == Some(&1) { Color::Gray } else { Color::Rgb }
}

/// A value for each channel, or what is wrong with their number.
fn per_channel(values: &[f32], color: Color) -> Result<[f32; 3], String> {
    match (values, color) {
        ([all], _) => Ok([*all; 3]),
        ([_, _, _], Color::Gray) => Err("has 3 values, but color = \"GRAY\" has one channel".to_owned()),
        (&[first, second, third], _) => Ok([first, second, third]),
        _ => Err(format!("must have one value, or one for each channel, not {}", values.len())),
    }
}

#[cfg(test)]
mod tests;
