use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

use super::*;
use crate::random::Random;

/// The same by the crate that scales other pictures.
fn reference(plane: &Plane, to: (usize, usize), filter: Filter) -> Vec<u8> {
    let filter = match filter {
        Filter::Bicubic => FilterType::CatmullRom,
        Filter::Bilinear => FilterType::Bilinear,
    };
    let CropBox { left, top, width, height } = plane.crop;
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).crop(left, top, width, height);
    let size = (plane.width as u32, plane.height as u32);
    let source = TypedImageRef::<U8>::from_buffer(size.0, size.1, &plane.samples).unwrap();
    let mut result = vec![0; to.0 * to.1];
    let mut target = TypedImage::<U8>::from_buffer(to.0 as u32, to.1 as u32, &mut result).unwrap();
    Resizer::new().resize_typed(&source, &mut target, &options).unwrap();
    drop(target);
    result
}

fn plane((width, height): (usize, usize), crop: f64, sample: impl FnMut() -> u8) -> Plane {
    let samples = std::iter::repeat_with(sample).take(width * height).collect();
    let (wide, high) = (width as f64 * crop, height as f64 * crop);
    // Not in the middle.
    let (left, top) = ((width as f64 - wide) * 0.7, (height as f64 - high) * 0.3);
    Plane { samples, width, height, crop: CropBox { left, top, width: wide, height: high } }
}

/// Shrinking and enlarging, oblong, lines and dots, fewer columns than SIMD has lanes and one more.
const CASES: [((usize, usize), (usize, usize)); 14] = [
    ((1, 1), (1, 1)),
    ((1, 1), (20, 30)),
    ((1, 500), (7, 9)),
    ((500, 1), (40, 17)),
    ((2, 2), (224, 224)),
    ((15, 16), (16, 15)),
    ((17, 33), (33, 17)),
    ((16, 16), (16, 16)),
    ((100, 80), (30, 40)),
    ((31, 47), (64, 64)),
    ((640, 427), (224, 224)),
    ((447, 300), (224, 224)),
    ((1000, 70), (3, 60)),
    ((333, 900), (10, 10)),
];

#[test]
fn planes_are_scaled_as_other_pictures_are() {
    let mut random = Random::new(4);
    for (from, to) in CASES {
        for crop in [1.0, 0.875, 0.3] {
            for filter in [Filter::Bicubic, Filter::Bilinear] {
                // The hardest for filters: noise between the extremes.
                let plane = plane(from, crop, || {
                    if random.below(3) == 0 { random.next_u32() as u8 } else { 255 * (random.next_u32() & 1) as u8 }
                });
                let [have] = &resize(std::slice::from_ref(&plane), to, filter)[..] else { panic!("one plane") };
                let want = reference(&plane, to, filter);
                let difference = have.iter().zip(&want).map(|(a, b)| a.abs_diff(*b)).max();
                assert_eq!(have.len(), want.len());
                assert!(difference <= Some(1), "{from:?} {to:?} {crop} {filter:?}: {difference:?}");
            }
        }
    }
}

/// The last case is one that a well-kept crate reads beyond the picture for.
#[test]
fn interleaved_samples_are_scaled_as_their_planes() {
    let mut random = Random::new(8);
    for (from, to) in CASES.into_iter().chain([((75, 50), (70, 69))]) {
        for crop in [1.0, 0.6] {
            let planes: Vec<Plane> = (0..3).map(|_| plane(from, crop, || random.next_u32() as u8)).collect();
            let interleaved: Vec<u8> = (0..from.0 * from.1 * 3).map(|n| planes[n % 3].samples[n / 3]).collect();
            let scale = |samples: &[u8], channels| {
                let ((width, height), crop) = (from, planes[0].crop);
                let raster = Raster { samples: samples.to_vec(), channels, width, height, crop };
                resize_interleaved((&raster).into(), to, Filter::Bicubic)
            };
            assert_eq!(scale(&interleaved, 3), resize(&planes, to, Filter::Bicubic), "{from:?} {to:?} {crop}");
            assert_eq!(scale(&planes[0].samples, 1), resize(&planes[..1], to, Filter::Bicubic));
            assert!(scale(&interleaved, 1).is_empty(), "more samples than pixels");
        }
    }
}

#[test]
fn an_even_plane_stays_as_it_is() {
    for (from, to) in CASES {
        for (sample, filter) in
            [(255, Filter::Bicubic), (255, Filter::Bilinear), (1, Filter::Bicubic), (128, Filter::Bicubic)]
        {
            let plane = plane(from, 0.9, || sample);
            assert_eq!(resize(&[plane], to, filter), [vec![sample; to.0 * to.1]], "{from:?} {to:?}");
        }
    }
}

#[test]
fn a_plane_at_its_own_size_is_its_crop() {
    let mut random = Random::new(5);
    let mut plane = plane((40, 30), 1.0, || random.next_u32() as u8);
    plane.crop = CropBox { left: 3.0, top: 5.0, width: 20.0, height: 18.0 };
    let want: Vec<u8> = (0..18 * 20).map(|n| plane.samples[(5 + n / 20) * 40 + 3 + n % 20]).collect();
    for filter in [Filter::Bicubic, Filter::Bilinear] {
        assert_eq!(resize(std::slice::from_ref(&plane), (20, 18), filter), std::slice::from_ref(&want));
    }
}

/// Of a picture that is one row high and very long, only what is in the crop costs time and memory.
#[test]
fn what_is_outside_of_the_crop_costs_nothing() {
    let mut random = Random::new(9);
    let samples: Vec<u8> = (0..3 * 100_000).map(|_| random.next_u32() as u8).collect();
    let crop = CropBox { left: 50_000.0, top: 0.0, width: 1.0, height: 1.0 };
    let taps = Scaling::new(crop, (100_000, 1), (224, 224), Filter::Bicubic);
    assert!(taps.columns.len() <= 8, "{:?}", taps.columns);
    let raster = Raster { samples: samples.clone(), channels: 3, width: 100_000, height: 1, crop };
    let part = Raster {
        samples: samples[3 * 49_990..3 * 50_010].to_vec(),
        width: 20,
        crop: CropBox { left: 10.0, ..crop },
        ..raster.clone()
    };
    let scale = |raster: &Raster| resize_interleaved(raster.into(), (224, 224), Filter::Bicubic);
    assert_eq!(scale(&raster), scale(&part));
}

#[test]
fn planes_of_several_shapes_are_scaled_each_as_alone() {
    let mut random = Random::new(6);
    let planes = [(40, 30), (20, 15), (20, 15), (40, 15)].map(|size| plane(size, 0.8, || random.next_u32() as u8));
    let together = resize(&planes, (25, 24), Filter::Bicubic);
    for (plane, have) in planes.iter().zip(&together) {
        assert_eq!(resize(std::slice::from_ref(plane), (25, 24), Filter::Bicubic), std::slice::from_ref(have));
    }
}

/// Where SIMD is compiled in, it must be what the plain loop computes.
#[test]
fn rows_are_weighed_as_samples() {
    let mut random = Random::new(7);
    for _ in 0..2000 {
        let (width, count) = (LANES + random.below(40), 2 * (1 + random.below(7)));
        let stride = width + random.below(2) * random.below(30);
        let length = stride * random.below(count) + width;
        let bytes: Vec<u8> = (0..length).map(|_| random.next_u32() as u8).collect();
        let weights: Vec<i16> =
            (0..count).map(|n| if n * stride < length { random.next_u32() as i16 } else { 0 }).collect();
        let want: Vec<u8> = (0..width).map(|x| convolve_one(&bytes[x..], stride, &weights)).collect();
        let mut have = vec![0; width];
        convolve_row(Rows { bytes: &bytes, stride, width }, &weights, &mut have);
        assert_eq!(have, want);
    }
}

#[test]
fn rows_mixed_twice_are_columns() {
    let once = |rows: [[u8; LANES]; LANES]| -> [[u8; LANES]; LANES] {
        let mixed = [0, 1, 2, 3].map(|n| interleave([rows[n], rows[n + 4], rows[n + 8], rows[n + 12]]));
        mixed.as_flattened().try_into().unwrap()
    };
    let square =
        |sample: fn(usize, usize) -> usize| std::array::from_fn(|y| std::array::from_fn(|x| sample(x, y) as u8));
    assert_eq!(once(once(square(|x, y| y * LANES + x))), square(|x, y| x * LANES + y));
}

#[test]
fn all_of_a_length_is_done() {
    for length in LANES..100 {
        let mut done = vec![0; length];
        steps(length).for_each(|start| done[start..start + LANES].iter_mut().for_each(|times| *times += 1));
        assert!(done.iter().all(|times| (1..=2).contains(times)), "{length} {done:?}");
    }
}
