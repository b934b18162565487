//! How pictures are usually prepared for a network: the numbers that the exporters' own code has.

use clap::ValueEnum;
use modelfn_card::image::{Color, Filter};

/// A usual preparation of pictures. Values are those of a channel, 0 to 255.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Preset {
    /// torchvision and timm: ImageNet's mean 0.485, 0.456, 0.406 and its standard deviation, centre crop of 0.875.
    Imagenet,
    /// Values 0 to 255 as they are: networks that normalise themselves, as Keras' EfficientNet does.
    Raw,
    /// Values 0 to 1, as `ToTensor` alone makes them.
    ZeroOne,
    /// Keras' MobileNet, Inception and Xception: -1 to 1, from the whole picture.
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
    /// Side of the centred box, relative to the largest one.
    pub(super) crop: f64,
    /// How the box is scaled.
    pub(super) filter: Filter,
    /// Order of the channels, which is that of the other numbers, too.
    pub(super) color: Color,
    /// Subtracted from each channel.
    pub(super) mean: [f64; 3],
    /// What the difference is divided by.
    pub(super) std: [f64; 3],
}

impl Preset {
    /// The numbers.
    pub(super) fn numbers(self) -> Numbers {
        let torchvision = Numbers {
            crop: 0.875,
            filter: Filter::Bilinear,
            color: Color::Rgb,
            mean: [123.675, 116.28, 103.53],
            std: [58.395, 57.12, 57.375],
        };
        let signed = Numbers { mean: [127.5; 3], std: [127.5; 3], ..torchvision };
        match self {
            Self::Imagenet => torchvision,
            Self::Raw => Numbers { mean: [0.0; 3], std: [1.0; 3], ..torchvision },
            Self::ZeroOne => Numbers { mean: [0.0; 3], std: [255.0; 3], ..torchvision },
            Self::Keras => Numbers { crop: 1.0, ..signed },
            Self::Caffe => {
                Numbers { color: Color::Bgr, mean: [103.939, 116.779, 123.68], std: [1.0; 3], ..torchvision }
            }
            Self::Inception => Numbers { filter: Filter::Bicubic, ..signed },
            Self::OpenaiClip => Numbers {
                crop: 1.0,
                filter: Filter::Bicubic,
                mean: [122.7709383, 116.7460125, 104.09373615],
                std: [68.5005327, 66.6321579, 70.32316305],
                ..torchvision
            },
        }
    }

    /// The word on the command line.
    pub(super) fn word(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}
