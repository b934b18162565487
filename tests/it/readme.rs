//! The documents are true: the README's commands give what it shows, and the paths that are named exist.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Scratch, Server, Setup, place, root, skip};
use crate::program::Program;

/// The README and the pages of `docs/`.
fn pages() -> Vec<PathBuf> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages: Vec<_> = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect();
    assert!(pages.len() >= 8, "{pages:?}");
    pages.into_iter().chain([root().join("README.md")]).collect()
}

/// The commands of the README's `console` blocks, with the output that it shows for each.
fn examples(text: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for block in text.split("```console\n").skip(1) {
        for line in block.split("```").next().unwrap().lines() {
            match line.strip_prefix("$ ") {
                Some(command) => found.push((command.to_owned(), String::new())),
                None => found.last_mut().unwrap().1.push_str(&format!("{line}\n")),
            }
        }
    }
    found
}

/// Four decimals of a number must be as shown; further ones depend on the processor.
fn rounded(text: &str) -> String {
    let mut short = String::new();
    let mut decimals = None;
    for c in text.chars() {
        decimals = match (c, decimals) {
            ('.', None) => Some(0),
            (c, Some(n)) if c.is_ascii_digit() => Some(n + 1),
            _ => None,
        };
        if decimals.is_none_or(|n| n <= 4) {
            short.push(c);
        }
    }
    short
}

/// Runs a command of a document against `server` and compares what it prints with what is shown.
fn expect_output(server: &Server, command: &str, shown: &str) {
    let here = command.replace("127.0.0.1:8080", &server.address).replace("127.0.0.1:8081", &server.admin);
    let here = here.replace("target/release/modelfn", env!("CARGO_BIN_EXE_modelfn")).replace("curl ", "curl -sS ");
    let output = Command::new("bash").args(["-c", &here]).current_dir(root()).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    // The README shows JSON without a line feed, as the server sends it.
    assert_eq!(rounded(printed.trim_end()), rounded(shown.trim_end()), "{command}\n{errors}");
}

/// Serves the model in `folder` as a person does, and expects the lines that are shown.
fn expect_welcome(folder: &Path, shown: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_modelfn"));
    command.current_dir(folder).args(["serve", "model.onnx", "--log-format", "human"]);
    command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    let program = Program::start(command, "serving on http://127.0.0.1:");
    assert!(shown.lines().count() > 1, "{shown}");
    for line in shown.replace("127.0.0.1:8080", &program.address).lines() {
        program.wait_for_line(line);
    }
}

#[test]
fn documents_show_what_their_commands_print() {
    let text = pages().iter().map(|page| std::fs::read_to_string(page).unwrap()).collect::<String>();
    let examples = examples(&text);
    assert!(examples.len() >= 8, "{examples:?}");
    if skip(Command::new("curl").arg("--version").output().is_err(), "curl is not installed") {
        return;
    }
    let (example, ocr) = (Setup::example().start(), Setup::ocr().start());
    let scratch = Scratch::new();
    place(&root().join("tests/fixtures/hostile/add/model.onnx"), &scratch.path().join("model.onnx"));
    let mut of_model: Option<Server> = None;
    for (command, shown) in examples {
        if command == "modelfn serve model.onnx" {
            expect_welcome(scratch.path(), &shown);
            of_model = Some(Setup::of_models(&[scratch.path().join("model.onnx")]).start());
        } else {
            let of_model = of_model.as_ref().filter(|_| command.contains("/v2/models/model/"));
            let server = if command.contains(":8080/ocr") { &ocr } else { of_model.unwrap_or(&example) };
            expect_output(server, &command, &shown);
        }
    }
    assert!(of_model.is_some(), "the README shows how a model is served");
}

/// Words in backticks that look like paths of this repository. What is below `target/` comes and goes.
fn paths(text: &str) -> Vec<&str> {
    let words = text.split('`').skip(1).step_by(2);
    words
        .filter(|word| {
            word.contains('/')
                && !word.contains([' ', ':', '<', '*', '@', '~', '+', '('])
                && !word.starts_with("target/")
        })
        .collect()
}

#[test]
fn the_paths_that_documents_name_exist() {
    let mut missing = Vec::new();
    let others = ["ARCHITECTURE.md", "CONTRIBUTING.md", "models/README.md", "bench/README.md", "k8s/README.md"];
    for page in others.map(|page| root().join(page)).into_iter().chain(pages()) {
        let text = std::fs::read_to_string(&page).unwrap();
        let document = page.strip_prefix(root()).unwrap().display();
        let folder = page.parent().unwrap();
        let links =
            text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|link| !link.contains("://"));
        for path in links {
            let file = path.split('#').next().unwrap_or(path);
            missing.extend((!folder.join(file).exists()).then(|| format!("{document}: {path}")));
        }
        for path in paths(&text).into_iter().filter(|path| !path.starts_with('/')) {
            let known = ["", "host", "models", "docs", "k8s"].iter().any(|from| root().join(from).join(path).exists());
            missing.extend((!known).then(|| format!("{document}: {path}")));
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_setting_that_documents_name_exists() {
    let pages = pages().into_iter().filter(|page| !page.ends_with("cli.md"));
    let text = pages.map(|page| std::fs::read_to_string(page).unwrap()).collect::<Vec<_>>().join("\n");
    let help = ["serve", "new"].map(|command| {
        let help = Command::new(env!("CARGO_BIN_EXE_modelfn")).args([command, "--help"]).output().unwrap();
        String::from_utf8(help.stdout).unwrap()
    });
    let help = help.concat();
    let settings = text.split('`').skip(1).step_by(2).filter(|word| word.starts_with("--"));
    for setting in settings.filter(|setting| !setting.contains(' ')) {
        assert!(help.contains(&format!("{setting} <")), "{setting}");
    }
}
