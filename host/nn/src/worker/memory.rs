//! Memory that the server and an engine process share, for the data of tensors that are too large for a message.
//!
//! The server never maps this memory, but reads and writes it as a file: whatever the other process does to it, a read
//! is then short at worst. Inputs are copied once, into this memory; the engine reads them where they are.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::message::{TensorData, TensorHeader};
use crate::tensor::{Tensor, Tensors};

/// Tensors up to this size travel within the message, all tensors of a message together.
const MAX_INLINE: usize = 32 << 10;

/// Tensors begin at multiples of this many bytes, as vector instructions want it.
const ALIGNMENT: u64 = 64;

/// The memory that stays after a computation. What larger ones needed goes back to the system.
const KEPT: u64 = 4 << 20;

/// Memory of one direction of one handle.
pub(super) struct SharedMemory {
    file: File,
    size: u64,
}

impl SharedMemory {
    /// Empty memory, which grows as it is written.
    pub(super) fn create() -> io::Result<SharedMemory> {
        let file = File::from(memfd_create("modelfn-tensors", MemfdFlags::CLOEXEC)?);
        Ok(SharedMemory { file, size: 0 })
    }

    /// The memory behind a descriptor that came with a message.
    pub(super) fn from_descriptor(descriptor: OwnedFd) -> SharedMemory {
        SharedMemory { file: File::from(descriptor), size: 0 }
    }

    /// The size that the memory has had so far, in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Writes the data of tensors that don't fit a message, from the start of the memory.
    ///
    /// # Errors
    ///
    /// There is no memory for them.
    pub(super) fn write(&mut self, tensors: &Tensors) -> io::Result<Vec<TensorHeader>> {
        let mut inline = 0;
        let mut end: u64 = 0;
        let mut headers = Vec::with_capacity(tensors.len());
        for (name, tensor) in tensors {
            let bytes = tensor.data();
            let data = if inline + bytes.len() <= MAX_INLINE {
                inline += bytes.len();
                TensorData::Inline(bytes.to_vec())
            } else {
                let offset = end.next_multiple_of(ALIGNMENT);
                self.file.write_all_at(bytes, offset)?;
                end = offset + bytes.len() as u64;
                TensorData::Shared { offset, length: bytes.len() }
            };
            headers.push(TensorHeader {
                name: name.clone(),
                dtype: tensor.dtype(),
                shape: tensor.shape().to_vec(),
                data,
            });
        }
        self.size = self.size.max(end);
        Ok(headers)
    }

    /// Reads tensors into memory of this process.
    ///
    /// # Errors
    ///
    /// The other process has not written what the headers promise.
    pub(super) fn read(&self, headers: Vec<TensorHeader>) -> io::Result<Tensors> {
        into_tensors(headers, |offset, length| {
            // The length comes from the other process: a file that is shorter must not cost this process its memory.
            if offset
                .checked_add(length as u64)
                .is_none_or(|end| self.file.metadata().is_ok_and(|file| file.len() < end))
            {
                return Err(misfit("a tensor ends behind the shared memory"));
            }
            let mut data = vec![0; length];
            self.file.read_exact_at(&mut data, offset)?;
            Ok(data.into())
        })
    }

    /// Gives memory that a large computation needed back to the system, whichever process has written it. The size stays.
    /// Only who knows that nobody reads the memory any more may do so: the server, once it has the outcome and its data.
    pub(super) fn trim(&self) {
        let size = self.file.metadata().map_or(0, |file| file.len());
        if size > KEPT {
            let beyond = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            if let Err(e) = fallocate(&self.file, beyond, KEPT, size - KEPT) {
                tracing::debug!("memory of a large computation stays: {e}");
            }
        }
    }
}

impl AsFd for SharedMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A view of shared memory in the engine process, which trusts the server not to shrink it.
pub(super) struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

#[expect(unsafe_code, reason = "a pointer to memory that any thread may read")]
// SAFETY: the mapping is only ever read, and lives until it is dropped.
unsafe impl Send for Mapping {}
#[expect(unsafe_code, reason = "a pointer to memory that any thread may read")]
// SAFETY: the mapping is only ever read, and lives until it is dropped.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `length` bytes of `memory`, which may not be 0.
    ///
    /// # Errors
    ///
    /// The memory is shorter, or there are no addresses for it.
    pub(super) fn new(memory: &SharedMemory, length: usize) -> io::Result<Mapping> {
        if length == 0 || memory.file.metadata()?.len() < length as u64 {
            return Err(misfit("the shared memory is shorter than announced"));
        }
        #[expect(unsafe_code, reason = "mapping a file is unsafe in every library")]
        // SAFETY: a new mapping at an address that the kernel chooses.
        let start = unsafe {
            mmap(std::ptr::null_mut(), length, ProtFlags::READ, MapFlags::SHARED | MapFlags::POPULATE, &memory.file, 0)?
        };
        let start = NonNull::new(start.cast()).ok_or_else(|| misfit("mapped at address 0"))?;
        Ok(Mapping { start, length })
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        #[expect(unsafe_code, reason = "the mapping as a slice")]
        // SAFETY: the mapping has `length` bytes, is never written by this process, and the server writes it only
        // before it sends the message that makes this process read it.
        unsafe {
            std::slice::from_raw_parts(self.start.as_ptr(), self.length)
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "the counterpart of `mmap`")]
        // SAFETY: exactly the mapping that `new` made; nobody borrows it any more.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}

/// The tensors of a message, whose data stays in the shared memory.
///
/// # Errors
///
/// A tensor lies outside the memory, or its data does not fit its shape.
pub(super) fn view(headers: Vec<TensorHeader>, mapping: Option<&Arc<Mapping>>) -> io::Result<Tensors> {
    let whole = mapping.map(|mapping| Bytes::from_owner(SharedMapping(mapping.clone())));
    into_tensors(headers, |offset, length| {
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let inside = whole.as_ref().filter(|whole| start.checked_add(length).is_some_and(|end| end <= whole.len()));
        inside.map(|whole| whole.slice(start..start + length)).ok_or_else(|| misfit("a tensor ends behind the memory"))
    })
}

struct SharedMapping(Arc<Mapping>);

impl AsRef<[u8]> for SharedMapping {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref().as_ref()
    }
}

fn into_tensors(headers: Vec<TensorHeader>, shared: impl Fn(u64, usize) -> io::Result<Bytes>) -> io::Result<Tensors> {
    let tensor = |header: TensorHeader| {
        let TensorHeader { name, dtype, shape, data } = header;
        let data = match data {
            TensorData::Inline(bytes) => bytes.into(),
            TensorData::Shared { offset, length } => shared(offset, length)?,
        };
        let tensor = Tensor::new(dtype, shape, data).map_err(io::Error::other)?;
        Ok((name, tensor))
    };
    headers.into_iter().map(tensor).collect()
}

fn misfit(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
