//! Owns plots: bars in groups, with their spread, on a linear or a logarithmic axis, as SVG text.
//!
//! It refuses everything else that a plot can be: the project needs one kind, and a library for it would be larger than this file.

use std::fmt::Write as _;

/// One bar.
#[derive(Clone, Copy, Debug)]
pub struct Bar {
    /// Where it ends.
    pub value: f64,
    /// Ends of its whisker.
    pub spread: (f64, f64),
}

/// Bars of one colour, one in each group.
#[derive(Clone, Debug)]
pub struct Series {
    /// In the legend.
    pub name: String,
    /// None: nothing to show there.
    pub bars: Vec<Option<Bar>>,
}

/// A plot of bars.
#[derive(Clone, Debug)]
pub struct Plot {
    /// The first line.
    pub title: String,
    /// The second line, smaller: what the bars are, and under which conditions.
    pub subtitle: String,
    /// At the axis.
    pub unit: String,
    /// Under the groups.
    pub groups: Vec<String>,
    /// The bars.
    pub series: Vec<Series>,
    /// Ends of the axis; a logarithmic one begins above 0.
    pub range: (f64, f64),
    /// Whether the axis is logarithmic.
    pub logarithmic: bool,
    /// A line across, and what it means.
    pub mark: Option<(f64, String)>,
}

const WIDTH: f64 = 1100.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 66.0;
const HEIGHT: f64 = 330.0;
/// Room of one line of the legend, and names in a line.
const LEGEND: (f64, usize) = (20.0, 5);
/// Told apart by people who see no red or green too (Okabe and Ito), then greys.
const COLOURS: [&str; 10] =
    ["#bbbbbb", "#8c8c8c", "#5e5e5e", "#333333", "#0072b2", "#56b4e9", "#e69f00", "#cc79a7", "#d55e00", "#009e73"];

impl Plot {
    /// The whole SVG file.
    pub fn to_svg(&self) -> String {
        let rows = self.series.len().div_ceil(LEGEND.1) as f64;
        let height = TOP + HEIGHT + 34.0 + rows * LEGEND.0 + 8.0;
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"DejaVu Sans, sans-serif\" \
             font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n"
        );
        // Writing to a String cannot fail.
        let _ = self
            .write_axis(&mut text)
            .and_then(|()| self.write_groups(&mut text))
            .and_then(|()| self.write_mark(&mut text))
            .and_then(|()| self.write_legend(&mut text));
        text + "</svg>\n"
    }

    /// Height of a value in the picture.
    fn y(&self, value: f64) -> f64 {
        let scale = |value: f64| if self.logarithmic { value.log10() } else { value };
        let (low, high) = self.range;
        let share = (scale(value.clamp(low, high)) - scale(low)) / (scale(high) - scale(low));
        TOP + HEIGHT * (1.0 - share)
    }

    fn ticks(&self) -> Vec<f64> {
        let (low, high) = self.range;
        if self.logarithmic {
            let decades = low.log10().ceil() as i32..=high.log10().floor() as i32;
            return decades.map(|decade| 10_f64.powi(decade)).collect();
        }
        (0..=5).map(|step| low + (high - low) * f64::from(step) / 5.0).collect()
    }

    fn write_axis(&self, to: &mut String) -> std::fmt::Result {
        writeln!(
            to,
            "<text x=\"{LEFT}\" y=\"22\" font-size=\"17\" font-weight=\"bold\">{}</text>",
            escape(&self.title)
        )?;
        writeln!(to, "<text x=\"{LEFT}\" y=\"40\" fill=\"#444\">{}</text>", escape(&self.subtitle))?;
        writeln!(
            to,
            "<text x=\"{}\" y=\"{}\" fill=\"#444\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            TOP - 10.0,
            escape(&self.unit)
        )?;
        for tick in self.ticks() {
            let y = self.y(tick);
            writeln!(to, "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>", WIDTH - RIGHT)?;
            writeln!(
                to,
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                y + 4.0,
                number(tick)
            )?;
        }
        Ok(())
    }

    /// After the bars, which it crosses.
    fn write_mark(&self, to: &mut String) -> std::fmt::Result {
        if let Some((value, meaning)) = &self.mark {
            let y = self.y(*value);
            let (right, above) = (WIDTH - RIGHT, y - 4.0);
            writeln!(
                to,
                "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#d00\" stroke-dasharray=\"5 4\"/>"
            )?;
            writeln!(
                to,
                "<text x=\"{right}\" y=\"{above:.1}\" text-anchor=\"end\" fill=\"#d00\" stroke=\"white\" stroke-width=\"3\" paint-order=\"stroke\" font-size=\"11\">{}</text>",
                escape(meaning)
            )?;
        }
        Ok(())
    }

    fn write_groups(&self, to: &mut String) -> std::fmt::Result {
        let group_width = (WIDTH - LEFT - RIGHT) / self.groups.len().max(1) as f64;
        let width = group_width * 0.9 / self.series.len().max(1) as f64;
        for (group, name) in self.groups.iter().enumerate() {
            let left = LEFT + group_width * (group as f64 + 0.05);
            let (middle, under) = (left + group_width * 0.45, TOP + HEIGHT + 20.0);
            writeln!(
                to,
                "<text x=\"{middle:.1}\" y=\"{under}\" text-anchor=\"middle\" font-size=\"13\">{}</text>",
                escape(name)
            )?;
            for (index, series) in self.series.iter().enumerate() {
                let bar = series.bars.get(group).copied().flatten();
                let colour = COLOURS[(COLOURS.len() - self.series.len().min(COLOURS.len()) + index) % COLOURS.len()];
                self.write_bar(to, left + width * index as f64, width, bar, colour)?;
            }
        }
        let floor = TOP + HEIGHT;
        writeln!(to, "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{floor}\" y2=\"{floor}\" stroke=\"#333\"/>", WIDTH - RIGHT)
    }

    fn write_bar(&self, to: &mut String, x: f64, width: f64, bar: Option<Bar>, colour: &str) -> std::fmt::Result {
        let middle = x + width / 2.0;
        let Some(Bar { value, spread }) = bar.filter(|bar| bar.value.is_finite()) else {
            let y = TOP + HEIGHT - 4.0;
            return writeln!(
                to,
                "<text x=\"{middle:.1}\" y=\"{y}\" text-anchor=\"middle\" fill=\"#888\" font-size=\"10\">-</text>"
            );
        };
        let (top, floor) = (self.y(value), TOP + HEIGHT);
        let (high, low) = (self.y(spread.1), self.y(spread.0));
        writeln!(
            to,
            "<rect x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>",
            x + 0.5,
            width - 1.0,
            (floor - top).max(0.5)
        )?;
        writeln!(
            to,
            "<line x1=\"{middle:.1}\" x2=\"{middle:.1}\" y1=\"{low:.1}\" y2=\"{high:.1}\" stroke=\"black\"/>"
        )?;
        // Above the whisker, upright: a label is wider than its bar.
        let y = high.min(top) - 4.0;
        writeln!(
            to,
            "<text transform=\"translate({:.1} {y:.1}) rotate(-90)\" font-size=\"10\">{}</text>",
            middle + 3.5,
            number(value)
        )
    }

    fn write_legend(&self, to: &mut String) -> std::fmt::Result {
        let column = (WIDTH - LEFT - RIGHT) / LEGEND.1 as f64;
        for (index, series) in self.series.iter().enumerate() {
            let x = LEFT + column * (index % LEGEND.1) as f64;
            let y = TOP + HEIGHT + 46.0 + LEGEND.0 * (index / LEGEND.1) as f64;
            let colour = COLOURS[(COLOURS.len() - self.series.len().min(COLOURS.len()) + index) % COLOURS.len()];
            writeln!(to, "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"11\" height=\"11\" fill=\"{colour}\"/>", y - 10.0)?;
            writeln!(to, "<text x=\"{:.1}\" y=\"{y:.1}\">{}</text>", x + 16.0, escape(&series.name))?;
        }
        Ok(())
    }
}

/// Three digits that say something, thousands with a comma.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{}M", trimmed(value / 1e6)),
        size if size >= 1e3 => {
            let whole = value.round() as i64;
            format!("{},{:03}", whole / 1000, whole.abs() % 1000)
        }
        size if size >= 100.0 => format!("{value:.0}"),
        _ => trimmed(value),
    }
}

fn trimmed(value: f64) -> String {
    let digits = if value.abs() >= 10.0 { 1 } else { 2 };
    let text = format!("{value:.digits$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_holds_its_bars() {
        let bar = |value| Some(Bar { value, spread: (value, value * 2.0) });
        let plot = Plot {
            title: "a < b".to_owned(),
            subtitle: String::new(),
            unit: "ns".to_owned(),
            groups: vec!["one".to_owned(), "two".to_owned()],
            series: vec![Series { name: "x".to_owned(), bars: vec![bar(10.0), None] }],
            range: (1.0, 100.0),
            logarithmic: true,
            mark: None,
        };
        let text = plot.to_svg();
        assert!(text.contains("a &lt; b"));
        // Half of two decades.
        assert_eq!(plot.y(10.0), TOP + HEIGHT / 2.0);
        assert_eq!(plot.ticks(), [1.0, 10.0, 100.0]);
        assert_eq!(text.matches("fill=\"#009e73\"").count(), 2, "one bar and its legend");
        assert_eq!([number(1234.4), number(0.25), number(12.34), number(2e6)], ["1,234", "0.25", "12.3", "2M"]);
    }
}
