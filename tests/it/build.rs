//! `modelfn build` with tools that are missing, and builds that fail. Tools are scripts here, which say what they are told.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::harness::Scratch;

const RUST: &str = "cargo build --target wasm32-wasip2 --release";
const PYTHON: &str = "componentize-py -d wit componentize app -o app.wasm";

/// A project of one component, and a folder of programs that is all of `PATH`.
struct Project {
    scratch: Scratch,
}

impl Project {
    fn new(build: &str) -> Project {
        let scratch = Scratch::new();
        scratch.write("spin.toml", format!("[component.f]\nsource = \"f.wasm\"\n[component.f.build]\n{build}\n"));
        fs::create_dir(scratch.path().join("bin")).unwrap();
        Project { scratch }
    }

    fn of_command(command: &str) -> Project {
        Project::new(&format!("command = \"{command}\""))
    }

    /// Adds a program.
    fn program(self, name: &str, script: &str) -> Project {
        let file = self.scratch.write(&format!("bin/{name}"), format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn build(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_modelfn"));
        command
            .current_dir(self.scratch.path())
            .env_clear()
            .env("PATH", self.path("bin"))
            .env("HOME", self.path("home"));
        let Output { status, stdout, stderr } =
            command.arg("build").args(arguments).args(["--log-format", "human"]).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (status.code().unwrap(), text(stdout), text(stderr))
    }

    fn fails(&self, arguments: &[&str]) -> String {
        let (code, out, error) = self.build(arguments);
        assert_eq!(code, 1, "{out}{error}");
        error
    }
}

#[test]
fn a_build_runs_in_its_folder_and_is_told() {
    let project = Project::new("command = [\"printf 12345 > ../f.wasm\", \"echo of the second\"]\nworkdir = \"inner\"");
    fs::create_dir(project.path("inner")).unwrap();
    let (code, out, error) = project.build(&[]);
    assert_eq!(code, 0, "{error}");
    assert!(out.starts_with("built f in ") && out.trim_end().ends_with(", 1 KiB"), "{out}");
    assert!(error.contains("of the second"), "{error}");
    assert_eq!(fs::read_to_string(project.path("f.wasm")).unwrap(), "12345");
}

#[test]
fn a_build_that_fails_is_told_with_its_output() {
    let project = Project::of_command("echo the reason >&2; exit 3");
    let error = project.fails(&[]);
    assert!(error.contains("the reason") && error.contains("exit status: 3"), "{error}");
    let error = Project::of_command("true").fails(&[]);
    assert!(error.contains("f.wasm is not there; `source` must be the file"), "{error}");
    let error = Project::of_command("true").fails(&["g"]);
    assert!(error.contains("no component \"g\"; have: f"), "{error}");
    let error = Project::of_command("true").fails(&["--app", "other.toml"]);
    assert!(error.contains("other.toml can't be read; `modelfn new NAME` makes a folder"), "{error}");
}

#[test]
fn a_build_that_is_interrupted_ends_with_all_that_it_started() {
    let project = Project::of_command("echo $$ > pid; PATH=/usr/bin:/bin sleep 600");
    let mut command = Command::new(env!("CARGO_BIN_EXE_modelfn"));
    let mut building = command.arg("build").current_dir(project.scratch.path()).stderr(Stdio::null()).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    let pid = loop {
        match fs::read_to_string(project.path("pid")) {
            Ok(pid) if pid.ends_with('\n') => break pid.trim().to_owned(),
            _ => assert!(Instant::now() < until, "the build does not begin"),
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let interrupt = Command::new("kill").args(["-INT", &building.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    assert_eq!(building.wait().unwrap().code(), Some(130));
    // Who adopts processes need not be quick to bury them.
    let status = fs::read_to_string(format!("/proc/{pid}/status"));
    assert!(status.map_or(true, |status| status.contains("(zombie)")), "{pid} still runs");
}

#[test]
fn without_cargo_rust_is_named() {
    let error = Project::of_command(RUST).fails(&[]);
    assert!(error.contains("component \"f\" can't be built"), "{error}");
    assert!(error.contains("install Rust from https://rustup.rs"), "{error}");
}

/// A compiler that has no standard library for components, and a rustup that notes what it is told.
fn without_target(project: Project) -> Project {
    let notes = project.path("notes").display().to_string();
    let sysroot = project.path("sysroot").display().to_string();
    project
        .program("cargo", "printf built > f.wasm")
        .program("rustc", &format!("echo {sysroot}"))
        .program("rustup", &format!("echo \"$@\" >> {notes}"))
}

#[test]
fn a_missing_target_is_named_and_installed_where_that_is_wanted() {
    let project = without_target(Project::of_command(RUST));
    let error = project.fails(&[]);
    assert!(error.contains("wasm32-wasip2 is missing; run: rustup target add wasm32-wasip2"), "{error}");
    assert!(!project.path("notes").exists(), "nothing is installed unasked");
    let (code, out, error) = project.build(&["--install"]);
    assert_eq!(code, 0, "{out}{error}");
    assert_eq!(fs::read_to_string(project.path("notes")).unwrap(), "target add wasm32-wasip2\n");
    fs::create_dir_all(project.path("sysroot/lib/rustlib/wasm32-wasip2")).unwrap();
    assert_eq!(project.build(&[]).0, 0, "a target that is there is not asked for");
}

#[test]
fn without_rustup_debians_packages_are_named_and_used() {
    let project = without_target(Project::of_command(RUST));
    fs::remove_file(project.path("bin/rustup")).unwrap();
    let error = project.fails(&[]);
    assert!(
        error.contains("https://rustup.rs") && error.contains("apt-get install --no-install-recommends rustc-web"),
        "{error}"
    );
    // Debian's compiler is told all that it needs; the command shows what that is.
    let project = Project::of_command(&format!(
        "echo $RUSTC $RUSTC_BOOTSTRAP $CARGO_UNSTABLE_BUILD_STD $RUSTFLAGS > f.wasm # {RUST}"
    ))
    .program("dpkg", "true");
    let error = project.fails(&[]);
    assert!(error.contains("run: cargo install --locked wasm-component-ld@"), "{error}");
    let (code, out, error) = project.program("wasm-component-ld", "true").build_and_read();
    assert_eq!(code, 0, "{error}");
    assert!(out.starts_with("/usr/bin/rustc 1 std,panic_abort -C link-arg="), "{out}");
    assert!(out.contains("wasm-ld-22") && out.contains("+simd128"), "{out}");
}

impl Project {
    /// Builds, and reads what was built.
    fn build_and_read(&self) -> (i32, String, String) {
        let (code, _, error) = self.build(&[]);
        (code, fs::read_to_string(self.path("f.wasm")).unwrap_or_default(), error)
    }
}

#[test]
fn componentize_py_is_installed_into_a_folder_of_its_own() {
    let project = Project::of_command(PYTHON);
    let error = project.fails(&[]);
    assert!(error.contains("is missing; run: modelfn build --install"), "{error}");
    let error = project.fails(&["--install"]);
    assert!(error.contains("python3 is not installed"), "{error}");
    let project = project.program("python3", "exit 1");
    assert!(project.fails(&["--install"]).contains("has no pip; run: python3 -m ensurepip"));
    // An installer that fails leaves nothing that is taken for an installation.
    let pip = |script: &str| format!("[ \"$3\" = --version ] && exit 0\nPATH=/usr/bin:/bin\n{script}");
    let project = project.program("python3", &pip("exit 9"));
    assert!(project.fails(&["--install"]).contains("failed (exit status: 9)"));
    assert_eq!(tools(&project.path("home")), Vec::<String>::new());
    let script = "for target; do [ \"$last\" = --target ] && break; last=$target; done\n\
                  mkdir -p \"$target/bin\"; printf '#!/bin/sh\\necho $PYTHONPATH > app.wasm; cp app.wasm f.wasm' > \"$target/bin/componentize-py\"\n\
                  chmod +x \"$target/bin/componentize-py\"; echo \"$@\" > \"$target/arguments\"";
    let project = project.program("python3", &pip(script)).program("cp", "exec /bin/cp \"$@\"");
    let (code, out, error) = project.build(&["--install"]);
    assert_eq!(code, 0, "{out}{error}");
    let [tool] = &tools(&project.path("home"))[..] else { panic!("{error}") };
    assert!(tool.starts_with("componentize-py-"), "{tool}");
    let folder = project.path("home/.cache/modelfn/tools").join(tool);
    let arguments = fs::read_to_string(folder.join("arguments")).unwrap();
    assert!(arguments.contains("--require-hashes") && arguments.contains("--no-deps"), "{arguments}");
    assert_eq!(fs::read_to_string(project.path("f.wasm")).unwrap().trim(), folder.to_str().unwrap());
    assert_eq!(project.build(&[]).0, 0, "what is installed is used");
}

/// The folders of installed tools.
fn tools(home: &Path) -> Vec<String> {
    let entries = fs::read_dir(home.join(".cache/modelfn/tools")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
