use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A folder with a project of one component; removed with the value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("modelfn-watch-{}-[{number}]", std::process::id()));
        for inner in ["src/inner", "models/m", "target"] {
            fs::create_dir_all(folder.join(inner)).unwrap();
        }
        Folder(folder)
    }

    fn write(&self, name: &str) {
        fs::write(self.0.join(name), "x").unwrap();
    }

    fn watch(&self) -> Watcher {
        let component = ComponentBuild {
            id: "f".to_owned(),
            source: Some(self.0.join("target/f.wasm")),
            commands: vec!["make".to_owned()],
            workdir: self.0.clone(),
            watch: ["src/**/*.rs", "Cargo.toml", "*.py"].map(str::to_owned).to_vec(),
        };
        let built = ComponentBuild {
            id: "b".to_owned(),
            source: Some(self.0.join("b.wasm")),
            commands: Vec::new(),
            ..component.clone()
        };
        let manifest = self.0.join("spin.toml");
        let project = Project { manifest, folder: self.0.clone(), components: vec![component, built] };
        Watcher::start(Some(&project), &[self.0.join("models")]).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What the watcher tells after `change`; ends by itself where it tells nothing.
fn changes(watcher: &mut Watcher, change: impl FnOnce()) -> Option<Changes> {
    let ending = std::sync::Arc::new(AtomicBool::new(false));
    change();
    let ender = ending.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(700));
        ender.store(true, Ordering::Relaxed);
    });
    watcher.wait(&ending)
}

#[test]
fn each_kind_of_file_means_its_own() {
    let folder = Folder::new();
    let mut watcher = folder.watch();
    let sources = Some(Changes { components: BTreeSet::from(["f".to_owned()]), ..Changes::default() });
    for file in ["src/lib.rs", "src/inner/a.rs", "Cargo.toml", "app.py"] {
        assert_eq!(changes(&mut watcher, || folder.write(file)), sources, "{file}");
    }
    let manifest = Some(Changes { manifest: true, ..Changes::default() });
    assert_eq!(changes(&mut watcher, || folder.write("spin.toml")), manifest);
    let served = Some(Changes { served: true, ..Changes::default() });
    for file in ["models/m/model.onnx", "b.wasm"] {
        assert_eq!(changes(&mut watcher, || folder.write(file)), served, "{file}");
    }
    for file in ["src/a.txt", "target/f.wasm", "Cargo.lock", "src/.lib.rs.swp", "src/lib.rs~", "inner.py.bak"] {
        assert_eq!(changes(&mut watcher, || folder.write(file)), None, "{file}");
    }
}

#[test]
fn a_file_that_takes_the_place_of_another_is_a_change_and_reading_is_none() {
    let folder = Folder::new();
    folder.write("src/lib.rs");
    let mut watcher = folder.watch();
    assert_eq!(changes(&mut watcher, || drop(fs::read(folder.0.join("src/lib.rs")))), None);
    folder.write("other");
    let renamed = changes(&mut watcher, || fs::rename(folder.0.join("other"), folder.0.join("src/lib.rs")).unwrap());
    assert!(renamed.is_some_and(|changes| changes.components.contains("f")));
    let new_folder = changes(&mut watcher, || {
        fs::create_dir(folder.0.join("src/new")).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        folder.write("src/new/b.rs");
    });
    assert!(new_folder.is_some_and(|changes| changes.components.contains("f")));
}

#[test]
fn changes_of_a_moment_are_told_together_and_seen_while_pending() {
    let folder = Folder::new();
    let mut watcher = folder.watch();
    folder.write("src/lib.rs");
    folder.write("spin.toml");
    let until = Instant::now() + Duration::from_secs(5);
    while !watcher.is_pending() {
        assert!(Instant::now() < until);
    }
    let told = changes(&mut watcher, || {}).unwrap();
    assert!(told.manifest && told.components.len() == 1, "{told:?}");
    assert!(!watcher.is_pending());
}
