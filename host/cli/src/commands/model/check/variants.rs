//! Usual ways to preprocess pictures that differ from a card in one point, and the lines that make a card say so.

use modelfn_card::DType;
use modelfn_card::image::{Color, Preprocessing, PreprocessingTable, Resize, Scale};

/// Normalisations that differ by less than this part of their range are the same one.
const ALIKE: f32 = 0.02;

/// The part of the shorter edge that is left by `Resize(256)` and `CenterCrop(224)`, the most usual pair.
const USUAL_CROP: f64 = 0.875;

/// A preprocessing that is worth a try.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Variant {
    /// What is different, for people.
    pub(super) what: String,
    pub(super) preprocessing: Preprocessing,
}

/// Mean and deviation of the channels red, green and blue.
struct Normalization {
    what: &'static str,
    scale: Scale,
    mean: [f32; 3],
    std: [f32; 3],
}

const OF_COLORS: [Normalization; 3] = [
    Normalization {
        what: "mean and std of ImageNet",
        scale: Scale::Unit,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    },
    Normalization {
        what: "mean of ImageNet alone",
        scale: Scale::Byte,
        mean: [123.68, 116.779, 103.939],
        std: [1.0; 3],
    },
    Normalization {
        what: "mean and std of CLIP",
        scale: Scale::Unit,
        mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
        std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
    },
];

const OF_GRAY: [Normalization; 1] =
    [Normalization { what: "mean and std of MNIST", scale: Scale::Unit, mean: [0.1307; 3], std: [0.3081; 3] }];

const OF_ALL: [Normalization; 3] = [
    Normalization { what: "values from -1 to 1", scale: Scale::Unit, mean: [0.5; 3], std: [0.5; 3] },
    Normalization { what: "values from 0 to 1", scale: Scale::Unit, mean: [0.0; 3], std: [1.0; 3] },
    Normalization { what: "values from 0 to 255", scale: Scale::Byte, mean: [0.0; 3], std: [1.0; 3] },
];

/// The usual preprocessings that differ from `base` in one point, each once. `dtype` is that of the input: bytes are not
/// normalised.
pub(super) fn usual(base: &Preprocessing, dtype: DType) -> Vec<Variant> {
    let mut variants = if dtype == DType::U8 { Vec::new() } else { normalizations(base) };
    variants.extend(colors(base));
    variants.extend(boxes(base));
    let (what, filter) = (base.filter.other().name(), base.filter.other());
    variants.push(Variant { what: format!("{what} filter"), preprocessing: Preprocessing { filter, ..base.clone() } });
    let mut distinct: Vec<Variant> = Vec::new();
    for variant in variants {
        let known = || distinct.iter().map(|known| &known.preprocessing).chain([base]);
        let is_new = known().all(|known| *known != variant.preprocessing && !are_alike(known, &variant.preprocessing));
        if is_new {
            distinct.push(variant);
        }
    }
    distinct
}

fn normalizations(base: &Preprocessing) -> Vec<Variant> {
    let other = match base.scale {
        Scale::Byte => Scale::Unit,
        Scale::Unit => Scale::Byte,
    };
    let what = format!("the card's mean and std for values from 0 to {}", u8::from(other));
    let mut variants = vec![Variant { what, preprocessing: Preprocessing { scale: other, ..base.clone() } }];
    let of_color: &[Normalization] = if base.color == Color::Gray { &OF_GRAY } else { &OF_COLORS };
    for &Normalization { what, scale, mut mean, mut std } in of_color.iter().chain(&OF_ALL) {
        if base.color == Color::Bgr {
            mean.reverse();
            std.reverse();
        }
        let preprocessing = Preprocessing { scale, mean, std, ..base.clone() };
        variants.push(Variant { what: what.to_owned(), preprocessing });
    }
    variants
}

/// The other order of the channels, each with its own mean and deviation.
fn colors(base: &Preprocessing) -> Option<Variant> {
    let color = match base.color {
        Color::Rgb => Color::Bgr,
        Color::Bgr => Color::Rgb,
        Color::Gray => return None,
    };
    let mut preprocessing = Preprocessing { color, ..base.clone() };
    preprocessing.mean.reverse();
    preprocessing.std.reverse();
    Some(Variant { what: format!("channels in the order {}", color.name()), preprocessing })
}

/// Other parts of the picture, and other ways to make them the network's.
fn boxes(base: &Preprocessing) -> Vec<Variant> {
    let variant = |what: &str, resize, crop| Variant {
        what: what.to_owned(),
        preprocessing: Preprocessing { resize, crop, pad_color: [0; 3], ..base.clone() },
    };
    let mut variants = vec![
        variant("the largest centred box", Resize::Crop, 1.0),
        variant("seven eighths of the largest centred box", Resize::Crop, USUAL_CROP),
        variant("the whole picture, squashed", Resize::Squash, 1.0),
        variant("the whole picture, padded", Resize::Pad, 1.0),
    ];
    // Only the color would differ.
    variants.retain(|variant| !(base.resize == Resize::Pad && variant.preprocessing.resize == Resize::Pad));
    variants
}

/// Whether two ways differ in how samples are normalised, but hardly.
fn are_alike(a: &Preprocessing, b: &Preprocessing) -> bool {
    let normalized_as_b = Preprocessing { scale: b.scale, mean: b.mean, std: b.std, ..a.clone() };
    normalized_as_b == *b
        && (0..3).all(|channel| {
            let ends = |of: &Preprocessing| [of.normalize(channel, 0), of.normalize(channel, 255)];
            let ([a_low, a_high], [b_low, b_high]) = (ends(a), ends(b));
            let limit = ALIKE * (a_high - a_low).abs();
            (a_low - b_low).abs() <= limit && (a_high - b_high).abs() <= limit
        })
}

/// The keys of `[preprocessing]` that say `to` where a card says `from`, as lines of a card.
pub(super) fn card_lines(from: &Preprocessing, to: &Preprocessing) -> Vec<String> {
    let (old, new) = (PreprocessingTable::from(from), PreprocessingTable::from(to));
    let is_normalized_otherwise = (old.scale, &old.mean, &old.std) != (new.scale, &new.mean, &new.std);
    let line = |key: &str, value: String| format!("{key} = {value}");
    let numbers = |values: &[f32; 3]| match *values {
        [a, b, c] if a == b && b == c => format!("[{a:?}]"),
        values => format!("{values:?}"),
    };
    let mut lines = Vec::new();
    if from.resize != to.resize || from.crop != to.crop {
        lines.extend([line("resize", format!("\"{}\"", to.resize.name())), line("crop", format!("{:?}", to.crop))]);
    }
    if from.pad_color != to.pad_color && to.resize == Resize::Pad {
        lines.push(line("pad_color", format!("{:?}", to.pad_color)));
    }
    if from.filter != to.filter {
        lines.push(line("filter", format!("\"{}\"", to.filter.name())));
    }
    if from.color != to.color {
        lines.push(line("color", format!("\"{}\"", to.color.name())));
    }
    if is_normalized_otherwise {
        lines.push(line("scale", u8::from(to.scale).to_string()));
        lines.extend([line("mean", numbers(&to.mean)), line("std", numbers(&to.std))]);
    }
    lines
}

#[cfg(test)]
mod tests;
