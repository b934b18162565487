//! The modules of a crate form no circle.
//!
//! The rule concerns siblings: the top-level modules of a crate, or the submodules of one module. A parent and its
//! children may use each other. A reference from `a::x` to `b::y` is an edge from `a` to `b` among the children of
//! their parent, and these edges must not lead back to where they started.
//!
//! Sources are read as Rust tokens, so that comments, strings and formatting don't matter and paths within macros
//! count. Only items below `#[cfg(test)]` are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::harness::{Scratch, root};

/// Circles that may be: the crate, the modules in it, and why.
const ALLOWED: &[(&str, &[&str], &str)] = &[(
    "host/wasm",
    &["state", "wasi_nn"],
    "wasmtime's bindings of wasi-nn are implemented on the store's state, which holds wasi-nn's table",
)];

/// A path within a crate: `["connection", "serve"]` is `crate::connection::serve`. The crate's root is empty.
type Module = Vec<String>;

/// The modules of one crate, and what each refers to.
#[derive(Default)]
struct Crate {
    modules: BTreeSet<Module>,
    /// What a module's `use` declarations bring in: its name there, and the path it stands for.
    imports: BTreeMap<(Module, String), Vec<String>>,
    /// Paths as written, made absolute, each with the module that it is written in.
    references: BTreeSet<(Module, Vec<String>)>,
}

impl Crate {
    fn read(source: &Path) -> Crate {
        let mut found = Crate::default();
        let file = [source.join("lib.rs"), source.join("main.rs")].into_iter().find(|file| file.exists()).unwrap();
        found.read_file(&file, source, &Vec::new());
        found
    }

    /// Reads the file of a module; `folder` is where the files of its submodules are.
    fn read_file(&mut self, file: &Path, folder: &Path, module: &Module) {
        let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        self.read_tokens(tokens, folder, module);
    }

    fn read_tokens(&mut self, tokens: TokenStream, folder: &Path, module: &Module) {
        self.modules.insert(module.clone());
        let tokens = without_tests(tokens);
        let mut at = 0;
        while at < tokens.len() {
            let rest = &tokens[at..];
            at += 1;
            match rest {
                [keyword, TokenTree::Ident(name), next, ..] if is_ident(keyword, "mod") => {
                    let child = [&module[..], &[name.to_string()]].concat();
                    let below = folder.join(name.to_string());
                    match next {
                        TokenTree::Group(body) => self.read_tokens(body.stream(), &below, &child),
                        _ => self.read_file(&file_of(&below), &below, &child),
                    }
                    at += 2;
                }
                [keyword, ..] if is_ident(keyword, "use") => {
                    let end = rest.iter().position(|token| is_punct(token, ';')).unwrap_or(rest.len());
                    self.read_use(&rest[1..end], &Vec::new(), module);
                    at += end;
                }
                [first, ..] if is_path_start(first) && (at < 2 || !is_punct(&tokens[at - 2], ':')) => {
                    if let Some(path) = absolute(&path_at(rest), module) {
                        self.references.insert((module.clone(), path));
                    }
                }
                [TokenTree::Group(group), ..] => self.read_tokens(group.stream(), folder, module),
                _ => {}
            }
        }
    }

    /// Reads one tree of a `use` declaration, below the segments of `prefix`.
    fn read_use(&mut self, tree: &[TokenTree], prefix: &[String], module: &Module) {
        let mut path = prefix.to_vec();
        let mut name = None;
        let mut tokens = tree.iter().peekable();
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Ident(ident) if ident == "as" => name = tokens.next().map(ToString::to_string),
                TokenTree::Ident(ident) if ident == "self" && !path.is_empty() => {}
                TokenTree::Ident(ident) => path.push(ident.to_string()),
                TokenTree::Group(group) => {
                    let trees: Vec<_> = group.stream().into_iter().collect();
                    trees.split(|token| is_punct(token, ',')).for_each(|tree| self.read_use(tree, &path, module));
                    return;
                }
                TokenTree::Punct(punct) if punct.as_char() == '*' => {
                    assert!(
                        path.last().is_none_or(|last| last != "super"),
                        "{module:?}: `use super::*` hides what it uses"
                    );
                }
                _ => {}
            }
        }
        let Some(last) = path.last().cloned() else { return };
        // A path that starts with a name is a submodule's or another crate's; the latter leads nowhere in this crate.
        let path = absolute(&path, module).unwrap_or_else(|| [&module[..], &path].concat());
        self.imports.insert((module.clone(), name.unwrap_or(last)), path.clone());
        self.references.insert((module.clone(), path));
    }

    /// The module that a path leads to, through the `use` declarations on its way.
    fn resolve(&self, path: &[String]) -> Module {
        const LONGEST_CHAIN: usize = 16;
        let mut path = path.to_vec();
        let mut reached = Module::new();
        for _ in 0..LONGEST_CHAIN {
            let known = (0..=path.len()).rev().find(|length| self.modules.contains(&path[..*length])).unwrap_or(0);
            let (module, rest) = path.split_at(known);
            let import = rest.first().and_then(|name| self.imports.get(&(module.to_vec(), name.clone())));
            reached = module.to_vec();
            let Some(target) = import else { break };
            path = [&target[..], &rest[1..]].concat();
        }
        reached
    }

    /// For each parent, the edges among its children.
    fn edges(&self) -> BTreeMap<Module, BTreeMap<String, BTreeSet<String>>> {
        let mut edges: BTreeMap<Module, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        for (from, path) in &self.references {
            let to = self.resolve(path);
            let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            if let (Some(user), Some(used)) = (from.get(common), to.get(common)) {
                let siblings = edges.entry(from[..common].to_vec()).or_default();
                siblings.entry(user.clone()).or_default().insert(used.clone());
            }
        }
        edges
    }

    /// Sets of siblings that reach each other, as paths.
    fn circles(&self) -> Vec<BTreeSet<String>> {
        let mut circles = BTreeSet::new();
        for (parent, edges) in self.edges() {
            let reach: BTreeMap<&String, BTreeSet<&String>> =
                edges.keys().map(|module| (module, reachable(&edges, module))).collect();
            for (module, reached) in &reach {
                let back = |other: &&&String| reach.get(**other).is_some_and(|from_there| from_there.contains(module));
                let circle =
                    reached.iter().filter(back).map(|other| [&parent[..], &[(*other).clone()]].concat().join("::"));
                circles.insert(circle.collect::<BTreeSet<_>>());
            }
        }
        circles.into_iter().filter(|circle| !circle.is_empty()).collect()
    }
}

/// What can be reached from a module by one edge or more.
fn reachable<'a>(edges: &'a BTreeMap<String, BTreeSet<String>>, from: &String) -> BTreeSet<&'a String> {
    let mut reached = BTreeSet::new();
    let mut left: Vec<_> = edges.get(from).into_iter().flatten().collect();
    while let Some(module) = left.pop() {
        if reached.insert(module) {
            left.extend(edges.get(module).into_iter().flatten());
        }
    }
    reached
}

fn file_of(folder: &Path) -> PathBuf {
    let file = folder.with_extension("rs");
    if file.exists() { file } else { folder.join("mod.rs") }
}

fn is_ident(token: &TokenTree, name: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == name)
}

fn is_punct(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}

fn is_path_start(token: &TokenTree) -> bool {
    ["crate", "super", "self"].iter().any(|keyword| is_ident(token, keyword))
}

/// The tokens without the items that `#[cfg(test)]` stands before.
fn without_tests(tokens: TokenStream) -> Vec<TokenTree> {
    let mut kept = Vec::new();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let is_test = matches!(tokens.peek(), Some(TokenTree::Group(group)) if group.stream().to_string().replace(' ', "") == "cfg(test)");
        if !(is_punct(&token, '#') && is_test) {
            kept.push(token);
            continue;
        }
        // The item ends with its body or its semicolon.
        tokens.find(|token| {
            is_punct(token, ';') || matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
        });
    }
    kept
}

/// The segments of the path that starts here.
fn path_at(tokens: &[TokenTree]) -> Vec<String> {
    let mut path = Vec::new();
    let mut tokens = tokens;
    while let [TokenTree::Ident(segment), rest @ ..] = tokens {
        path.push(segment.to_string());
        let [a, b, rest @ ..] = rest else { break };
        if !(is_punct(a, ':') && is_punct(b, ':')) {
            break;
        }
        tokens = rest;
    }
    path
}

/// A path as seen from the crate's root. `None` for one that starts elsewhere: another crate, or a name that a `use`
/// declaration of this module brought in, which counted there.
fn absolute(path: &[String], module: &Module) -> Option<Vec<String>> {
    let supers = path.iter().take_while(|segment| *segment == "super" || *segment == "self").count();
    let up = path.iter().filter(|segment| *segment == "super").count();
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "super" | "self" => Some([&module[..module.len() - up], &path[supers..]].concat()),
        _ => None,
    }
}

/// Folders of crates whose modules are checked: all that belongs to the product.
fn crates() -> Vec<String> {
    let manifest: toml::Table = std::fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let members = manifest["workspace"]["members"].as_array().unwrap().iter().map(|member| member.as_str().unwrap());
    members.filter(|member| !member.starts_with("tests/")).map(str::to_owned).collect()
}

#[test]
fn the_modules_of_a_crate_have_an_order() {
    let mut found = Vec::new();
    for folder in crates() {
        for circle in Crate::read(&root().join(&folder).join("src")).circles() {
            found.push((folder.clone(), circle));
        }
    }
    let is_allowed = |(folder, circle): &(String, BTreeSet<String>)| {
        ALLOWED.iter().any(|(owner, modules, _)| owner == folder && circle.iter().eq(modules.iter()))
    };
    let unused: Vec<_> = ALLOWED
        .iter()
        .filter(|(owner, modules, _)| {
            !found.iter().any(|(folder, circle)| folder == owner && circle.iter().eq(*modules))
        })
        .collect();
    found.retain(|circle| !is_allowed(circle));
    assert!(found.is_empty(), "modules that use each other: {found:#?}");
    assert!(unused.is_empty(), "circles that are no more: take them off the list: {unused:#?}");
}

#[test]
fn a_circle_is_found_wherever_it_hides() {
    let circles = |files: &[(&str, &str)]| {
        let folder = Scratch::new();
        for (name, text) in files {
            folder.write(name, text);
        }
        Crate::read(folder.path()).circles()
    };
    let found =
        |b: &str| circles(&[("lib.rs", "mod a; mod b; pub use b::B;"), ("a.rs", "use crate::b::B;"), ("b.rs", b)]);
    let circle = vec![BTreeSet::from(["a".to_owned(), "b".to_owned()])];
    for hidden in [
        "use super::a::{self as other};",
        "fn f() { let x = crate::a::f(); }",
        "fn f() { println!(\"{}\", crate::a::f()); }",
        "mod inner { use super::super::a::A; }",
        "#[cfg(test)] mod tests { } use crate::{a::A};",
        "#[cfg(test)]\nuse x::y;\nuse crate::{a::A};",
    ] {
        assert_eq!(found(hidden), circle, "{hidden}");
    }
    for harmless in
        ["// use crate::a;", "fn f() { g(\"crate::a::f\") }", "#[cfg(test)] mod tests { use crate::a; }", ""]
    {
        assert_eq!(found(harmless), [], "{harmless}");
    }
    let through_the_root =
        circles(&[("lib.rs", "mod a; mod b; use b::B;"), ("a.rs", "use crate::B;"), ("b.rs", "use super::a::A;")]);
    assert_eq!(through_the_root, circle);
}
