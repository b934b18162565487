//! Compiled components on disk, so that only the first start compiles.
//!
//! wasmtime loads compiled code without verifying it, so whoever can write such a file can run anything as this
//! process. A file is therefore used only if it and its folder belong to this user or to root and nobody else may write
//! them. Its name is a digest of the component and of everything that influences compilation. A container image ships
//! such files, written by `modelfn compile`, and so starts without compiling. This is the only file of the crate with
//! `unsafe` code.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::engine;
use modelfn_artifact::digest;

/// A folder of compiled components, or none.
#[derive(Clone, Debug)]
pub struct CodeCache {
    folder: Option<PathBuf>,
}

/// A compiled component.
pub struct CompiledComponent {
    pub(super) component: Component,
    /// The file that the component was loaded from; `None` when its code is only in memory.
    pub(super) file: Option<CompiledFile>,
}

/// An open file of trusted compiled code. It stays readable when another file takes its name.
pub(super) struct CompiledFile(File);

impl CodeCache {
    /// A cache in `folder`. Without a folder every load compiles.
    pub fn new(folder: Option<PathBuf>) -> Self {
        CodeCache { folder }
    }

    /// Loads the compiled form of `wasm` from disk, or compiles it and tries to write it there. A folder that can't be
    /// used costs compilation time and a warning, but never fails the start.
    ///
    /// # Errors
    ///
    /// `wasm` is not a component that compiles.
    pub fn load(&self, engine: &Engine, wasm: &[u8]) -> wasmtime::Result<CompiledComponent> {
        let Some(folder) = &self.folder else {
            return Ok(CompiledComponent { component: Component::new(engine, wasm)?, file: None });
        };
        let path = folder.join(file_name(engine, wasm));
        if let Some(compiled) = read(engine, &path) {
            return Ok(compiled);
        }
        // The code that a container image ships was compiled on another machine, for the baseline.
        if let Some(compiled) = read(engine, &folder.join(file_name(&baseline_engine()?, wasm))) {
            return Ok(compiled);
        }
        tracing::info!("compiling the component; the next start finds it in {}", path.display());
        let code = engine.precompile_component(wasm)?;
        match write_atomically(&path, &code) {
            // Code that is mapped from the file takes less memory than the code that was just compiled.
            Ok(()) => {
                if let Some(compiled) = read(engine, &path) {
                    return Ok(compiled);
                }
            }
            Err(e) => tracing::warn!("the compiled component could not be kept in {}: {e}", path.display()),
        }
        Ok(CompiledComponent { component: deserialize(engine, &code)?, file: None })
    }

    /// Compiles `wasm` into the cache and returns the file's path.
    ///
    /// # Errors
    ///
    /// `wasm` doesn't compile, the cache has no folder, or the file can't be written.
    pub fn store(&self, engine: &Engine, wasm: &[u8]) -> wasmtime::Result<PathBuf> {
        let folder = self.folder.as_ref().ok_or_else(|| wasmtime::format_err!("no folder to write to"))?;
        let path = folder.join(file_name(engine, wasm));
        write_atomically(&path, &engine.precompile_component(wasm)?)?;
        Ok(path)
    }
}

/// An engine that only compiles, and for any processor of the last ten years (x86-64-v3) instead of this one.
///
/// # Errors
///
/// The settings don't suit this build of wasmtime. A unit test would find that.
pub fn baseline_engine() -> wasmtime::Result<Engine> {
    let mut config = engine::compiler_config();
    config.target(&format!("{}-unknown-linux-gnu", std::env::consts::ARCH))?;
    if cfg!(target_arch = "x86_64") {
        // SAFETY: the flag is a promise about the processor that runs the code. This engine runs no code, and an engine
        // that loads its code compares the flags with the processor that it runs on.
        #[expect(unsafe_code, reason = "the safe interface knows this processor's features, or none")]
        unsafe {
            config.cranelift_flag_enable("x86-64-v3");
        }
    }
    Engine::new(&config)
}

/// Loads the compiled code in `path`, if there is any that can be trusted and fits `engine`.
fn read(engine: &Engine, path: &Path) -> Option<CompiledComponent> {
    match open_trusted(path).map(CompiledFile) {
        Ok(file) => match file.load(engine) {
            Ok(component) => return Some(CompiledComponent { component, file: Some(file) }),
            Err(e) => tracing::warn!("compiled code in {} is not usable: {e:#}", path.display()),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => tracing::warn!("compiled code in {} is not used: {e}", path.display()),
    }
    None
}

impl CompiledFile {
    /// Maps the file into memory: only pages that are used take memory, and processes that map the same file share
    /// them.
    pub(super) fn load(&self, engine: &Engine) -> wasmtime::Result<Component> {
        let path = format!("/proc/self/fd/{}", self.0.as_raw_fd());
        // SAFETY: `open_trusted` found that no other user can have written the file. This program never changes such a
        // file but renames a new one into its place.
        #[expect(unsafe_code, reason = "wasmtime can't verify machine code; see the module's comment")]
        unsafe {
            Component::deserialize_file(engine, path)
        }
    }
}

/// A file name that identifies everything that compilation depends on: the component, and the version and settings of
/// the engine, which include the processor's features.
fn file_name(engine: &Engine, wasm: &[u8]) -> String {
    struct Sha256Hasher(Sha256);
    impl Hasher for Sha256Hasher {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut hasher = Sha256Hasher(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.write(wasm);
    format!("{}.cwasm", digest::hex(&hasher.0.finalize()))
}

/// Loads code that this process has just compiled.
fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the code came from the engine itself.
    #[expect(unsafe_code, reason = "wasmtime can't verify machine code; see the module's comment")]
    unsafe {
        Component::deserialize(engine, code)
    }
}

/// Opens a file that only this user or root can have written. The open file is checked, not its name, so that it can't
/// be replaced between check and use. The folder is checked too, since whoever can write there can replace the file.
fn open_trusted(path: &Path) -> io::Result<File> {
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(no_follow).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    check_trusted(&metadata, "the file")?;
    let folder = File::open(path.parent().unwrap_or(Path::new(".")))?;
    check_trusted(&folder.metadata()?, "its folder")?;
    Ok(file)
}

fn check_trusted(metadata: &fs::Metadata, what: &str) -> io::Result<()> {
    let me = rustix::process::geteuid().as_raw();
    let refused = |why: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{what} {why}")));
    if metadata.uid() != me && metadata.uid() != 0 {
        return refused(format!("belongs to user {}, not to this user ({me}) or root; delete it", metadata.uid()));
    }
    if metadata.mode() & 0o022 != 0 {
        return refused(format!("can be written by others (mode {:o}); `chmod go-w` it", metadata.mode() & 0o7777));
    }
    Ok(())
}

/// Writes a file so that readers see no file or the whole file, even when the process is killed or the disk fills up.
fn write_atomically(path: &Path, code: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    // Users who can write to the folder could place a link under the temporary name.
    check_trusted(&fs::metadata(folder)?, "the folder")?;
    let temporary = path.with_extension(format!("{:016x}.tmp", std::hash::RandomState::new().hash_one(path)));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(&temporary)
        .and_then(|mut file| file.write_all(code).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    fn engine() -> Engine {
        crate::engine::open(crate::engine::PoolSize { instances: 1, memory: 1 << 20, table_elements: 100 }).unwrap()
    }

    /// A folder that is removed with the test.
    struct Scratch(PathBuf);

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn scratch(name: &str) -> Scratch {
        let folder = std::env::temp_dir().join(format!("modelfn-cache-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        Scratch(folder)
    }

    #[test]
    fn the_first_load_writes_what_the_second_reads() {
        let scratch = scratch("twice");
        let folder = &scratch.0;
        let engine = engine();
        let cache = CodeCache::new(Some(folder.to_owned()));
        cache.load(&engine, EMPTY).unwrap();
        let path = folder.join(file_name(&engine, EMPTY));
        let written = fs::metadata(&path).unwrap().modified().unwrap();
        cache.load(&engine, EMPTY).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), written);
        assert_eq!(fs::read_dir(folder).unwrap().count(), 1, "no temporary file may stay");
    }

    #[test]
    fn code_that_another_user_could_have_written_is_not_read() {
        let scratch = scratch("trust");
        let folder = &scratch.0;
        let path = folder.join("x.cwasm");
        write_atomically(&path, b"code").unwrap();
        assert_eq!(io::read_to_string(open_trusted(&path).unwrap()).unwrap(), "code");

        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(open_trusted(&path).unwrap_err().to_string().contains("the file can be written by others"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();

        fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(open_trusted(&path).unwrap_err().to_string().contains("its folder can be written by others"));
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();

        let link = folder.join("link.cwasm");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(open_trusted(&link).is_err(), "a link must not be followed");
    }

    #[test]
    fn broken_code_is_compiled_again() {
        let scratch = scratch("broken");
        let folder = &scratch.0;
        let engine = engine();
        let path = folder.join(file_name(&engine, EMPTY));
        write_atomically(&path, b"not code").unwrap();
        CodeCache::new(Some(folder.to_owned())).load(&engine, EMPTY).unwrap();
        assert_ne!(fs::read(&path).unwrap(), b"not code");
    }

    #[test]
    fn code_for_the_baseline_serves_this_processor() {
        let scratch = scratch("baseline");
        let folder = &scratch.0;
        let cache = CodeCache::new(Some(folder.to_owned()));
        let baseline = cache.store(&baseline_engine().unwrap(), EMPTY).unwrap();
        let engine = engine();
        assert_ne!(baseline, folder.join(file_name(&engine, EMPTY)), "this processor is told from the baseline");
        cache.load(&engine, EMPTY).unwrap();
        assert_eq!(fs::read_dir(folder).unwrap().count(), 1, "nothing was compiled");
    }

    #[test]
    fn a_folder_that_cannot_be_written_costs_only_time() {
        let engine = engine();
        CodeCache::new(Some("/proc/nowhere".into())).load(&engine, EMPTY).unwrap();
    }
}
