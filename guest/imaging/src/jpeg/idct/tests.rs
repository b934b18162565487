use super::*;
use crate::random::Random;

/// T.81 A.3.3 for `side` points of the lowest frequencies, in full precision.
fn reference(block: &Block, side: usize) -> Vec<f64> {
    let basis = |frequency: usize, place: usize| {
        let angle = std::f64::consts::PI * ((2 * place + 1) * frequency) as f64 / (2 * side) as f64;
        if frequency == 0 { 8f64.sqrt().recip() } else { angle.cos() / 2.0 }
    };
    let sample = |x: usize, y: usize| {
        let terms = (0..side * side).map(|n| (n / side, n % side));
        terms.map(|(u, v)| f64::from(block[u * 8 + v]) * basis(u, x) * basis(v, y)).sum::<f64>()
    };
    (0..side * side).map(|n| (sample(n % side, n / side) + 128.0).clamp(0.0, 255.0)).collect()
}

/// Blocks as pictures have them, from smooth to sharp.
/// Multiplies by nothing.
const ONES: Block = [1; 64];

fn blocks() -> Vec<Block> {
    let mut random = Random::new(1);
    let mut block = |n: usize| {
        let count = 1 + n % 64;
        let mut block = [0; 64];
        for _ in 0..count {
            block[random.below(64)] = random.below(2 * 800 / count + 2) as i16 - (800 / count) as i16;
        }
        block[0] = random.below(2048) as i16 - 1024;
        block
    };
    (0..2000).map(&mut block).collect()
}

/// Largest and mean difference.
fn difference(have: &[u8], want: &[f64]) -> (f64, f64) {
    assert_eq!(have.len(), want.len());
    let each = || have.iter().zip(want).map(|(&have, want)| (f64::from(have) - want).abs());
    (each().fold(0.0, f64::max), each().sum::<f64>() / want.len() as f64)
}

#[test]
fn samples_are_those_of_the_formula() {
    let mut sum = 0.0;
    for block in blocks() {
        let (most, mean) = difference(whole(&block, &ONES).as_flattened(), &reference(&block, 8));
        // Half a level is the rounding of the result itself.
        assert!(most <= 0.6, "{most} {block:?}");
        sum += mean;
    }
    assert!(sum / (blocks().len() as f64) < 0.26, "{sum}");
}

#[test]
fn reduced_samples_are_those_of_the_formula() {
    let (two, four) = (Reduced::<2>::new(), Reduced::<4>::new());
    for block in blocks() {
        let (most, _) = difference(four.samples(&block, &ONES).as_flattened(), &reference(&block, 4));
        assert!(most <= 0.501, "{most} {block:?}");
        let (most, _) = difference(two.samples(&block, &ONES).as_flattened(), &reference(&block, 2));
        assert!(most <= 0.501, "{most} {block:?}");
        let (most, _) = difference(&[flat(block[0])], &reference(&block, 1));
        assert!(most <= 0.501, "{most} {block:?}");
    }
}

#[test]
fn a_reduced_block_is_the_mean_of_the_whole_one() {
    let mut block = [0; 64];
    // Frequencies that a quarter of the samples can show.
    (block[0], block[1], block[8]) = (300, 90, -60);
    let samples = whole(&block, &ONES);
    for (y, row) in Reduced::<4>::new().samples(&block, &ONES).iter().enumerate() {
        for (x, &have) in row.iter().enumerate() {
            let sum: u32 = (0..4).map(|n| u32::from(samples[2 * y + n / 2][2 * x + n % 2])).sum();
            assert!((f64::from(have) - f64::from(sum) / 4.0).abs() <= 1.5, "{x} {y} {have} {sum}");
        }
    }
}

#[test]
fn a_block_of_one_coefficient_is_flat() {
    let (two, four) = (Reduced::<2>::new(), Reduced::<4>::new());
    for first in i16::MIN..=i16::MAX {
        let mut block = [0; 64];
        block[0] = first;
        let sample = flat(first);
        assert_eq!(whole(&block, &ONES), [[sample; 8]; 8], "{first}");
        assert_eq!(four.samples(&block, &ONES), [[sample; 4]; 4], "{first}");
        assert_eq!(two.samples(&block, &ONES), [[sample; 2]; 2], "{first}");
    }
}

/// Where SIMD is compiled in, the two ways must agree on all that a file can say, be it nonsense.
#[test]
fn any_coefficients_are_computed_alike() {
    let mut random = Random::new(2);
    let extremes = [i16::MIN, i16::MIN + 1, -1, 0, 1, i16::MAX];
    for n in 0..20_000 {
        let block: Block = std::array::from_fn(|_| match n % 3 {
            0 => extremes[random.below(extremes.len())],
            1 => random.next_u32() as i16,
            _ => (random.next_u32() as i16) >> random.below(16),
        });
        assert_eq!(whole(&block, &ONES), plain::whole(&block, &ONES), "{block:?}");
        let factors: Block = std::array::from_fn(|_| random.next_u32() as i16);
        let product: Block = std::array::from_fn(|n| block[n].wrapping_mul(factors[n]));
        assert_eq!(whole(&block, &factors), plain::whole(&product, &ONES), "{block:?}");
        let (two, four) = (Reduced::<2>::new(), Reduced::<4>::new());
        assert_eq!(two.samples(&block, &factors), two.samples(&product, &ONES));
        assert_eq!(four.samples(&block, &factors), four.samples(&product, &ONES));
    }
}
