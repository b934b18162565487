//! How pictures are usually prepared for a network: the numbers that the exporters' own code has.

use clap::ValueEnum;
use modelfn_card::image::{Color, Filter, Resize, Scale};

/// A usual preparation of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Preset {
    /// torchvision and timm: ImageNet's mean 0.485, 0.456, 0.406 and its standard deviation, centre crop of 0.875.
    Imagenet,
    /// Values 0 to 255 as they are: networks that normalise themselves, as Keras' EfficientNet does.
    Raw,
    /// Values 0 to 1, as `ToTensor` alone makes them.
    ZeroOne,
    /// Keras' MobileNet, Inception and Xception: -1 to 1, from the whole picture, squashed.
    Keras,
    /// Keras' ResNet50 and VGG, and Caffe: BGR minus ImageNet's mean.
    Caffe,
    /// timm's Inception and ViT: -1 to 1, bicubic from a centre crop of 0.875.
    Inception,
    /// OpenAI's CLIP: its own mean and standard deviation, bicubic from the largest centre square.
    OpenaiClip,
}

/// The numbers of a preset, as a card has them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Numbers {
    /// How a picture of another aspect ratio becomes one of the network's.
    pub(super) resize: Resize,
    /// Side of the centred box, relative to the largest one.
    pub(super) crop: f64,
    /// How the box is scaled.
    pub(super) filter: Filter,
    /// Order of the channels, which is that of the other numbers, too.
    pub(super) color: Color,
    /// The range of the values that the other numbers are meant for.
    pub(super) scale: Scale,
    /// Subtracted from each channel.
    pub(super) mean: [f64; 3],
    /// What the difference is divided by.
    pub(super) std: [f64; 3],
}

impl Preset {
    /// The numbers.
    pub(super) fn numbers(self) -> Numbers {
        let torchvision = Numbers {
            resize: Resize::Crop,
            crop: 0.875,
            filter: Filter::Bilinear,
            color: Color::Rgb,
            scale: Scale::Unit,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
        };
        let plain = Numbers { mean: [0.0; 3], std: [1.0; 3], ..torchvision };
        let signed = Numbers { mean: [0.5; 3], std: [0.5; 3], ..torchvision };
        match self {
            Self::Imagenet => torchvision,
            Self::Raw => Numbers { scale: Scale::Byte, ..plain },
            Self::ZeroOne => plain,
            Self::Keras => Numbers { resize: Resize::Squash, crop: 1.0, ..signed },
            Self::Caffe => {
                let mean = [103.939, 116.779, 123.68];
                Numbers { color: Color::Bgr, scale: Scale::Byte, mean, ..plain }
            }
            Self::Inception => Numbers { filter: Filter::Bicubic, ..signed },
            Self::OpenaiClip => Numbers {
                crop: 1.0,
                filter: Filter::Bicubic,
                mean: [0.48145466, 0.4578275, 0.40821073],
                std: [0.26862954, 0.26130258, 0.27577711],
                ..torchvision
            },
        }
    }

    /// The word on the command line.
    pub(super) fn word(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}
