//! Reads the lines of a sheet: cuts each out, turns it if it is upside down, and recognizes its characters.
//!
//! One line is computed at a time: on a processor six together take 1.4 times as long as one after the other, and the gray
//! behind the shorter ones costs characters.

use modelfn_guest::card::Card;
use modelfn_guest::imaging::{RgbImage, rectify, rotate180_in_place, rotate270};
use modelfn_guest::{Problem, Stopwatch};

use crate::geometry::Quad;
use crate::models::{DIRECTION, Direction, RECOGNITION, Recognition, run};
use crate::strip::{strip, width_at};
use crate::text::{Text, decode};

/// From this ratio of height to width on, a box holds a line that is turned by 90 degrees.
const UPRIGHT_ASPECT: f64 = 1.5;

/// What is read with a lower score is read upside down as well: the direction network, which sees long lines squeezed, may
/// be wrong.
const UNSURE: f32 = 0.7;

/// Reads lines with two models.
#[derive(Debug)]
pub(crate) struct Reader {
    direction: Direction,
    recognition: Recognition,
}

impl Reader {
    /// # Errors
    ///
    /// 500 that names the file or the key.
    pub(crate) fn open() -> Result<Self, Problem> {
        Ok(Self { direction: Direction::open()?, recognition: Recognition::open()? })
    }

    /// The cards of the two models.
    pub(crate) fn cards(&self) -> [&Card; 2] {
        [&self.direction.card, &self.recognition.card]
    }

    /// The text in a box of the sheet; `None` where the network is too unsure of it.
    ///
    /// # Errors
    ///
    /// Those of the models.
    pub(crate) fn read(
        &self,
        sheet: &RgbImage,
        corners: &Quad,
        stopwatch: &mut Stopwatch,
    ) -> Result<Option<Text>, Problem> {
        let mut line = line(sheet, corners);
        stopwatch.lap("crop");
        if self.is_upside_down(&line)? {
            rotate180_in_place(&mut line);
        }
        stopwatch.lap("direction");
        let mut text = self.recognize(&line)?;
        if text.score < UNSURE {
            rotate180_in_place(&mut line);
            let other = self.recognize(&line)?;
            text = if other.score > text.score { other } else { text };
        }
        stopwatch.lap("recognition");
        Ok(Some(text).filter(|text| text.score >= self.recognition.rules.min_score))
    }

    fn is_upside_down(&self, line: &RgbImage) -> Result<bool, Problem> {
        let (width, height) = (self.direction.size.width, self.direction.size.height);
        let outputs = run(DIRECTION, (width, height), strip(line, (width, height)))?;
        match outputs.get::<f32>("probabilities")?.data() {
            &[upright, other] => Ok(other > upright && other > self.direction.rules.threshold),
            _ => Err(Problem::bad_gateway(format!("model '{DIRECTION}' did not compute two probabilities"))),
        }
    }

    fn recognize(&self, line: &RgbImage) -> Result<Text, Problem> {
        let size = &self.recognition.size;
        let size = (width_at(line, size.height).clamp(size.min_width, size.max_width), size.height);
        let outputs = run(RECOGNITION, size, strip(line, size))?;
        let (classes, probabilities) = (outputs.get("classes")?, outputs.get("probabilities")?);
        let text = decode(classes.data(), probabilities.data(), &self.recognition.characters);
        text.ok_or_else(|| {
            Problem::bad_gateway(format!("model '{RECOGNITION}' did not compute a class for each place"))
        })
    }
}

/// The line in a box, from left to right.
fn line(sheet: &RgbImage, [a, b, c, d]: &Quad) -> RgbImage {
    // Of opposite sides the longer one, in whole pixels.
    let side = |one: f64, other: f64| one.max(other).floor().max(1.0);
    let (width, height) = (side(a.distance(*b), d.distance(*c)), side(a.distance(*d), b.distance(*c)));
    let places = [a, b, c, d].map(|corner| (corner.x as f32, corner.y as f32));
    let line = rectify(sheet, places, (width as u32, height as u32));
    if height >= UPRIGHT_ASPECT * width { rotate270(&line) } else { line }
}
