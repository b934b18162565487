//! What a request asks to embed, in any of the forms that clients send, and its bounds.

use modelfn_guest::Problem;
use modelfn_wordpiece::{Tokenizer, Tokens};
use serde::Deserialize;

/// Most texts of a request; clients of OpenAI's API send up to so many.
pub(crate) const MAX_TEXTS: usize = 2048;

/// Most characters of all texts of a request together.
pub(crate) const MAX_CHARACTERS: usize = 1_000_000;

/// Most tokens that a model computes for one request.
pub(crate) const MAX_TOKENS: usize = 65_536;

/// Texts, or what a client made of them.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(
    untagged,
    expecting = "`input` must be a text, a list of texts, a list of token ids, or a list of lists of token ids"
)]
pub(crate) enum Input {
    Text(String),
    Texts(Vec<String>),
    Ids(Vec<u32>),
    IdLists(Vec<Vec<u32>>),
}

impl Input {
    /// The tokens of each text.
    ///
    /// # Errors
    ///
    /// 400 for no text at all and for ids that the vocabulary lacks, 413 beyond one of the bounds.
    pub(crate) fn tokens(&self, tokenizer: &Tokenizer) -> Result<Vec<Tokens>, Problem> {
        self.check()?;
        let ids = |ids: &Vec<u32>| tokenizer.encode_ids(ids).map_err(Problem::bad_request);
        let texts: Vec<Tokens> = match self {
            Self::Text(text) => vec![tokenizer.encode(text)],
            Self::Texts(texts) => texts.iter().map(|text| tokenizer.encode(text)).collect(),
            Self::Ids(list) => vec![ids(list)?],
            Self::IdLists(lists) => lists.iter().map(ids).collect::<Result<_, _>>()?,
        };
        match count(&texts) {
            0..=MAX_TOKENS => Ok(texts),
            tokens => Err(too_large("tokens", tokens, MAX_TOKENS)),
        }
    }

    fn check(&self) -> Result<(), Problem> {
        let (texts, characters) = match self {
            Self::Text(text) => (1, text.chars().count()),
            Self::Texts(texts) => (texts.len(), texts.iter().map(|text| text.chars().count()).sum()),
            Self::Ids(_) => (1, 0),
            Self::IdLists(lists) => (lists.len(), 0),
        };
        if texts == 0 {
            return Err(Problem::bad_request("`input` is empty; send at least one text"));
        }
        for (what, has, most) in [("texts", texts, MAX_TEXTS), ("characters", characters, MAX_CHARACTERS)] {
            if has > most {
                return Err(too_large(what, has, most));
            }
        }
        Ok(())
    }
}

/// Tokens of all texts together.
pub(crate) fn count(texts: &[Tokens]) -> usize {
    texts.iter().map(|tokens| tokens.ids.len()).sum()
}

fn too_large(what: &str, has: usize, most: usize) -> Problem {
    Problem::too_large(format!("`input` has {has} {what}; send at most {most} in a request"))
}

#[cfg(test)]
mod tests;
