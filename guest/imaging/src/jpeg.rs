//! JPEG, decoded by this crate alone, and no further than the network looks at it.
//!
//! One rule says how a file is decoded, whatever its size: Huffman-coded DCT of 8 bits a sample (ITU-T T.81) is decoded
//! here, sequential files by `sequential.rs` and progressive ones by `progressive.rs`, in any number of scans and with any
//! sampling; arithmetic, lossless and hierarchical coding and 12 bits are refused. Both make planes of the window alone,
//! at a half, a quarter or an eighth of their size where the network needs no more. What libjpeg forgives is forgiven.

mod bits;
#[cfg(test)]
pub(crate) mod encoder;
mod header;
mod huffman_segment;
mod idct;
mod progressive;
mod sequential;
mod table;
mod target;

use image::ImageFormat;

use crate::error::Error;
use crate::limits::{broken, check_file, unsupported};
use crate::types::{Picture, Samples, Window};
use header::{Header, Next, Process};

const NO_TABLE: &str = "a scan names a table that is not there";
const NO_SCAN: &str = "a scan is missing";

/// The most work that a file may take, in blocks of 8 x 8 samples that its scans pass over: 340 megapixels of 4:2:0 in one
/// scan, or 20 megapixels in fifteen. It bounds the time to half a second.
const MAX_BLOCKS: u64 = 8 << 20;

/// What a scan costs beside its blocks, in blocks: making its tables.
const SCAN_COST: u64 = 200;

/// Bytes of a progressive file that cost as much as a block: their bits change coefficients that are there already.
const BYTES_PER_BLOCK: u64 = 2;

/// Decodes a JPEG, as much of it and as large as `window` needs.
pub(crate) fn decode(file: &[u8], window: Window) -> Result<Picture, Error> {
    let mut header = Header::new(file);
    if header.next_scan() != Next::Scan {
        return Err(damaged("no picture behind its header"));
    }
    let (size, orientation) = (header.dimensions(), header.orientation());
    let process = header.process;
    if process == Process::Other {
        return Err(unsupported("this kind of JPEG (arithmetic, lossless, hierarchical or of 12 bits) is not read"));
    }
    check_file(size, file)?;
    let color = header
        .color_model()
        .ok_or_else(|| unsupported(&format!("JPEGs of {} components are not read", header.components.len())))?;
    let planes = match process {
        Process::Progressive => progressive::decode(header, window)?,
        _ => sequential::decode(header, window)?,
    };
    Ok(Picture { samples: Samples::Planes(planes, color), size, orientation })
}

/// Counts what the scans of a file cost, in blocks.
#[derive(Debug, Default)]
struct Work {
    blocks: u64,
}

impl Work {
    /// Adds the scan that `header` is at.
    ///
    /// # Errors
    ///
    /// The picture is too large, or has too many scans.
    fn scan(&mut self, header: &Header<'_>) -> Result<(), Error> {
        self.add(header.blocks_in_scan() + SCAN_COST, header)
    }

    /// Adds all scans of a progressive file, of which `header` is at the first.
    ///
    /// # Errors
    ///
    /// As [`Work::scan`].
    fn all_scans(&mut self, header: &Header<'_>) -> Result<(), Error> {
        self.add(header.data().len() as u64 / BYTES_PER_BLOCK, header)?;
        let mut header = header.clone();
        loop {
            self.scan(&header)?;
            if header.next_scan() != Next::Scan {
                return Ok(());
            }
        }
    }

    fn add(&mut self, blocks: u64, header: &Header<'_>) -> Result<(), Error> {
        self.blocks += blocks;
        if self.blocks <= MAX_BLOCKS {
            return Ok(());
        }
        let (width, height) = header.dimensions();
        Err(Error::too_large(format!(
            "decoding the scans of this JPEG of {width} x {height} pixels takes too long; send a smaller one, or one in a single scan"
        )))
    }
}

/// Whether the file has an end marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EndMarker {
    Found,
    Missing,
}

impl EndMarker {
    /// Looks for the marker behind the start of the first scan's data.
    fn find(body: &[u8]) -> Self {
        if memchr::memmem::rfind(body, &[0xFF, 0xD9]).is_some() { Self::Found } else { Self::Missing }
    }
}

fn damaged(reason: &str) -> Error {
    broken(ImageFormat::Jpeg, reason)
}

#[cfg(test)]
mod tests;
