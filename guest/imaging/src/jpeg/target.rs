//! Where a component's blocks go: those inside the window become samples of a plane, as small as the network needs them.
//!
//! The planes of the components keep their sampling (ITU-T T.81 A.1.1): `preprocess.rs` scales them first and converts
//! colors of the few pixels that are left.

use std::ops::Range;

use super::header::{Component, Header};
use super::idct::{self, Block, Reduced};
use crate::types::{Plane, Window};

/// The zigzag sequence (T.81 figure A.6): where the n-th coefficient of the file stands in a [`Block`].
pub(super) const ZIGZAG: [u8; 64] = zigzag();

/// The bases of the reduced transforms, computed once a picture.
pub(super) struct Cosines {
    two: Reduced<2>,
    four: Reduced<4>,
}

/// The part of a component that is decoded.
pub(super) struct Target {
    /// In the order of a [`Block`].
    quantization: [i16; 64],
    /// Samples of a side of a reconstructed block: 8, 4, 2 or 1.
    pub(super) side: usize,
    /// Blocks of the component that become samples: columns and rows.
    pub(super) columns: Range<usize>,
    pub(super) rows: Range<usize>,
    pub(super) plane: Plane,
}

impl Cosines {
    pub(super) fn new() -> Self {
        Self { two: Reduced::new(), four: Reduced::new() }
    }
}

impl Target {
    /// The target of a component; `None` where its quantization table is not defined. Its plane has no samples yet:
    /// [`Target::allocate`] gives it some.
    pub(super) fn new(header: &Header<'_>, component: &Component, window: Window) -> Option<Self> {
        let ((widest, tallest), (h, v)) = (header.max_sampling(), component.sampling);
        let window = window.as_stored(header.dimensions(), header.orientation());
        let crop = window.crop_box(header.dimensions());
        let crop = crop.over(f64::from(widest) / f64::from(h), f64::from(tallest) / f64::from(v));
        let reduction = window.reduction_of(crop);
        let crop = crop.over(f64::from(reduction), f64::from(reduction));
        let samples = header.component_size(component);
        let size = (samples.0.div_ceil(reduction) as usize, samples.1.div_ceil(reduction) as usize);
        let side = 8 / reduction as usize;
        let (columns, rows) = window.reach(crop, size);
        let (left, top) = (columns.start / side * side, rows.start / side * side);
        let quantization = header.quantization.get(usize::from(component.quantization))?.as_ref()?;
        Some(Self {
            quantization: dezigzag(&quantization.map(|value| value as i16)),
            side,
            columns: left / side..columns.end.div_ceil(side),
            rows: top / side..rows.end.div_ceil(side),
            plane: Plane {
                samples: vec![],
                width: columns.end - left,
                height: rows.end - top,
                crop: crop.without((left, top)),
            },
        })
    }

    /// Bytes that the plane takes.
    pub(super) fn bytes(&self) -> u64 {
        (self.plane.width * self.plane.height) as u64
    }

    pub(super) fn allocate(&mut self) {
        self.plane.samples = vec![0; self.plane.width * self.plane.height];
    }

    /// Where in the plane a block goes, as column and row of blocks; `None` where it is outside of the window.
    #[inline(always)]
    pub(super) fn place(&self, (column, row): (usize, usize)) -> Option<(usize, usize)> {
        let inside = self.columns.contains(&column) && self.rows.contains(&row);
        inside.then(|| (column - self.columns.start, row - self.rows.start))
    }

    /// Dequantizes (T.81 A.3.4) and inverse-transforms (A.3.3) a block, and writes its samples. `is_flat` says that all
    /// but the DC coefficient are 0.
    #[inline(always)]
    pub(super) fn reconstruct(&mut self, at: (usize, usize), block: &Block, is_flat: IsFlat, cosines: &Cosines) {
        match (self.side, is_flat) {
            (1, _) | (_, IsFlat::Yes) => self.fill(at, block[0]),
            (2, _) => self.put(at, &cosines.two.samples(block, &self.quantization)),
            (4, _) => self.put(at, &cosines.four.samples(block, &self.quantization)),
            _ => self.put(at, &idct::whole(block, &self.quantization)),
        }
    }

    /// Fills a block that has a DC coefficient alone.
    #[inline(always)]
    pub(super) fn fill(&mut self, at: (usize, usize), dc: i16) {
        let sample = idct::flat(dc.wrapping_mul(self.quantization[0]));
        match self.side {
            1 => self.put(at, &[[sample; 1]; 1]),
            2 => self.put(at, &[[sample; 2]; 2]),
            4 => self.put(at, &[[sample; 4]; 4]),
            _ => self.put(at, &[[sample; 8]; 8]),
        }
    }

    /// Writes a block's samples except for those beyond the picture's edge.
    #[inline(always)]
    fn put<const SIDE: usize>(&mut self, (column, row): (usize, usize), samples: &[[u8; SIDE]; SIDE]) {
        let Plane { samples: plane, width, .. } = &mut self.plane;
        let (x, y) = (column * SIDE, row * SIDE);
        let columns = SIDE.min(*width - x);
        // `zip` drops rows below the last one.
        for (target, source) in plane[y * *width + x..].chunks_mut(*width).zip(samples) {
            match target.first_chunk_mut::<SIDE>() {
                Some(target) if columns == SIDE => *target = *source,
                _ => target[..columns].copy_from_slice(&source[..columns]),
            }
        }
    }
}

/// Whether a block has a DC coefficient alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IsFlat {
    Yes,
    No,
}

/// Zigzag index of the last coefficient that reconstructing `side` x `side` samples needs.
pub(super) fn last_coefficient(side: usize) -> u32 {
    match side {
        1 => 0,
        2 => 4,
        4 => 24,
        _ => 63,
    }
}

/// What is in zigzag order, in the order of a [`Block`].
pub(super) fn dezigzag(in_file: &[i16; 64]) -> Block {
    let mut block = [0; 64];
    for (&index, &value) in ZIGZAG.iter().zip(in_file) {
        block[usize::from(index) & 63] = value;
    }
    block
}

/// Computes the zigzag sequence, which runs along the diagonals in alternating directions.
const fn zigzag() -> [u8; 64] {
    let mut order = [0; 64];
    let (mut u, mut v, mut n) = (0u8, 0u8, 0);
    while n < 64 {
        order[n] = u * 8 + v;
        n += 1;
        if (u + v) % 2 == 0 {
            if u == 7 {
                v += 1;
            } else if v == 0 {
                u += 1;
            } else {
                u += 1;
                v -= 1;
            }
        } else if v == 7 {
            u += 1;
        } else if u == 0 {
            v += 1;
        } else {
            u -= 1;
            v += 1;
        }
    }
    order
}
