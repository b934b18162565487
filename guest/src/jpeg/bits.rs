//! The bits of a scan, and the Huffman codes in them.
//!
//! Pure. By ITU-T T.81: annex C and F.2.2 (codes), B.1.1.5 (stuffed bytes and markers).

/// Codes of up to this many bits, with the bits that follow them, are one look into a table.
const LOOK: u32 = 11;

/// Longest code, and longest code with its bits.
const MAX_CODE: u32 = 16;
const MAX_SYMBOL: u32 = MAX_CODE + 15;

const NO_CODE: Broken = "a code that its tables don't have";
pub(super) const ENDS_EARLY: Broken = "its data ends early";
const TOO_MANY: Broken = "a block of more than 64 coefficients";

/// Why a scan can't be decoded.
pub(super) type Broken = &'static str;

/// A Huffman table (T.81 C.2), made for looking up.
pub(super) struct Table {
    /// For each `LOOK` bits: what they start with, if that is a short code.
    look: [Entry; 1 << LOOK],
    /// One above the last code of each length, left-aligned in 16 bits; 0 where there is none.
    ends: [u32; MAX_CODE as usize + 1],
    /// What to add to a code of each length to find its value.
    offsets: [i32; MAX_CODE as usize + 1],
    values: [u8; 256],
}

/// What a table says: in the low byte bits of the code, and of the value where `WHOLE`; 0: no short code. Above it
/// the symbol, zeros before a coefficient and the coefficient's size; and the value in the upper half.
type Entry = u32;

const WHOLE: Entry = 0x80;

impl Table {
    /// From a DHT segment's counts and values; `None` where they are no code.
    pub(super) fn new(counts: &[u8; 16], values: &[u8]) -> Option<Box<Self>> {
        let total: usize = counts.iter().map(|&count| usize::from(count)).sum();
        // Boxed at once: it is too large to be moved about.
        let mut table = Box::new(Self { look: [0; 1 << LOOK], ends: [0; 17], offsets: [0; 17], values: [0; 256] });
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

    /// All entries that begin with `code`.
    fn fill(&mut self, code: u32, length: u32, symbol: u8) {
        let size = u32::from(symbol & 0x0F);
        let free = LOOK - length;
        for rest in 0..1u32 << free {
            let short = u32::from(symbol) << 8 | length;
            let entry = if size != 0 && size <= free {
                (extend(rest >> (free - size), size) as u32) << 16 | WHOLE | (short + size)
            } else {
                short
            };
            self.look[((code << free) | rest) as usize] = entry;
        }
    }

    /// Length and symbol of the code that 16 bits start with, which is none of the short ones.
    #[cold]
    #[inline(never)]
    fn long_code(&self, ahead: u32) -> Result<(u32, u8), Broken> {
        let length = (LOOK + 1..=MAX_CODE).find(|&length| ahead < self.ends[length as usize]).ok_or(NO_CODE)?;
        let code = (ahead >> (MAX_CODE - length)) as i32;
        let index = usize::try_from(code + self.offsets[length as usize]).unwrap_or(usize::MAX);
        Ok((length, *self.values.get(index).ok_or(NO_CODE)?))
    }
}

/// T.81 F.2.2.1: the value that `size` bits stand for.
fn extend(bits: u32, size: u32) -> i32 {
    let bits = bits as i32;
    if size > 0 && bits < 1 << (size - 1) { bits - (1 << size) + 1 } else { bits }
}

/// Reads a scan's entropy-coded bytes.
///
/// Small, and handed about by value, so that compilers keep it in registers.
#[derive(Clone, Copy)]
pub(super) struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    /// The next bits, the first of them the highest. Behind `count` of them may be more, that are read again.
    buffer: u64,
    count: u32,
    /// Zero bits that stand in `buffer` for what is behind the end.
    padding: u32,
}

impl<'a> Bits<'a> {
    /// `data` starts behind the scan's header.
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0, buffer: 0, count: 0, padding: 0 }
    }

    /// Makes sure that a whole symbol is there.
    #[inline(always)]
    fn refill(&mut self) {
        if self.count >= MAX_SYMBOL {
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

    /// Near a byte that may be a marker, and near the end.
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

    /// Symbol and value of the next code.
    #[inline(always)]
    fn next(&mut self, table: &Table) -> Result<(u8, i32), Broken> {
        self.refill();
        let entry = table.look[(self.buffer >> (64 - LOOK)) as usize];
        if entry & WHOLE != 0 {
            self.consume(entry & 0x1F);
            return Ok(((entry >> 8) as u8, entry as i32 >> 16));
        }
        let symbol = if entry != 0 {
            self.consume(entry & 0x1F);
            (entry >> 8) as u8
        } else {
            let (length, symbol) = table.long_code((self.buffer >> (64 - MAX_CODE)) as u32)?;
            self.consume(length);
            symbol
        };
        let size = u32::from(symbol & 0x0F);
        // Two shifts, since one by 64 would be none.
        let bits = (self.buffer >> 1) >> (63 - size);
        self.consume(size);
        Ok((symbol, extend(bits as u32, size)))
    }

    /// Reads one block (T.81 F.2.2): tells `each` place, in the order of the file, and value of those coefficients
    /// behind the first that are not 0. Returns the difference of the first to that of the block before.
    #[inline(always)]
    pub(super) fn block(
        &mut self,
        (first, others): (&Table, &Table),
        mut each: impl FnMut(usize, i32),
    ) -> Result<i32, Broken> {
        let mut bits = *self;
        let (symbol, difference) = bits.next(first)?;
        // Its code has a size and no zeros before it; sizes above 11 are for samples of more than 8 bits.
        if symbol > 11 {
            return Err("a coefficient out of range");
        }
        let mut place = 0;
        while place < 63 {
            let (symbol, value) = bits.next(others)?;
            let zeros = usize::from(symbol >> 4);
            place += zeros + 1;
            if symbol & 0x0F != 0 {
                if place > 63 {
                    return Err(TOO_MANY);
                }
                each(place, value);
            } else if zeros < 15 {
                place = 63;
            }
        }
        *self = bits;
        if place > 63 { Err(TOO_MANY) } else { Ok(difference) }
    }

    /// Fails where more bits were taken than there are.
    pub(super) fn check(&self) -> Result<(), Broken> {
        if self.padding > self.count { Err(ENDS_EARLY) } else { Ok(()) }
    }

    /// Goes behind restart marker `number`, counted modulo 8.
    pub(super) fn restart(&mut self, number: u8) -> Result<(), Broken> {
        self.check()?;
        let rest = self.data.get(self.at..).unwrap_or_default();
        let fill = rest.iter().take_while(|&&byte| byte == 0xFF).count();
        if fill == 0 || rest.get(fill) != Some(&(0xD0 + number)) {
            return Err("a restart marker is missing");
        }
        *self = Self { at: self.at + fill + 1, ..Self::new(self.data) };
        Ok(())
    }
}

#[cfg(test)]
mod tests;
