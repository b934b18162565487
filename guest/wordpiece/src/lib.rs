//! Text to the tokens of BERT's kind of models, as the crate `tokenizers` makes them: WordPiece.
//!
//! Functions start anew for each request, so nothing here has to be built first: the vocabulary of the many models that
//! descend from BERT's English one is a part of the program, with its index. That of another model is indexed when it is
//! read, which takes about half a millisecond.
//!
//! ```
//! use modelfn_wordpiece::{Tokenizer, Vocabulary};
//!
//! let tokenizer = Tokenizer::new(Vocabulary::bert_uncased())?.max_tokens(256);
//! let tokens = tokenizer.encode("Unaffable?");
//! assert_eq!(tokens.ids, [101, 14477, 20961, 3468, 1029, 102]); // [CLS] una ##ffa ##ble ? [SEP]
//! # Ok::<(), modelfn_wordpiece::VocabularyError>(())
//! ```

mod vocabulary;
mod normalize;
mod tokenizer;

pub use tokenizer::{Tokenizer, Tokens, UnknownToken};
pub use vocabulary::{BERT_UNCASED_SHA256, Vocabulary, VocabularyError};
