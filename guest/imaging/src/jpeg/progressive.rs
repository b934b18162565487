//! Decodes a progressive JPEG (ITU-T T.81 annex G): each scan brings some bits of some coefficients, which are kept until
//! the last one. Only blocks inside the window then become samples.

use super::bits::BitReader;
use super::header::{Header, Next, ScanComponent};
use super::idct::Block;
use super::table::{Broken, HuffmanTable, HuffmanTables};
use super::target::{Cosines, IsFlat, Target, dezigzag};
use super::{NO_SCAN, NO_TABLE, Work, damaged};
use crate::error::Error;
use crate::limits::check_size;
use crate::types::{Plane, Window};

const BAD_SCAN: Broken = "a scan of coefficients that are none";
const BAD_RUN: Broken = "a block of more than 64 coefficients";

/// No scan has brought the coefficient yet.
const ABSENT: u8 = u8::MAX;

/// The coefficients of a component.
struct Coefficients {
    /// In zigzag order.
    blocks: Vec<[i16; 64]>,
    /// Blocks of a row, those included that only fill an MCU.
    across: usize,
    /// The lowest bit of each coefficient, in zigzag order, that is known so far; [`ABSENT`] before its first scan.
    lowest_bits: [u8; 64],
    /// Where the blocks go, of which the quantization table is that in force at the component's first scan.
    target: Option<Target>,
}

/// The tables and parameters of one scan, and what is carried from block to block.
struct Scan<'a> {
    /// First and last coefficient, in zigzag order.
    spectral: (usize, usize),
    /// Whether earlier scans have brought higher bits of these coefficients.
    refines: bool,
    /// The lowest bit that this scan brings.
    low: u32,
    tables: &'a HuffmanTables,
    /// Blocks that are still to come of a run of blocks without further coefficients (T.81 G.1.2.2).
    end_of_band_run: u32,
    dc_predictors: [i32; 4],
}

/// One plane for each component. `header` is at its first scan.
///
/// # Errors
///
/// The file is damaged, its coefficients and planes would take too much memory, or it would take too much work.
pub(super) fn decode(mut header: Header<'_>, window: Window) -> Result<Vec<Plane>, Error> {
    Work::default().all_scans(&header)?;
    let mut coefficients = allocate(&header, window)?;
    let end = loop {
        let read = scan(&header, window, &mut coefficients).map_err(damaged)?;
        header.at += read;
        match header.next_scan() {
            Next::Scan => {}
            end => break end,
        }
    };
    // Where the end marker is missing, nobody knows whether more was to come, unless nothing is left to come.
    let is_enough = |of: &Coefficients| match end {
        Next::EndOfFile => of.lowest_bits == [0; 64],
        _ => of.lowest_bits[0] != ABSENT,
    };
    if end == Next::Broken || !coefficients.iter().all(is_enough) {
        return Err(damaged(NO_SCAN));
    }
    let cosines = Cosines::new();
    coefficients.into_iter().map(|of| of.into_plane(&cosines).ok_or_else(|| damaged(NO_SCAN))).collect()
}

fn allocate(header: &Header<'_>, window: Window) -> Result<Vec<Coefficients>, Error> {
    let mcus = header.interleaved_mcus();
    let counts = header.components.iter().map(|component| {
        let (h, v) = component.sampling;
        (mcus.0 * usize::from(h), mcus.1 * usize::from(v))
    });
    // In 64 bits, since a guest's sizes have 32.
    let total: u64 = counts.clone().map(|(across, down)| across as u64 * down as u64).sum();
    let planes: u64 = header
        .components
        .iter()
        .filter_map(|component| Target::new(header, component, window))
        .map(|of| of.bytes())
        .sum();
    check_size(header.dimensions(), total * size_of::<Block>() as u64 + planes)?;
    let of = |(across, down)| Coefficients {
        blocks: vec![[0; 64]; across * down],
        across,
        lowest_bits: [ABSENT; 64],
        target: None,
    };
    Ok(counts.map(of).collect())
}

/// Decodes one scan, and returns how many bytes it read.
fn scan(header: &Header<'_>, window: Window, all: &mut [Coefficients]) -> Result<usize, Broken> {
    let tables = HuffmanTables::of(header, false);
    let mut scan = Scan::new(header, &tables)?;
    let components = &header.scan.components;
    for component in components {
        let of = &mut all[component.index];
        of.lowest_bits[scan.spectral.0..=scan.spectral.1].fill(scan.low as u8);
        if of.target.is_none() {
            of.target = Some(Target::new(header, &header.components[component.index], window).ok_or(NO_TABLE)?);
        }
    }
    let mut bits = BitReader::new(header.data());
    let ((mcus, rows), interval) = (header.mcus(), usize::from(header.restart_interval));
    for n in 0..mcus * rows {
        if interval > 0 && n > 0 && n % interval == 0 {
            bits.restart(((n / interval - 1) % 8) as u8)?;
            (scan.end_of_band_run, scan.dc_predictors) = (0, [0; 4]);
        }
        let (x, y) = (n % mcus, n / mcus);
        for &component in components {
            let (h, v) = header.blocks_in_mcu(component);
            let of = &mut all[component.index];
            for row in y * v..(y + 1) * v {
                for column in x * h..(x + 1) * h {
                    scan.block(&mut bits, component, &mut of.blocks[row * of.across + column])?;
                }
            }
        }
        if x + 1 == mcus {
            bits.check()?;
        }
    }
    Ok(bits.position())
}

impl<'a> Scan<'a> {
    fn new(header: &Header<'_>, tables: &'a HuffmanTables) -> Result<Self, Broken> {
        let ((start, end), (high, low)) = (header.scan.spectral, header.scan.approximation);
        // DC coefficients have scans of their own; a scan of AC coefficients has one component (T.81 G.1.1.1.1).
        let is_band = match start {
            0 => end == 0,
            _ => start <= end && end < 64 && header.scan.components.len() == 1,
        };
        if !is_band || low > 13 || (high != 0 && high != low + 1) {
            return Err(BAD_SCAN);
        }
        Ok(Self {
            spectral: (usize::from(start), usize::from(end)),
            refines: high != 0,
            low: u32::from(low),
            tables,
            end_of_band_run: 0,
            dc_predictors: [0; 4],
        })
    }

    #[inline(always)]
    fn block(
        &mut self,
        bits: &mut BitReader<'_>,
        component: ScanComponent,
        block: &mut [i16; 64],
    ) -> Result<(), Broken> {
        match (self.spectral.0, self.refines) {
            (0, false) => {
                let table = self.tables.dc[usize::from(component.dc_table) & 3].as_deref().ok_or(NO_TABLE)?;
                let predictor = &mut self.dc_predictors[component.index & 3];
                *predictor = predictor.wrapping_add(bits.dc_difference(table)?);
                block[0] = (*predictor << self.low) as i16;
                Ok(())
            }
            (0, true) => {
                block[0] |= (bits.take(1) << self.low) as i16;
                Ok(())
            }
            (_, refines) => {
                let table = self.tables.ac[usize::from(component.ac_table) & 3].as_deref().ok_or(NO_TABLE)?;
                if refines { self.refine(bits, table, block) } else { self.first(bits, table, block) }
            }
        }
    }

    /// Decodes the first bits of a block's coefficients (T.81 G.1.2.2).
    #[inline(always)]
    fn first(&mut self, bits: &mut BitReader<'_>, table: &HuffmanTable, block: &mut [i16; 64]) -> Result<(), Broken> {
        if self.end_of_band_run > 0 {
            self.end_of_band_run -= 1;
            return Ok(());
        }
        self.first_of_band(bits, table, block)
    }

    /// Not inlined, and with a reader of its own, since the compiler then keeps its variables in registers.
    #[inline(never)]
    fn first_of_band(
        &mut self,
        reader: &mut BitReader<'_>,
        table: &HuffmanTable,
        block: &mut [i16; 64],
    ) -> Result<(), Broken> {
        let mut bits = *reader;
        let (mut index, end) = self.spectral;
        while index <= end {
            let symbol = bits.symbol(table)?;
            let (run, size) = (usize::from(symbol >> 4), u32::from(symbol & 0x0F));
            match (run, size) {
                (15, 0) => index += 16,
                (_, 0) => {
                    self.end_of_band_run = (1 << run) + bits.take(run as u32) - 1;
                    break;
                }
                _ => {
                    index += run;
                    if index > end {
                        return Err(BAD_RUN);
                    }
                    let value = super::table::extend(bits.take(size), size);
                    block[index & 63] = (value << self.low) as i16;
                    index += 1;
                }
            }
        }
        *reader = bits;
        Ok(())
    }

    /// Decodes one more bit of a block's coefficients (T.81 G.1.2.3).
    ///
    /// Not inlined, and with a reader of its own, as above.
    #[inline(never)]
    fn refine(
        &mut self,
        reader: &mut BitReader<'_>,
        table: &HuffmanTable,
        block: &mut [i16; 64],
    ) -> Result<(), Broken> {
        let mut bits = *reader;
        let (mut index, end) = self.spectral;
        let bit = 1i16 << self.low;
        while self.end_of_band_run == 0 && index <= end {
            let symbol = bits.symbol(table)?;
            let (run, size) = (u32::from(symbol >> 4), symbol & 0x0F);
            let new = match (run, size) {
                (15, 0) => 0,
                (_, 0) => {
                    self.end_of_band_run = (1 << run) + bits.take(run);
                    break;
                }
                // The size of a new coefficient is 1, whatever a wrong file says.
                _ if bits.take(1) == 1 => bit,
                _ => -bit,
            };
            index = correct(&mut bits, block, (index, end), Correction { zeros: run, bit });
            if index <= end && new != 0 {
                block[index & 63] = new;
            }
            index += 1;
        }
        if self.end_of_band_run > 0 {
            self.end_of_band_run -= 1;
            if index <= end && block[1..] != [0; 63] {
                correct(&mut bits, block, (index, end), Correction { zeros: u32::MAX, bit });
            }
        }
        *reader = bits;
        Ok(())
    }
}

/// What a pass over coefficients that earlier scans brought does.
struct Correction {
    /// Coefficients to pass over that are still 0.
    zeros: u32,
    /// The bit that is added, in magnitude, to the others where the file says so.
    bit: i16,
}

/// Corrects coefficients from the first of `band` on; returns the index of the one that is 0 and comes after
/// `zeros` others, or one behind the band.
#[inline(always)]
fn correct(
    bits: &mut BitReader<'_>,
    block: &mut [i16; 64],
    (mut index, end): (usize, usize),
    Correction { mut zeros, bit }: Correction,
) -> usize {
    while index <= end {
        let coefficient = &mut block[index & 63];
        if *coefficient == 0 {
            if zeros == 0 {
                break;
            }
            zeros -= 1;
        } else if bits.take(1) == 1 && *coefficient & bit == 0 {
            *coefficient = coefficient.wrapping_add(if *coefficient > 0 { bit } else { -bit });
        }
        index += 1;
    }
    index
}

impl Coefficients {
    /// Reconstructs the blocks inside the window.
    fn into_plane(self, cosines: &Cosines) -> Option<Plane> {
        let mut target = self.target?;
        target.allocate();
        for row in target.rows.clone() {
            for column in target.columns.clone() {
                let block = self.blocks.get(row * self.across + column)?;
                let at = target.place((column, row))?;
                if target.side == 1 || block[1..] == [0; 63] {
                    target.fill(at, block[0]);
                } else {
                    target.reconstruct(at, &dezigzag(block), IsFlat::No, cosines);
                }
            }
        }
        Some(target.plane)
    }
}

#[cfg(test)]
mod tests;
