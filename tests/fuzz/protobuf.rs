//! Changes to protocol buffers that leave them readable: fields are dropped, repeated, moved and replaced, at any depth,
//! and the lengths around them are put right.

use crate::random::Random;

/// The deepest message that is changed.
const MAX_DEPTH: usize = 12;

/// Numbers at the edges of types, and those that ONNX knows.
const NUMBERS: [u64; 10] = [0, 1, 2, 7, 16, 0x7f, 1 << 31, 1 << 32, i64::MAX as u64, u64::MAX];

/// A field as it stands in a message, and what is in it.
struct Field<'a> {
    number: u64,
    wire_type: u64,
    whole: &'a [u8],
    value: &'a [u8],
}

/// Changes one thing somewhere in the message. Fields may come from `other`.
pub(crate) fn change(message: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    change_within(message, other, (random, MAX_DEPTH)).unwrap_or_else(|| message.to_vec())
}

fn change_within(message: &[u8], other: &[u8], (random, depth): (&mut Random, usize)) -> Option<Vec<u8>> {
    let fields = read(message)?;
    if fields.is_empty() {
        return None;
    }
    let chosen = random.below(fields.len());
    let field = &fields[chosen];
    // Deeper, where the bytes are a message; most bytes that are none don't read as one.
    if field.wire_type == 2 && depth > 0 && random.below(4) > 0 {
        let inner = read(other).and_then(|fields| fields.into_iter().find(|other| other.number == field.number));
        let inner = inner.map_or(other, |field| field.value);
        if let Some(changed) = change_within(field.value, inner, (random, depth - 1)) {
            return Some(put_in_place(&fields, chosen, &written(field.number, &changed)));
        }
    }
    let replacement = match random.below(6) {
        0 => Vec::new(),
        1 => field.whole.repeat(1 + random.below(3)),
        2 if field.wire_type == 0 => [tag(field.number, 0), varint(NUMBERS[random.below(NUMBERS.len())])].concat(),
        2 => written(field.number, &field.value[..random.below(field.value.len() + 1)]),
        3 => [tag(1 + random.next_u32() as u64 % 30, field.wire_type), rest_of(field)].concat(),
        4 => fields[random.below(fields.len())].whole.to_vec(),
        _ => {
            let others = read(other).unwrap_or_default();
            let taken = others.get(random.below(others.len().max(1))).map_or(&b""[..], |field| field.whole);
            [field.whole, taken].concat()
        }
    };
    Some(put_in_place(&fields, chosen, &replacement))
}

fn put_in_place(fields: &[Field<'_>], chosen: usize, replacement: &[u8]) -> Vec<u8> {
    let parts = fields.iter().enumerate();
    parts.flat_map(|(n, field)| if n == chosen { replacement } else { field.whole }).copied().collect()
}

/// All of a field but its tag.
fn rest_of(field: &Field<'_>) -> Vec<u8> {
    field.whole[tag(field.number, field.wire_type).len()..].to_vec()
}

fn written(number: u64, bytes: &[u8]) -> Vec<u8> {
    [tag(number, 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

fn tag(number: u64, wire_type: u64) -> Vec<u8> {
    varint(number << 3 | wire_type)
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// The fields of a message; `None` if it is none.
fn read(message: &[u8]) -> Option<Vec<Field<'_>>> {
    let (mut fields, mut rest) = (Vec::new(), message);
    while !rest.is_empty() {
        let start = rest;
        let tag = read_varint(&mut rest)?;
        let (wire_type, before) = (tag & 7, rest);
        let length = match wire_type {
            0 => {
                read_varint(&mut rest)?;
                before.len() - rest.len()
            }
            1 => 8,
            2 => usize::try_from(read_varint(&mut rest)?).ok()?,
            5 => 4,
            _ => return None,
        };
        let from = if wire_type == 0 { before } else { rest };
        let value = from.get(..length)?;
        rest = &from[length..];
        // A tag of more bytes than it needs would be written shorter.
        let whole = &start[..start.len() - rest.len()];
        (whole.starts_with(&self::tag(tag >> 3, wire_type))).then_some(())?;
        fields.push(Field { number: tag >> 3, wire_type, whole, value });
    }
    Some(fields)
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for n in 0..10 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << (7 * n);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}
