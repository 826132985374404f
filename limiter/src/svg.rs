//! Owns what all plots share: elements as SVG text, an axis of values with its ticks, and short numbers.
//!
//! It refuses what a plot means: steps over time are `incident::report::steps`, bars are those of the benches.

use std::fmt::Write as _;

use crate::markup::escape;

/// SVG text that elements are added to.
#[derive(Debug, Default)]
pub struct Canvas {
    text: String,
}

impl Canvas {
    /// Begins with `text`.
    pub fn new(text: String) -> Self {
        Self { text }
    }

    /// Adds a line; `style`: its attributes.
    pub fn line(&mut self, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2], style: &str) {
        let [x1, x2, y1, y2] = [x1, x2, y1, y2].map(place);
        self.add(&format!("<line x1=\"{x1}\" x2=\"{x2}\" y1=\"{y1}\" y2=\"{y2}\" {style}/>"));
    }

    /// Adds a rectangle from its upper left corner.
    pub fn rect(&mut self, [x, y]: [f64; 2], [width, height]: [f64; 2], fill: &str) {
        let [x, y, width, height] = [x, y, width, height].map(place);
        self.add(&format!(
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{fill}\"/>"
        ));
    }

    /// Adds words, which may be anybody's; `style`: attributes.
    pub fn text(&mut self, [x, y]: [f64; 2], style: &str, words: &str) {
        let gap = if style.is_empty() { "" } else { " " };
        self.add(&format!(
            "<text x=\"{}\" y=\"{}\"{gap}{style}>{}</text>",
            place(x),
            place(y),
            escape(words)
        ));
    }

    /// Adds an element as it is.
    pub fn add(&mut self, element: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{element}");
    }

    /// The whole text.
    pub fn finish(self) -> String {
        self.text + "</svg>\n"
    }
}

/// The area of values in a picture, and what its axis shows.
#[derive(Clone, Copy, Debug)]
pub struct Area {
    /// Its left and right ends.
    pub x: [f64; 2],
    /// Its upper and lower ends.
    pub y: [f64; 2],
    /// The values at its lower and upper ends; those of a logarithmic axis are above 0.
    pub values: [f64; 2],
    /// Whether the axis is logarithmic.
    pub logarithmic: bool,
}

impl Area {
    /// The height of a value in the picture; values beyond the ends are at the ends.
    pub fn at(&self, value: f64) -> f64 {
        let scale = |value: f64| if self.logarithmic { value.log10() } else { value };
        let [low, high] = self.values;
        let share = (scale(value.clamp(low, high)) - scale(low)) / (scale(high) - scale(low));
        self.y[1] - (self.y[1] - self.y[0]) * share
    }

    /// The values that have a line: decades, or multiples of a round number.
    pub fn ticks(&self) -> Vec<f64> {
        let [low, high] = self.values;
        if self.logarithmic {
            let decades = (low.log10() - 1e-9).ceil() as i32..=(high.log10() + 1e-9).floor() as i32;
            return decades.map(|decade| 10_f64.powi(decade)).collect();
        }
        let step = step(high);
        (0..=(high / step + 1e-9).floor() as u32)
            .map(|tick| f64::from(tick) * step)
            .filter(|tick| *tick >= low)
            .collect()
    }

    /// Draws a line and a number for each tick; `line`: the colour.
    pub fn draw_axis(&self, to: &mut Canvas, line: &str) {
        for tick in self.ticks() {
            let y = self.at(tick);
            to.line([self.x[0], y], [self.x[1], y], &format!("stroke=\"{line}\""));
            to.text([self.x[0] - 7.0, y + 4.5], "text-anchor=\"end\"", &number(tick));
        }
    }

    /// Draws the line below the values.
    pub fn draw_floor(&self, to: &mut Canvas, colour: &str) {
        to.line([self.x[0], self.y[1]], [self.x[1], self.y[1]], &format!("stroke=\"{colour}\""));
    }
}

/// The distance of ticks of an axis that ends at `most`: about four of them.
pub fn step(most: f64) -> f64 {
    let rough = most / 4.0;
    let decade = 10.0_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * decade)
        .find(|step| *step >= rough);
    step.unwrap_or(rough)
}

/// Three digits that say something, and a letter for large numbers.
pub fn number(value: f64) -> String {
    let short = |value: f64| {
        let digits = match value.abs() {
            size if size >= 100.0 => 0,
            size if size >= 10.0 => 1,
            _ => 2,
        };
        let text = format!("{value:.digits$}");
        let text =
            if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        if text == "-0" { "0".to_owned() } else { text.to_owned() }
    };
    match value.abs() {
        size if size >= 1e12 => format!("{value:.0e}"),
        size if size >= 1e9 => format!("{}G", short(value / 1e9)),
        size if size >= 1e6 => format!("{}M", short(value / 1e6)),
        size if size >= 1e4 => format!("{}k", short(value / 1e3)),
        _ => short(value),
    }
}

/// Tenths are as much as a picture shows.
fn place(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const AREA: Area =
        Area { x: [0.0, 100.0], y: [10.0, 210.0], values: [0.0, 115.0], logarithmic: false };

    #[test]
    fn values_are_where_their_ticks_are() {
        assert_eq!(AREA.ticks(), [0.0, 50.0, 100.0]);
        assert_eq!(
            [0.0, 57.5, 115.0, 200.0, -1.0].map(|value| AREA.at(value)),
            [210.0, 110.0, 10.0, 10.0, 210.0]
        );
        let decades = Area { values: [1.0, 100.0], logarithmic: true, ..AREA };
        assert_eq!(decades.ticks(), [1.0, 10.0, 100.0]);
        assert_eq!(
            [0.0, 1.0, 10.0, 100.0].map(|value| decades.at(value)),
            [210.0, 210.0, 110.0, 10.0]
        );
    }

    #[test]
    fn numbers_are_short() {
        let numbers = [0.5, -0.001, 12.34, 61.0, 2500.0, 12_000.0, 12_345.0, 2e6, 3e9, 1.7e300];
        let expected = ["0.5", "0", "12.3", "61", "2500", "12k", "12.3k", "2M", "3G", "2e300"];
        assert_eq!(numbers.map(number), expected);
    }

    #[test]
    fn words_cannot_leave_their_element() {
        let mut canvas = Canvas::default();
        canvas.text([1.04, 2.0], "", "a < b");
        assert_eq!(canvas.finish(), "<text x=\"1\" y=\"2\">a &lt; b</text>\n</svg>\n");
    }
}
