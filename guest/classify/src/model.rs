//! The model that is served: its card, what the card says of pictures and scores, and its labels.

use modelfn_card::classification::{self, Postprocessing};
use modelfn_card::image;
use modelfn_card::{Card, DType, Labels, TensorSpec};
use modelfn_guest::{ModelFolder, Problem, broken};
use modelfn_imaging::Preprocessing;

/// Longest side of a network's picture, in pixels: keeps a typing error from exhausting memory.
const MAX_SIDE: u32 = 4096;

/// A checked card: whatever is wrong with one is found before the first pixel is decoded.
#[derive(Debug)]
pub(crate) struct Classifier {
    pub(crate) card: Card,
    pub(crate) preprocessing: Preprocessing,
    pub(crate) postprocessing: Postprocessing,
    pub(crate) labels: Labels,
}

impl Classifier {
    /// Reads the model's folder. Every failure is a 500 that names the file or the key: no request can cause one.
    pub(crate) fn read() -> Result<Self, Problem> {
        let folder = ModelFolder::open()?;
        let card = folder.card()?;
        let postprocessing: Postprocessing = card.table(classification::TABLE)?;
        let labels = folder.labels(&postprocessing.labels.to_string_lossy())?;
        Self::new(card, labels)
    }

    /// Checks that card and labels are those of an image classifier.
    pub(crate) fn new(card: Card, labels: Labels) -> Result<Self, Problem> {
        let preprocessing: Preprocessing = card.table(image::TABLE)?;
        let postprocessing: Postprocessing = card.table(classification::TABLE)?;
        let model = Self { card, preprocessing, postprocessing, labels };
        model.check().map_err(|why| broken(&why))?;
        Ok(model)
    }

    /// The model's one input: the picture.
    pub(crate) fn input(&self) -> &TensorSpec {
        &self.card.inputs[0]
    }

    fn check(&self) -> Result<(), String> {
        let (width, height) = self.preprocessing.size;
        let [input] = self.card.inputs.as_slice() else {
            return Err("[[inputs]] must be one: the picture".to_owned());
        };
        if self.card.outputs.is_empty() {
            return Err("[[outputs]] is missing: its first names the scores".to_owned());
        }
        if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
            return Err(format!("preprocessing.size must be 1 to {MAX_SIDE} pixels a side"));
        }
        if let Some(mistake) = self.preprocessing.mistake() {
            return Err(mistake);
        }
        if !matches!(input.dtype, DType::Fp32 | DType::U8) {
            return Err("inputs.dtype must be FP32 or U8".to_owned());
        }
        let needed = self.preprocessing.input_shape();
        if !input.admits(input.dtype, &needed.map(|axis| axis as usize)) {
            return Err(format!(
                "inputs.shape = {:?} contradicts preprocessing.size and .layout, which make {needed:?}",
                input.shape
            ));
        }
        let (top_k, classes) = (self.postprocessing.top_k.get(), self.labels.len());
        if top_k > classes {
            let file = self.postprocessing.labels.display();
            return Err(format!("postprocessing.top_k = {top_k} must be 1 to {classes}, the lines of {file}"));
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
