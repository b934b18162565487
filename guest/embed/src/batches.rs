//! Puts texts of one length together, so that there are as few computations as possible.

use std::cmp::Reverse;

use modelfn_wordpiece::Tokens;

/// Most places of one computation, unless one text alone has more: what it takes of memory grows with them.
const MAX_PLACES: usize = 4096;

/// Texts that are computed together.
#[derive(Debug, PartialEq)]
pub(crate) struct Batch {
    /// Their indices in the request.
    pub(crate) texts: Vec<usize>,
    /// The tokens of each row, at the end of which shorter texts are filled up.
    pub(crate) length: usize,
}

/// The rows of a batch.
#[derive(Debug, Default)]
pub(crate) struct Grid {
    /// Rows, and places in each.
    pub(crate) shape: (usize, usize),
    /// Tokens.
    pub(crate) ids: Vec<i32>,
    /// 1 where there is a token, 0 where a row is filled up.
    pub(crate) mask: Vec<i32>,
    /// The sentence that a token is of: always the first.
    pub(crate) types: Vec<i32>,
}

/// Distributes texts, which are filled up to these lengths, and of which at most `max_rows` may be computed together.
pub(crate) fn plan(lengths: &[usize], max_rows: usize) -> Vec<Batch> {
    let mut longest_first: Vec<usize> = (0..lengths.len()).collect();
    longest_first.sort_by_key(|&text| Reverse(lengths[text]));
    let mut batches: Vec<Batch> = Vec::new();
    for text in longest_first {
        let length = lengths[text];
        match batches.last_mut() {
            Some(batch) if batch.length == length && batch.has_room(max_rows) => batch.texts.push(text),
            _ => batches.push(Batch { texts: vec![text], length }),
        }
    }
    batches
}

impl Batch {
    fn has_room(&self, max_rows: usize) -> bool {
        let rows = self.texts.len() + 1;
        rows <= max_rows && rows * self.length <= MAX_PLACES
    }

    /// The rows of the batch, where `padding` is the token that fills them up.
    pub(crate) fn grid(&self, texts: &[Tokens], padding: u32) -> Grid {
        let shape = (self.texts.len(), self.length);
        let places = shape.0 * shape.1;
        let (mut ids, mut mask) = (Vec::with_capacity(places), Vec::with_capacity(places));
        for (end, &text) in (1..).map(|row| row * self.length).zip(&self.texts) {
            ids.extend(texts[text].ids.iter().map(|&id| id as i32));
            mask.resize(ids.len(), 1);
            ids.resize(end, padding as i32);
            mask.resize(end, 0);
        }
        Grid { shape, ids, mask, types: vec![0; places] }
    }
}

#[cfg(test)]
mod tests;
