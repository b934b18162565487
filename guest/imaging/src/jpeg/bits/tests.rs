use super::*;
use crate::jpeg::encoder::{ac_code, dc_code};
use crate::jpeg::table::NO_CODE;
use crate::random::Random;

fn table((counts, values): &(impl AsRef<[u8]>, impl AsRef<[u8]>)) -> Option<HuffmanTable> {
    HuffmanTable::new(counts.as_ref().try_into().unwrap(), values.as_ref()).map(|table| *table)
}

/// Counts of the lengths that are named.
fn counts<const N: usize>(of: [(usize, u8); N]) -> [u8; 16] {
    let mut counts = [0; 16];
    of.into_iter().for_each(|(length, count)| counts[length - 1] = count);
    counts
}

/// Bytes of a text of 0 and 1, the rest of the last byte filled with ones, 0xFF stuffed.
fn bytes(text: &str) -> Vec<u8> {
    let bits: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').map(|byte| byte - b'0').collect();
    let byte = |bits: &[u8]| (0..8).fold(0, |byte, n| byte << 1 | bits.get(n).unwrap_or(&1));
    bits.chunks(8).map(byte).flat_map(|byte| if byte == 0xFF { vec![0xFF, 0] } else { vec![byte] }).collect()
}

/// The block in `data`: the difference, and places with their values.
fn block(bits: &mut BitReader<'_>, dc: &HuffmanTable, ac: &HuffmanTable) -> Result<(i32, Vec<(u32, i32)>), Broken> {
    part_of_block(bits, Codes { dc, ac, skips: None }, 63)
}

/// The same up to index `last`.
fn part_of_block(bits: &mut BitReader<'_>, codes: Codes<'_>, last: u32) -> Result<(i32, Vec<(u32, i32)>), Broken> {
    let mut values = vec![];
    let difference = bits.block(codes, last, |index, value| values.push((index, value)))?;
    values.retain(|&(index, value)| index <= last && value != 0);
    Ok((difference, values))
}

/// 0: no difference. 10: a difference of one bit. 110: of 11 bits. 1110: of 12, which is too many.
fn dc() -> HuffmanTable {
    table(&(counts([(1, 1), (2, 1), (3, 1), (4, 1)]), [0, 1, 11, 12])).unwrap()
}

/// 0: end of block. 10: one bit. 110: 15 zeros and one bit. 1110: sixteen zeros. And of 16 bits: 15 bits, and two
/// zeros before them.
fn ac() -> HuffmanTable {
    table(&(counts([(1, 1), (2, 1), (3, 1), (4, 1), (16, 2)]), [0x00, 0x01, 0xF1, 0xF0, 0x0F, 0x2F])).unwrap()
}

#[test]
fn tables_that_are_no_code_are_refused() {
    assert!(table(&([0; 16], [])).is_some());
    assert!(table(&dc_code()).is_some() && table(&ac_code()).is_some());
    // Three codes of one bit; one too many of two.
    assert!(table(&(counts([(1, 3)]), [0; 3])).is_none());
    assert!(table(&(counts([(1, 1), (2, 3)]), [0; 4])).is_none());
    assert!(table(&(counts([(1, 2), (16, 1)]), [0; 3])).is_none());
    // Fewer values than codes; more codes than symbols.
    assert!(table(&(counts([(4, 3)]), [0; 2])).is_none());
    assert!(table(&(counts([(9, 255), (10, 2)]), [0; 257])).is_none());
    assert!(table(&([255; 16], [0; 255 * 16])).is_none());
    // All codes of a length, the last of them all ones.
    assert!(table(&(counts([(1, 2)]), [0, 1])).is_some());
    assert!(table(&(counts([(8, 255), (9, 1)]), [0; 256])).is_some());
}

#[test]
fn every_code_is_found() {
    // Of two lengths, short and long; of all; and with one of all ones, which the standard forbids and files have.
    let mut ladder = [1; 16];
    ladder[15] = 2;
    let lengths =
        [counts([(8, 255), (9, 1)]), counts([(9, 200), (16, 56)]), ac_code().0, counts([(7, 100), (8, 56)]), ladder];
    for counts in lengths {
        let values: Vec<u8> = (0..=255).rev().collect();
        let table = HuffmanTable::new(&counts, &values).unwrap();
        let (mut code, mut index) = (0u32, 0);
        for (length, &count) in (1..).zip(&counts) {
            for _ in 0..count {
                let symbol = values[index];
                let size = u32::from(symbol & 0x0F);
                for value in [0, (1 << size) - 1, 1 << size >> 1] {
                    // The code, its bits, and ones.
                    let text = format!("{code:0width$b}", width = length as usize);
                    let value_text = format!("{value:0width$b}", width = size as usize);
                    let text = if size == 0 { text } else { text + &value_text };
                    let data = bytes(&text);
                    let mut bits = BitReader::new(&data);
                    assert_eq!(bits.next(&table), Ok((symbol, extend(value, size))), "{text}");
                    assert!(bits.check().is_ok());
                }
                (code, index) = (code + 1, index + 1);
            }
            code <<= 1;
        }
    }
}

#[test]
fn values_are_those_of_the_standard() {
    // T.81 table F.1.
    let sizes = [(1, vec![-1, 1]), (2, vec![-3, -2, 2, 3]), (3, vec![-7, -6, -5, -4, 4, 5, 6, 7])];
    for (size, values) in sizes {
        assert_eq!((0..1 << size).map(|bits| extend(bits, size)).collect::<Vec<_>>(), values);
    }
    assert_eq!((extend(0, 15), extend(0x7FFF, 15), extend(0, 0)), (-32767, 32767, 0));
}

#[test]
fn a_block_is_read() {
    let (dc, ac) = (dc(), ac());
    let data = bytes("10 1  10 0  110 1  1110  1111000000000000 100000000000001  1111000000000001 000000000000000 0");
    let mut bits = BitReader::new(&data);
    let values = vec![(1, -1), (17, 1), (34, 16385), (37, -32767)];
    assert_eq!(block(&mut bits, &dc, &ac), Ok((1, values)));
    assert!(bits.check().is_ok());
    let data = bytes("110 00000000000 0");
    assert_eq!(block(&mut BitReader::new(&data), &dc, &ac), Ok((-2047, vec![])));
    assert_eq!(block(&mut BitReader::new(&bytes("1110")), &dc, &ac), Err("a coefficient out of range"));
}

#[test]
fn a_block_ends_with_its_last_coefficient() {
    let (dc, ac) = (dc(), ac());
    // 48 zeros, and at 63 or one further: a coefficient behind 14 or 15 zeros.
    let zeros = "0 1110 1110 1110";
    for rest in ["10 1 ".repeat(15), "10 1 ".repeat(16)] {
        let data = bytes(&format!("{zeros} {rest} 10 0 0"));
        let mut bits = BitReader::new(&data);
        let (_, values) = block(&mut bits, &dc, &ac).unwrap();
        assert_eq!(values, (49..=63).map(|index| (index, 1)).collect::<Vec<_>>());
    }
    for too_far in ["1110", "110 1"] {
        let data = bytes(&format!("{zeros} {too_far} 0 0 0"));
        assert_eq!(block(&mut BitReader::new(&data), &dc, &ac), Err(TOO_MANY), "{too_far}");
    }
    // Sixteen zeros may be the last.
    let data = bytes(&format!("0 {} 1110", "10 1 ".repeat(47)));
    assert_eq!(block(&mut BitReader::new(&data), &dc, &ac).unwrap().1.len(), 47);
}

/// All that is told of random bits, of which some are too many for a block, or no code.
#[test]
fn what_is_skipped_is_as_long_as_what_is_read() {
    let mut ladder = [1; 16];
    ladder[15] = 2;
    let ladder = table(&(ladder, [0x01, 0x00, 0x02, 0x11, 0xF0, 0x21, 0x03, 0xF1, 0x0A, 0x50, 5, 6, 7, 8, 9, 15, 14]));
    let all = [(dc(), ac()), (table(&dc_code()).unwrap(), table(&ac_code()).unwrap())];
    let mut random = Random::new(8);
    let (mut whole, mut broken) = (0, std::collections::HashSet::new());
    for (dc, ac) in all.iter().chain([&(dc(), ladder.unwrap())]) {
        let skips = Skips::of(ac);
        let codes = Codes { dc, ac, skips: Some(&*skips) };
        for _ in 0..2000 {
            // Ones are end and errors, zeros are none.
            let ones = 1 + random.below(7);
            let text: String = (0..2000).map(|_| if random.below(8) < ones { '1' } else { '0' }).collect();
            let data = bytes(&text);
            let start = BitReader::new(&data);
            let mut partial = [(start, 0), (start, 4), (start, 24), (start, 63)];
            let (mut read, mut skipped) = (start, start);
            while read.check().is_ok() {
                let want = block(&mut read, dc, ac);
                assert_eq!(skipped.skip(dc, ac, &skips), want.as_ref().map(|want| want.0).map_err(|error| *error));
                assert_eq!(skipped.check(), read.check());
                for (bits, last) in &mut partial {
                    let want = want.clone().map(|(difference, mut values)| {
                        values.retain(|(index, _)| index <= last);
                        (difference, values)
                    });
                    assert_eq!(part_of_block(bits, codes, *last), want, "{last}");
                }
                match want {
                    Ok(_) => whole += 1,
                    Err(error) => {
                        broken.insert(error);
                        break;
                    }
                }
            }
        }
    }
    assert!(whole > 10_000 && broken.contains(TOO_MANY) && broken.contains(NO_CODE), "{whole} {broken:?}");
}

#[test]
fn a_code_that_is_not_in_the_table_is_an_error() {
    let empty = table(&([0; 16], [])).unwrap();
    let short = table(&(counts([(2, 1), (12, 1)]), [0, 1])).unwrap();
    for data in [&b""[..], &[0; 20], &[0xAA; 20], &[0xFF; 20]] {
        assert_eq!(BitReader::new(data).next(&empty), Err(NO_CODE));
    }
    assert_eq!(BitReader::new(&bytes("00")).next(&short), Ok((0, 0)));
    assert_eq!(BitReader::new(&bytes("010000000000 1")).next(&short), Ok((1, 1)));
    assert_eq!(BitReader::new(&bytes("010000000001")).next(&short), Err(NO_CODE));
    assert_eq!(BitReader::new(&bytes("1111111111111111")).next(&short), Err(NO_CODE));
}

/// Symbols of a byte each.
fn plain() -> HuffmanTable {
    table(&(counts([(8, 255), (9, 1)]), (0..=255).map(|value: u8| value & 0xF0).collect::<Vec<_>>())).unwrap()
}

#[test]
fn stuffed_bytes_are_one() {
    let table = plain();
    // Of 9 bits: 0xFF and a zero.
    let mut random = Random::new(3);
    for length in 0..40 {
        let codes: Vec<u8> = (0..length).map(|_| (random.next_u32() as u8).min(0xFE)).collect();
        let mut text: String = codes.iter().map(|code| format!("{code:08b}")).collect();
        text.insert_str(random.below(codes.len() + 1) * 8, "111111110");
        let data = bytes(&text);
        let mut bits = BitReader::new(&data);
        let read: Vec<u8> = (0..=length).map(|_| bits.next(&table).unwrap().0).collect();
        assert_eq!(
            read.iter().filter(|&&symbol| symbol == 0xF0).count(),
            1 + codes.iter().filter(|&&c| c >= 0xF0).count()
        );
        assert!(bits.check().is_ok());
    }
}

#[test]
fn bits_behind_the_end_are_noticed() {
    let table = plain();
    for end in [&b""[..], b"\xFF", b"\xFF\xD9", b"\xFF\xD9aaaaaaaaaaaaaaaa", b"\xFF\xFF\xD0aaaaaaaa"] {
        for length in 0..20 {
            let data = [&vec![0x55; length], end].concat();
            let mut bits = BitReader::new(&data);
            for _ in 0..length {
                assert_eq!(bits.next(&table), Ok((0x50, 0)));
                assert!(bits.check().is_ok(), "{length} {end:?}");
            }
            for _ in 0..300 {
                assert_eq!(bits.next(&table), Ok((0, 0)));
                assert!(bits.check().is_err(), "{length} {end:?}");
            }
        }
    }
}

#[test]
fn restart_markers_are_obeyed() {
    let table = plain();
    for length in 0..20 {
        for fill in 0..12 {
            let part = vec![0x55; length];
            let data = [&part, &vec![0xFF; fill][..], &[0xFF, 0xD3], &part].concat();
            let mut bits = BitReader::new(&data);
            let read = |bits: &mut BitReader<'_>| {
                (0..length).for_each(|_| assert_eq!(bits.next(&table), Ok((0x50, 0))));
            };
            read(&mut bits);
            assert!(bits.restart(4).is_err());
            assert_eq!(bits.restart(3), Ok(()));
            read(&mut bits);
            assert!(bits.check().is_ok());
            assert!(bits.restart(4).is_err());
        }
    }
    // Bytes that are left are passed over, stuffed ones included.
    for left in 0..20 {
        let data = [&vec![0x55; left + 1][..], &[0xFF, 0, 0x55, 0xFF, 0xD0], &[0x55]].concat();
        let mut bits = BitReader::new(&data);
        bits.next(&table).unwrap();
        assert_eq!(bits.restart(0), Ok(()), "{left}");
        assert_eq!((bits.next(&table), bits.check()), (Ok((0x50, 0)), Ok(())));
    }
    // Not where there is no marker, and not where bits were taken that are not there.
    assert_eq!(BitReader::new(&[0x55, 0xFF, 0, 0x55]).restart(0), Err(NO_RESTART));
    let mut bits = BitReader::new(&[0xFF, 0xD0]);
    bits.next(&table).unwrap();
    assert_eq!(bits.restart(0), Err(ENDS_EARLY));
}
