//! Pseudo-random numbers for tests that try many inputs: the same sequence in each run (xorshift64*).
//!
//! Each crate whose tests need it includes this file by its path.

/// A generator. It is no source of secrets.
pub(crate) struct Random(u64);

impl Random {
    /// The sequence of a seed. Similar seeds give unlike sequences.
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).max(1))
    }

    /// A number of 32 bits.
    pub(crate) fn next_u32(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as u32
    }

    /// A number below `end`, which is above zero.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.next_u32() as usize % end
    }
}
