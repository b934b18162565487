//! Vectors, one for each text.

use serde::Deserialize;

use crate::batches::Grid;

/// The least length that a vector is divided by.
const LEAST_NORM: f64 = 1e-12;

/// How the vectors of the tokens of a text become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Pooling {
    /// Their mean.
    Mean,
    /// That of the first token.
    Cls,
}

/// The vectors of a request's texts.
#[derive(Debug)]
pub(crate) struct Vectors {
    texts: usize,
    dimensions: usize,
    /// Row n is the vector of text n.
    values: Vec<f32>,
}

impl Pooling {
    /// One vector for each row of `floats`, which have the shape `[rows, length, dimensions]`.
    pub(crate) fn pool(self, floats: &[f32], grid: &Grid) -> Vec<f32> {
        let (rows, length) = grid.shape;
        let dimensions = floats.len() / (rows * length).max(1);
        let mut pooled = Vec::with_capacity(rows * dimensions);
        for (tokens, mask) in floats.chunks(length * dimensions).zip(grid.mask.chunks(length)) {
            match self {
                Self::Cls => pooled.extend_from_slice(&tokens[..dimensions]),
                Self::Mean => pooled.extend(mean(tokens.chunks(dimensions).zip(mask), dimensions)),
            }
        }
        pooled
    }
}

/// The mean of the vectors whose mask is 1.
fn mean<'a>(tokens: impl Iterator<Item = (&'a [f32], &'a i32)>, dimensions: usize) -> Vec<f32> {
    let (mut sum, mut count) = (vec![0f32; dimensions], 0f32);
    for (vector, _) in tokens.filter(|(_, mask)| **mask == 1) {
        sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value);
        count += 1.0;
    }
    sum.iter_mut().for_each(|sum| *sum /= count.max(1.0));
    sum
}

impl Vectors {
    pub(crate) fn new(texts: usize) -> Self {
        Self { texts, dimensions: 0, values: Vec::new() }
    }

    /// The length of each vector.
    pub(crate) fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// The vector of each text.
    pub(crate) fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.dimensions.max(1))
    }

    /// Puts the rows of a batch to the places of its texts.
    pub(crate) fn insert(&mut self, texts: &[usize], rows: &[f32]) {
        self.dimensions = rows.len() / texts.len().max(1);
        self.values.resize(self.texts * self.dimensions, 0.0);
        for (&text, row) in texts.iter().zip(rows.chunks_exact(self.dimensions.max(1))) {
            self.values[text * self.dimensions..][..self.dimensions].copy_from_slice(row);
        }
    }

    /// Checks the vectors, and gives them the length 1 if that is wanted. The error says what they are instead of numbers.
    pub(crate) fn finish(mut self, normalize: bool) -> Result<Self, &'static str> {
        if self.dimensions == 0 {
            return Err("vectors of no dimension");
        }
        if !self.values.iter().all(|value| value.is_finite()) {
            return Err("vectors that are not numbers");
        }
        if normalize {
            self.values.chunks_exact_mut(self.dimensions).for_each(make_unit);
        }
        Ok(self)
    }
}

fn make_unit(vector: &mut [f32]) {
    let norm = vector.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt();
    let scale = 1.0 / norm.max(LEAST_NORM);
    vector.iter_mut().for_each(|value| *value = (f64::from(*value) * scale) as f32);
}

#[cfg(test)]
mod tests;
