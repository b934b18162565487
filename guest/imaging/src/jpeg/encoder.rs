//! Encodes JPEGs for tests that common encoders do not make: any sampling factors, tables, restart intervals and scans.

use std::f64::consts::PI;

/// How a picture is written.
#[derive(Clone)]
pub(crate) struct Encoder {
    pub(crate) size: (u16, u16),
    /// Sampling factors of each component.
    pub(crate) sampling: Vec<(u8, u8)>,
    pub(crate) ids: [u8; 3],
    /// All 64 values of the one table.
    pub(crate) quantization: u16,
    /// Whether the table is written with 16 bits a value.
    pub(crate) wide: bool,
    pub(crate) restart_interval: u16,
    /// Components of each scan.
    pub(crate) scans: Vec<Vec<usize>>,
    /// Whole segments for behind the start.
    pub(crate) segments: Vec<u8>,
}

/// A Huffman table as DHT has it (T.81 B.2.4.2): the number of codes of each length, and their symbols.
pub(crate) type Code = ([u8; 16], Vec<u8>);

/// Codes of the sizes 0 to 11, of 4 bits each.
pub(crate) fn dc_code() -> Code {
    let mut counts = [0; 16];
    counts[3] = 12;
    (counts, (0..12).collect())
}

/// Codes of all 256 symbols: of small sizes and few zeros short ones, of the others up to 16 bits.
pub(crate) fn ac_code() -> Code {
    let mut values: Vec<u8> = (0..=255).collect();
    values.sort_by_key(|&symbol| (symbol & 0x0F) + 2 * (symbol >> 4));
    let mut counts = [0; 16];
    counts[2..16].copy_from_slice(&[3, 3, 3, 3, 5, 6, 8, 10, 16, 16, 16, 16, 50, 101]);
    (counts, values)
}

/// The two Huffman tables of a file.
struct Codes {
    dc: Code,
    ac: Code,
}

struct Writer {
    file: Vec<u8>,
    bits: u64,
    count: u32,
}

impl Writer {
    fn put(&mut self, bits: u32, count: u32) {
        self.bits = self.bits << count | u64::from(bits);
        self.count += count;
        while self.count >= 8 {
            self.count -= 8;
            let byte = (self.bits >> self.count) as u8;
            self.file.push(byte);
            if byte == 0xFF {
                self.file.push(0);
            }
        }
    }

    /// Ones up to the next byte.
    fn pad(&mut self) {
        let count = (8 - self.count % 8) % 8;
        self.put((1 << count) - 1, count);
    }

    fn symbol(&mut self, (counts, values): &Code, symbol: u8) {
        let (mut code, mut index) = (0u32, 0);
        for (length, &count) in (1..).zip(counts) {
            for _ in 0..count {
                if values[index] == symbol {
                    return self.put(code, length);
                }
                (code, index) = (code + 1, index + 1);
            }
            code <<= 1;
        }
        panic!("no code for {symbol}");
    }

    fn value(&mut self, code: &Code, zeros: u8, value: i32) {
        let size = 32 - value.unsigned_abs().leading_zeros();
        self.symbol(code, zeros << 4 | size as u8);
        let bits = if value < 0 { value - 1 } else { value };
        self.put(bits as u32 & ((1 << size) - 1), size);
    }

    fn segment(&mut self, marker: u8, bytes: &[u8]) {
        self.file.extend([0xFF, marker]);
        self.file.extend((bytes.len() as u16 + 2).to_be_bytes());
        self.file.extend(bytes);
    }
}

impl Encoder {
    pub(crate) fn new(size: (u16, u16), sampling: &[(u8, u8)]) -> Self {
        Self {
            size,
            sampling: sampling.to_vec(),
            ids: [1, 2, 3],
            quantization: 2,
            wide: false,
            restart_interval: 0,
            scans: vec![(0..sampling.len()).collect()],
            segments: vec![],
        }
    }

    /// The file whose component `c` has the sample `color(c, x, y)` at that place of the picture, in pixels.
    pub(crate) fn encode(&self, color: impl Fn(usize, f64, f64) -> f64) -> Vec<u8> {
        let mut writer = Writer { file: vec![0xFF, 0xD8], bits: 0, count: 0 };
        writer.file.extend(&self.segments);
        let table = self.quantization.to_be_bytes();
        let table = if self.wide { table.repeat(64) } else { [table[1]; 64].to_vec() };
        writer.segment(0xDB, &[&[u8::from(self.wide) << 4][..], &table].concat());
        let (width, height) = self.size;
        let mut frame = [&[8][..], &height.to_be_bytes(), &width.to_be_bytes(), &[self.sampling.len() as u8]].concat();
        for (id, (h, v)) in self.ids.iter().zip(&self.sampling) {
            frame.extend([*id, h << 4 | v, 0]);
        }
        writer.segment(0xC0, &frame);
        let codes = Codes { dc: dc_code(), ac: ac_code() };
        for (id, (counts, values)) in [(0x00, &codes.dc), (0x10, &codes.ac)] {
            writer.segment(0xC4, &[&[id][..], counts, values].concat());
        }
        if self.restart_interval > 0 {
            writer.segment(0xDD, &self.restart_interval.to_be_bytes());
        }
        for scan in &self.scans {
            let named = scan.iter().flat_map(|&component| [self.ids[component], 0]);
            let head: Vec<u8> = std::iter::once(scan.len() as u8).chain(named).chain([0, 63, 0]).collect();
            writer.segment(0xDA, &head);
            self.scan(&mut writer, scan, &codes, &color);
        }
        writer.file.extend([0xFF, 0xD9]);
        writer.file
    }

    fn scan(&self, writer: &mut Writer, scan: &[usize], codes: &Codes, color: &impl Fn(usize, f64, f64) -> f64) {
        let most_h = usize::from(self.sampling.iter().map(|s| s.0).max().unwrap());
        let most_v = usize::from(self.sampling.iter().map(|s| s.1).max().unwrap());
        let (width, height) = (usize::from(self.size.0), usize::from(self.size.1));
        let (mcus, rows) = match scan {
            &[alone] => {
                let (h, v) = self.sampling[alone];
                let side =
                    |length: usize, most: usize, factor: u8| (length * usize::from(factor)).div_ceil(most).div_ceil(8);
                (side(width, most_h, h), side(height, most_v, v))
            }
            _ => (width.div_ceil(8 * most_h), height.div_ceil(8 * most_v)),
        };
        let mut dc_predictors = [0; 3];
        for mcu in 0..mcus * rows {
            let interval = usize::from(self.restart_interval);
            if interval > 0 && mcu > 0 && mcu % interval == 0 {
                writer.pad();
                writer.file.extend([0xFF, 0xD0 + ((mcu / interval - 1) % 8) as u8]);
                dc_predictors = [0; 3];
            }
            for &component in scan {
                let (h, v) = self.sampling[component];
                let (across, down) = (most_h as f64 / f64::from(h), most_v as f64 / f64::from(v));
                let (h, v) = if scan.len() == 1 { (1, 1) } else { (usize::from(h), usize::from(v)) };
                for n in 0..h * v {
                    let (left, top) = ((mcu % mcus * h + n % h) * 8, (mcu / mcus * v + n / h) * 8);
                    let samples = |x: usize, y: usize| {
                        let place = |at: usize, part: f64, length: usize| {
                            let last = (length as f64 / part).ceil() - 1.0;
                            ((at as f64).min(last) + 0.5) * part
                        };
                        color(component, place(left + x, across, width), place(top + y, down, height))
                    };
                    let block = forward(samples, f64::from(self.quantization));
                    writer.value(&codes.dc, 0, block[0] - dc_predictors[component]);
                    dc_predictors[component] = block[0];
                    let mut zeros = 0;
                    for &value in &block[1..] {
                        if value == 0 {
                            zeros += 1;
                            continue;
                        }
                        while zeros > 15 {
                            writer.symbol(&codes.ac, 0xF0);
                            zeros -= 16;
                        }
                        writer.value(&codes.ac, zeros, value);
                        zeros = 0;
                    }
                    if zeros > 0 {
                        writer.symbol(&codes.ac, 0x00);
                    }
                }
            }
        }
        writer.pad();
    }
}

/// T.81 A.3.3, quantized, in the order of the file.
fn forward(sample: impl Fn(usize, usize) -> f64, quantization: f64) -> [i32; 64] {
    let samples: [[f64; 8]; 8] = std::array::from_fn(|y| std::array::from_fn(|x| sample(x, y) - 128.0));
    let basis: [[f64; 8]; 8] = std::array::from_fn(|frequency| {
        std::array::from_fn(|place| {
            let angle = PI * ((2 * place + 1) * frequency) as f64 / 16.0;
            if frequency == 0 { 8f64.sqrt().recip() } else { angle.cos() / 2.0 }
        })
    });
    let mut order: Vec<(usize, usize)> = (0..64).map(|n| (n % 8, n / 8)).collect();
    // Diagonals, every other one upwards.
    order.sort_by_key(|&(u, v)| (u + v, if (u + v) % 2 == 0 { u } else { v }));
    std::array::from_fn(|n| {
        let (u, v) = order[n];
        let rows = samples.iter().zip(basis[v]);
        let sum: f64 = rows.map(|(row, f)| f * row.iter().zip(basis[u]).map(|(s, g)| s * g).sum::<f64>()).sum();
        (sum / quantization).round() as i32
    })
}
