//! The `[preprocessing]` table of image models: how a picture becomes the first input.
//!
//! [`PreprocessingTable`] is what a card says, and [`Preprocessing`] what that means once the keys that it leaves out are
//! taken from the input or from their defaults.

mod table;

use serde::{Deserialize, Serialize};

pub use table::PreprocessingTable;

use crate::{DType, TensorSpec};

/// The table's name.
pub const TABLE: &str = "preprocessing";

/// Longest side of a network's picture, in pixels: keeps a typing error from exhausting memory.
pub const MAX_SIDE: u32 = 4096;

/// The element types that a picture can become.
const DTYPES: [DType; 3] = [DType::Fp32, DType::Fp16, DType::U8];

/// How a picture becomes the first input of an image model, in full.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocessing {
    /// Width and height of the network's picture, in pixels; 1 to [`MAX_SIDE`].
    pub size: (u32, u32),
    /// How a picture of another aspect ratio becomes one of `size`.
    pub resize: Resize,
    /// Side of the centred box that is looked at, as a part of what `resize` takes without it; in (0, 1], and 1 for
    /// [`Resize::Pad`].
    pub crop: f64,
    /// Red, green and blue of what is beside a padded picture.
    pub pad_color: [u8; 3],
    /// How the box is scaled to `size`.
    pub filter: Filter,
    /// Order of the tensor's axes.
    pub layout: Layout,
    /// The channels and their order.
    pub color: Color,
    /// The range of the samples that `mean` is subtracted from.
    pub scale: Scale,
    /// Subtracted from each channel, in the order of `color`; of gray pictures the first counts.
    pub mean: [f32; 3],
    /// What the difference is divided by, likewise.
    pub std: [f32; 3],
}

/// How a picture of another aspect ratio becomes one of the network's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Resize {
    /// The largest centred box of the network's aspect ratio is scaled: what is beside it is not seen.
    #[default]
    Crop,
    /// The whole picture is scaled along each axis on its own: its aspect ratio is lost.
    Squash,
    /// The whole picture is scaled to fit and centred, and what is left is filled with one color ("letterbox").
    Pad,
}

/// Interpolation filter; both are antialiased when shrinking, as in Pillow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// Keys' cubic convolution with a = -0.5.
    Bicubic,
    /// Linear interpolation along both axes: the default of torchvision.
    #[default]
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

/// The channels of the input tensor and their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Color {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// One channel: the luma of ITU-R BT.601, as of Pillow's `convert("L")`.
    Gray,
}

/// The range of the samples that `mean` and `std` are meant for: 255 or 1 in cards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "f64", into = "u8")]
pub enum Scale {
    /// 0 to 255, as in the file.
    #[default]
    Byte,
    /// 0 to 1, as of torchvision's `ToTensor`.
    Unit,
}

impl Preprocessing {
    /// The largest centred box, with all else by default: RGB values of 0 to 255, scaled bilinearly.
    pub fn new(size: (u32, u32), layout: Layout) -> Self {
        Self {
            size,
            resize: Resize::default(),
            crop: 1.0,
            pad_color: [0; 3],
            filter: Filter::default(),
            layout,
            color: Color::Rgb,
            scale: Scale::default(),
            mean: [0.0; 3],
            std: [1.0; 3],
        }
    }

    /// Shape of the input tensor of one picture.
    pub fn input_shape(&self) -> [u32; 4] {
        let (width, height) = self.size;
        let channels = self.color.channels();
        match self.layout {
            Layout::Nchw => [1, channels, height, width],
            Layout::Nhwc => [1, height, width, channels],
        }
    }

    /// The tensor's element for a sample of `channel`, counted in the order of `color`: its value in `scale`, less the
    /// mean, divided by the deviation.
    pub fn normalize(&self, channel: usize, sample: u8) -> f32 {
        let value = match self.scale {
            Scale::Byte => f32::from(sample),
            Scale::Unit => f32::from(sample) / 255.0,
        };
        (value - self.mean[channel]) / self.std[channel]
    }

    /// Whether a tensor of bytes in the layout NHWC is the scaled picture itself.
    pub fn is_identity(&self) -> bool {
        let is_plain = self.scale == Scale::Byte && self.mean == [0.0; 3] && self.std == [1.0; 3];
        is_plain && self.layout == Layout::Nhwc && self.color == Color::Rgb
    }

    /// Why `mean` and `std` look as if they were meant for the other `scale`: a sentence.
    pub fn doubt(&self) -> Option<String> {
        let channels = self.color.channels() as usize;
        let (mean, std) = (&self.mean[..channels], &self.std[..channels]);
        let is_small = mean.iter().chain(std).all(|value| value.abs() <= 1.0);
        let is_plain = mean.iter().all(|&mean| mean == 0.0) && std.iter().all(|&std| std == 1.0);
        let (meant, other) = match self.scale {
            Scale::Byte if is_small && !is_plain => (255, 1),
            Scale::Unit if !is_small => (1, 255),
            _ => return None,
        };
        Some(format!(
            "preprocessing.mean = {mean:?} and .std = {std:?} look like those of values of 0 to {other}, but scale is \
             {meant}; if they are, write scale = {other}"
        ))
    }

    /// Why the preprocessed picture does not fit `input`: a sentence.
    pub fn disagreement(&self, input: &TensorSpec) -> Option<String> {
        let picture = self.input_shape();
        let shape = picture.map(|axis| usize::try_from(axis).unwrap_or(0));
        let fits = DTYPES.iter().any(|&dtype| input.admits(dtype, &shape));
        let (layout, color) = (self.layout.name(), self.color.name());
        (!fits).then(|| {
            format!("preprocessing makes FP32, FP16 or U8 {picture:?} ({layout}, {color}), but the input is {input}")
        })
    }
}

impl Resize {
    /// The name in cards.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crop => "crop",
            Self::Squash => "squash",
            Self::Pad => "pad",
        }
    }
}

impl Filter {
    /// The name in cards.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bicubic => "bicubic",
            Self::Bilinear => "bilinear",
        }
    }

    /// The one that this is not.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Bicubic => Self::Bilinear,
            Self::Bilinear => Self::Bicubic,
        }
    }
}

impl Layout {
    /// The name in cards.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nchw => "NCHW",
            Self::Nhwc => "NHWC",
        }
    }

    /// The axis of the channels, then those of height and width.
    fn axes(self) -> [usize; 3] {
        match self {
            Self::Nchw => [1, 2, 3],
            Self::Nhwc => [3, 1, 2],
        }
    }
}

impl Color {
    /// The name in cards.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rgb => "RGB",
            Self::Bgr => "BGR",
            Self::Gray => "GRAY",
        }
    }

    /// Number of channels: 1 or 3.
    pub fn channels(self) -> u32 {
        if self == Self::Gray { 1 } else { 3 }
    }
}

impl TryFrom<f64> for Scale {
    type Error = String;

    fn try_from(value: f64) -> Result<Self, String> {
        match value {
            255.0 => Ok(Self::Byte),
            1.0 => Ok(Self::Unit),
            _ => Err(format!(
                "scale = {value} must be 255, where mean and std are meant for values of 0 to 255, or 1, where they are \
                 meant for values of 0 to 1"
            )),
        }
    }
}

impl From<Scale> for u8 {
    fn from(scale: Scale) -> Self {
        match scale {
            Scale::Byte => 255,
            Scale::Unit => 1,
        }
    }
}
