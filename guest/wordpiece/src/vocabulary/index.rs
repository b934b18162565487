//! The index of a vocabulary: a hash table in bytes, which a build script can write to a file.

/// Bytes of a number in the tables; all are u32, little-endian.
const NUMBER: usize = size_of::<u32>();

/// The state of the hash (FNV-1a) of no bytes.
pub(crate) const EMPTY_HASH: u32 = 0x811C_9DC5;

/// The tables of an index.
#[derive(Debug)]
pub(crate) struct Index {
    /// Where each piece starts in the text, and where the text ends.
    pub(crate) starts: Vec<u8>,
    /// Open addressing: at the slot of its hash or behind it, the id of a piece plus 1; 0 where there is none. There are
    /// a power of two, at most half of which are taken.
    pub(crate) slots: Vec<u8>,
}

impl Index {
    /// Indexes a text whose line n is piece n. The error is the number of a line, counted from 1, that was there before.
    pub(crate) fn of(text: &[u8]) -> Result<Self, usize> {
        let lines = || text.split_inclusive(|&byte| byte == b'\n');
        let mut starts = Vec::with_capacity((text.len() / 4 + 1) * NUMBER);
        let count = lines().count();
        let mut slots = vec![0; (2 * count).next_power_of_two() * NUMBER];
        let mut start = 0u32;
        for (id, line) in (0u32..).zip(lines()) {
            starts.extend_from_slice(&start.to_le_bytes());
            start += line.len() as u32;
            let piece = line.trim_ascii_end();
            let mut slot = first_slot(hash(EMPTY_HASH, piece), slots.len() / NUMBER);
            while let Some(taken) = number(&slots, slot).checked_sub(1) {
                if self::piece(text, &starts, taken as usize) == Some(piece) {
                    return Err(id as usize + 1);
                }
                slot = next_slot(slot, slots.len() / NUMBER);
            }
            slots[slot * NUMBER..][..NUMBER].copy_from_slice(&(id + 1).to_le_bytes());
        }
        starts.extend_from_slice(&start.to_le_bytes());
        Ok(Self { starts, slots })
    }
}

/// Goes on with a hash.
pub(crate) fn hash(state: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(state, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The slot at which the search for a hash begins, of a power of two slots.
pub(crate) fn first_slot(hash: u32, slots: usize) -> usize {
    // The upper bits depend on all bytes, the lower ones on the last bytes above all.
    (hash ^ (hash >> 15)) as usize & (slots - 1)
}

/// The slot after this one.
pub(crate) fn next_slot(slot: usize, slots: usize) -> usize {
    (slot + 1) & (slots - 1)
}

/// The number at a place of a table.
pub(crate) fn number(table: &[u8], place: usize) -> u32 {
    u32::from_le_bytes(table[place * NUMBER..][..NUMBER].try_into().expect("a slice of four bytes"))
}

/// How many numbers a table has.
pub(crate) fn len(table: &[u8]) -> usize {
    table.len() / NUMBER
}

/// The piece of that id.
pub(crate) fn piece<'a>(text: &'a [u8], starts: &[u8], id: usize) -> Option<&'a [u8]> {
    let line = text.get(number(starts, id) as usize..number(starts, id + 1) as usize)?;
    Some(line.trim_ascii_end())
}
