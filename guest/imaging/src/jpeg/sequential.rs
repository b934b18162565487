//! Decodes the scans of a sequential JPEG within the window (ITU-T T.81 A.2, F.2).
//!
//! The entropy-coded segments hold MCUs from left to right and from top to bottom (A.2.3), and the codes say nothing of
//! where the next block starts, so all blocks above the window's lower edge are parsed. But only blocks inside the window
//! are dequantized and inverse-transformed, at 4, 2 or 1 samples a side where the network needs no more.

use super::bits::{BitReader, Codes, ENDS_EARLY};
use super::header::{Header, Next, ScanComponent};
use super::idct::Block;
use super::table::{Broken, HuffmanTables};
use super::target::{Cosines, IsFlat, Target, ZIGZAG, last_coefficient};
use super::{EndMarker, NO_SCAN, NO_TABLE, Work, damaged};
use crate::error::Error;
use crate::limits::check_size;
use crate::types::{Plane, Window};

/// The smallest scan, in bytes, for which [`super::table::Skips`] save more time than making them takes.
const SKIPS_PAY: usize = 32 << 10;

/// One component in a scan: how its blocks are coded, and where they go.
struct Channel<'a> {
    /// Blocks of an MCU, across and down.
    blocks: (usize, usize),
    codes: Codes<'a>,
    target: Target,
    /// DC coefficient of the component's previous block (T.81 F.1.1.5.1).
    dc_predictor: i32,
}

/// One plane for each component. `header` is at its first scan.
///
/// # Errors
///
/// The file is damaged, its planes would take too much memory, or it would take too much work.
pub(super) fn decode(header: Header<'_>, window: Window) -> Result<Vec<Plane>, Error> {
    let with_skips = header.data().len() >= SKIPS_PAY;
    planes(header, window, with_skips)
}

fn planes(mut header: Header<'_>, window: Window, with_skips: bool) -> Result<Vec<Plane>, Error> {
    let end = EndMarker::find(header.data());
    let mut planes: Vec<Option<Plane>> = vec![None; header.components.len()];
    let (mut work, mut bytes) = (Work::default(), 0);
    loop {
        work.scan(&header)?;
        let data = header.data();
        // A block has at least two codes of at least one bit each.
        if (data.len() as u64) < header.blocks_in_scan() / 4 {
            return Err(damaged(ENDS_EARLY));
        }
        let tables = HuffmanTables::of(&header, with_skips);
        let mut channels = channels(&header, &tables, window).ok_or_else(|| damaged(NO_TABLE))?;
        bytes += channels.iter().map(|channel| channel.target.bytes()).sum::<u64>();
        check_size(header.dimensions(), bytes)?;
        channels.iter_mut().for_each(|channel| channel.target.allocate());
        let read = scan(data, &header, end, &mut channels).map_err(damaged)?;
        for (component, channel) in header.scan.components.iter().zip(channels) {
            planes[component.index] = Some(channel.target.plane);
        }
        if planes.iter().all(Option::is_some) {
            return Ok(planes.into_iter().flatten().collect());
        }
        header.at += read;
        if header.next_scan() != Next::Scan {
            return Err(damaged(NO_SCAN));
        }
    }
}

fn channels<'a>(header: &Header<'_>, tables: &'a HuffmanTables, window: Window) -> Option<Vec<Channel<'a>>> {
    let channel = |&component: &ScanComponent| {
        Some(Channel {
            blocks: header.blocks_in_mcu(component),
            codes: Codes {
                dc: tables.dc.get(usize::from(component.dc_table))?.as_deref()?,
                ac: tables.ac.get(usize::from(component.ac_table))?.as_deref()?,
                skips: tables.skips.get(usize::from(component.ac_table))?.as_deref(),
            },
            target: Target::new(header, &header.components[component.index], window)?,
            dc_predictor: 0,
        })
    };
    header.scan.components.iter().map(channel).collect()
}

/// Decodes the MCUs in the order of the file (T.81 A.2), and returns how many bytes it read. Where an end marker follows,
/// what is below the last row that the window needs is not read.
///
/// Not inlined, for the reason that [`Channel::read`] gives.
#[inline(never)]
fn scan(data: &[u8], header: &Header<'_>, end: EndMarker, channels: &mut [Channel<'_>]) -> Result<usize, Broken> {
    let (mcus, mut rows) = header.mcus();
    let last = channels.iter().map(|channel| channel.target.rows.end.div_ceil(channel.blocks.1)).max();
    if end == EndMarker::Found {
        rows = rows.min(last.unwrap_or(rows));
    }
    let cosines = Cosines::new();
    let mut bits = BitReader::new(data);
    let interval = usize::from(header.restart_interval);
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
    Ok(bits.position())
}

impl Channel<'_> {
    #[inline(always)]
    fn block(&mut self, bits: &mut BitReader<'_>, at: (usize, usize), cosines: &Cosines) -> Result<(), Broken> {
        let at = self.target.place(at);
        match self.codes {
            Codes { dc, ac, skips: Some(skips) } if at.is_none() || self.target.side == 1 => {
                self.dc_predictor = self.dc_predictor.wrapping_add(bits.skip(dc, ac, skips)?);
                if let Some(at) = at {
                    self.target.fill(at, self.dc_predictor as i16);
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
        let mut is_flat = IsFlat::Yes;
        let difference = bits.block(self.codes, last_coefficient(self.target.side), |index, value| {
            block[usize::from(ZIGZAG[index as usize & 63]) & 63] = value as i16;
            is_flat = IsFlat::No;
        })?;
        self.dc_predictor = self.dc_predictor.wrapping_add(difference);
        block[0] = self.dc_predictor as i16;
        if let Some(at) = at {
            self.target.reconstruct(at, &block, is_flat, cosines);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
