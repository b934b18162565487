//! What backends and those who read files for them agree on about weights in other files.

use std::sync::Arc;

/// The most files of one graph.
const MAX_FILES: usize = 128;

/// The longest name of a file, in bytes.
const MAX_NAME: usize = 255;

/// A file with weights of a graph.
#[derive(Clone, Debug)]
pub struct ExternalFile {
    /// The path by which the graph names it.
    pub name: String,
    /// The whole file.
    pub bytes: Arc<[u8]>,
}

/// All that a graph is loaded from.
#[derive(Clone, Copy, Debug)]
pub struct GraphBytes<'a> {
    /// The bytes of the graph's file.
    pub graph: &'a [u8],
    /// The files that [`external_files`](super::Backend::external_files) named.
    pub external: &'a [ExternalFile],
}

/// What to do where external data can't be had.
pub(crate) const EMBED: &str = "save the model with its data inside: \
                                `onnx.save(onnx.load(\"model.onnx\"), \"model.onnx\", save_as_external_data=False)`";

/// Checks the name of an external file.
///
/// # Errors
///
/// It is not a path that stays below the folder of the graph. The sentence has a remedy.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    // The engine takes a path with this word for an address in memory.
    let is_address = name.contains("_ORT_MEM_ADDR_");
    // The engine finds a file only by the plain form of its path.
    let stays_below = name.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if name.len() > MAX_NAME || name.contains(char::is_control) || is_address || !stays_below {
        return Err(format!(
            "its weights are in '{}', which is not a file below the model's own folder; {EMBED}",
            name.escape_debug()
        ));
    }
    Ok(())
}

/// Checks the number of external files.
///
/// # Errors
///
/// There are too many. The sentence has a remedy.
pub(crate) fn check_count(files: usize) -> Result<(), String> {
    if files <= MAX_FILES {
        return Ok(());
    }
    Err(format!(
        "its weights are in more than {MAX_FILES} files; save them in one: `onnx.save(onnx.load(\"model.onnx\"), \
         \"model.onnx\", save_as_external_data=True, all_tensors_to_one_file=True)`"
    ))
}
