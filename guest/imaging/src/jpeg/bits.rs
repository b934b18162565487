//! Reads the bits of a scan's entropy-coded segments, and decodes the blocks of coefficients in them.
//!
//! A zero byte is stuffed behind each byte 0xFF of the data, which tells it from a marker (ITU-T T.81 B.1.1.5); restart
//! markers stand between the segments (B.2.1). A block is the difference of its DC coefficient to the predictor (F.2.2.1),
//! then runs of zeros with the AC coefficients behind them in zigzag order (F.2.2.2). What a code stands for is looked up
//! in `table.rs`.

use super::table::{Broken, END, Entry, HuffmanTable, LOOK, MAX_CODE, MAX_SKIP, PART, Skips, advance, extend};

/// Most bits of a code and the additional bits behind it.
const MAX_SYMBOL: u32 = MAX_CODE + 15;
/// Lookups in a [`HuffmanTable`], and in [`Skips`] below, for which the bits of one refill suffice.
const LOOKS: u32 = 4;
const SKIPPING_LOOKS: u32 = 2;

pub(super) const ENDS_EARLY: Broken = "its data ends early";
const NO_RESTART: Broken = "a restart marker is missing";
const TOO_MANY: Broken = "a block of more than 64 coefficients";

/// How a component's blocks are coded.
#[derive(Clone, Copy)]
pub(super) struct Codes<'a> {
    pub(super) dc: &'a HuffmanTable,
    pub(super) ac: &'a HuffmanTable,
    /// Of `ac`; `None` where the scan is too small for the table to pay off.
    pub(super) skips: Option<&'a Skips>,
}

/// Reads a scan's entropy-coded bytes.
///
/// It is small and copied by value, so that the compiler keeps it in registers.
#[derive(Clone, Copy)]
pub(super) struct BitReader<'a> {
    data: &'a [u8],
    at: usize,
    /// The next `count` bits, the first of them in the highest bit. Bits below them may be set already; they are read
    /// again by the next refill.
    buffer: u64,
    count: u32,
    /// Zero bits in `buffer` that were added behind the end of the data.
    padding: u32,
}

impl<'a> BitReader<'a> {
    /// Reads `data`, which starts behind the scan header.
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0, buffer: 0, count: 0, padding: 0 }
    }

    /// Makes sure that the buffer has at least `BITS` bits.
    #[inline(always)]
    fn refill<const BITS: u32>(&mut self) {
        if self.count >= BITS {
            return;
        }
        if let Some(bytes) = self.data.get(self.at..).and_then(<[u8]>::first_chunk) {
            let word = u64::from_be_bytes(*bytes);
            let inverse = !word;
            let has_marker = inverse.wrapping_sub(0x0101_0101_0101_0101) & word & 0x8080_8080_8080_8080;
            if has_marker == 0 {
                self.buffer |= word >> self.count;
                let bytes = (63 - self.count) >> 3;
                self.at += bytes as usize;
                self.count += bytes * 8;
                return;
            }
        }
        *self = self.refilled_bytes();
    }

    /// Refills byte by byte, near a byte 0xFF and near the end of the data.
    #[cold]
    #[inline(never)]
    fn refilled_bytes(mut self) -> Self {
        while self.count <= 56 {
            let byte = match self.data.get(self.at..) {
                Some([0xFF, 0x00, ..]) => {
                    self.at += 2;
                    0xFF
                }
                // A marker, or the end: zeros, for as long as nobody needs them.
                Some([0xFF, ..] | []) | None => {
                    self.padding += 8;
                    0
                }
                Some(&[byte, ..]) => {
                    self.at += 1;
                    byte
                }
            };
            // What a word left behind the count is of the same byte.
            self.buffer &= !(u64::MAX >> self.count);
            self.buffer |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
        self
    }

    #[inline(always)]
    fn consume(&mut self, bits: u32) {
        self.buffer <<= bits;
        self.count -= bits;
    }

    #[inline(always)]
    fn look(&self) -> usize {
        (self.buffer >> (64 - LOOK)) as usize
    }

    /// Reads the next code; returns its symbol and the value of the additional bits.
    #[inline(always)]
    fn next(&mut self, table: &HuffmanTable) -> Result<(u8, i32), Broken> {
        self.refill::<MAX_SYMBOL>();
        let entry = table.look[self.look()];
        self.consume(entry.taken());
        if entry.advance() != PART {
            return Ok((entry.symbol(), entry.value()));
        }
        let symbol = if entry.taken() != 0 {
            entry.symbol()
        } else {
            let (length, symbol) = table.long_code((self.buffer >> (64 - MAX_CODE)) as u32)?;
            self.consume(length);
            symbol
        };
        let size = u32::from(symbol & 0x0F);
        // Two shifts, since a shift by 64 bits is not defined.
        let bits = (self.buffer >> 1) >> (63 - size);
        self.consume(size);
        Ok((symbol, extend(bits as u32, size)))
    }

    /// Reads the next code alone; returns its symbol.
    #[inline(always)]
    pub(super) fn symbol(&mut self, table: &HuffmanTable) -> Result<u8, Broken> {
        self.refill::<MAX_CODE>();
        let entry = table.look[self.look()];
        let (length, symbol) = match entry.lengths() {
            (0, _) => table.long_code((self.buffer >> (64 - MAX_CODE)) as u32)?,
            (length, _) => (length, entry.symbol()),
        };
        self.consume(length);
        Ok(symbol)
    }

    /// Reads up to 15 bits as a number.
    #[inline(always)]
    pub(super) fn take(&mut self, count: u32) -> u32 {
        self.refill::<15>();
        // Two shifts, since a shift by 64 bits is not defined.
        let bits = (self.buffer >> 1) >> (63 - count);
        self.consume(count);
        bits as u32
    }

    /// Reads one block (T.81 F.2.2). Calls `each` with zigzag index and value of the AC coefficients that are not 0; those
    /// behind index `last` are skipped where `codes` has a table for skipping. Returns the difference of the DC
    /// coefficient to its predictor.
    #[inline(always)]
    pub(super) fn block(&mut self, codes: Codes<'_>, last: u32, mut each: impl FnMut(u32, i32)) -> Result<i32, Broken> {
        let mut bits = *self;
        let difference = bits.dc_difference(codes.dc)?;
        let last = if codes.skips.is_some() { last } else { 63 };
        let mut index = 0;
        while index < last {
            bits.refill::<{ LOOKS * LOOK }>();
            for _ in 0..LOOKS {
                let entry: Entry = codes.ac.look[bits.look()];
                let next = index + entry.advance();
                if next < 63 {
                    bits.consume(entry.taken());
                    index = next;
                    each(index, entry.value());
                    continue;
                }
                if next >= END {
                    bits.consume(entry.taken());
                    index = next;
                    break;
                }
                let (next, value) = bits.perhaps_last(codes.ac, index)?;
                index = next;
                if index <= 63 {
                    each(index, value);
                }
                break;
            }
        }
        if let Some(skips) = codes.skips
            && index < 63
        {
            bits.skip_ac(codes.ac, skips, index)?;
        }
        *self = bits;
        Ok(difference)
    }

    /// Reads one block of which only the DC coefficient matters. Returns its difference, as [`BitReader::block`].
    ///
    /// Not inlined, since the compiler then keeps its variables in registers.
    #[inline(never)]
    pub(super) fn skip(&mut self, dc: &HuffmanTable, ac: &HuffmanTable, skips: &Skips) -> Result<i32, Broken> {
        let mut bits = *self;
        let difference = bits.dc_difference(dc)?;
        bits.skip_ac(ac, skips, 0)?;
        *self = bits;
        Ok(difference)
    }

    /// Reads the difference of a DC coefficient to its predictor (T.81 F.2.2.1).
    #[inline(always)]
    pub(super) fn dc_difference(&mut self, table: &HuffmanTable) -> Result<i32, Broken> {
        let (symbol, difference) = self.next(table)?;
        // The symbol is the size of the difference; sizes above 11 need samples of more than 8 bits (T.81 table F.1).
        if symbol > 11 { Err("a coefficient out of range") } else { Ok(difference) }
    }

    /// Skips the rest of a block after the coefficient at zigzag index `index`.
    #[inline(always)]
    fn skip_ac(&mut self, ac: &HuffmanTable, skips: &Skips, mut index: u32) -> Result<(), Broken> {
        while index < 63 {
            self.refill::<{ SKIPPING_LOOKS * MAX_SKIP }>();
            for _ in 0..SKIPPING_LOOKS {
                let (taken, further) = skips.at(self.look());
                let next = index + further;
                if next < 63 {
                    self.consume(taken);
                    index = next;
                    continue;
                }
                if (END..END + 63).contains(&next) && further >= END {
                    self.consume(taken);
                    return Ok(());
                }
                (index, _) = self.perhaps_last(ac, index)?;
                break;
            }
        }
        Ok(())
    }

    /// Reads a symbol that may end the block. Returns the index it advances to from `index`, which is above 63 at the end
    /// of the block, and the value.
    #[inline(always)]
    fn perhaps_last(&mut self, table: &HuffmanTable, index: u32) -> Result<(u32, i32), Broken> {
        let (symbol, value) = self.next(table)?;
        let index = index + advance(symbol);
        if (64..END).contains(&index) { Err(TOO_MANY) } else { Ok((index, value)) }
    }

    /// Fails where more bits were consumed than the data has.
    pub(super) fn check(&self) -> Result<(), Broken> {
        if self.padding > self.count { Err(ENDS_EARLY) } else { Ok(()) }
    }

    /// Continues behind the restart marker RSTm, where m is `number`, 0 to 7 (T.81 F.2.1.3.1). Cameras write padding
    /// before it, which is passed over as libjpeg does.
    pub(super) fn restart(&mut self, number: u8) -> Result<(), Broken> {
        self.check()?;
        let mut at = self.at;
        loop {
            let rest = self.data.get(at..).unwrap_or_default();
            at += memchr::memchr(0xFF, rest).ok_or(NO_RESTART)? + 1;
            match self.data.get(at) {
                // A stuffed byte, or a fill byte.
                Some(0x00 | 0xFF) => {}
                Some(&marker) if marker == 0xD0 + number => break,
                _ => return Err(NO_RESTART),
            }
        }
        *self = Self { at: at + 1, ..Self::new(self.data) };
        Ok(())
    }

    /// Bytes of the data that have been taken into the buffer; all of them stand before the next marker.
    pub(super) fn position(&self) -> usize {
        self.at
    }
}

#[cfg(test)]
mod tests;
