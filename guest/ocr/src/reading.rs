//! Reads the lines of a sheet: cuts each out, turns it if it is upside down, and recognizes its characters.
//!
//! Lines of similar proportions are computed together. As many as the authors of the network take, since the gray behind
//! shorter lines of a batch has a small influence on what is read.

use modelfn_card::Card;
use modelfn_guest::{Problem, Stopwatch};
use modelfn_imaging::{RgbImage, rectify};

use crate::batch::Batch;
use crate::geometry::Quad;
use crate::models::{DIRECTION, Direction, RECOGNITION, Recognition, run};
use crate::text::{Text, decode};

/// Lines of one computation.
const BATCH: usize = 6;

/// From this ratio of height to width on, a box holds a line that runs from top to bottom or is turned by 90 degrees.
const UPRIGHT_ASPECT: f64 = 1.5;

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
    pub(crate) fn read() -> Result<Self, Problem> {
        Ok(Self { direction: Direction::read()?, recognition: Recognition::read()? })
    }

    /// The text in each of `boxes`, in their order.
    ///
    /// # Errors
    ///
    /// Those of the models.
    pub(crate) fn texts(
        &self,
        sheet: &RgbImage,
        boxes: &[Quad],
        stopwatch: &mut Stopwatch,
    ) -> Result<Vec<Text>, Problem> {
        let mut order: Vec<usize> = (0..boxes.len()).collect();
        order.sort_by(|&a, &b| aspect(&boxes[a]).total_cmp(&aspect(&boxes[b])));
        let mut texts = vec![Text::default(); boxes.len()];
        for batch in order.chunks(BATCH) {
            let mut lines: Vec<RgbImage> = batch.iter().map(|&n| line(sheet, &boxes[n])).collect();
            stopwatch.lap("crop");
            self.turn(&mut lines)?;
            stopwatch.lap("direction");
            let read = self.recognize(&lines)?;
            stopwatch.lap("recognition");
            for (&n, text) in batch.iter().zip(read) {
                texts[n] = text;
            }
        }
        Ok(texts)
    }

    /// The cards of the two models.
    pub(crate) fn cards(&self) -> [&Card; 2] {
        [&self.direction.card, &self.recognition.card]
    }

    /// The probability, at least, of the characters of a line that is worth telling.
    pub(crate) fn min_score(&self) -> f32 {
        self.recognition.rules.min_score
    }

    /// Turns the lines that are upside down.
    fn turn(&self, lines: &mut [RgbImage]) -> Result<(), Problem> {
        let size = &self.direction.size;
        let mut batch = Batch::new((size.width, size.height));
        for line in lines.iter() {
            batch.push(line);
        }
        let outputs = run(DIRECTION, batch.shape(), batch.into_pixels())?;
        let probabilities = outputs.first().and_then(|(_, output)| output.floats()).unwrap_or_default();
        let (pairs, rest) = probabilities.as_chunks::<2>();
        if pairs.len() != lines.len() || !rest.is_empty() {
            return Err(Problem::bad_gateway(format!("model '{DIRECTION}' did not compute two probabilities a line")));
        }
        for (line, [upright, upside_down]) in lines.iter_mut().zip(pairs) {
            if upside_down > upright && *upside_down > self.direction.rules.threshold {
                modelfn_imaging::rotate180_in_place(line);
            }
        }
        Ok(())
    }

    /// What the lines say.
    fn recognize(&self, lines: &[RgbImage]) -> Result<Vec<Text>, Problem> {
        let size = &self.recognition.size;
        let ratio = |line: &RgbImage| f64::from(line.width()) / f64::from(line.height());
        let widest = lines.iter().map(ratio).fold(0.0, f64::max);
        let width = ((f64::from(size.height) * widest) as u32).clamp(size.min_width, size.max_width);
        let mut batch = Batch::new((width, size.height));
        for line in lines {
            batch.push(line);
        }
        let outputs = run(RECOGNITION, batch.shape(), batch.into_pixels())?;
        decode(&outputs, lines.len(), &self.recognition.characters)
    }
}

/// The line in a box, from left to right.
fn line(sheet: &RgbImage, corners: &Quad) -> RgbImage {
    let (width, height) = sides(corners);
    let places = corners.map(|corner| (corner.x as f32, corner.y as f32));
    let line = rectify(sheet, places, ((width as u32).max(1), (height as u32).max(1)));
    if height >= UPRIGHT_ASPECT * width { modelfn_imaging::rotate270(&line) } else { line }
}

/// Width divided by height of the line in a box.
fn aspect(corners: &Quad) -> f64 {
    let (width, height) = sides(corners);
    if height >= UPRIGHT_ASPECT * width { height / width } else { width / height }
}

/// Width and height of a box in whole pixels, at least 1: of opposite sides the longer ones.
fn sides([a, b, c, d]: &Quad) -> (f64, f64) {
    let whole = |one: f64, other: f64| one.max(other).floor().max(1.0);
    (whole(a.distance(*b), d.distance(*c)), whole(a.distance(*d), b.distance(*c)))
}
