//! The model that is served: its card, what the card says of pictures and scores, and its labels.

use std::borrow::Cow;
use std::path::Path;

use modelfn_card::classification::{self, Postprocessing};
use modelfn_card::{Card, CardError, Labels, TensorSpec, image};
use modelfn_guest::{ModelFolder, Problem, broken};
use modelfn_imaging::Preprocessing;

/// A checked card: whatever is wrong with one is found before the first pixel is decoded.
#[derive(Debug)]
pub(crate) struct Classifier {
    pub(crate) card: Card,
    pub(crate) preprocessing: Preprocessing,
    pub(crate) postprocessing: Postprocessing,
    /// The names of the classes; `None` where the card has none.
    pub(crate) labels: Option<Labels>,
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
        let missing = |table: &str| CardError::NoTable(table.to_owned());
        let preprocessing = card.image_preprocessing()?.ok_or_else(|| missing(image::TABLE))?;
        let postprocessing = card.classification()?.ok_or_else(|| missing(classification::TABLE))?;
        let labels = postprocessing.labels.as_deref().map(labels).transpose()?;
        let model = Self { card, preprocessing, postprocessing, labels };
        model.check().map_err(|why| broken(&why))?;
        Ok(model)
    }

    /// The number of classes: that of the labels, else what the card says of the scores, if it says so.
    pub(crate) fn classes(&self) -> Option<usize> {
        self.labels.as_ref().map(Labels::len).or_else(|| self.card.classes())
    }

    /// The name of a class.
    pub(crate) fn class(&self, index: usize) -> Cow<'_, str> {
        self.labels.as_ref().map_or_else(|| format!("class {index}").into(), |labels| labels.name(index).into())
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
        if let Some(disagreement) = self.preprocessing.disagreement(input) {
            return Err(disagreement);
        }
        let mistakes = self.postprocessing.mistakes(self.classes());
        if mistakes.is_empty() { Ok(()) } else { Err(mistakes.join("; ")) }
    }
}

#[cfg(test)]
pub(crate) mod tests;
