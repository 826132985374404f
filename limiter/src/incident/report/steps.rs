//! Owns plots over time: steps that are stacked or beside each other, marks, and the time that the report is about shaded; as SVG text.
//!
//! Colours come from the page's style, so that they follow light, dark and paper. It refuses everything else that a plot can be.

use crate::markup::escape;
use crate::svg::{Area, Canvas, step};

/// Steps of one colour.
#[derive(Clone, Debug)]
pub struct Layer {
    /// In the legend.
    pub name: String,
    /// Number of its colour, 0 to 7.
    pub colour: usize,
    /// One for each column; `None`: not known.
    pub values: Vec<Option<f64>>,
}

/// A plot.
#[derive(Clone, Debug, Default)]
pub struct Plot {
    /// The first line.
    pub title: String,
    /// The second line: how to read it. It is the description for who cannot see it, too.
    pub about: String,
    /// Beginning and end of each column, in seconds.
    pub columns: Vec<[f64; 2]>,
    /// What is drawn; a stack begins with the lowest.
    pub layers: Vec<Layer>,
    /// Whether values stand on each other.
    pub stacked: bool,
    /// Whether the axis is logarithmic, from 1 on.
    pub logarithmic: bool,
    /// The least end of the axis.
    pub least: f64,
    /// Seconds of the whole.
    pub length: f64,
    /// The time that is shaded.
    pub shade: Option<[f64; 2]>,
    /// Numbers at moments.
    pub marks: Vec<(f64, usize)>,
    /// Words at moments, under the axis.
    pub times: Vec<(f64, String)>,
}

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 66.0;
const HEIGHT: f64 = 210.0;
/// Height of a line of the legend, and width of a letter in it.
const LEGEND: (f64, f64) = (20.0, 7.4);

impl Plot {
    /// The SVG element.
    pub fn svg(&self) -> String {
        let places = self.legend();
        let height =
            TOP + HEIGHT + 30.0 + LEGEND.0 * places.last().map_or(0.0, |place| place.1 + 1.0) + 6.0;
        let mut canvas = Canvas::new(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\">\n\
             <title>{}</title>\n<desc>{}</desc>\n",
            escape(&self.title),
            escape(&self.about)
        ));
        self.draw(&mut canvas, &places);
        canvas.finish()
    }

    fn draw(&self, to: &mut Canvas, places: &[(f64, f64)]) {
        to.text([0.0, 17.0], "font-size=\"16\" font-weight=\"bold\"", &self.title);
        to.text([0.0, 36.0], "fill=\"var(--soft)\"", &self.about);
        let area = self.area();
        if let Some([from, end]) = self.shade {
            let (x, end) = (self.x(from), self.x(end));
            to.rect([x, TOP], [(end - x).max(1.0), HEIGHT], "var(--shade)");
        }
        area.draw_axis(to, "var(--line)");
        self.draw_times(to);
        if self.stacked {
            self.draw_stack(to, &area)
        } else {
            self.draw_lines(to, &area)
        }
        area.draw_floor(to, "var(--ink)");
        self.draw_marks(to);
        for (layer, (x, row)) in self.layers.iter().zip(places) {
            let y = TOP + HEIGHT + 46.0 + LEGEND.0 * row;
            to.rect([*x, y - 11.0], [12.0, 12.0], &colour(layer));
            to.text([x + 18.0, y], "", &layer.name);
        }
    }

    fn area(&self) -> Area {
        let low = if self.logarithmic { 1.0 } else { 0.0 };
        Area {
            x: [LEFT, WIDTH - RIGHT],
            y: [TOP, TOP + HEIGHT],
            values: [low, self.top()],
            logarithmic: self.logarithmic,
        }
    }

    /// The end of the axis of values.
    fn top(&self) -> f64 {
        let column = |at: usize| {
            let values =
                self.layers.iter().filter_map(|layer| layer.values.get(at).copied().flatten());
            if self.stacked { values.sum() } else { values.fold(0.0, f64::max) }
        };
        let most = (0..self.columns.len())
            .map(column)
            .filter(|value: &f64| value.is_finite())
            .fold(self.least, f64::max);
        // Rounded up, more would be infinite, and so would be its ticks.
        let most = most.min(1e300);
        if self.logarithmic {
            return 10.0_f64.powf(most.max(10.0).log10().ceil());
        }
        let most = most.max(1e-3);
        (most / step(most) - 1e-9).ceil().max(1.0) * step(most)
    }

    fn x(&self, at: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (at / self.length.max(1e-9)).clamp(0.0, 1.0)
    }

    fn draw_times(&self, to: &mut Canvas) {
        let floor = TOP + HEIGHT;
        // Words of a moment at the very end would be cut off.
        for (at, words) in self.times.iter().filter(|(at, _)| self.x(*at) < WIDTH - 30.0) {
            let x = self.x(*at);
            to.line([x, floor], [x, floor + 5.0], "stroke=\"var(--ink)\"");
            to.text([x, floor + 20.0], "text-anchor=\"middle\"", words);
        }
    }

    fn draw_stack(&self, to: &mut Canvas, area: &Area) {
        let mut below = vec![0.0; self.columns.len()];
        for layer in &self.layers {
            let mut path = String::new();
            for (at, [from, end]) in self.columns.iter().enumerate() {
                let Some(value) =
                    layer.values.get(at).copied().flatten().filter(|value| *value > 0.0)
                else {
                    continue;
                };
                let (x, right) = (self.x(*from), self.x(*end));
                let (low, high) = (area.at(below[at]), area.at(below[at] + value));
                below[at] += value;
                path += &format!("M{x:.1} {low:.1}V{high:.1}H{:.1}V{low:.1}Z", right + 0.15);
            }
            if !path.is_empty() {
                to.add(&format!("<path d=\"{path}\" fill=\"{}\"/>", colour(layer)));
            }
        }
    }

    fn draw_lines(&self, to: &mut Canvas, area: &Area) {
        for layer in &self.layers {
            let (mut path, mut open) = (String::new(), false);
            for (at, [from, end]) in self.columns.iter().enumerate() {
                let Some(value) =
                    layer.values.get(at).copied().flatten().filter(|value| value.is_finite())
                else {
                    open = false;
                    continue;
                };
                let (x, right, y) = (self.x(*from), self.x(*end), area.at(value));
                path += &if open {
                    format!("V{y:.1}H{right:.1}")
                } else {
                    format!("M{x:.1} {y:.1}H{right:.1}")
                };
                open = true;
            }
            if !path.is_empty() {
                let colour = colour(layer);
                to.add(&format!(
                    "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.2\"/>"
                ));
            }
        }
    }

    fn draw_marks(&self, to: &mut Canvas) {
        let mut last = f64::MIN;
        for (at, number) in &self.marks {
            let x = self.x(*at);
            to.line([x, TOP], [x, TOP + HEIGHT], "stroke=\"var(--mark)\" stroke-dasharray=\"4 3\"");
            // A number that would stand on the one before is left out; the lines stay.
            if x - last >= 19.0 {
                let y = TOP - 11.0;
                to.add(&format!(
                    "<circle cx=\"{x:.1}\" cy=\"{y}\" r=\"9.5\" fill=\"var(--mark)\"/>"
                ));
                let style = "text-anchor=\"middle\" font-size=\"12\" font-weight=\"bold\" fill=\"var(--paper)\"";
                to.text([x, y + 4.3], style, &number.to_string());
                last = x;
            }
        }
    }

    /// Where each name of the legend begins, and in which line.
    fn legend(&self) -> Vec<(f64, f64)> {
        let (mut x, mut row) = (LEFT, 0.0);
        let mut places = Vec::new();
        for layer in &self.layers {
            let width = 18.0 + layer.name.chars().count() as f64 * LEGEND.1 + 22.0;
            if x + width > WIDTH && x > LEFT {
                (x, row) = (LEFT, row + 1.0);
            }
            places.push((x, row));
            x += width;
        }
        places
    }
}

fn colour(layer: &Layer) -> String {
    format!("var(--c{})", layer.colour % 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot() -> Plot {
        let layer = |name: &str, colour, values: &[Option<f64>]| Layer {
            name: name.to_owned(),
            colour,
            values: values.to_vec(),
        };
        Plot {
            title: "a < b".to_owned(),
            columns: vec![[0.0, 1.0], [1.0, 2.0], [2.0, 4.0]],
            layers: vec![
                layer("one", 0, &[Some(1.0), None, Some(3.0)]),
                layer("two", 1, &[Some(1.0), Some(1.0), Some(1.0)]),
            ],
            length: 4.0,
            marks: vec![(2.0, 1), (2.01, 2)],
            ..Plot::default()
        }
    }

    #[test]
    fn the_largest_numbers_have_an_axis_too() {
        for logarithmic in [false, true] {
            let layers =
                vec![Layer { name: "most".to_owned(), colour: 0, values: vec![Some(1.7e308); 3] }];
            let plot = Plot { layers, logarithmic, ..plot() };
            assert!(plot.top().is_finite() && !plot.svg().contains("NaN"), "{}", plot.svg());
        }
    }

    #[test]
    fn what_is_not_known_is_a_hole_in_a_line() {
        let text = plot().svg();
        assert!(text.contains("a &lt; b"));
        let line =
            text.lines().find(|line| line.contains("stroke=\"var(--c0)\"")).expect("the line");
        assert_eq!(line.matches('M').count(), 2, "{line}");
        assert_eq!(text.matches("stroke-dasharray").count(), 2, "a line for each mark");
        assert_eq!(text.matches("<circle").count(), 1, "numbers do not stand on each other");
    }

    #[test]
    fn a_stack_ends_at_its_sum() {
        let plot = Plot { stacked: true, ..plot() };
        assert_eq!(plot.top(), 4.0);
        assert_eq!(plot.area().at(4.0), TOP);
        assert_eq!(plot.x(2.0), LEFT + (WIDTH - LEFT - RIGHT) / 2.0);
        assert_eq!(Plot { logarithmic: true, stacked: false, ..plot }.top(), 10.0);
    }
}
