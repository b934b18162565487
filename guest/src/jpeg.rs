//! What only JPEGs need: a look at the header, and decoding at a half, a quarter or an eighth.
//!
//! A large photograph is decoded no larger than the network's picture, which saves most of the time
//! and memory. Colors that need care (CMYK) and odd files are left to the general decoder.

use image::ImageFormat;
use image::metadata::Orientation;
use jpeg_decoder::{Decoder, PixelFormat};

use crate::flatten::Samples;
use crate::picture::{Picture, broken, check_size, decode_whole};
use crate::preprocess::Window;
use crate::problem::Problem;

/// What the segments before the first scan say.
#[derive(Debug)]
struct Header {
    size: (u16, u16),
    process: Process,
    /// Horizontal and vertical sampling factors, one pair a component.
    sampling: Vec<(u8, u8)>,
    orientation: Orientation,
    /// Offset of the first scan.
    scan: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Process {
    Sequential,
    Progressive,
    /// Lossless, hierarchical or arithmetic.
    Other,
}

/// Decodes a JPEG, at a reduced size where that loses nothing that `window` needs.
pub(crate) fn decode(file: &[u8], window: Window) -> Result<Picture, Problem> {
    let header = Header::read(file).ok_or_else(|| damaged("no picture behind its header"))?;
    // A decoder would fill what is missing with gray, and the answer would be about the gray.
    if memchr::memmem::rfind(&file[header.scan..], &[0xFF, 0xD9]).is_none() {
        return Err(damaged("its end marker is missing"));
    }
    let size = (u32::from(header.size.0), u32::from(header.size.1));
    let reduction = window.reduction(size, header.orientation);
    if reduction > 1 && header.reducible() {
        let reduced = (size.0.div_ceil(reduction), size.1.div_ceil(reduction));
        check_size(size, header.bytes(reduced))?;
        if let Some(samples) = decode_reduced(file, reduced)? {
            return Ok(Picture { samples, size, reduction, orientation: header.orientation });
        }
    }
    check_size(size, header.bytes(size))?;
    let picture = decode_whole(file, ImageFormat::Jpeg)?;
    Ok(Picture { orientation: header.orientation, ..picture })
}

/// The samples at exactly `size`, or `None` where this decoder does not know the kind of file.
fn decode_reduced(file: &[u8], size: (u32, u32)) -> Result<Option<Samples>, Problem> {
    let (Ok(width), Ok(height)) = (u16::try_from(size.0), u16::try_from(size.1)) else {
        return Ok(None);
    };
    let mut decoder = Decoder::new(file);
    if decoder.scale(width, height).ok() != Some((width, height)) {
        return Ok(None);
    }
    let bytes = decoder.decode().map_err(|error| damaged(&error.to_string()))?;
    Ok(match decoder.info().map(|info| info.pixel_format) {
        Some(PixelFormat::RGB24) => Some(Samples::Rgb(bytes)),
        Some(PixelFormat::L8) => Some(Samples::Gray(bytes)),
        _ => None,
    })
}

impl Header {
    /// Walks the segments up to the first scan; `None` where there is no scan or no frame before it.
    fn read(file: &[u8]) -> Option<Self> {
        let mut header = Self {
            size: (0, 0),
            process: Process::Other,
            sampling: vec![],
            orientation: Orientation::NoTransforms,
            scan: 0,
        };
        let mut at = 2;
        loop {
            at += memchr::memchr(0xFF, file.get(at..)?)?;
            let marker = *file.get(at + 1)?;
            at += 1;
            // Fill bytes, stuffed bytes and markers without a segment.
            if matches!(marker, 0x00 | 0x01 | 0xD0..=0xD8 | 0xFF) {
                continue;
            }
            let length = usize::from(u16::from_be_bytes(file.get(at + 1..at + 3)?.try_into().ok()?));
            let segment = file.get(at + 3..at + 1 + length)?;
            at += 1 + length;
            match marker {
                0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => header.frame(marker, segment)?,
                0xE1 => header.exif(segment),
                0xDA => {
                    header.scan = at;
                    return (!header.sampling.is_empty()).then_some(header);
                }
                _ => {}
            }
        }
    }

    /// `None` for a second frame too: which of the two a decoder would obey is anyone's guess.
    fn frame(&mut self, marker: u8, segment: &[u8]) -> Option<()> {
        if !self.sampling.is_empty() {
            return None;
        }
        let (&[precision, h1, h0, w1, w0, count], components) = segment.split_first_chunk()?;
        self.size = (u16::from_be_bytes([w1, w0]), u16::from_be_bytes([h1, h0]));
        self.process = match marker {
            0xC0 | 0xC1 if precision == 8 => Process::Sequential,
            0xC2 if precision == 8 => Process::Progressive,
            _ => Process::Other,
        };
        self.sampling = components
            .chunks_exact(3)
            .take(usize::from(count))
            .map(|component| (component[1] >> 4, component[1] & 0x0F))
            .collect();
        Some(())
    }

    fn exif(&mut self, segment: &[u8]) {
        if let Some(orientation) = segment.strip_prefix(b"Exif\0\0").and_then(Orientation::from_exif_chunk) {
            self.orientation = orientation;
        }
    }

    fn reducible(&self) -> bool {
        self.process != Process::Other && matches!(self.sampling.len(), 1 | 3)
    }

    /// Bytes that decoding to `size` takes: the pixels, and for a progressive file all of its
    /// coefficients, which have to be kept until the last scan.
    fn bytes(&self, (width, height): (u32, u32)) -> u64 {
        let channels = if self.sampling.len() == 1 { 1 } else { 3 };
        let pixels = u64::from(width) * u64::from(height) * channels;
        match self.process {
            Process::Progressive => pixels + self.coefficients() * size_of::<i16>() as u64,
            _ => pixels,
        }
    }

    fn coefficients(&self) -> u64 {
        let side = |length: u16, factor: u8| u64::from(length).div_ceil(8 * u64::from(factor.max(1)));
        let widest = self.sampling.iter().map(|factors| factors.0).max().unwrap_or(1);
        let tallest = self.sampling.iter().map(|factors| factors.1).max().unwrap_or(1);
        let units = side(self.size.0, widest) * side(self.size.1, tallest);
        let blocks: u64 = self.sampling.iter().map(|&(h, v)| u64::from(h) * u64::from(v)).sum();
        units * blocks * 64
    }
}

fn damaged(reason: &str) -> Problem {
    broken(ImageFormat::Jpeg, reason)
}
