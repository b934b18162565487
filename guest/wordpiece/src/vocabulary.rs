//! The pieces that a model knows, by their ids.

mod index;

use std::borrow::Cow;

use index::{EMPTY_HASH, Index};

/// SHA-256 of the file that [`Vocabulary::bert_uncased`] carries, in hexadecimal digits: `vocab.txt` of the BERT models
/// for English in lower case, and of most models for embeddings that descend from them.
pub const BERT_UNCASED_SHA256: &str = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3";

/// Most bytes of a vocabulary's text. The largest in use, for more than 100 languages, has 1 MB.
const MAX_BYTES: usize = 16 << 20;

/// A vocabulary: a text whose line n is the piece of id n, and its index.
#[derive(Debug)]
pub struct Vocabulary {
    text: Cow<'static, [u8]>,
    starts: Cow<'static, [u8]>,
    slots: Cow<'static, [u8]>,
}

/// What is wrong with a vocabulary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VocabularyError {
    /// The text is larger than any vocabulary.
    #[error("it has {0} bytes, and a vocabulary at most {MAX_BYTES}")]
    TooLarge(usize),
    /// A piece has two ids.
    #[error("its line {0} was there before, and each piece has one id")]
    Repeated(usize),
    /// A piece that tokenizers need is missing.
    #[error("it has no line {0:?}, so it is no vocabulary of a BERT model")]
    Missing(&'static str),
}

impl Vocabulary {
    /// The vocabulary of the BERT models for English in lower case, which is a part of the program. It is Google's,
    /// published under the Apache License 2.0.
    pub fn bert_uncased() -> Self {
        Self {
            text: Cow::Borrowed(include_bytes!("../bert-base-uncased.txt")),
            starts: Cow::Borrowed(include_bytes!(concat!(env!("OUT_DIR"), "/starts"))),
            slots: Cow::Borrowed(include_bytes!(concat!(env!("OUT_DIR"), "/slots"))),
        }
    }

    /// Indexes the text of a `vocab.txt`.
    ///
    /// # Errors
    ///
    /// The text has more than 16 MiB, or the same line twice.
    pub fn new(text: impl Into<Vec<u8>>) -> Result<Self, VocabularyError> {
        let text = text.into();
        if text.len() > MAX_BYTES {
            return Err(VocabularyError::TooLarge(text.len()));
        }
        let Index { starts, slots } = Index::of(&text).map_err(VocabularyError::Repeated)?;
        Ok(Self { text: text.into(), starts: starts.into(), slots: slots.into() })
    }

    /// The number of pieces: ids are smaller.
    pub fn len(&self) -> usize {
        index::len(&self.starts) - 1
    }

    /// Whether there is no piece at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The id of a piece.
    pub fn id(&self, piece: &str) -> Option<u32> {
        self.find(index::hash(EMPTY_HASH, piece.as_bytes()), &[piece.as_bytes()])
    }

    /// The id of the longest piece that is `prefix` and the beginning of `word`, and how many bytes of the word that is.
    pub(crate) fn longest(&self, prefix: &str, word: &str) -> Option<(u32, usize)> {
        let mut hash = index::hash(EMPTY_HASH, prefix.as_bytes());
        let mut ends = Vec::with_capacity(word.len());
        for (start, character) in word.char_indices() {
            let end = start + character.len_utf8();
            hash = index::hash(hash, &word.as_bytes()[start..end]);
            ends.push((end, hash));
        }
        ends.into_iter().rev().find_map(|(end, hash)| {
            let id = self.find(hash, &[prefix.as_bytes(), &word.as_bytes()[..end]])?;
            Some((id, end))
        })
    }

    /// The id of the piece that consists of `parts`.
    fn find(&self, hash: u32, parts: &[&[u8]]) -> Option<u32> {
        let slots = index::len(&self.slots);
        let mut slot = index::first_slot(hash, slots);
        // At least half of the slots are free, so this ends.
        while let Some(id) = index::number(&self.slots, slot).checked_sub(1) {
            if index::piece(&self.text, &self.starts, id as usize).is_some_and(|piece| consists_of(piece, parts)) {
                return Some(id);
            }
            slot = index::next_slot(slot, slots);
        }
        None
    }
}

fn consists_of(piece: &[u8], parts: &[&[u8]]) -> bool {
    let rest = parts.iter().try_fold(piece, |rest, part| rest.strip_prefix(*part));
    rest.is_some_and(<[u8]>::is_empty)
}

#[cfg(test)]
mod tests;
