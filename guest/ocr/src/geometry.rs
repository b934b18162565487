//! Points, the smallest rectangle around some of them, and quadrilaterals in the order in which text is read.

/// A place in a picture or a map: pixels to the right, and down.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) x: f64,
    pub(crate) y: f64,
}

/// Four corners: upper left, upper right, lower right and lower left.
pub(crate) type Quad = [Point; 4];

/// A rectangle that may be turned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rectangle {
    center: Point,
    /// The direction of its first side, of length 1.
    direction: Point,
    /// Lengths of the side in that direction, and of the one across it.
    pub(crate) sides: (f64, f64),
}

impl Point {
    pub(crate) fn new(x: f64, y: f64) -> Self {
        Self { x, y }
    }

    pub(crate) fn distance(self, other: Self) -> f64 {
        (self.x - other.x).hypot(self.y - other.y)
    }

    /// This place, and from there so far in a direction.
    fn towards(self, direction: Self, length: f64) -> Self {
        Self::new(self.x + length * direction.x, self.y + length * direction.y)
    }

    fn dot(self, other: Self) -> f64 {
        self.x * other.x + self.y * other.y
    }

    /// The direction across this one.
    fn across(self) -> Self {
        Self::new(-self.y, self.x)
    }
}

impl Rectangle {
    /// The rectangle of least area around points that are sorted by rows, and within rows by columns; `None` without any.
    ///
    /// One of its sides lies on a side of their convex hull (Freeman and Shapira, 1975).
    pub(crate) fn around(points: &[Point]) -> Option<Self> {
        let hull = convex_hull(points);
        let [first, ..] = *hull.as_slice() else { return None };
        let ends = hull.iter().skip(1).chain([&first]);
        let along = hull.iter().zip(ends).map(|(&start, &end)| Self::along(start, end, &hull));
        along.min_by(|a, b| a.area().total_cmp(&b.area()))
    }

    /// The least rectangle around `points` of which a side has the direction from `start` to `end`.
    fn along(start: Point, end: Point, points: &[Point]) -> Self {
        let length = start.distance(end);
        let direction = match length {
            0.0 => Point::new(1.0, 0.0),
            _ => Point::new((end.x - start.x) / length, (end.y - start.y) / length),
        };
        let span = |direction: Point| {
            let places = points.iter().map(|point| point.dot(direction));
            places.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), place| (low.min(place), high.max(place)))
        };
        let ((left, right), (top, bottom)) = (span(direction), span(direction.across()));
        let origin = Point::new(0.0, 0.0);
        let center = origin.towards(direction, (left + right) / 2.0).towards(direction.across(), (top + bottom) / 2.0);
        Self { center, direction, sides: (right - left, bottom - top) }
    }

    pub(crate) fn area(&self) -> f64 {
        self.sides.0 * self.sides.1
    }

    pub(crate) fn circumference(&self) -> f64 {
        2.0 * (self.sides.0 + self.sides.1)
    }

    pub(crate) fn shorter_side(&self) -> f64 {
        self.sides.0.min(self.sides.1)
    }

    /// The same rectangle with each side moved outwards.
    pub(crate) fn grown(&self, by: f64) -> Self {
        Self { sides: (self.sides.0 + 2.0 * by, self.sides.1 + 2.0 * by), ..*self }
    }

    pub(crate) fn corners(&self) -> Quad {
        let (wide, high) = (self.sides.0 / 2.0, self.sides.1 / 2.0);
        let corner = |right: f64, down: f64| {
            self.center.towards(self.direction, right * wide).towards(self.direction.across(), down * high)
        };
        in_reading_direction([corner(-1.0, -1.0), corner(1.0, -1.0), corner(1.0, 1.0), corner(-1.0, 1.0)])
    }
}

/// The corners of a quadrilateral, of which those on the left begin and end a line of text, whichever way it is turned.
pub(crate) fn in_reading_direction(mut corners: Quad) -> Quad {
    corners.sort_by(|a, b| a.x.total_cmp(&b.x));
    let by_height = |a: Point, b: Point| if a.y <= b.y { (a, b) } else { (b, a) };
    let [a, b, c, d] = corners;
    let ((upper_left, lower_left), (upper_right, lower_right)) = (by_height(a, b), by_height(c, d));
    [upper_left, upper_right, lower_right, lower_left]
}

/// The corners of the convex hull, in the order of the boundary, by Andrew's monotone chain. The points are sorted by rows,
/// and within rows by columns.
fn convex_hull(points: &[Point]) -> Vec<Point> {
    let mut hull = half_hull(points.iter());
    hull.extend(half_hull(points.iter().rev()));
    hull
}

/// One side of the hull, without its last point.
fn half_hull<'a>(points: impl Iterator<Item = &'a Point>) -> Vec<Point> {
    let mut chain: Vec<Point> = Vec::new();
    for &point in points {
        while let [.., a, b] = *chain.as_slice()
            && (b.x - a.x) * (point.y - a.y) - (b.y - a.y) * (point.x - a.x) <= 0.0
        {
            chain.pop();
        }
        chain.push(point);
    }
    if chain.len() > 1 {
        chain.pop();
    }
    chain
}

#[cfg(test)]
mod tests;
