//! The shapes of a warm-up: stated by a card, or made up for the axes that it leaves open.

use std::collections::BTreeMap;

use modelfn_card::TensorSpec;

use crate::tensor::AxisNames;

/// Usual widths and heights of pictures.
const PICTURE_SIZES: [usize; 6] = [224, 256, 320, 416, 512, 640];

/// Usual lengths of sequences, and of whatever else is open. Last a single element, which some graphs are made for.
const LENGTHS: [usize; 4] = [8, 16, 128, 1];

/// The shapes of all inputs, in their order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shapes {
    /// The card or the graph states every size, but for the number of rows, of which there is one.
    Stated(Vec<Vec<usize>>),
    /// Sizes were made up; each of these is worth a try.
    MadeUp(Vec<Vec<Vec<usize>>>),
}

/// What an open axis probably counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Axis {
    Rows,
    Channels,
    Pixels,
    Length,
}

impl Shapes {
    /// The shapes for `inputs`, of which `stated` may state some by name.
    ///
    /// # Errors
    ///
    /// A stated shape is of no input, or not one that its input takes.
    pub(super) fn of(
        inputs: &[TensorSpec],
        names: &AxisNames,
        stated: &BTreeMap<String, Vec<usize>>,
    ) -> Result<Shapes, String> {
        for (name, shape) in stated {
            let Some(spec) = inputs.iter().find(|spec| spec.name == *name) else {
                let have: Vec<_> = inputs.iter().map(|spec| spec.name.as_str()).collect();
                return Err(format!("serving.warmup names '{name}', but the inputs are {}", have.join(", ")));
            };
            if !spec.admits(spec.dtype, shape) {
                return Err(format!("serving.warmup says {shape:?}, but the input is {spec}"));
            }
        }
        let leaves_sizes = |spec: &TensorSpec| spec.shape.is_any() || spec.shape.iter().skip(1).any(|&axis| axis < 0);
        let is_open = |spec: &TensorSpec| !stated.contains_key(&spec.name) && leaves_sizes(spec);
        let shapes_of_try = |n: usize| {
            let mut sizes = stated_sizes(inputs, names, stated);
            let named = |input: usize| names.0.get(input).map_or(&[][..], Vec::as_slice);
            let inputs = inputs.iter().enumerate();
            let shape = inputs.map(|(input, spec)| match stated.get(&spec.name) {
                Some(shape) => shape.clone(),
                None => shape(spec, named(input), n, &mut sizes),
            });
            shape.collect::<Vec<_>>()
        };
        if !inputs.iter().any(is_open) {
            return Ok(Shapes::Stated(shapes_of_try(0)));
        }
        let mut tries: Vec<_> = (0..PICTURE_SIZES.len()).map(shapes_of_try).collect();
        tries.dedup();
        Ok(Shapes::MadeUp(tries))
    }
}

/// The sizes of named axes whose inputs' shapes are stated.
fn stated_sizes(
    inputs: &[TensorSpec],
    names: &AxisNames,
    stated: &BTreeMap<String, Vec<usize>>,
) -> BTreeMap<String, usize> {
    let shapes = inputs.iter().zip(&names.0).filter_map(|(spec, names)| Some((names, stated.get(&spec.name)?)));
    let sizes = shapes.flat_map(|(names, shape)| names.iter().cloned().zip(shape.iter().copied()));
    sizes.filter(|(name, _)| !name.is_empty()).collect()
}

/// The shape of try `n`. `sizes` holds the sizes of named axes, which are the same in all inputs. An input of which the
/// graph does not say how many axes it has gets one more in each try.
fn shape(spec: &TensorSpec, names: &[String], n: usize, sizes: &mut BTreeMap<String, usize>) -> Vec<usize> {
    if spec.shape.is_any() {
        return vec![1; n];
    }
    let axes = spec.shape.iter().enumerate().map(|(position, &axis)| {
        if let Ok(fixed) = usize::try_from(axis) {
            return fixed;
        }
        let usual = match axis_kind(spec, position) {
            Axis::Rows => 1,
            Axis::Channels => 3,
            Axis::Pixels => PICTURE_SIZES[n.min(PICTURE_SIZES.len() - 1)],
            Axis::Length => LENGTHS[n.min(LENGTHS.len() - 1)],
        };
        match names.get(position).filter(|name| !name.is_empty()) {
            None => usual,
            Some(name) if name.contains('+') => sum(name, usual, sizes),
            Some(name) => *sizes.entry(name.clone()).or_insert(usual),
        }
    });
    axes.collect()
}

/// The size of an axis that is called after the sum of others, such as `past_length + sequence_length`.
fn sum(name: &str, usual: usize, sizes: &mut BTreeMap<String, usize>) -> usize {
    let terms = name.split('+').map(str::trim);
    let size = |term: &str| term.parse().unwrap_or_else(|_| *sizes.entry(term.to_owned()).or_insert(usual));
    terms.map(size).fold(0, usize::saturating_add)
}

/// What an open axis probably counts: axis 0 rows, and the others pixels where the input looks like a picture.
fn axis_kind(spec: &TensorSpec, position: usize) -> Axis {
    let is_channels = |axis: i64| matches!(axis, 1 | 3 | 4);
    match (position, &*spec.shape) {
        (0, _) => Axis::Rows,
        (1, [_, -1, -1, -1]) => Axis::Channels,
        (_, [_, -1, -1, -1]) => Axis::Pixels,
        (2 | 3, [_, channels, ..]) if spec.shape.len() == 4 && is_channels(*channels) => Axis::Pixels,
        (1 | 2, [_, _, _, channels]) if is_channels(*channels) => Axis::Pixels,
        _ => Axis::Length,
    }
}

#[cfg(test)]
mod tests {
    use modelfn_card::{DType, Shape};

    use super::*;

    /// The tries for inputs `a`, `b` … of these shapes and names of axes.
    fn shapes(inputs: &[(&[i64], &[&str])], stated: &[(&str, &[usize])]) -> Result<Shapes, String> {
        let spec = |(n, (shape, _)): (usize, &(&[i64], &[&str]))| {
            let name = char::from(b'a' + n as u8).to_string();
            TensorSpec { name, dtype: DType::Fp32, shape: (*shape).into() }
        };
        let specs: Vec<_> = inputs.iter().enumerate().map(spec).collect();
        let names = inputs.iter().map(|(_, names)| names.iter().map(ToString::to_string).collect()).collect();
        let stated = stated.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())).collect();
        Shapes::of(&specs, &AxisNames(names), &stated)
    }

    fn made_up(inputs: &[(&[i64], &[&str])]) -> Vec<Vec<Vec<usize>>> {
        match shapes(inputs, &[]).unwrap() {
            Shapes::MadeUp(tries) => tries,
            stated => panic!("{stated:?}"),
        }
    }

    #[test]
    fn open_rows_alone_leave_nothing_to_make_up() {
        assert_eq!(shapes(&[(&[-1, 3], &[])], &[]), Ok(Shapes::Stated(vec![vec![1, 3]])));
        assert_eq!(shapes(&[(&[-1], &[]), (&[], &[])], &[]), Ok(Shapes::Stated(vec![vec![1], vec![]])));
    }

    #[test]
    fn pictures_get_usual_sizes_in_either_layout() {
        let tries = made_up(&[(&[-1, 3, -1, -1], &[])]);
        let sizes: Vec<_> = tries.iter().map(|shapes| shapes[0][2]).collect();
        assert_eq!(sizes, PICTURE_SIZES);
        assert_eq!(tries[0], [[1, 3, 224, 224]]);
        assert_eq!(made_up(&[(&[1, -1, -1, 1], &[])])[0], [[1, 224, 224, 1]]);
        assert_eq!(made_up(&[(&[-1, -1, -1, -1], &[])])[0], [[1, 3, 224, 224]]);
    }

    #[test]
    fn an_unknown_number_of_axes_grows() {
        let spec = TensorSpec { name: "x".into(), dtype: DType::Fp32, shape: Shape::ANY };
        let Ok(Shapes::MadeUp(tries)) = Shapes::of(&[spec], &AxisNames::default(), &BTreeMap::new()) else { panic!() };
        assert_eq!(tries[..3], [[vec![]], [vec![1]], [vec![1, 1]]]);
    }

    #[test]
    fn axes_of_one_name_have_one_size_and_sums_are_added() {
        let past: &[&str] = &["batch", "past + seq"];
        let tries =
            made_up(&[(&[-1, -1], &["batch", "seq"]), (&[-1, -1], past), (&[-1, 2, -1, 4], &["", "", "past", ""])]);
        assert_eq!(tries[0], [vec![1, 8], vec![1, 16], vec![1, 2, 8, 4]]);
        assert_eq!(tries.len(), LENGTHS.len(), "{tries:?}");
        assert_eq!(tries[3], [vec![1, 1], vec![1, 2], vec![1, 2, 1, 4]]);
    }

    #[test]
    fn what_is_stated_is_taken_and_must_fit() {
        let image: (&[i64], &[&str]) = (&[-1, 3, -1, -1], &["", "", "side", ""]);
        let other: (&[i64], &[&str]) = (&[-1, -1], &["", "side"]);
        let stated: &[(&str, &[usize])] = &[("a", &[1, 3, 96, 64])];
        assert_eq!(shapes(&[image], stated), Ok(Shapes::Stated(vec![vec![1, 3, 96, 64]])));
        let Ok(Shapes::MadeUp(tries)) = shapes(&[image, other], stated) else { panic!("'b' is open") };
        assert_eq!(tries, [[vec![1, 3, 96, 64], vec![1, 96]]]);
        assert!(
            shapes(&[image], &[("a", &[1, 4, 96, 64])]).unwrap_err().contains("serving.warmup says [1, 4, 96, 64]")
        );
        assert!(shapes(&[image], &[("x", &[1])]).unwrap_err().contains("names 'x', but the inputs are a"));
    }
}
