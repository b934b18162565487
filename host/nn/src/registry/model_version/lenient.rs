//! Reads a model whose card or labels are wrong, as far as that goes, for tools that say all that is wrong at once.

use std::path::{Path, PathBuf};

use modelfn_artifact::read_text_within;
use modelfn_card::{Card, CardError, Labels, Salvaged};

use super::{MAX_TEXT, ModelVersion, card_text, linked_graph, unreadable};
use crate::registry::sources::FoundModel;
use crate::registry::versions;

/// What could be read of a model.
pub(crate) struct LenientRead {
    /// `None` where it is not even known which version is meant.
    pub(crate) version: Option<ModelVersion>,
    /// What is wrong: a sentence each.
    pub(crate) problems: Vec<String>,
}

impl ModelVersion {
    /// Whether the model has a card of its own.
    pub(crate) fn has_card(&self) -> bool {
        !self.card_text.is_empty()
    }

    /// Reads what is right of card and labels. What is not is a problem and no error.
    pub(crate) fn read_leniently(found: &FoundModel) -> LenientRead {
        if let Ok(version) = ModelVersion::read(found) {
            return LenientRead { version: Some(version), problems: Vec::new() };
        }
        let mut problems = Vec::new();
        let place = match Place::of(found) {
            Ok(place) => place,
            Err(problem) => return LenientRead { version: None, problems: vec![problem] },
        };
        let name = &found.name;
        let has_card = versions::has_card(&place.folder);
        let text = if has_card { card_text(name, &place.root, &place.folder) } else { Ok(String::new()) };
        let card_text = text.unwrap_or_else(|error| {
            problems.push(error.to_string());
            String::new()
        });
        let Salvaged { mut card, problems: of_card } = Card::salvage(&card_text);
        problems.extend(of_card.into_iter().map(|problem| format!("card: {problem}")));
        if place.graph.is_none() && !card.name.is_empty() && card.name != *name {
            let error = CardError::Name { name: card.name.clone(), folder: name.clone() };
            problems.push(format!("card: {error}"));
        }
        card.name.clone_from(name);
        let graph = place.graph.or(Some(card.graph.file).filter(|file| !file.as_os_str().is_empty()));
        card.graph.file = graph.map_or_else(|| versions::graph_file(&place.folder), Ok).unwrap_or_else(|problem| {
            problems.push(problem);
            PathBuf::from(versions::USUAL_GRAPH)
        });
        let file = card.classification().ok().flatten().and_then(|table| table.labels);
        let labels = file.and_then(|file| {
            let path = place.folder.join(file);
            let text = read_text_within(&place.root, &path, MAX_TEXT);
            text.map_err(|reason| problems.push(unreadable(name, &path, reason).to_string())).ok()
        });
        let labels = labels.map(Labels::new);
        let named = (!found.path.is_dir()).then(|| found.path.clone());
        let Place { root, folder, version, .. } = place;
        let mut version = ModelVersion { name: name.clone(), version, root, folder, named, card, card_text, labels };
        version.named = version.named.take().or_else(|| linked_graph(found, &version));
        LenientRead { version: Some(version), problems }
    }
}

/// Where the files of a model are.
struct Place {
    root: PathBuf,
    folder: PathBuf,
    version: u32,
    /// The graph, where the model is that file.
    graph: Option<PathBuf>,
}

impl Place {
    fn of(found: &FoundModel) -> Result<Place, String> {
        let path = &found.path;
        if path.is_dir() {
            let version = versions::served(path)?;
            return Ok(Place { root: path.clone(), folder: version.folder, version: version.number, graph: None });
        }
        let real = path.canonicalize().map_err(|reason| unreadable(&found.name, path, reason).to_string())?;
        let folder = real.parent().unwrap_or(Path::new("/")).to_owned();
        let graph = real.file_name().map(PathBuf::from);
        Ok(Place { root: folder.clone(), folder, version: 1, graph })
    }
}
