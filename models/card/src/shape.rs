//! The shapes that a graph reports or a card promises.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

/// The sizes of a tensor's axes, outermost first; -1 is an axis of any size, and a scalar has no axes. Of some tensors a
/// graph does not even say how many axes they have: those have [`Shape::ANY`].
///
/// As a slice it is the list of its axes, which is empty for scalars and for [`Shape::ANY`].
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Option<Vec<i64>>", into = "Option<Vec<i64>>")]
pub struct Shape(Option<Vec<i64>>);

impl Shape {
    /// Any number of axes of any size.
    pub const ANY: Shape = Shape(None);

    /// Whether this is [`Shape::ANY`].
    pub fn is_any(&self) -> bool {
        self.0.is_none()
    }

    /// Whether a tensor of this shape fits.
    pub fn admits(&self, shape: &[usize]) -> bool {
        let fits = |(&want, &have): (&i64, &usize)| want < 0 || usize::try_from(want) == Ok(have);
        self.0.as_ref().is_none_or(|axes| axes.len() == shape.len() && axes.iter().zip(shape).all(fits))
    }

    /// Whether all tensors of this shape have the shape `wider` as well.
    pub fn is_within(&self, wider: &Shape) -> bool {
        let fits = |(own, wider): (&i64, &i64)| *wider < 0 || own == wider;
        match (&self.0, &wider.0) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(axes), Some(wider)) => axes.len() == wider.len() && axes.iter().zip(wider).all(fits),
        }
    }
}

impl TryFrom<Option<Vec<i64>>> for Shape {
    type Error = String;

    fn try_from(axes: Option<Vec<i64>>) -> Result<Self, String> {
        match axes.iter().flatten().find(|&&axis| axis < -1) {
            Some(axis) => Err(format!("{axis} is no size of an axis; write -1 for an axis of any size")),
            None => Ok(Shape(axes)),
        }
    }
}

impl From<Shape> for Option<Vec<i64>> {
    fn from(shape: Shape) -> Self {
        shape.0
    }
}

impl Deref for Shape {
    type Target = [i64];

    fn deref(&self) -> &[i64] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl From<Vec<i64>> for Shape {
    fn from(axes: Vec<i64>) -> Self {
        Shape(Some(axes))
    }
}

impl From<&[i64]> for Shape {
    fn from(axes: &[i64]) -> Self {
        Shape(Some(axes.to_vec()))
    }
}

/// As in `FP32 [-1, 3]` and `FP32 of any shape`.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(axes) => write!(f, "{axes:?}"),
            None => f.write_str("of any shape"),
        }
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scalar_is_not_just_anything() {
        let scalar = Shape::from(vec![]);
        assert!(scalar.admits(&[]) && !scalar.admits(&[1]) && !scalar.admits(&[0]));
        assert!(Shape::ANY.admits(&[]) && Shape::ANY.admits(&[1, 0, 4]));
        assert!(scalar.is_empty() && Shape::ANY.is_empty() && scalar != Shape::ANY);
        assert_eq!((scalar.to_string(), Shape::ANY.to_string()), ("[]".into(), "of any shape".into()));
    }

    #[test]
    fn a_shape_is_within_those_that_say_less() {
        let shape = |axes: &[i64]| Shape::from(axes);
        for (narrow, wide) in [
            (shape(&[2, 3]), shape(&[-1, 3])),
            (shape(&[-1, 3]), shape(&[-1, -1])),
            (shape(&[]), Shape::ANY),
            (shape(&[-1]), Shape::ANY),
        ] {
            assert!(narrow.is_within(&wide) && narrow.is_within(&narrow) && wide.is_within(&wide));
            assert!(!wide.is_within(&narrow), "{wide} {narrow}");
        }
        assert!(!shape(&[1]).is_within(&shape(&[])) && !shape(&[]).is_within(&shape(&[1])));
    }

    #[test]
    fn no_shape_is_any_shape() {
        #[derive(Deserialize)]
        struct Table {
            #[serde(default)]
            shape: Shape,
        }
        for (text, shape) in [("", Shape::ANY), ("shape = []", vec![].into()), ("shape = [-1, 3]", vec![-1, 3].into())]
        {
            let table: Table = toml::from_str(text).unwrap();
            assert_eq!(table.shape, shape, "{text}");
        }
        let error = toml::from_str::<Table>("shape = [-2, 3]").err().unwrap().to_string();
        assert!(error.contains("-2 is no size of an axis; write -1"), "{error}");
    }
}
