//! What the segments of a JPEG say (ITU-T T.81, annex B.2), read up to one scan after the other.
//!
//! Files of cameras and web pages break the standard in ways that libjpeg forgives, and so does this: bytes between
//! segments, parameters of a sequential scan that are not 0, 63 and 0, and Huffman tables that are left out.

use image::metadata::Orientation;

use super::huffman_segment::{self, HuffmanSegment};
use crate::types::ColorModel;

/// What the segments that were read so far say: the frame, and what is in force for the scan that follows.
#[derive(Debug, Clone)]
pub(super) struct Header<'a> {
    file: &'a [u8],
    pub(super) size: (u16, u16),
    pub(super) process: Process,
    pub(super) components: Vec<Component>,
    orientation: Option<Orientation>,
    /// Quantization tables by number, in zigzag order.
    pub(super) quantization: [Option<[u16; 64]>; 4],
    /// Huffman tables by class (0 for DC, 1 for AC) and number.
    huffman_tables: [[Option<HuffmanSegment<'a>>; 4]; 2],
    /// MCUs between two restart markers; 0 where there are none.
    pub(super) restart_interval: u16,
    has_jfif: bool,
    /// The transform that Adobe's segment names.
    adobe_transform: Option<u8>,
    pub(super) scan: ScanHeader,
    /// Offset of what is read next; behind a scan header, the scan's data.
    pub(super) at: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Process {
    Sequential,
    Progressive,
    /// Lossless, hierarchical, arithmetic, or of other than 8 bits.
    Other,
}

/// A component of the frame (T.81 B.2.2).
#[derive(Debug, Clone)]
pub(super) struct Component {
    pub(super) id: u8,
    /// Horizontal and vertical sampling factors.
    pub(super) sampling: (u8, u8),
    /// Number of its quantization table.
    pub(super) quantization: u8,
}

/// A scan header (T.81 B.2.3).
#[derive(Debug, Clone, Default)]
pub(super) struct ScanHeader {
    pub(super) components: Vec<ScanComponent>,
    /// First and last coefficient of the scan, in zigzag order.
    pub(super) spectral: (u8, u8),
    /// The lowest bit that earlier scans brought, 0 where this is the first, and the lowest bit of this scan.
    pub(super) approximation: (u8, u8),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct ScanComponent {
    /// Which of the frame's components it is.
    pub(super) index: usize,
    /// Numbers of its Huffman tables.
    pub(super) dc_table: u8,
    pub(super) ac_table: u8,
}

/// What ends a walk through segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// A scan, whose data is at [`Header::at`].
    Scan,
    /// The end marker.
    EndOfImage,
    /// The end of the file, within a segment or behind one.
    EndOfFile,
    /// A segment that contradicts the standard or what is before it.
    Broken,
}

impl<'a> Header<'a> {
    /// Nothing is read yet but that the file starts with a marker.
    pub(super) fn new(file: &'a [u8]) -> Self {
        Self {
            file,
            size: (0, 0),
            process: Process::Other,
            components: vec![],
            orientation: None,
            quantization: [None; 4],
            huffman_tables: [[None; 4]; 2],
            restart_interval: 0,
            has_jfif: false,
            adobe_transform: None,
            scan: ScanHeader::default(),
            at: 2,
        }
    }

    /// Walks the segments up to and including the next scan header.
    pub(super) fn next_scan(&mut self) -> Next {
        loop {
            let Some(marker) = self.next_marker() else { return Next::EndOfFile };
            if marker == 0xD9 {
                return Next::EndOfImage;
            }
            let Some(segment) = self.segment() else { return Next::EndOfFile };
            let taken = match marker {
                0xC4 => self.huffman_segment(segment),
                0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => self.frame_header(marker, segment),
                0xDA => self.scan_header(segment),
                _ => self.other_segment(marker, segment),
            };
            match (marker, taken) {
                (_, None) => return Next::Broken,
                (0xDA, _) => return Next::Scan,
                _ => {}
            }
        }
    }

    /// The next marker that starts a segment or ends the image. Bytes before it are passed over: fill bytes, a scan's
    /// data, restart markers, and what does not belong there.
    fn next_marker(&mut self) -> Option<u8> {
        loop {
            self.at += memchr::memchr(0xFF, self.file.get(self.at..)?)? + 1;
            let marker = *self.file.get(self.at)?;
            if !matches!(marker, 0x00 | 0x01 | 0xD0..=0xD8 | 0xFF) {
                self.at += 1;
                return Some(marker);
            }
        }
    }

    /// The parameters of the segment whose length is next.
    fn segment(&mut self) -> Option<&'a [u8]> {
        let length = self.file.get(self.at..self.at + 2)?;
        let end = self.at + usize::from(u16::from_be_bytes([length[0], length[1]]));
        let segment = self.file.get(self.at + 2..end)?;
        self.at = end;
        Some(segment)
    }

    fn other_segment(&mut self, marker: u8, segment: &[u8]) -> Option<()> {
        match marker {
            0xDB => self.quantization_tables(segment),
            0xDD => self.restart_interval = segment.first_chunk().map_or(0, |&bytes| u16::from_be_bytes(bytes)),
            0xE0 => self.has_jfif |= segment.starts_with(b"JFIF\0"),
            0xE1 => self.exif(segment),
            0xEE if segment.starts_with(b"Adobe") => {
                self.adobe_transform = segment.get(11).copied().or(self.adobe_transform);
            }
            _ => {}
        }
        Some(())
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
        let component = |&[id, sampling, quantization]: &[u8; 3]| Component {
            id,
            sampling: (sampling >> 4, sampling & 0x0F),
            quantization,
        };
        self.components = components.iter().take(usize::from(count)).map(component).collect();
        let is_factor = |factor| (1..=4).contains(&factor);
        let sampled = self.components.iter().all(|c| is_factor(c.sampling.0) && is_factor(c.sampling.1));
        let has_pixels = self.size.0 > 0 && self.size.1 > 0;
        let complete = count > 0 && self.components.len() == usize::from(count);
        (complete && has_pixels && (sampled || self.process == Process::Other)).then_some(())
    }

    /// Reads the tables of a DHT segment (T.81 B.2.4.2). `None` for one that is cut short.
    fn huffman_segment(&mut self, mut segment: &'a [u8]) -> Option<()> {
        while let Some((&id, rest)) = segment.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>()?;
            let total = counts.iter().map(|&count| usize::from(count)).sum();
            let (values, rest) = rest.split_at_checked(total)?;
            let table = self.huffman_tables.get_mut(usize::from(id >> 4))?.get_mut(usize::from(id & 0x0F))?;
            *table = Some(HuffmanSegment { counts, values });
            segment = rest;
        }
        Some(())
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

    /// The first segment that tells an orientation counts: a second one is of a preview, or of an editor that copied it.
    fn exif(&mut self, segment: &[u8]) {
        if self.orientation.is_none() {
            self.orientation = segment.strip_prefix(b"Exif\0\0").and_then(Orientation::from_exif_chunk);
        }
    }

    fn scan_header(&mut self, segment: &[u8]) -> Option<()> {
        let (&count, rest) = segment.split_first()?;
        let (selectors, rest) = rest.split_at_checked(2 * usize::from(count))?;
        let &[start, end, approximation, ..] = rest else { return None };
        let mut components = vec![];
        for &[id, tables] in selectors.as_chunks().0 {
            // In the frame's order (T.81 B.2.3), so that no component is named twice.
            let start = components.last().map_or(0, |last: &ScanComponent| last.index + 1);
            let index = start + self.components.get(start..)?.iter().position(|component| component.id == id)?;
            components.push(ScanComponent { index, dc_table: tables >> 4, ac_table: tables & 0x0F });
        }
        self.scan = ScanHeader {
            components,
            spectral: (start, end),
            approximation: (approximation >> 4, approximation & 0x0F),
        };
        (count > 0).then_some(())
    }

    /// What follows the scan header.
    pub(super) fn data(&self) -> &'a [u8] {
        self.file.get(self.at..).unwrap_or_default()
    }

    /// The Huffman table of class 0 (DC) or 1 (AC) that is in force. Motion JPEG leaves out those that are the standard's
    /// (T.81 K.3), so these are in force where a sequential scan names a table that was not defined.
    pub(super) fn huffman_table(&self, class: usize, number: usize) -> Option<HuffmanSegment<'a>> {
        let defined = *self.huffman_tables.get(class)?.get(number)?;
        match self.process {
            Process::Sequential => defined.or_else(|| huffman_segment::standard(class, number)),
            _ => defined,
        }
    }

    /// What is left to do to see the picture upright.
    pub(super) fn orientation(&self) -> Orientation {
        self.orientation.unwrap_or(Orientation::NoTransforms)
    }

    /// What the components are, by the one rule that libjpeg has: JFIF's segment says YCbCr, else Adobe's segment says
    /// what it is, else the names of the components do. `None` for numbers of components that no decoder shows.
    pub(super) fn color_model(&self) -> Option<ColorModel> {
        let is_named_rgb = || self.components.iter().map(|component| component.id).eq(*b"RGB");
        match (self.components.len(), self.adobe_transform) {
            (1, _) => Some(ColorModel::Gray),
            (3, _) if self.has_jfif => Some(ColorModel::Ycc),
            (3, Some(0)) => Some(ColorModel::Rgb),
            (3, None) if is_named_rgb() => Some(ColorModel::Rgb),
            (3, _) => Some(ColorModel::Ycc),
            (4, None | Some(0)) => Some(ColorModel::Cmyk),
            (4, Some(_)) => Some(ColorModel::Ycck),
            _ => None,
        }
    }

    /// Width and height.
    pub(super) fn dimensions(&self) -> (u32, u32) {
        (u32::from(self.size.0), u32::from(self.size.1))
    }

    /// The largest sampling factor, horizontally and vertically.
    pub(super) fn max_sampling(&self) -> (u8, u8) {
        let of = |factor: fn(&Component) -> u8| self.components.iter().map(factor).max().unwrap_or(1);
        (of(|component| component.sampling.0), of(|component| component.sampling.1))
    }

    /// Width and height of a component (T.81 A.1.1): the picture's, times its share of the largest sampling factors.
    pub(super) fn component_size(&self, component: &Component) -> (u32, u32) {
        let (widest, tallest) = self.max_sampling();
        let share = |length: u32, factor: u8, largest: u8| (length * u32::from(factor)).div_ceil(u32::from(largest));
        let (width, height) = self.dimensions();
        (share(width, component.sampling.0, widest), share(height, component.sampling.1, tallest))
    }

    /// MCUs of the present scan, across and down (T.81 A.2). In a scan of one component an MCU is one block.
    pub(super) fn mcus(&self) -> (usize, usize) {
        if let [alone] = self.scan.components[..] {
            let (width, height) = self.component_size(&self.components[alone.index]);
            return (width.div_ceil(8) as usize, height.div_ceil(8) as usize);
        }
        self.interleaved_mcus()
    }

    /// MCUs of a scan that interleaves components, across and down.
    pub(super) fn interleaved_mcus(&self) -> (usize, usize) {
        let side = |length: u16, factor: u8| usize::from(length).div_ceil(8 * usize::from(factor));
        let (widest, tallest) = self.max_sampling();
        (side(self.size.0, widest), side(self.size.1, tallest))
    }

    /// Blocks that one of the present scan's components has in an MCU, across and down.
    pub(super) fn blocks_in_mcu(&self, component: ScanComponent) -> (usize, usize) {
        match self.scan.components.len() {
            1 => (1, 1),
            _ => {
                let (h, v) = self.components[component.index].sampling;
                (usize::from(h), usize::from(v))
            }
        }
    }

    /// Blocks of the present scan.
    pub(super) fn blocks_in_scan(&self) -> u64 {
        let (across, down) = self.mcus();
        let blocks = |&component| {
            let (h, v) = self.blocks_in_mcu(component);
            h * v
        };
        (across * down * self.scan.components.iter().map(blocks).sum::<usize>()) as u64
    }
}
