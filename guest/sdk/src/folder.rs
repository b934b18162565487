//! The folder of a model: its card, labels, vocabulary and whatever else the function needs.
//!
//! It reaches the function as read-only files, since that works on every host (`files` in spin.toml,
//! `wasmtime serve --dir DIR::/model`), lets one component serve any model, and costs a few host calls.

use modelfn_card::{CARD_VARIABLE, Card, CardError, Labels};

use crate::files::Mounted;
use crate::problem::Problem;

/// Where the folder of a function's only model is.
const ONLY_MODEL: &str = "/model";

/// Where the folders of several models are, by their names.
const MODELS: &str = "/models";

/// The folder of a model.
#[derive(Debug)]
pub struct Folder {
    mounted: Mounted,
    is_only: bool,
}

impl Folder {
    /// Opens `/model`, the folder of a function's only model.
    ///
    /// # Errors
    ///
    /// 500 with the remedy where the host mounted nothing there.
    pub fn open() -> Result<Self, Problem> {
        let mounted = Mounted::open(ONLY_MODEL).map_err(Problem::internal)?;
        Ok(Self { mounted, is_only: true })
    }

    /// Opens `/models/NAME`, the folder of one of several models. In spin.toml:
    /// `files = [{ source = "models/NAME", destination = "/models/NAME" }, ...]`.
    ///
    /// # Errors
    ///
    /// As [`Folder::open`].
    pub fn of(name: &str) -> Result<Self, Problem> {
        let mounted = Mounted::open(&format!("{MODELS}/{name}")).map_err(Problem::internal)?;
        Ok(Self { mounted, is_only: false })
    }

    /// Reads and checks the card: the file, or the variable [`CARD_VARIABLE`] where the host knows more than the file
    /// says.
    ///
    /// # Errors
    ///
    /// 500 that names the file or the key: no request can cause one.
    pub fn card(&self) -> Result<Card, Problem> {
        let completed = if self.is_only { std::env::var(CARD_VARIABLE).ok() } else { None };
        let card = Card::parse(&completed.map_or_else(|| self.text(modelfn_card::CARD_FILE), Ok)?)?;
        if card.name.is_empty() { Err(CardError::NoTable("name".to_owned()).into()) } else { Ok(card) }
    }

    /// Reads a label file, whose line n names class n.
    ///
    /// # Errors
    ///
    /// As [`Folder::text`].
    pub fn labels(&self, name: &str) -> Result<Labels, Problem> {
        self.text(name).map(Labels::new)
    }

    /// Reads a text file of at most 4 MiB.
    ///
    /// # Errors
    ///
    /// 500 where there is no such file, or one that is too large or not UTF-8.
    pub fn text(&self, name: &str) -> Result<String, Problem> {
        self.mounted.read_text(name).map_err(Problem::internal)
    }

    /// Reads a file of at most 4 MiB.
    ///
    /// # Errors
    ///
    /// 500 where there is no such file, or one that is too large.
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>, Problem> {
        self.mounted.read(name).map_err(Problem::internal)
    }
}
