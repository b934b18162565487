//! The model that is served: its card, its tokenizer, and how its output becomes a vector for each text.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use modelfn_guest::card::{Card, CardError, DType, TensorSpec};
use modelfn_guest::{DynTensor, Folder, Model, Outputs, Problem};
use modelfn_wordpiece::{BERT_UNCASED_SHA256, Tokenizer, Tokens, Vocabulary};
use serde::Deserialize;

use crate::batches::{Batch, Grid, plan};
use crate::vectors::{Pooling, Vectors};

/// What a graph may take of each text, by the names that exporters give the inputs.
const INPUTS: [&str; 3] = ["input_ids", "attention_mask", "token_type_ids"];

/// A checked card, with the vocabulary that it names.
#[derive(Debug)]
pub(crate) struct Embedder {
    pub(crate) card: Card,
    pub(crate) tokenizer: Tokenizer,
    /// Tokens that the model reads of a text.
    pub(crate) max_tokens: usize,
    multiple: usize,
    postprocessing: Postprocessing,
}

/// The card's `[tokenizer]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenizerTable {
    /// The file whose line n is the piece of id n, a path within the model's folder.
    vocab: PathBuf,
    /// SHA-256 of that file. Where it is that of the vocabulary that the function carries, the file is not read.
    #[serde(default)]
    sha256: String,
    /// Whether the model knows lower case only, without accents.
    lowercase: bool,
    /// Tokens that the model reads of a text, with the first and the last, which stand for no text.
    max_tokens: usize,
    /// Texts are filled up to a multiple of so many tokens. Computations of different requests are stacked only where
    /// their texts have one length, and most graphs compute what fills a text up like any token.
    #[serde(default = "default_multiple")]
    pad_to_multiple_of: NonZeroUsize,
}

const fn default_multiple() -> NonZeroUsize {
    NonZeroUsize::new(16).expect("a literal above zero")
}

/// The card's `[postprocessing]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Postprocessing {
    /// How the vectors of tokens become one; absent where the graph does that.
    pooling: Option<Pooling>,
    /// Whether vectors get the length 1.
    normalize: bool,
}

impl Embedder {
    /// Reads the model's folder.
    ///
    /// # Errors
    ///
    /// 500 that names the file or the key: no request can cause one.
    pub(crate) fn open() -> Result<Self, Problem> {
        let folder = Folder::open()?;
        Self::new(folder.card()?, |file| folder.bytes(file))
    }

    /// Checks that the card is that of such a model. `read` reads the file that it names.
    fn new(card: Card, read: impl Fn(&str) -> Result<Vec<u8>, Problem>) -> Result<Self, Problem> {
        let table: TokenizerTable = card.table("tokenizer")?;
        let postprocessing = match card.table("postprocessing") {
            Err(CardError::NoTable(_)) => Postprocessing { pooling: None, normalize: false },
            table => table?,
        };
        if table.max_tokens < 3 {
            return Err(Problem::broken_card("tokenizer.max_tokens must be 3 or more: two of them stand for no text"));
        }
        if let Some(input) = card.inputs.iter().find(|input| !INPUTS.contains(&input.name.as_str())) {
            let name = &input.name;
            return Err(Problem::broken_card(&format!(
                "the input '{name}' is none that this function fills: {}",
                INPUTS.join(", ")
            )));
        }
        let tokenizer = tokenizer(&table, read)?;
        let multiple = table.pad_to_multiple_of.get();
        Ok(Self { card, tokenizer, max_tokens: table.max_tokens, multiple, postprocessing })
    }

    /// The length of a vector, if the card says it.
    pub(crate) fn dimensions(&self) -> Option<usize> {
        self.card.outputs.first()?.shape.last().and_then(|&size| usize::try_from(size).ok())
    }

    /// Computes a vector for each text.
    ///
    /// # Errors
    ///
    /// As [`Model::load`] and [`Model::run`]; 500 where the output is not what the card says, 502 where it is no numbers.
    pub(crate) fn embed(&self, texts: &[Tokens]) -> Result<Vectors, Problem> {
        let model = Model::load(&self.card.name)?;
        let filled = |tokens: &Tokens| tokens.ids.len().next_multiple_of(self.multiple);
        let lengths: Vec<usize> = texts.iter().map(filled).collect();
        let mut vectors = Vectors::new(texts.len());
        for batch in plan(&lengths, self.card.serving.max_batch_size.get()) {
            let grid = batch.grid(texts, self.tokenizer.padding());
            let outputs = self.run(&model, &grid)?;
            self.collect(&outputs, &batch, &grid, &mut vectors)?;
        }
        vectors
            .finish(self.postprocessing.normalize)
            .map_err(|why| Problem::bad_gateway(format!("model '{}' computed {why}", self.card.name)))
    }

    fn run(&self, model: &Model, grid: &Grid) -> Result<Outputs, Problem> {
        let tensors = self.card.inputs.iter().map(|spec| {
            let data = match spec.name.as_str() {
                "input_ids" => &grid.ids,
                "attention_mask" => &grid.mask,
                _ => &grid.types,
            };
            Ok((spec.name.as_str(), tensor(spec, data, grid)?))
        });
        model.run(tensors.collect::<Result<Vec<_>, Problem>>()?)
    }

    /// Takes the rows of a batch from the output that the card names first, else from the first: some engines number
    /// outputs.
    fn collect(&self, outputs: &Outputs, batch: &Batch, grid: &Grid, vectors: &mut Vectors) -> Result<(), Problem> {
        let named = self.card.outputs.first().and_then(|spec| outputs.find(&spec.name));
        let output = named.map_or_else(|| outputs.at(0), Ok)?;
        let floats = output.floats();
        let pooled = floats.and_then(|floats| match (self.postprocessing.pooling, &output.shape[..]) {
            (Some(pooling), &[rows, length, _]) if (rows, length) == grid.shape => Some(pooling.pool(&floats, grid)),
            (None, &[rows, _]) if rows == grid.shape.0 => Some(floats),
            _ => None,
        });
        let pooled = pooled.ok_or_else(|| self.misfit(output.dtype, &output.shape))?;
        vectors.insert(&batch.texts, &pooled);
        Ok(())
    }

    fn misfit(&self, dtype: DType, shape: &[usize]) -> Problem {
        let wanted = match self.postprocessing.pooling {
            Some(_) => "postprocessing.pooling wants a vector for each token: [texts, tokens, dimensions]",
            None => "without postprocessing.pooling it must have a vector for each text: [texts, dimensions]",
        };
        Problem::broken_card(&format!("the first output is {dtype} {shape:?}, and {wanted}, floating-point numbers"))
    }
}

fn tokenizer(table: &TokenizerTable, read: impl Fn(&str) -> Result<Vec<u8>, Problem>) -> Result<Tokenizer, Problem> {
    let file = table.vocab.to_string_lossy();
    let wrong = |error| Problem::broken_card(&format!("tokenizer.vocab, {file}: {error}"));
    let vocabulary = if table.sha256.eq_ignore_ascii_case(BERT_UNCASED_SHA256) {
        Vocabulary::bert_uncased()
    } else {
        Vocabulary::new(read(&file)?).map_err(wrong)?
    };
    Ok(Tokenizer::new(vocabulary).map_err(wrong)?.lowercase(table.lowercase).max_tokens(table.max_tokens))
}

/// The input of that description.
fn tensor(spec: &TensorSpec, values: &[i32], grid: &Grid) -> Result<DynTensor, Problem> {
    let (rows, length) = grid.shape;
    let data = match spec.dtype {
        DType::I64 => values.iter().flat_map(|&value| i64::from(value).to_le_bytes()).collect(),
        DType::I32 => values.iter().flat_map(|&value| value.to_le_bytes()).collect(),
        other => {
            return Err(Problem::broken_card(&format!("the input '{}' is {other}; it must be I64 or I32", spec.name)));
        }
    };
    Ok(DynTensor { dtype: spec.dtype, shape: vec![rows, length], data })
}

#[cfg(test)]
mod tests;
