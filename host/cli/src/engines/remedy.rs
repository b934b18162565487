//! How a person gets the library of ONNX Runtime, which depends on where this program is.

use std::path::Path;

/// What to do where the library is missing, for the program at this path.
pub(super) fn remedy(program: &Path) -> &'static str {
    if program.ancestors().any(|folder| folder.join("Makefile").is_file() && folder.join("models/build.py").is_file()) {
        return "run `make runtime` in the clone of modelfn";
    }
    let bin = program.parent().unwrap_or(Path::new("/"));
    if bin.join("python3").exists() || bin.join("python").exists() {
        return "run `pip install onnxruntime` with the pip of this program's environment";
    }
    if Path::new("/.dockerenv").exists() || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        return "take the image of modelfn with its engine, or mount the library and name it with --onnxruntime";
    }
    "run `pip install onnxruntime`, or name the library of another place with --onnxruntime or MODELFN_ONNXRUNTIME"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_depends_on_where_the_program_is() {
        let clone = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/release/modelfn").canonicalize();
        let clone = clone.unwrap_or_else(|_| Path::new(env!("CARGO_MANIFEST_DIR")).join("modelfn"));
        assert!(remedy(&clone).contains("make runtime"));
        let environment = std::env::temp_dir().join(format!("modelfn-remedy-{}", std::process::id()));
        std::fs::create_dir_all(environment.join("bin")).unwrap();
        std::fs::write(environment.join("bin/python3"), "").unwrap();
        assert!(remedy(&environment.join("bin/modelfn")).contains("pip install"));
        std::fs::remove_dir_all(environment).unwrap();
    }
}
