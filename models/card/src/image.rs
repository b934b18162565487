//! The `[preprocessing]` table of image models: how a picture becomes the first input.

use serde::{Deserialize, Serialize};

use crate::{DType, TensorSpec};

/// The table's name.
pub const TABLE: &str = "preprocessing";

/// The `[preprocessing]` table of an image model.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// Width and height of the network's picture, in pixels.
    pub size: (u32, u32),
    /// Side of the centred box that is looked at, relative to the largest one of `size`'s aspect ratio; in (0, 1].
    pub crop: f64,
    /// How the box is scaled to `size`.
    pub filter: Filter,
    /// Order of the tensor's axes.
    pub layout: Layout,
    /// Order of the channels.
    pub color: Color,
    /// Subtracted from each channel (0 to 255), in the order of `color`.
    pub mean: [f32; 3],
    /// What the difference is divided by, in the order of `color`.
    pub std: [f32; 3],
}

/// Interpolation filter; both are antialiased when shrinking, as in Pillow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// Keys' cubic convolution with a = -0.5.
    Bicubic,
    /// Linear interpolation along both axes.
    Bilinear,
}

/// Order of the input's axes: batch (N), channels (C), height (H), width (W).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Layout {
    /// A plane for each channel.
    Nchw,
    /// Channels interleaved.
    Nhwc,
}

/// Order of the channels in the input tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Color {
    /// Red first.
    Rgb,
    /// Blue first.
    Bgr,
}

impl Preprocessing {
    /// Shape of the input tensor of one picture.
    pub fn input_shape(&self) -> [u32; 4] {
        let (width, height) = self.size;
        match self.layout {
            Layout::Nchw => [1, 3, height, width],
            Layout::Nhwc => [1, height, width, 3],
        }
    }

    /// Why the preprocessed picture does not fit `input`: a sentence.
    pub fn disagreement(&self, input: &TensorSpec) -> Option<String> {
        let picture = self.input_shape();
        let shape = picture.map(|axis| usize::try_from(axis).unwrap_or(0));
        let fits = [DType::Fp32, DType::U8].iter().any(|&dtype| input.admits(dtype, &shape));
        (!fits).then(|| {
            format!("preprocessing makes FP32 or U8 {picture:?} ({:?}), but the input is {input}", self.layout)
        })
    }

    /// Numbers that no function could work with: a sentence that names the key.
    pub fn mistake(&self) -> Option<String> {
        let Self { crop, mean, std, .. } = self;
        if !(*crop > 0.0 && *crop <= 1.0) {
            return Some(format!("preprocessing.crop = {crop} must be above 0 and at most 1"));
        }
        if std.contains(&0.0) || !mean.iter().chain(std).all(|value| value.is_finite()) {
            return Some("preprocessing.mean and .std must be finite, and .std not 0".to_owned());
        }
        None
    }
}
