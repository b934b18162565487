//! The three models: their names, and what their cards say.

use std::path::PathBuf;

use modelfn_guest::card::{Card, CardError, Labels};
use modelfn_guest::{Folder, Model, Outputs, Problem, Tensor};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::boxes::BoxRules;
use crate::sheet::SizeRules;

/// Finds lines of text.
pub(crate) const DETECTION: &str = "ocr-detection";
/// Tells whether a line is upside down.
pub(crate) const DIRECTION: &str = "ocr-direction";
/// Reads a line.
pub(crate) const RECOGNITION: &str = "ocr-recognition";

/// Where text is, and how a picture is prepared to see that.
#[derive(Debug)]
pub(crate) struct Detection {
    pub(crate) card: Card,
    pub(crate) sizes: SizeRules,
    pub(crate) boxes: BoxRules,
}

/// Whether a line is upside down.
#[derive(Debug)]
pub(crate) struct Direction {
    pub(crate) card: Card,
    pub(crate) size: DirectionSize,
    pub(crate) rules: DirectionRules,
}

/// What a line says.
#[derive(Debug)]
pub(crate) struct Recognition {
    pub(crate) card: Card,
    pub(crate) size: LineSize,
    pub(crate) rules: TextRules,
    /// Line n, counted from 0, is class n + 1.
    pub(crate) characters: Labels,
}

/// `[preprocessing]` of a direction model.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DirectionSize {
    /// The height of what the network sees.
    pub(crate) height: u32,
    /// Its width, which longer lines are squeezed to.
    pub(crate) width: u32,
}

/// `[postprocessing]` of a direction model.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DirectionRules {
    /// Above this probability a line is turned.
    pub(crate) threshold: f32,
}

/// `[preprocessing]` of a recognition model.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LineSize {
    /// The height of what the network sees.
    pub(crate) height: u32,
    /// Its width, at least.
    pub(crate) min_width: u32,
    /// Its width, at most, which longer lines are squeezed to.
    pub(crate) max_width: u32,
}

/// `[postprocessing]` of a recognition model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TextRules {
    /// The file of characters.
    characters: PathBuf,
    /// The average probability of a line's characters, at least.
    pub(crate) min_score: f32,
}

impl Detection {
    /// # Errors
    ///
    /// 500 that names the file or the key.
    pub(crate) fn open() -> Result<Self, Problem> {
        let card = Folder::of(DETECTION)?.card()?;
        let (sizes, boxes): (SizeRules, BoxRules) = tables(&card)?;
        match sizes.mistake() {
            Some(mistake) => Err(broken(DETECTION, mistake)),
            None => Ok(Self { card, sizes, boxes }),
        }
    }
}

impl Direction {
    /// # Errors
    ///
    /// 500 that names the file or the key.
    pub(crate) fn open() -> Result<Self, Problem> {
        let card = Folder::of(DIRECTION)?.card()?;
        let (size, rules): (DirectionSize, DirectionRules) = tables(&card)?;
        if size.height == 0 || size.width == 0 {
            return Err(broken(DIRECTION, "preprocessing.height and .width must be 1 at least"));
        }
        Ok(Self { card, size, rules })
    }
}

impl Recognition {
    /// # Errors
    ///
    /// 500 that names the file or the key.
    pub(crate) fn open() -> Result<Self, Problem> {
        let folder = Folder::of(RECOGNITION)?;
        let card = folder.card()?;
        let (size, rules): (LineSize, TextRules) = tables(&card)?;
        if size.height == 0 || size.min_width == 0 || size.max_width < size.min_width {
            return Err(broken(RECOGNITION, "preprocessing needs 1 <= height and 1 <= min_width <= max_width"));
        }
        let characters = folder.labels(&rules.characters.to_string_lossy())?;
        Ok(Self { card, size, rules, characters })
    }
}

fn tables<A: DeserializeOwned, B: DeserializeOwned>(card: &Card) -> Result<(A, B), Problem> {
    let failed = |error: CardError| broken(&card.name, error.to_string().trim_end());
    Ok((card.table("preprocessing").map_err(failed)?, card.table("postprocessing").map_err(failed)?))
}

fn broken(model: &str, why: &str) -> Problem {
    Problem::internal(format!("the card of model '{model}' is broken: {why}"))
}

/// The outputs of a model for a picture of `size`, which is width and height, as U8 in NHWC.
///
/// # Errors
///
/// Those of [`Model::run`].
pub(crate) fn run(model: &str, size: (u32, u32), pixels: Vec<u8>) -> Result<Outputs, Problem> {
    let shape = [1, size.1 as usize, size.0 as usize, 3];
    Model::load(model)?.run([("pixels", Tensor::new(shape, pixels)?)])
}
