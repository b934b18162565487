//! What each component can always have of the instances, and what it may have at most. Pure.

use std::sync::Arc;

/// A component that instances are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ComponentShare {
    /// Its id.
    pub(crate) component: Arc<str>,
    /// The most instances that it may have, where the manifest says so.
    pub(crate) max_instances: Option<usize>,
}

/// How instances are kept for those who have few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reserve {
    /// Instances that each component can always have.
    pub(super) guaranteed: usize,
    /// Instances that only components without any may take. Used where there are too many components for a guarantee.
    pub(super) for_newcomers: usize,
}

impl Reserve {
    /// Half of the instances is divided among the components, at least one for each. The other half is for whoever comes,
    /// and so is all of it where there is one component. Where there are more components than that half has instances, a
    /// quarter of all is kept for those who have none.
    pub(super) fn of(instances: usize, components: usize) -> Reserve {
        match components {
            0 | 1 => Reserve { guaranteed: 0, for_newcomers: 0 },
            _ if components <= instances / 2 => {
                Reserve { guaranteed: (instances / 2 / components).max(1), for_newcomers: 0 }
            }
            _ if instances > 1 => Reserve { guaranteed: 0, for_newcomers: (instances / 4).max(1) },
            _ => Reserve { guaranteed: 0, for_newcomers: 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_is_divided_and_a_single_component_has_all() {
        for (instances, components, guaranteed, for_newcomers) in [
            (16, 1, 0, 0),
            (16, 2, 4, 0),
            (16, 3, 2, 0),
            (16, 8, 1, 0),
            (16, 9, 0, 4),
            (16, 1000, 0, 4),
            (2, 2, 0, 1),
            (1, 2, 0, 0),
            (4, 2, 1, 0),
        ] {
            assert_eq!(Reserve::of(instances, components), Reserve { guaranteed, for_newcomers }, "{components}");
        }
    }
}
