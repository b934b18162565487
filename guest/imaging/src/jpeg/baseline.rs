//! The fast path: decodes the one scan of a sequential JPEG within the window (ITU-T T.81 A.2, F.2).
//!
//! The entropy-coded segments hold MCUs from left to right and from top to bottom (A.2.3), and the codes say nothing of
//! where the next block starts, so all blocks above the window's lower edge are parsed. But only blocks inside the window
//! are dequantized (A.3.4) and inverse-transformed (A.3.3), at 4, 2 or 1 samples a side where the network needs no more.
//! The planes of the components keep their sampling (A.1.1): `preprocess.rs` scales them first and converts colors of the
//! few pixels that are left.

use super::bits::{BitReader, Codes, ENDS_EARLY};
use super::idct::{self, Block, Reduced};
use super::table::{Broken, HuffmanTables};
use super::{Component, Header, damaged};
use crate::error::Error;
use crate::library::check_size;
use crate::types::{CropBox, Plane, Window};

/// The zigzag sequence (T.81 figure A.6): where the n-th coefficient of the file stands in a [`Block`].
const ZIGZAG: [u8; 64] = zigzag();

/// The smallest scan, in bytes, for which [`super::table::Skips`] save more time than making them takes.
const SKIPS_PAY: usize = 32 << 10;

/// One component: how its blocks are coded, which of them lie in the window, and their samples.
struct Channel<'a> {
    /// Blocks of an MCU, across and down.
    blocks: (usize, usize),
    codes: Codes<'a>,
    /// In the order of a [`Block`].
    quantization: [i16; 64],
    /// Samples of a side of a reconstructed block: 8, 4, 2 or 1.
    side: usize,
    /// Blocks of the component that become samples: columns and rows.
    columns: std::ops::Range<usize>,
    rows: std::ops::Range<usize>,
    plane: Plane,
    /// DC coefficient of the component's previous block (T.81 F.1.1.5.1).
    dc_predictor: i32,
}

/// The bases of the reduced transforms, computed once a scan.
struct Cosines {
    two: Reduced<2>,
    four: Reduced<4>,
}

/// One plane for each component of a file that [`super::decoder_for`] gives to the fast path. `body` is what follows the
/// scan header.
///
/// # Errors
///
/// The file is damaged, or its planes would take too much memory.
pub(super) fn decode(header: &Header<'_>, body: &[u8], window: Window) -> Result<Vec<Plane>, Error> {
    planes(header, body, window, body.len() >= SKIPS_PAY)
}

fn planes(header: &Header<'_>, body: &[u8], window: Window, with_skips: bool) -> Result<Vec<Plane>, Error> {
    let tables = HuffmanTables::of(header, with_skips);
    let mut channels =
        channels(header, &tables, window).ok_or_else(|| Error::internal("the JPEG lacks tables that it has"))?;
    let bytes = |channel: &Channel<'_>| channel.plane.width * channel.plane.height;
    check_size(header.dimensions(), channels.iter().map(|channel| bytes(channel) as u64).sum())?;
    let mcus = mcus(header);
    let blocks: usize = channels.iter().map(|channel| channel.blocks.0 * channel.blocks.1).sum();
    // A block has at least two codes of at least one bit each.
    if body.len() < mcus.0 * mcus.1 * blocks / 4 {
        return Err(damaged(ENDS_EARLY));
    }
    for channel in &mut channels {
        channel.plane.samples = vec![0; bytes(channel)];
    }
    scan(body, mcus, header.restart_interval, &mut channels).map_err(damaged)?;
    Ok(channels.into_iter().map(|channel| channel.plane).collect())
}

fn channels<'a>(header: &'a Header<'_>, tables: &'a HuffmanTables, window: Window) -> Option<Vec<Channel<'a>>> {
    let (widest, tallest) = header.max_sampling();
    let window = window.as_stored(header.orientation);
    let size = header.dimensions();
    let channel = |component: &Component| {
        let (h, v) = component.sampling;
        let (across, down) = (widest / h, tallest / v);
        let samples = (size.0.div_ceil(u32::from(across)), size.1.div_ceil(u32::from(down)));
        let crop = window.crop_box(size).over(f64::from(across), f64::from(down));
        let reduction = window.reduction_of(crop);
        let crop = crop.over(f64::from(reduction), f64::from(reduction));
        let reduced = (samples.0.div_ceil(reduction), samples.1.div_ceil(reduction));
        let (margin_x, margin_y) = window.margins(crop);
        let side = 8 / reduction as usize;
        let (columns, left, width) =
            span(Extent { start: crop.left, length: crop.width, margin: margin_x, side, samples: reduced.0 });
        let (rows, top, height) =
            span(Extent { start: crop.top, length: crop.height, margin: margin_y, side, samples: reduced.1 });
        let quantization = header.quantization.get(usize::from(component.quantization))?.as_ref()?;
        Some(Channel {
            blocks: if header.components.len() == 1 { (1, 1) } else { (usize::from(h), usize::from(v)) },
            codes: Codes {
                dc: tables.dc.get(usize::from(component.dc_table))?.as_deref()?,
                ac: tables.ac.get(usize::from(component.ac_table))?.as_deref()?,
                skips: tables.skips.get(usize::from(component.ac_table))?.as_deref(),
            },
            quantization: dezigzag(quantization),
            side,
            columns,
            rows,
            plane: Plane {
                samples: vec![],
                width,
                height,
                crop: CropBox { left: crop.left - left as f64, top: crop.top - top as f64, ..crop },
            },
            dc_predictor: 0,
        })
    };
    header.components.iter().map(channel).collect()
}

/// Quantization values of each coefficient, reordered from zigzag order to that of a [`Block`].
fn dezigzag(in_file: &[u16; 64]) -> [i16; 64] {
    let mut values = [0; 64];
    for (&index, &value) in ZIGZAG.iter().zip(in_file) {
        values[usize::from(index)] = value as i16;
    }
    values
}

/// What is needed along one axis of a component, in its reduced samples.
struct Extent {
    /// Where the crop starts.
    start: f64,
    /// Extent of the crop.
    length: f64,
    /// How far scaling looks beyond both ends of the crop.
    margin: f64,
    /// Samples that a block becomes.
    side: usize,
    /// Samples that the component has.
    samples: u32,
}

/// The blocks that cover an extent, their first sample, and how many samples they have.
fn span(extent: Extent) -> (std::ops::Range<usize>, usize, usize) {
    let Extent { start, length, margin, side, samples } = extent;
    let from = (start - margin).max(0.0) as usize / side;
    let end = ((start + length + margin).ceil() as usize).min(samples as usize);
    (from..end.div_ceil(side), from * side, end - from * side)
}

/// MCUs of the scan, across and down. In a scan of one component an MCU is one block, whatever the sampling factors
/// (T.81 A.2.2).
fn mcus(header: &Header<'_>) -> (usize, usize) {
    let (widest, tallest) = if header.components.len() == 1 { (1, 1) } else { header.max_sampling() };
    let side = |length: u16, factor: u8| usize::from(length).div_ceil(8 * usize::from(factor));
    (side(header.size.0, widest), side(header.size.1, tallest))
}

/// Decodes the MCUs in the order of the file (T.81 A.2), down to the last row that the window needs. The rest is not
/// read: the caller has checked that an end marker follows.
///
/// Not inlined, for the reason that [`Channel::read`] gives.
#[inline(never)]
fn scan(
    body: &[u8],
    (mcus, rows): (usize, usize),
    restart_interval: u16,
    channels: &mut [Channel<'_>],
) -> Result<(), Broken> {
    let last = channels.iter().map(|channel| channel.rows.end.div_ceil(channel.blocks.1)).max();
    let rows = rows.min(last.unwrap_or(rows));
    let cosines = Cosines { two: Reduced::new(), four: Reduced::new() };
    let mut bits = BitReader::new(body);
    let interval = usize::from(restart_interval);
    let mut done = 0;
    for y in 0..rows {
        for x in 0..mcus {
            if interval > 0 && done > 0 && done % interval == 0 {
                bits.restart(((done / interval - 1) % 8) as u8)?;
                channels.iter_mut().for_each(|channel| channel.dc_predictor = 0);
            }
            done += 1;
            for channel in &mut *channels {
                let (h, v) = channel.blocks;
                for row in y * v..(y + 1) * v {
                    for column in x * h..(x + 1) * h {
                        channel.block(&mut bits, (column, row), &cosines)?;
                    }
                }
            }
        }
        bits.check()?;
    }
    Ok(())
}

impl Channel<'_> {
    #[inline(always)]
    fn block(
        &mut self,
        bits: &mut BitReader<'_>,
        (column, row): (usize, usize),
        cosines: &Cosines,
    ) -> Result<(), Broken> {
        let matters = self.columns.contains(&column) && self.rows.contains(&row);
        let at = matters.then(|| (column - self.columns.start, row - self.rows.start));
        match self.codes {
            Codes { dc, ac, skips: Some(skips) } if !matters || self.side == 1 => {
                self.dc_predictor = self.dc_predictor.wrapping_add(bits.skip(dc, ac, skips)?);
                if let Some(at) = at {
                    let dc = (self.dc_predictor as i16).wrapping_mul(self.quantization[0]);
                    self.put(at, &[[idct::flat(dc)]]);
                }
                Ok(())
            }
            _ => self.read(bits, at, cosines),
        }
    }

    /// Decodes a block and writes its samples at the block column and row `at`; `None` outside of the window.
    ///
    /// Not inlined, since the compiler then keeps its variables in registers.
    #[inline(never)]
    fn read(&mut self, bits: &mut BitReader<'_>, at: Option<(usize, usize)>, cosines: &Cosines) -> Result<(), Broken> {
        let mut block: Block = [0; 64];
        let mut flat = true;
        let difference = bits.block(self.codes, last_coefficient(self.side), |index, value| {
            block[usize::from(ZIGZAG[index as usize & 63]) & 63] = value as i16;
            flat = false;
        })?;
        self.dc_predictor = self.dc_predictor.wrapping_add(difference);
        block[0] = self.dc_predictor as i16;
        let Some(at) = at else { return Ok(()) };
        if flat || self.side == 1 {
            self.fill(at, idct::flat(block[0].wrapping_mul(self.quantization[0])));
            return Ok(());
        }
        match self.side {
            2 => self.put(at, &cosines.two.samples(&block, &self.quantization)),
            4 => self.put(at, &cosines.four.samples(&block, &self.quantization)),
            _ => self.put(at, &idct::whole(&block, &self.quantization)),
        }
        Ok(())
    }

    /// Writes a block's samples except for those beyond the picture's edge.
    #[inline(always)]
    fn put<const SIDE: usize>(&mut self, (column, row): (usize, usize), samples: &[[u8; SIDE]; SIDE]) {
        let Plane { samples: plane, width, .. } = &mut self.plane;
        let (x, y) = (column * SIDE, row * SIDE);
        let columns = SIDE.min(*width - x);
        // `zip` drops rows below the last one.
        for (target, source) in plane[y * *width + x..].chunks_mut(*width).zip(samples) {
            match target.first_chunk_mut::<SIDE>() {
                Some(target) if columns == SIDE => *target = *source,
                _ => target[..columns].copy_from_slice(&source[..columns]),
            }
        }
    }

    #[inline(always)]
    fn fill(&mut self, at: (usize, usize), sample: u8) {
        match self.side {
            1 => self.put(at, &[[sample; 1]; 1]),
            2 => self.put(at, &[[sample; 2]; 2]),
            4 => self.put(at, &[[sample; 4]; 4]),
            _ => self.put(at, &[[sample; 8]; 8]),
        }
    }
}

/// Zigzag index of the last coefficient that reconstructing `side` x `side` samples needs.
fn last_coefficient(side: usize) -> u32 {
    match side {
        1 => 0,
        2 => 4,
        4 => 24,
        _ => 63,
    }
}

/// Computes the zigzag sequence, which runs along the diagonals in alternating directions.
const fn zigzag() -> [u8; 64] {
    let mut order = [0; 64];
    let (mut u, mut v, mut n) = (0u8, 0u8, 0);
    while n < 64 {
        order[n] = u * 8 + v;
        n += 1;
        if (u + v) % 2 == 0 {
            if u == 7 {
                v += 1;
            } else if v == 0 {
                u += 1;
            } else {
                u += 1;
                v -= 1;
            }
        } else if v == 7 {
            u += 1;
        } else if u == 0 {
            v += 1;
        } else {
            u -= 1;
            v += 1;
        }
    }
    order
}

#[cfg(test)]
mod tests;
