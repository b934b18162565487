//! Huffman tables in the form that decoding looks up.
//!
//! A DHT segment (ITU-T T.81 B.2.4.2) lists how many codes each length has, and their symbols in order of the codes; the
//! codes follow from that (annex C.2). The decoder of F.2.2.3 reads a code bit by bit. Here the next [`LOOK`] bits index a
//! table that tells the symbol and, where it is among these bits too, the coefficient's value (EXTEND, F.2.2.1). Only
//! codes that are longer are found by their length, as in F.2.2.3.

use super::header::{Header, ScanComponent};
use super::huffman_segment::HuffmanSegment;

/// Bits that index a table.
pub(super) const LOOK: u32 = 11;

/// Bits of the longest code.
pub(super) const MAX_CODE: u32 = 16;

/// Most bits that one lookup in [`Skips`] consumes: a code of [`LOOK`] bits and its additional bits.
pub(super) const MAX_SKIP: u32 = LOOK + 15;

pub(super) const NO_CODE: Broken = "a code that its tables don't have";

/// Why a scan can't be decoded.
pub(super) type Broken = &'static str;

/// Huffman tables by class and number.
pub(super) struct HuffmanTables {
    pub(super) dc: [Option<Box<HuffmanTable>>; 4],
    pub(super) ac: [Option<Box<HuffmanTable>>; 4],
    /// One for each table of `ac`.
    pub(super) skips: [Option<Box<Skips>>; 4],
}

impl HuffmanTables {
    /// The tables that the scan header names. Those that are not defined, or are no prefix codes, are left out.
    pub(super) fn of(header: &Header<'_>, with_skips: bool) -> Self {
        let find = |class: usize, number: usize| {
            let table = |of: &ScanComponent| usize::from(if class == 0 { of.dc_table } else { of.ac_table });
            let is_used = header.scan.components.iter().any(|component| table(component) == number);
            let HuffmanSegment { counts, values } = is_used.then(|| header.huffman_table(class, number))??;
            HuffmanTable::new(counts, values)
        };
        let ac: [_; 4] = std::array::from_fn(|number| find(1, number));
        Self {
            dc: std::array::from_fn(|number| find(0, number)),
            skips: ac.each_ref().map(|table| table.as_deref().filter(|_| with_skips).map(Skips::of)),
            ac,
        }
    }
}

/// A Huffman table (T.81 C.2), indexed by the next bits.
pub(super) struct HuffmanTable {
    /// For each value of `LOOK` bits, the code that they start with.
    pub(super) look: [Entry; 1 << LOOK],
    /// One above the last code of each length, left-aligned in 16 bits; 0 where there is none.
    ends: [u32; MAX_CODE as usize + 1],
    /// For each length, what to add to a code to get the index of its symbol.
    offsets: [i32; MAX_CODE as usize + 1],
    values: [u8; 256],
}

/// The code that bits start with. From the lowest bit: how many bits it consumes (5 bits), the symbol (8), by how many
/// coefficients it advances (8), and the value (11, signed), which fits since code and value have `LOOK` bits together.
///
/// Where they have more, the entry consumes the code alone, or nothing if the code is longer, and advances by `PART`.
#[derive(Clone, Copy)]
pub(super) struct Entry(u32);

/// An advance that no block allows: the entry tells only a part of the symbol.
pub(super) const PART: u32 = 64;
/// The advance of a symbol that ends the block (EOB).
pub(super) const END: u32 = 128;

impl Entry {
    const NONE: Self = Self(PART << 13);

    fn new(taken: u32, symbol: u8, advance: u32, value: i32) -> Self {
        Self(taken | u32::from(symbol) << 5 | advance << 13 | (value as u32) << 21)
    }

    #[inline(always)]
    pub(super) fn taken(self) -> u32 {
        self.0 & 0x1F
    }

    /// Bits of the code, and of code and value; 0 where the code is longer than a look.
    #[inline(always)]
    pub(super) fn lengths(self) -> (u32, u32) {
        let size = u32::from(self.symbol() & 0x0F);
        match self.taken() {
            0 => (0, 0),
            code if self.advance() == PART => (code, code + size),
            whole => (whole - size, whole),
        }
    }

    #[inline(always)]
    pub(super) fn symbol(self) -> u8 {
        (self.0 >> 5) as u8
    }

    #[inline(always)]
    pub(super) fn advance(self) -> u32 {
        self.0 >> 13 & 0xFF
    }

    #[inline(always)]
    pub(super) fn value(self) -> i32 {
        self.0 as i32 >> 21
    }
}

/// By how many coefficients a symbol advances.
#[inline(always)]
pub(super) fn advance(symbol: u8) -> u32 {
    // 0xF0 (ZRL) is a run of 16 zeros and does not end the block.
    if symbol & 0x0F == 0 && symbol < 0xF0 { END } else { u32::from(symbol >> 4) + 1 }
}

impl HuffmanTable {
    /// Makes a table from a DHT segment's counts and values; `None` where they are not a prefix code.
    pub(super) fn new(counts: &[u8; 16], values: &[u8]) -> Option<Box<Self>> {
        let total: usize = counts.iter().map(|&count| usize::from(count)).sum();
        // Boxed at once, since it is too large to be moved.
        let mut table =
            Box::new(Self { look: [Entry::NONE; 1 << LOOK], ends: [0; 17], offsets: [0; 17], values: [0; 256] });
        table.values.get_mut(..total)?.copy_from_slice(values.get(..total)?);
        let (mut code, mut index) = (0u32, 0u32);
        for (length, &count) in (1..=MAX_CODE).zip(counts) {
            let count = u32::from(count);
            table.offsets[length as usize] = index as i32 - code as i32;
            if code + count > 1 << length {
                return None;
            }
            if length <= LOOK {
                for n in 0..count {
                    table.fill(code + n, length, values[(index + n) as usize]);
                }
            }
            (code, index) = (code + count, index + count);
            table.ends[length as usize] = if count == 0 { 0 } else { code << (MAX_CODE - length) };
            code <<= 1;
        }
        Some(table)
    }

    /// Fills all entries whose bits begin with `code`.
    fn fill(&mut self, code: u32, length: u32, symbol: u8) {
        let size = u32::from(symbol & 0x0F);
        let free = LOOK - length;
        for rest in 0..1u32 << free {
            self.look[((code << free) | rest) as usize] = if size <= free {
                let value = extend(rest >> (free - size), size);
                Entry::new(length + size, symbol, advance(symbol), value)
            } else {
                Entry::new(length, symbol, PART, 0)
            };
        }
    }

    /// Length and symbol of the code that 16 bits start with, which is longer than `LOOK` bits.
    #[cold]
    #[inline(never)]
    pub(super) fn long_code(&self, ahead: u32) -> Result<(u32, u8), Broken> {
        let length = (LOOK + 1..=MAX_CODE).find(|&length| ahead < self.ends[length as usize]).ok_or(NO_CODE)?;
        let code = (ahead >> (MAX_CODE - length)) as i32;
        let index = usize::try_from(code + self.offsets[length as usize]).unwrap_or(usize::MAX);
        Ok((length, *self.values.get(index).ok_or(NO_CODE)?))
    }
}

/// EXTEND (T.81 F.2.2.1): the value that `size` additional bits stand for.
pub(super) fn extend(bits: u32, size: u32) -> i32 {
    let bits = bits as i32;
    if size > 0 && bits < 1 << (size - 1) { bits - (1 << size) + 1 } else { bits }
}

/// A table for skipping coefficients: one lookup passes as many symbols as the bits tell.
///
/// For each `LOOK` bits, how many bits their symbols take (low byte; up to `MAX_SKIP`, since a value may reach
/// further than the look), and by how many places these go on: fewer than 63, and `END` more where the last of them
/// ends the block. `PART` where not even one can be told.
pub(super) struct Skips([u16; 1 << LOOK]);

impl Skips {
    pub(super) fn of(table: &HuffmanTable) -> Box<Self> {
        let mut skips = Box::new(Self([0; 1 << LOOK]));
        for (bits, skip) in skips.0.iter_mut().enumerate() {
            let (mut taken, mut further) = (0, 0);
            while taken < LOOK && further < END {
                let entry = table.look[(bits << taken) & ((1 << LOOK) - 1)];
                let (code, whole) = entry.lengths();
                let next = further + advance(entry.symbol());
                if code == 0 || taken + code > LOOK || next % END > 62 {
                    break;
                }
                (taken, further) = (taken + whole, next);
            }
            if taken == 0 {
                further = PART;
            }
            *skip = (further << 8 | taken) as u16;
        }
        skips
    }

    /// Bits consumed, and coefficients passed.
    #[inline(always)]
    pub(super) fn at(&self, look: usize) -> (u32, u32) {
        let skip = u32::from(self.0[look]);
        (skip & 0xFF, skip >> 8)
    }
}
