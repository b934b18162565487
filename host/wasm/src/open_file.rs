//! Opening files of mounted folders, in place of wasmtime's own function: only regular files and folders are opened, and
//! none of them by waiting.
//!
//! A FIFO would hold the thread that opens it until somebody writes to it, and reading a device may take for ever, so a
//! guest gets `not-permitted` for these, also where one takes the place of a file while the server runs.

use std::fs::File;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::OpenMode;
use wasmtime_wasi::filesystem::{self, Descriptor, Dir, WasiFilesystemCtxView, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DescriptorType, ErrorCode, HostDescriptor, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{FsError, FsResult};

use super::state::State;

/// The interface as wasmtime-wasi names it.
const INTERFACE: &str = "wasi:filesystem/types@0.2.12";

/// How often an open is tried again while somebody renames files: what wasmtime does.
const TRIES: usize = 4;

/// Replaces wasmtime's `open-at`, which is defined already.
///
/// # Errors
///
/// The interface can't be changed. Any test that starts a server would find that.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance(INTERFACE)?.func_wrap_async("[method]descriptor.open-at", |store, asked| {
        Box::new(async move { Ok((open_at(store, asked).await?,)) })
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

type Asked = (Resource<Descriptor>, PathFlags, String, OpenFlags, DescriptorFlags);

async fn open_at(
    mut store: StoreContextMut<'_, State>,
    asked: Asked,
) -> wasmtime::Result<Result<Resource<Descriptor>, ErrorCode>> {
    let state = store.data_mut();
    let reads_directly = state.reads_directly;
    let mut view = state.filesystem();
    let opened = open_for_guest(&mut view, asked, reads_directly).await;
    opened.map_or_else(|error| error.downcast().map(Err), |descriptor| Ok(Ok(descriptor)))
}

async fn open_for_guest(
    view: &mut WasiFilesystemCtxView<'_>,
    asked: Asked,
    reads_directly: bool,
) -> FsResult<Resource<Descriptor>> {
    let (folder, links, path, how, access) = &asked;
    let Descriptor::Dir(Dir { dir, perms, .. }) = view.table.get(folder)? else {
        return Err(ErrorCode::NotDirectory.into());
    };
    if changes(*how, *access) {
        return open_as_wasmtime_does(view, asked).await;
    }
    let (dir, perms, wanted) = (dir.clone(), *perms, Wanted::new(path, *links, *how));
    let opened = if reads_directly {
        wanted.open(&dir)
    } else {
        tokio::task::spawn_blocking(move || wanted.open(&dir)).await.map_err(FsError::trap)?
    };
    let descriptor = match opened {
        Ok((file, FileType::RegularFile)) => {
            Descriptor::File(filesystem::File::new(file, perms, OpenMode::READ, reads_directly))
        }
        Ok((folder, FileType::Directory)) => Descriptor::Dir(Dir::new(folder, perms, OpenMode::READ, reads_directly)),
        Ok(_) => return Err(refused(path)),
        // What some sandboxes say of a system call that they don't know.
        Err(Errno::NOSYS | Errno::PERM) => return check_and_open(view, asked).await,
        Err(Errno::XDEV) => return Err(ErrorCode::NotPermitted.into()),
        Err(error) => return Err(std::io::Error::from(error).into()),
    };
    Ok(view.table.push(descriptor)?)
}

/// Whether a guest wants to do more than to read. Mounted folders are read-only, so it can't.
fn changes(how: OpenFlags, access: DescriptorFlags) -> bool {
    let only_reads = DescriptorFlags::READ | DescriptorFlags::MUTATE_DIRECTORY;
    how.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE) || !only_reads.contains(access)
}

/// A file as a guest asks for it.
struct Wanted {
    path: String,
    flags: OFlags,
}

impl Wanted {
    fn new(path: &str, links: PathFlags, how: OpenFlags) -> Wanted {
        let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        flags.set(OFlags::NOFOLLOW, !links.contains(PathFlags::SYMLINK_FOLLOW));
        flags.set(OFlags::DIRECTORY, how.contains(OpenFlags::DIRECTORY));
        Wanted { path: path.to_owned(), flags }
    }

    /// Opens the file below `folder`, whatever it is, without waiting.
    fn open(&self, folder: &File) -> rustix::io::Result<(File, FileType)> {
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let open = || openat2(folder, self.path.as_str(), self.flags, Mode::empty(), beneath);
        // The kernel says AGAIN where anybody renames a file meanwhile.
        let opened = (1..TRIES).map(|_| open()).find(|opened| !matches!(opened, Err(Errno::AGAIN)));
        let file = opened.unwrap_or_else(open)?;
        let kind = FileType::from_raw_mode(fstat(&file)?.st_mode);
        Ok((file.into(), kind))
    }
}

/// Without `openat2` the file is looked at before it is opened.
async fn check_and_open(view: &mut WasiFilesystemCtxView<'_>, asked: Asked) -> FsResult<Resource<Descriptor>> {
    let (folder, links, path, ..) = &asked;
    let stat = view.stat_at(Resource::new_borrow(folder.rep()), *links, path.clone()).await?;
    match stat.type_ {
        DescriptorType::RegularFile | DescriptorType::Directory | DescriptorType::SymbolicLink => {
            open_as_wasmtime_does(view, asked).await
        }
        _ => Err(refused(path)),
    }
}

async fn open_as_wasmtime_does(
    view: &mut WasiFilesystemCtxView<'_>,
    (folder, links, path, how, access): Asked,
) -> FsResult<Resource<Descriptor>> {
    HostDescriptor::open_at(view, folder, links, path, how, access).await
}

fn refused(path: &str) -> FsError {
    tracing::warn!(path, "functions open regular files only, and this is none; put one in its place");
    ErrorCode::NotPermitted.into()
}
