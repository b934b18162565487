//! The folders that a function mounts, and on which thread they are read.
//!
//! Files of a local filesystem are read by the guest's own thread: they are small and in the page cache, so that handing
//! the work to another thread would take longer. Any other filesystem (NFS, FUSE ...) may stop answering for ever. There
//! every access happens on threads that may block, and a request begins only once its folders have answered, so that a
//! folder that hangs holds a few of these threads and no guest's.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use tokio::sync::Semaphore;
use wasmtime_wasi::{FsPerms, WasiCtx};

use super::error::InvokeError;
use super::guest_log::GuestLog;
use super::settings::{FunctionSettings, Mount};

/// Filesystems whose files the kernel reads without asking anybody else. Names are those of `/proc/self/mountinfo`.
const LOCAL: [&str; 20] = [
    "bcachefs", "btrfs", "devtmpfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "iso9660", "jfs", "ntfs3",
    "overlay", "ramfs", "rootfs", "squashfs", "tmpfs", "vfat", "xfs", "zfs",
];

/// Threads that may wait at once for the folders of one function.
const WAITING_THREADS: usize = 8;

/// What a guest sees of WASI for one request.
pub(super) struct OpenMounts {
    /// Its environment, its log and its folders.
    pub(super) wasi: WasiCtx,
    /// Whether its own thread may read files.
    pub(super) reads_directly: bool,
}

/// How the folders of a function are read.
#[derive(Clone)]
pub(super) enum MountAccess {
    /// On the guest's own thread.
    Direct,
    /// On other threads. Each request takes a permit until its folders have answered, and a thread that waits keeps it.
    Offloaded(Arc<Semaphore>),
}

impl MountAccess {
    /// How to read `mounts`, as the filesystems are mounted now.
    pub(super) fn of(mounts: &[Mount]) -> MountAccess {
        let is_local = || {
            let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
            mounts.iter().all(|mount| {
                let folder = mount.source.canonicalize().unwrap_or_else(|_| mount.source.clone());
                let other = other_filesystem(&mountinfo, &folder);
                if let Some(kind) = &other {
                    tracing::debug!(folder = %folder.display(), kind, "is read on threads of its own");
                }
                other.is_none()
            })
        };
        if mounts.is_empty() || is_local() {
            MountAccess::Direct
        } else {
            MountAccess::Offloaded(Arc::new(Semaphore::new(WAITING_THREADS)))
        }
    }

    /// Opens the folders for one request.
    ///
    /// # Errors
    ///
    /// A folder can't be opened, or does not answer until `deadline`.
    pub(super) async fn open(
        &self,
        settings: &Arc<FunctionSettings>,
        deadline: Instant,
    ) -> Result<OpenMounts, InvokeError> {
        let MountAccess::Offloaded(permits) = self else { return open(settings, true) };
        let started = Instant::now();
        let (component, settings, permits) = (&settings.component, settings.clone(), permits.clone());
        let opened = async move {
            let Ok(permit) = permits.acquire_owned().await else { return Err(failed("the permits are gone")) };
            let open = move || {
                let _kept_while_it_waits = permit;
                settings.mounts.iter().try_for_each(answers).map_err(failed)?;
                open(&settings, false)
            };
            tokio::task::spawn_blocking(open).await.map_err(failed)?
        };
        tokio::time::timeout_at(deadline.into(), opened).await.unwrap_or_else(|_| {
            tracing::warn!(%component, "its folders did not answer in time; see whether the filesystem of one of them hangs");
            Err(InvokeError::Deadline(started.elapsed()))
        })
    }
}

/// Asks the filesystem itself for a folder, whatever the kernel remembers of it. Blocks while nobody answers.
fn answers(mount: &Mount) -> rustix::io::Result<()> {
    statx(CWD, &mount.source, AtFlags::STATX_FORCE_SYNC, StatxFlags::BASIC_STATS).map(drop)
}

/// A WASI context without a network, and with no other environment variables and folders than those of `settings`.
fn open(settings: &FunctionSettings, reads_directly: bool) -> Result<OpenMounts, InvokeError> {
    let mut wasi = WasiCtx::builder();
    wasi.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
    wasi.envs(&settings.environment);
    wasi.stdout(GuestLog::new()).stderr(GuestLog::new());
    wasi.allow_blocking_current_thread(reads_directly);
    for mount in &settings.mounts {
        wasi.preopened_dir(&mount.source, &mount.destination, FsPerms::ReadOnly).map_err(failed)?;
    }
    Ok(OpenMounts { wasi: wasi.build(), reads_directly })
}

fn failed(error: impl std::fmt::Display) -> InvokeError {
    InvokeError::Trapped(format!("its folders can't be opened: {error:#}"))
}

/// The kind of a filesystem that `folder` has files of and that is not local, if there is one: its own, or one that is
/// mounted below it. Without `mountinfo` that is not known, and its own is taken for one.
fn other_filesystem(mountinfo: &str, folder: &Path) -> Option<String> {
    let mounted: Vec<_> = mountinfo.lines().filter_map(mount_point).collect();
    // Of two that are mounted at one place the later hides the earlier.
    let around = mounted.iter().filter(|(point, _)| folder.starts_with(point));
    let own = around.max_by_key(|(point, _)| point.components().count()).map_or("unknown", |(_, kind)| kind);
    let below = mounted.iter().filter(|(point, _)| point.starts_with(folder)).map(|(_, kind)| *kind);
    below.chain([own]).find(|kind| !LOCAL.contains(kind)).map(str::to_owned)
}

/// The place and the kind of the filesystem in a line of `/proc/self/mountinfo`: proc(5).
fn mount_point(line: &str) -> Option<(PathBuf, &str)> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let point = mount.split(' ').nth(4)?;
    Some((PathBuf::from(unescape(point)), filesystem.split(' ').next()?))
}

/// Replaces the four characters that would end a field there: space, tab, line feed and backslash.
fn unescape(field: &str) -> String {
    let characters = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    characters.iter().fold(field.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:20 / /proc rw,nosuid - proc proc rw
24 22 0:21 / /srv/models rw,relatime shared:2 - nfs4 server:/models rw,vers=4.2
25 22 0:22 / /srv/with\\040space rw - fuse.sshfs host: rw
26 22 0:23 / /cache rw - fuse host rw
27 26 0:24 / /cache rw master:3 - tmpfs tmpfs rw
";

    #[test]
    fn a_folder_is_local_if_all_that_is_below_it_is() {
        for (folder, other) in [
            ("/etc", None),
            ("/srv/modelsx", None),
            ("/cache/a", None),
            ("/srv/models", Some("nfs4")),
            ("/srv/models/cat", Some("nfs4")),
            ("/srv/with space/x", Some("fuse.sshfs")),
            ("/srv", Some("nfs4")),
            ("/", Some("proc")),
        ] {
            assert_eq!(other_filesystem(MOUNTINFO, Path::new(folder)).as_deref(), other, "{folder}");
        }
        assert_eq!(other_filesystem("", Path::new("/etc")).as_deref(), Some("unknown"));
    }
}
