//! Statistics of a graph's weights, counted from its file: how many there are of each type, and how many are zero.

/// The weights of a graph.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Weights {
    /// One group for each element type that occurs, sorted by the type's name.
    pub groups: Vec<WeightGroup>,
    /// Tensors whose data is in other files. They are counted in `groups`, and none of their elements as zero.
    pub external_tensors: u64,
}

/// The weights of one element type.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct WeightGroup {
    /// The element type.
    pub element: Element,
    /// The number of tensors.
    pub tensors: u64,
    /// The number of elements.
    pub elements: u64,
    /// The bytes of all elements.
    pub bytes: u64,
    /// The number of elements that are zero.
    pub zeros: u64,
}

/// An element type of weights. Weights have more types than the tensors of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Element {
    /// The type's name, such as `FP32` or `INT8`.
    pub name: &'static str,
    /// Bits of one element.
    pub bits: u32,
    /// Whether the type is a floating-point type.
    pub is_float: bool,
}

/// The counts of one tensor.
#[derive(Clone, Copy, Debug)]
pub(super) struct TensorCount {
    pub(super) element: Element,
    pub(super) elements: u64,
    pub(super) zeros: u64,
    pub(super) external: bool,
}

impl Weights {
    /// The number of all elements.
    pub fn elements(&self) -> u64 {
        self.groups.iter().map(|group| group.elements).sum()
    }

    /// The bytes of all elements, with their current types.
    pub fn bytes(&self) -> u64 {
        self.groups.iter().map(|group| group.bytes).sum()
    }

    /// The number of elements that are zero.
    pub fn zeros(&self) -> u64 {
        self.groups.iter().map(|group| group.zeros).sum()
    }

    /// The bytes of all elements if each floating-point element of more than `bits` bits were converted to `bits`.
    pub fn bytes_with_floats_of(&self, bits: u32) -> u64 {
        let bytes = |group: &WeightGroup| match group.element {
            Element { is_float: true, bits: have, .. } if have > bits => bytes_of(group.elements, bits),
            _ => group.bytes,
        };
        self.groups.iter().map(bytes).sum()
    }

    pub(super) fn add(&mut self, counted: TensorCount) {
        let TensorCount { element, elements, zeros, external } = counted;
        self.external_tensors += u64::from(external);
        let index = self.groups.partition_point(|group| group.element.name < element.name);
        if self.groups.get(index).is_none_or(|group| group.element != element) {
            self.groups.insert(index, WeightGroup { element, tensors: 0, elements: 0, bytes: 0, zeros: 0 });
        }
        let group = &mut self.groups[index];
        group.tensors += 1;
        group.elements = group.elements.saturating_add(elements);
        group.bytes = group.bytes.saturating_add(bytes_of(elements, element.bits));
        group.zeros += zeros;
    }
}

/// The bytes of `elements` packed elements of `bits` bits each.
pub(super) fn bytes_of(elements: u64, bits: u32) -> u64 {
    u64::try_from((u128::from(elements) * u128::from(bits)).div_ceil(8)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FP32: Element = Element { name: "FP32", bits: 32, is_float: true };
    const INT64: Element = Element { name: "INT64", bits: 64, is_float: false };

    fn weights(tensors: &[(Element, u64)]) -> Weights {
        let mut weights = Weights::default();
        for &(element, elements) in tensors {
            weights.add(TensorCount { element, elements, zeros: 0, external: false });
        }
        weights
    }

    #[test]
    fn a_thousand_float32_parameters_are_4000_bytes() {
        let weights = weights(&[(FP32, 1000)]);
        assert_eq!(weights.bytes(), 4000);
        assert_eq!(weights.bytes_with_floats_of(16), 2000);
        assert_eq!(weights.bytes_with_floats_of(8), 1000);
    }

    #[test]
    fn other_types_keep_their_size() {
        let weights = weights(&[(INT64, 2), (FP32, 10), (FP32, 5)]);
        assert_eq!((weights.elements(), weights.bytes()), (17, 76));
        assert_eq!(weights.bytes_with_floats_of(8), 15 + 16);
        assert_eq!(
            weights.groups.iter().map(|g| (g.element.name, g.tensors)).collect::<Vec<_>>(),
            [("FP32", 2), ("INT64", 1)]
        );
    }
}
