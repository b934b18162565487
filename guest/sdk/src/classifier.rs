//! Models that name what a picture shows: from the bytes of a picture to a tensor, and from scores to labels.

mod rank;

use std::borrow::Cow;
use std::path::Path;

use modelfn_card::classification::{self, Postprocessing};
use modelfn_card::{Card, CardError, Labels, TensorSpec, image};
use modelfn_imaging::{Picture, Preprocessing, Window};

use crate::folder::Folder;
use crate::model::Model;
use crate::problem::Problem;
use crate::tensor::DynTensor;

pub use rank::Prediction;

/// An image classifier, as its card and labels describe it. Whatever is wrong with them is found before the first pixel
/// is decoded.
#[derive(Debug)]
pub struct Classifier {
    /// The whole card.
    pub card: Card,
    /// How pictures become the input.
    pub preprocessing: Preprocessing,
    /// How scores become labels.
    pub postprocessing: Postprocessing,
    /// The names of the classes; `None` where the card has none.
    pub labels: Option<Labels>,
}

impl Classifier {
    /// Reads card and labels of the model that is mounted at `/model`.
    ///
    /// # Errors
    ///
    /// 500 that names the file or the key: no request can cause one.
    pub fn open() -> Result<Self, Problem> {
        let folder = Folder::open()?;
        Self::new(folder.card()?, |file| folder.labels(&file.to_string_lossy()))
    }

    /// Checks that card and labels are those of an image classifier. `labels` reads the file that the card names.
    fn new(card: Card, labels: impl Fn(&Path) -> Result<Labels, Problem>) -> Result<Self, Problem> {
        if card.name.is_empty() {
            return Err(Problem::broken_card("missing field `name`"));
        }
        let missing = |table: &str| CardError::NoTable(table.to_owned());
        let preprocessing = card.image_preprocessing()?.ok_or_else(|| missing(image::TABLE))?;
        let postprocessing = card.classification()?.ok_or_else(|| missing(classification::TABLE))?;
        let labels = postprocessing.labels.as_deref().map(labels).transpose()?;
        let classifier = Self { card, preprocessing, postprocessing, labels };
        classifier.check().map_err(|why| Problem::broken_card(&why))?;
        Ok(classifier)
    }

    /// The number of classes: that of the labels, else what the card says of the scores, if it says so.
    pub fn classes(&self) -> Option<usize> {
        self.labels.as_ref().map(Labels::len).or_else(|| self.card.classes())
    }

    /// The name of a class, counted from 0: its label, or `class N` where there are none.
    pub fn class(&self, index: usize) -> Cow<'_, str> {
        self.labels.as_ref().map_or_else(|| format!("class {index}").into(), |labels| labels.name(index).into())
    }

    /// Decodes a picture, as large as the network's picture needs it.
    ///
    /// # Errors
    ///
    /// 415 for what is no picture, 413 for one that would take too much memory, 400 for a damaged one.
    pub fn decode(&self, file: &[u8]) -> Result<Picture, Problem> {
        Ok(modelfn_imaging::decode(file, Window::of(&self.preprocessing))?)
    }

    /// Crops, scales and normalises a picture, as the card says.
    ///
    /// # Errors
    ///
    /// As [`Classifier::decode`].
    pub fn tensor(&self, picture: &Picture) -> Result<DynTensor, Problem> {
        let dtype = self.input().dtype;
        let data = modelfn_imaging::tensor(picture, &self.preprocessing, dtype)?;
        Ok(DynTensor { dtype, shape: self.preprocessing.input_shape().map(|size| size as usize).to_vec(), data })
    }

    /// Runs the model. Its scores are in the output that the card names, else in the first: some engines number outputs.
    ///
    /// # Errors
    ///
    /// As [`Model::load`] and [`Model::run`], and 500 for scores that are no floating-point numbers.
    pub fn scores(&self, picture: &DynTensor) -> Result<Vec<f32>, Problem> {
        let name = &self.card.name;
        let outputs = Model::load(name)?.run([(self.input().name.as_str(), picture)])?;
        let named = self.card.outputs.first().and_then(|output| outputs.find(&output.name));
        let output = named.map_or_else(|| outputs.at(0), Ok)?;
        output.floats().ok_or_else(|| {
            let dtype = output.dtype;
            Problem::internal(format!("model '{name}' answers in {dtype}; scores must be floating-point numbers"))
        })
    }

    /// The model's one input: the picture.
    fn input(&self) -> &TensorSpec {
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
mod tests;
