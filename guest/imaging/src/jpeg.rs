//! What only JPEGs need: a look at the header, and decoding no more than the network looks at.
//!
//! [`Header`] holds what the segments before the first scan say (ITU-T T.81, annex B.2). From it [`decoder_for`] chooses
//! one of three decoders: the fast path of this crate (`jpeg/baseline.rs`), which decodes only the window and no larger
//! than the network needs it, or one of two library decoders.

mod baseline;
mod bits;
#[cfg(test)]
pub(crate) mod encoder;
mod idct;
mod table;

use image::ImageFormat;
use image::metadata::Orientation;
use jpeg_decoder::{Decoder, PixelFormat};

use crate::error::Error;
use crate::library::{broken, check_size, decode_whole};
use crate::types::{Picture, Samples, Window};

/// What the segments up to and including the first scan header say (ITU-T T.81 B.2).
#[derive(Debug)]
struct Header<'a> {
    size: (u16, u16),
    process: Process,
    components: Vec<Component>,
    orientation: Orientation,
    /// Quantization tables by number, in zigzag order.
    quantization: [Option<[u16; 64]>; 4],
    /// Huffman tables in the order of the file: class and number in one byte, number of codes of each length, symbols.
    huffman_tables: Vec<(u8, [u8; 16], &'a [u8])>,
    /// MCUs between two restart markers; 0 where there are none.
    restart_interval: u16,
    /// Whether the first scan has all components with all of their coefficients.
    is_whole: bool,
    /// Whether its three components are luma and two differences of color.
    is_ycc: bool,
    /// Offset of the first scan's data.
    scan: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Process {
    Sequential,
    Progressive,
    /// Lossless, hierarchical or arithmetic.
    Other,
}

#[derive(Debug)]
struct Component {
    id: u8,
    /// Horizontal and vertical sampling factors.
    sampling: (u8, u8),
    /// Number of its quantization table.
    quantization: u8,
    /// Number of its Huffman table for DC coefficients.
    dc_table: u8,
    /// Number of its Huffman table for AC coefficients.
    ac_table: u8,
}

/// The three ways to decode a JPEG.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DecoderKind {
    /// The fast path, `jpeg/baseline.rs`.
    Baseline,
    /// The crate `jpeg-decoder`, which inverse-transforms blocks at a half, a quarter or an eighth of their size.
    Reducing,
    /// The crate `image`, which decodes every pixel and knows every color space.
    Whole,
}

/// The one rule by which a decoder is chosen.
///
/// - [`DecoderKind::Baseline`] takes Huffman-coded sequential DCT (SOF0, SOF1) of 8 bits a sample, gray or YCbCr, in one
///   scan that interleaves all components and holds all coefficients, with sampling factors that divide the largest ones
///   and with all tables that the scan names; of any size.
/// - [`DecoderKind::Reducing`] takes other sequential and progressive files of one or three components, where the window
///   is satisfied with a `reduction` of 2 or more.
/// - [`DecoderKind::Whole`] takes the rest: CMYK, what has to be decoded at full size, and what nobody reads, which it
///   refuses with a reason.
fn decoder_for(header: &Header<'_>, reduction: u32) -> DecoderKind {
    if header.is_baseline() {
        DecoderKind::Baseline
    } else if reduction > 1 && header.is_reducible() {
        DecoderKind::Reducing
    } else {
        DecoderKind::Whole
    }
}

/// Decodes a JPEG, as much of it and as large as `window` needs.
pub(crate) fn decode(file: &[u8], window: Window) -> Result<Picture, Error> {
    let header = Header::read(file).ok_or_else(|| damaged("no picture behind its header"))?;
    let body = &file[header.scan..];
    // Library decoders fill what is missing with gray, and the network would classify the gray.
    if memchr::memmem::rfind(body, &[0xFF, 0xD9]).is_none() {
        return Err(damaged("its end marker is missing"));
    }
    let (size, orientation) = (header.dimensions(), header.orientation);
    let reduction = window.reduction(size, orientation);
    match decoder_for(&header, reduction) {
        DecoderKind::Baseline => {
            let planes = baseline::decode(&header, body, window)?;
            Ok(Picture { samples: Samples::Planes(planes), size, reduction: 1, orientation })
        }
        DecoderKind::Reducing => {
            let reduced = (size.0.div_ceil(reduction), size.1.div_ceil(reduction));
            check_size(size, header.bytes(reduced))?;
            match decode_reduced(file, reduced)? {
                Some(samples) => Ok(Picture { samples, size, reduction, orientation }),
                None => decode_all(file, &header),
            }
        }
        DecoderKind::Whole => decode_all(file, &header),
    }
}

fn decode_all(file: &[u8], header: &Header<'_>) -> Result<Picture, Error> {
    let size = header.dimensions();
    check_size(size, header.bytes(size))?;
    let picture = decode_whole(file, ImageFormat::Jpeg)?;
    Ok(Picture { orientation: header.orientation, ..picture })
}

/// The samples at exactly `size`; `None` where the decoder cannot scale to it or returns another color space.
fn decode_reduced(file: &[u8], size: (u32, u32)) -> Result<Option<Samples>, Error> {
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

impl<'a> Header<'a> {
    /// Walks the segments up to the first scan; `None` where there is no scan or no frame before it.
    fn read(file: &'a [u8]) -> Option<Self> {
        let mut header = Self {
            size: (0, 0),
            process: Process::Other,
            components: vec![],
            orientation: Orientation::NoTransforms,
            quantization: [None; 4],
            huffman_tables: vec![],
            restart_interval: 0,
            is_whole: false,
            is_ycc: true,
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
                0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => header.frame_header(marker, segment)?,
                0xC4 => header.huffman_segment(segment),
                0xDB => header.quantization_tables(segment),
                0xDD => header.restart_interval = segment.first_chunk().map_or(0, |&bytes| u16::from_be_bytes(bytes)),
                0xE1 => header.exif(segment),
                0xEE => header.adobe(segment),
                0xDA => {
                    header.scan_header(segment);
                    header.scan = at;
                    return (!header.components.is_empty()).then_some(header);
                }
                _ => {}
            }
        }
    }

    /// Reads a frame header (T.81 B.2.2). `None` for one that is cut short, and for a second one, since decoders
    /// disagree about which of the two counts.
    fn frame_header(&mut self, marker: u8, segment: &[u8]) -> Option<()> {
        if !self.components.is_empty() {
            return None;
        }
        let (&[precision, h1, h0, w1, w0, count], components) = segment.split_first_chunk()?;
        self.size = (u16::from_be_bytes([w1, w0]), u16::from_be_bytes([h1, h0]));
        self.process = match marker {
            0xC0 | 0xC1 if precision == 8 => Process::Sequential,
            0xC2 if precision == 8 => Process::Progressive,
            _ => Process::Other,
        };
        let (components, _) = components.as_chunks();
        self.components = components
            .iter()
            .take(usize::from(count))
            .map(|&[id, sampling, quantization]| Component {
                id,
                sampling: (sampling >> 4, sampling & 0x0F),
                quantization,
                dc_table: 0,
                ac_table: 0,
            })
            .collect();
        (self.components.len() == usize::from(count)).then_some(())
    }

    /// Reads the tables of a DHT segment (T.81 B.2.4.2) up to the first that is cut short.
    fn huffman_segment(&mut self, mut segment: &'a [u8]) {
        while let Some((&[id, ref counts @ ..], rest)) = segment.split_first_chunk::<17>() {
            let total = counts.iter().map(|&count| usize::from(count)).sum();
            let Some((values, rest)) = rest.split_at_checked(total) else { return };
            self.huffman_tables.push((id, *counts, values));
            segment = rest;
        }
    }

    /// Reads the tables of a DQT segment (T.81 B.2.4.1), whose values have one or two bytes, up to the first that is
    /// cut short.
    fn quantization_tables(&mut self, mut segment: &[u8]) {
        while let Some((&id, rest)) = segment.split_first() {
            let wide = id >> 4 != 0;
            let Some((values, rest)) = rest.split_at_checked(if wide { 128 } else { 64 }) else { return };
            let value = |n: usize| match values {
                _ if wide => u16::from_be_bytes([values[2 * n], values[2 * n + 1]]),
                _ => u16::from(values[n]),
            };
            if let Some(table) = self.quantization.get_mut(usize::from(id & 0x0F)) {
                *table = Some(std::array::from_fn(value));
            }
            segment = rest;
        }
    }

    fn exif(&mut self, segment: &[u8]) {
        if let Some(orientation) = segment.strip_prefix(b"Exif\0\0").and_then(Orientation::from_exif_chunk) {
            self.orientation = orientation;
        }
    }

    /// Adobe's APP14 segment: transform 0 says that the colors are not YCbCr.
    fn adobe(&mut self, segment: &[u8]) {
        if segment.starts_with(b"Adobe") && segment.get(11) == Some(&0) {
            self.is_ycc = false;
        }
    }

    fn scan_header(&mut self, segment: &[u8]) {
        let Some((&count, rest)) = segment.split_first() else { return };
        let (selectors, _) = rest.as_chunks::<2>();
        let count = usize::from(count);
        let named = self.components.iter_mut().zip(selectors.iter().take(count));
        self.is_whole = count == named.len() && rest.get(2 * count..) == Some(&[0, 63, 0]);
        for (component, &[id, tables]) in named {
            self.is_whole &= component.id == id;
            (component.dc_table, component.ac_table) = (tables >> 4, tables & 0x0F);
        }
        self.is_whole &= count == self.components.len();
        self.is_ycc &= !self.components.iter().map(|component| component.id).eq(*b"RGB");
    }

    /// Width and height.
    fn dimensions(&self) -> (u32, u32) {
        (u32::from(self.size.0), u32::from(self.size.1))
    }

    /// Whether the fast path takes the file: see [`decoder_for`].
    fn is_baseline(&self) -> bool {
        let colors = self.components.len() == 1 || (self.components.len() == 3 && self.is_ycc);
        let has_pixels = self.size.0 > 0 && self.size.1 > 0;
        let supported = |component| self.has_integral_sampling(component) && self.has_tables(component);
        self.process == Process::Sequential
            && self.is_whole
            && colors
            && has_pixels
            && self.components.iter().all(supported)
    }

    /// Whether the component has a whole fraction of the largest number of samples, across and down (T.81 A.1.1).
    fn has_integral_sampling(&self, component: &Component) -> bool {
        let ((h, v), (widest, tallest)) = (component.sampling, self.max_sampling());
        h != 0 && v != 0 && widest % h == 0 && tallest % v == 0
    }

    /// Whether the tables that the component names are defined, and the Huffman codes are codes (T.81 B.2.4).
    fn has_tables(&self, component: &Component) -> bool {
        let quantization = self.quantization.get(usize::from(component.quantization)).is_some_and(Option::is_some);
        quantization && self.has_code(0, component.dc_table) && self.has_code(1, component.ac_table)
    }

    fn has_code(&self, class: u8, number: u8) -> bool {
        number < 4 && self.huffman_table(class, number).is_some_and(|(counts, values)| table::is_code(counts, values))
    }

    /// Counts and values of a Huffman table of class 0 (DC) or 1 (AC). The last definition before the scan is in force.
    fn huffman_table(&self, class: u8, number: u8) -> Option<(&[u8; 16], &'a [u8])> {
        let (_, counts, values) = self.huffman_tables.iter().rfind(|(id, ..)| *id == class << 4 | number)?;
        Some((counts, values))
    }

    fn is_reducible(&self) -> bool {
        self.process != Process::Other && matches!(self.components.len(), 1 | 3)
    }

    /// Bytes that decoding to `size` takes: the pixels, and for a progressive file all of its
    /// coefficients, which have to be kept until the last scan.
    fn bytes(&self, (width, height): (u32, u32)) -> u64 {
        let channels = if self.components.len() == 1 { 1 } else { 3 };
        let pixels = u64::from(width) * u64::from(height) * channels;
        match self.process {
            Process::Progressive => pixels + self.coefficient_count() * size_of::<i16>() as u64,
            _ => pixels,
        }
    }

    fn coefficient_count(&self) -> u64 {
        let side = |length: u16, factor: u8| u64::from(length).div_ceil(8 * u64::from(factor.max(1)));
        let (widest, tallest) = self.max_sampling();
        let mcus = side(self.size.0, widest) * side(self.size.1, tallest);
        let blocks = |component: &Component| u64::from(component.sampling.0) * u64::from(component.sampling.1);
        mcus * self.components.iter().map(blocks).sum::<u64>() * 64
    }

    /// The largest sampling factor, horizontally and vertically.
    fn max_sampling(&self) -> (u8, u8) {
        let of = |factor: fn(&Component) -> u8| self.components.iter().map(factor).max().unwrap_or(1);
        (of(|component| component.sampling.0), of(|component| component.sampling.1))
    }
}

fn damaged(reason: &str) -> Error {
    broken(ImageFormat::Jpeg, reason)
}

#[cfg(test)]
mod tests;
