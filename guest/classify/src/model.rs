//! The model that is served: its card, what the card says of pictures and scores, and its labels.

use std::path::Path;

use modelfn_card::classification::{self, Postprocessing};
use modelfn_card::image;
use modelfn_card::{Card, Labels, TensorSpec};
use modelfn_guest::{ModelFolder, Problem, broken};
use modelfn_imaging::Preprocessing;

/// A checked card: whatever is wrong with one is found before the first pixel is decoded.
#[derive(Debug)]
pub(crate) struct Classifier {
    pub(crate) card: Card,
    pub(crate) preprocessing: Preprocessing,
    pub(crate) postprocessing: Postprocessing,
    pub(crate) labels: Labels,
}

impl Classifier {
    /// Reads the model's folder.
    ///
    /// # Errors
    ///
    /// 500 that names the file or the key: no request can cause one.
    pub(crate) fn read() -> Result<Self, Problem> {
        let folder = ModelFolder::open()?;
        Self::new(folder.card()?, |file| folder.labels(&file.to_string_lossy()))
    }

    /// Checks that card and labels are those of an image classifier. `labels` reads the file that the card names.
    pub(crate) fn new(card: Card, labels: impl Fn(&Path) -> Result<Labels, Problem>) -> Result<Self, Problem> {
        if card.name.is_empty() {
            return Err(broken("missing field `name`"));
        }
        let preprocessing: Preprocessing = card.table(image::TABLE)?;
        let postprocessing: Postprocessing = card.table(classification::TABLE)?;
        let labels = labels(&postprocessing.labels)?;
        let model = Self { card, preprocessing, postprocessing, labels };
        model.check().map_err(|why| broken(&why))?;
        Ok(model)
    }

    /// The model's one input: the picture.
    pub(crate) fn input(&self) -> &TensorSpec {
        &self.card.inputs[0]
    }

    fn check(&self) -> Result<(), String> {
        let [input] = self.card.inputs.as_slice() else {
            return Err("[[inputs]] must be one: the picture".to_owned());
        };
        if self.card.outputs.is_empty() {
            return Err("[[outputs]] is missing: its first names the scores".to_owned());
        }
        modelfn_imaging::check(&self.preprocessing, input)?;
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
