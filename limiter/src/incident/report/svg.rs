//! Owns plots over time: steps that are stacked or beside each other, marks, and the time that the report is about shaded; as SVG text.
//!
//! Colours come from the page's style, so that they follow light, dark and paper. It refuses everything else that a plot can be.

use std::fmt::Write as _;

use crate::markup::escape;

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
        let height = TOP + HEIGHT + 30.0 + LEGEND.0 * places.last().map_or(0.0, |place| place.1 + 1.0) + 6.0;
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\">\n\
             <title>{}</title>\n<desc>{}</desc>\n",
            escape(&self.title),
            escape(&self.about)
        );
        // Writing to a String cannot fail.
        let _ = self.write(&mut text, &places);
        text + "</svg>\n"
    }

    fn write(&self, to: &mut String, places: &[(f64, f64)]) -> std::fmt::Result {
        writeln!(to, "<text x=\"0\" y=\"17\" font-size=\"16\" font-weight=\"bold\">{}</text>", escape(&self.title))?;
        writeln!(to, "<text x=\"0\" y=\"36\" fill=\"var(--soft)\">{}</text>", escape(&self.about))?;
        let top = self.top();
        if let Some([from, to_end]) = self.shade {
            let (x, end) = (self.x(from), self.x(to_end));
            let width = (end - x).max(1.0);
            writeln!(
                to,
                "<rect x=\"{x:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{HEIGHT}\" fill=\"var(--shade)\"/>"
            )?;
        }
        self.write_axes(to, top)?;
        if self.stacked {
            self.write_stack(to, top)?
        } else {
            self.write_lines(to, top)?
        }
        let floor = TOP + HEIGHT;
        writeln!(
            to,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{floor}\" y2=\"{floor}\" stroke=\"var(--ink)\"/>",
            WIDTH - RIGHT
        )?;
        self.write_marks(to)?;
        for (layer, (x, row)) in self.layers.iter().zip(places) {
            let y = TOP + HEIGHT + 46.0 + LEGEND.0 * row;
            writeln!(
                to,
                "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"12\" height=\"12\" fill=\"var(--c{})\"/>",
                y - 11.0,
                layer.colour % 8
            )?;
            writeln!(to, "<text x=\"{:.1}\" y=\"{y:.1}\">{}</text>", x + 18.0, escape(&layer.name))?;
        }
        Ok(())
    }

    /// The end of the axis of values.
    fn top(&self) -> f64 {
        let column = |at: usize| {
            let values = self.layers.iter().filter_map(|layer| layer.values.get(at).copied().flatten());
            if self.stacked { values.sum() } else { values.fold(0.0, f64::max) }
        };
        let most =
            (0..self.columns.len()).map(column).filter(|value: &f64| value.is_finite()).fold(self.least, f64::max);
        // Rounded up, more would be infinite, and so would be its ticks.
        let most = most.min(1e300);
        if self.logarithmic { 10.0_f64.powf(most.max(10.0).log10().ceil()) } else { self.ticks_to(most.max(1e-3)).1 }
    }

    /// Distance of the ticks, and the tick at or above `most`.
    fn ticks_to(&self, most: f64) -> (f64, f64) {
        let rough = most / 4.0;
        let decade = 10.0_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|factor| factor * decade).find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        (step, (most / step - 1e-9).ceil().max(1.0) * step)
    }

    fn x(&self, at: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (at / self.length.max(1e-9)).clamp(0.0, 1.0)
    }

    fn y(&self, value: f64, top: f64) -> f64 {
        let share = if self.logarithmic { value.max(1.0).log10() / top.log10() } else { value / top };
        TOP + HEIGHT * (1.0 - share.clamp(0.0, 1.0))
    }

    fn write_axes(&self, to: &mut String, top: f64) -> std::fmt::Result {
        let ticks: Vec<f64> = match self.logarithmic {
            true => (0..=top.log10().round() as i32).map(|decade| 10.0_f64.powi(decade)).collect(),
            false => {
                let (step, _) = self.ticks_to(top);
                (0..=(top / step).round() as u32).map(|number| f64::from(number) * step).collect()
            }
        };
        for tick in ticks {
            let (y, right) = (self.y(tick, top), WIDTH - RIGHT);
            writeln!(to, "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"var(--line)\"/>")?;
            writeln!(
                to,
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 7.0,
                y + 4.5,
                number(tick)
            )?;
        }
        // Words of a moment at the very end would be cut off.
        for (at, words) in self.times.iter().filter(|(at, _)| self.x(*at) < WIDTH - 30.0) {
            let (x, floor) = (self.x(*at), TOP + HEIGHT);
            writeln!(
                to,
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{floor}\" y2=\"{}\" stroke=\"var(--ink)\"/>",
                floor + 5.0
            )?;
            writeln!(to, "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>", floor + 20.0, escape(words))?;
        }
        Ok(())
    }

    fn write_stack(&self, to: &mut String, top: f64) -> std::fmt::Result {
        let mut below = vec![0.0; self.columns.len()];
        for layer in &self.layers {
            let mut path = String::new();
            for (at, [from, end]) in self.columns.iter().enumerate() {
                let Some(value) = layer.values.get(at).copied().flatten().filter(|value| *value > 0.0) else {
                    continue;
                };
                let (x, right) = (self.x(*from), self.x(*end));
                let (low, high) = (self.y(below[at], top), self.y(below[at] + value, top));
                below[at] += value;
                write!(path, "M{x:.1} {low:.1}V{high:.1}H{:.1}V{low:.1}Z", right + 0.15)?;
            }
            if !path.is_empty() {
                writeln!(to, "<path d=\"{path}\" fill=\"var(--c{})\"/>", layer.colour % 8)?;
            }
        }
        Ok(())
    }

    fn write_lines(&self, to: &mut String, top: f64) -> std::fmt::Result {
        for layer in &self.layers {
            let (mut path, mut open) = (String::new(), false);
            for (at, [from, end]) in self.columns.iter().enumerate() {
                let Some(value) = layer.values.get(at).copied().flatten().filter(|value| value.is_finite()) else {
                    open = false;
                    continue;
                };
                let (x, right, y) = (self.x(*from), self.x(*end), self.y(value, top));
                match open {
                    true => write!(path, "V{y:.1}H{right:.1}")?,
                    false => write!(path, "M{x:.1} {y:.1}H{right:.1}")?,
                }
                open = true;
            }
            if !path.is_empty() {
                let colour = layer.colour % 8;
                writeln!(to, "<path d=\"{path}\" fill=\"none\" stroke=\"var(--c{colour})\" stroke-width=\"2.2\"/>")?;
            }
        }
        Ok(())
    }

    fn write_marks(&self, to: &mut String) -> std::fmt::Result {
        let mut last = f64::MIN;
        for (at, number) in &self.marks {
            let x = self.x(*at);
            writeln!(
                to,
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{}\" stroke=\"var(--mark)\" stroke-dasharray=\"4 3\"/>",
                TOP + HEIGHT
            )?;
            // A number that would stand on the one before is left out; the lines stay.
            if x - last >= 19.0 {
                let y = TOP - 11.0;
                writeln!(to, "<circle cx=\"{x:.1}\" cy=\"{y}\" r=\"9.5\" fill=\"var(--mark)\"/>")?;
                writeln!(
                    to,
                    "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"12\" font-weight=\"bold\" fill=\"var(--paper)\">{number}</text>",
                    y + 4.3
                )?;
                last = x;
            }
        }
        Ok(())
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

/// A short number for an axis.
fn number(value: f64) -> String {
    let trimmed = |value: f64| {
        let text = format!("{value:.2}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match value {
        value if value >= 1e12 => format!("{value:.0e}"),
        value if value >= 1e9 => format!("{}G", trimmed(value / 1e9)),
        value if value >= 1e6 => format!("{}M", trimmed(value / 1e6)),
        value if value >= 1e4 => format!("{}k", trimmed(value / 1e3)),
        value => trimmed(value),
    }
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
            let layers = vec![Layer { name: "most".to_owned(), colour: 0, values: vec![Some(1.7e308); 3] }];
            let plot = Plot { layers, logarithmic, ..plot() };
            assert!(plot.top().is_finite() && !plot.svg().contains("NaN"), "{}", plot.svg());
        }
    }

    #[test]
    fn what_is_not_known_is_a_hole_in_a_line() {
        let text = plot().svg();
        assert!(text.contains("a &lt; b"));
        let line = text.lines().find(|line| line.contains("stroke=\"var(--c0)\"")).expect("the line");
        assert_eq!(line.matches('M').count(), 2, "{line}");
        assert_eq!(text.matches("stroke-dasharray").count(), 2, "a line for each mark");
        assert_eq!(text.matches("<circle").count(), 1, "numbers do not stand on each other");
    }

    #[test]
    fn a_stack_ends_at_its_sum() {
        let plot = Plot { stacked: true, ..plot() };
        assert_eq!(plot.top(), 4.0);
        assert_eq!(plot.y(4.0, plot.top()), TOP);
        assert_eq!(plot.x(2.0), LEFT + (WIDTH - LEFT - RIGHT) / 2.0);
        assert_eq!(Plot { logarithmic: true, stacked: false, ..plot }.top(), 10.0);
    }

    #[test]
    fn axes_have_short_numbers() {
        assert_eq!([0.5, 2500.0, 12_000.0, 2e6, 3e9].map(number), ["0.5", "2500", "12k", "2M", "3G"]);
    }
}
