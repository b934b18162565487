//! Cuts text into words, and words into the longest pieces that the vocabulary has.

use std::ops::ControlFlow;

use crate::normalize;
use crate::vocabulary::{Vocabulary, VocabularyError};

/// Words of more characters are unknown as a whole, as in BERT.
const MAX_WORD_CHARS: usize = 100;

/// Marks a piece that goes on with a word.
const CONTINUATION: &str = "##";

/// The pieces that stand for no text. Where a text has one of them, it is that piece.
const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// Makes tokens of texts.
#[derive(Debug)]
pub struct Tokenizer {
    vocabulary: Vocabulary,
    /// The ids of [`SPECIAL`].
    special: [u32; SPECIAL.len()],
    lowercase: bool,
    max_tokens: usize,
}

/// The tokens of one text, between `[CLS]` and `[SEP]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Ids of pieces.
    pub ids: Vec<u32>,
    /// Whether the text had more tokens than these.
    pub truncated: bool,
}

/// An id that the vocabulary does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("token {id} is not in the vocabulary, whose ids are 0 to {}", .pieces.saturating_sub(1))]
pub struct UnknownToken {
    /// The id.
    pub id: u32,
    /// The number of pieces.
    pub pieces: usize,
}

impl Tokenizer {
    /// A tokenizer of a model that knows lower case only and texts of any length.
    ///
    /// # Errors
    ///
    /// [`VocabularyError::Missing`]: the vocabulary lacks `[PAD]`, `[UNK]`, `[CLS]`, `[SEP]` or `[MASK]`.
    pub fn new(vocabulary: Vocabulary) -> Result<Self, VocabularyError> {
        let mut special = [0; SPECIAL.len()];
        for (id, piece) in special.iter_mut().zip(SPECIAL) {
            *id = vocabulary.id(piece).ok_or(VocabularyError::Missing(piece))?;
        }
        Ok(Self { vocabulary, special, lowercase: true, max_tokens: usize::MAX })
    }

    /// Sets whether the model knows lower case only, without accents.
    #[must_use]
    pub fn lowercase(self, lowercase: bool) -> Self {
        Self { lowercase, ..self }
    }

    /// Sets how many tokens a text may have, `[CLS]` and `[SEP]` included: at least these two. The rest of a text is left
    /// out.
    #[must_use]
    pub fn max_tokens(self, max_tokens: usize) -> Self {
        Self { max_tokens: max_tokens.max(2), ..self }
    }

    /// The id of `[PAD]`, which fills the rows of shorter texts.
    pub fn padding(&self) -> u32 {
        self.special[0]
    }

    /// The tokens of a text. The work ends where they are as many as may be.
    pub fn encode(&self, text: &str) -> Tokens {
        let mut cutter = self.cutter();
        let _ = cutter.text(text);
        self.enclose(cutter.ids, cutter.truncated)
    }

    /// The tokens of a text that its sender has cut already, without `[CLS]` and `[SEP]`.
    ///
    /// # Errors
    ///
    /// One of them is not in the vocabulary.
    pub fn encode_ids(&self, ids: &[u32]) -> Result<Tokens, UnknownToken> {
        let pieces = self.vocabulary.len();
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= pieces) {
            return Err(UnknownToken { id, pieces });
        }
        let kept = ids.len().min(self.max_tokens - 2);
        Ok(self.enclose(ids[..kept].to_vec(), kept < ids.len()))
    }

    fn cutter(&self) -> Cutter<'_> {
        Cutter { tokenizer: self, word: String::new(), ids: Vec::new(), truncated: false }
    }

    fn enclose(&self, mut ids: Vec<u32>, truncated: bool) -> Tokens {
        let [_, _, first, last, _] = self.special;
        ids.insert(0, first);
        ids.push(last);
        Tokens { ids, truncated }
    }
}

/// Cuts one text.
struct Cutter<'a> {
    tokenizer: &'a Tokenizer,
    /// The word that is being read.
    word: String,
    ids: Vec<u32>,
    truncated: bool,
}

impl Cutter<'_> {
    /// Cuts a text, in which special pieces may stand.
    fn text(&mut self, mut text: &str) -> ControlFlow<()> {
        while let Some((plain, special, rest)) = split_at_special(text) {
            self.plain_text(plain)?;
            self.push(self.tokenizer.special[special])?;
            text = rest;
        }
        self.plain_text(text)
    }

    fn plain_text(&mut self, text: &str) -> ControlFlow<()> {
        for character in normalize::characters(text, self.tokenizer.lowercase) {
            if character.is_whitespace() {
                self.end_word()?;
            } else if normalize::is_punctuation(character) {
                self.end_word()?;
                self.word.push(character);
                self.end_word()?;
            } else {
                self.word.push(character);
            }
        }
        self.end_word()
    }

    /// Adds the pieces of the word; it is unknown where a part of it is in no piece.
    fn end_word(&mut self) -> ControlFlow<()> {
        let word = std::mem::take(&mut self.word);
        let from = self.ids.len();
        let mut rest = word.as_str();
        let is_known = word.len() <= MAX_WORD_CHARS || word.chars().count() <= MAX_WORD_CHARS;
        while !rest.is_empty() {
            let prefix = if rest.len() == word.len() { "" } else { CONTINUATION };
            let found = if is_known { self.tokenizer.vocabulary.longest(prefix, rest) } else { None };
            let Some((id, bytes)) = found else {
                self.ids.truncate(from);
                return self.push(self.tokenizer.special[1]);
            };
            self.ids.push(id);
            rest = &rest[bytes..];
        }
        // The buffer serves the next word, too.
        self.word = word;
        self.word.clear();
        self.truncate()
    }

    fn push(&mut self, id: u32) -> ControlFlow<()> {
        self.ids.push(id);
        self.truncate()
    }

    fn truncate(&mut self) -> ControlFlow<()> {
        let most = self.tokenizer.max_tokens - 2;
        if self.ids.len() <= most {
            return ControlFlow::Continue(());
        }
        self.ids.truncate(most);
        self.truncated = true;
        ControlFlow::Break(())
    }
}

/// The text before the first special piece, the place of that in [`SPECIAL`], and the text behind it.
fn split_at_special(text: &str) -> Option<(&str, usize, &str)> {
    text.match_indices('[').find_map(|(start, _)| {
        let special = SPECIAL.iter().position(|piece| text[start..].starts_with(piece))?;
        Some((&text[..start], special, &text[start + SPECIAL[special].len()..]))
    })
}

#[cfg(test)]
mod tests;
