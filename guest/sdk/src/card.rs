//! The card of the model that the function serves, and other files of the model's folder.
//!
//! They reach the function as read-only files under `/model`, since that works on every host (`files` in spin.toml,
//! `wasmtime serve --dir DIR::/model`), lets one component serve any model, and costs a few host calls.

use modelfn_card::{CARD_VARIABLE, Card, CardError, Labels};

use crate::files::Folder;
use crate::problem::Problem;

const FOLDER: &str = "/model";

/// Path of the card in the function's file system.
pub(crate) const PATH: &str = "/model/model.toml";

/// The folder of the model.
#[derive(Debug)]
pub struct ModelFolder(Folder);

impl ModelFolder {
    /// Opens `/model`.
    ///
    /// # Errors
    ///
    /// 500 with the remedy where the host mounted nothing there.
    pub fn open() -> Result<Self, Problem> {
        Folder::open(FOLDER).map(Self).map_err(Problem::internal)
    }

    /// Reads and checks the card: the file, or the variable [`CARD_VARIABLE`] where the host knows more than the file
    /// says.
    ///
    /// # Errors
    ///
    /// 500 that names the file or the key: no request can cause one.
    pub fn card(&self) -> Result<Card, Problem> {
        let text = std::env::var(CARD_VARIABLE).map_or_else(|_| self.text(modelfn_card::CARD_FILE), Ok)?;
        let card = Card::parse(&text)?;
        if card.name.is_empty() { Err(CardError::NoTable("name".to_owned()).into()) } else { Ok(card) }
    }

    /// Reads a label file, whose line n names class n.
    ///
    /// # Errors
    ///
    /// 500 where there is no such file, or one that is no text.
    pub fn labels(&self, name: &str) -> Result<Labels, Problem> {
        self.text(name).map(Labels::new)
    }

    fn text(&self, name: &str) -> Result<String, Problem> {
        self.0.read_text(name).map_err(Problem::internal)
    }
}

/// The problem of a card in which `why` is wrong.
pub fn broken(why: &str) -> Problem {
    Problem::internal(format!("the model's card {PATH} is broken: {why}"))
}

impl From<CardError> for Problem {
    fn from(error: CardError) -> Self {
        Self::internal(format!("the model's card {} is broken: {}", PATH, error.to_string().trim_end()))
    }
}
