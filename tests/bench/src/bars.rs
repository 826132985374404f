//! Owns plots: bars in groups, with their spread, on a linear or a logarithmic axis, as SVG text.
//!
//! It refuses everything else that a plot can be.

use limiter::svg::{Area, Canvas, number};

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
const COLOURS: [&str; 10] = [
    "#bbbbbb", "#8c8c8c", "#5e5e5e", "#333333", "#0072b2", "#56b4e9", "#e69f00", "#cc79a7",
    "#d55e00", "#009e73",
];

impl Plot {
    /// The whole SVG file.
    pub fn to_svg(&self) -> String {
        let rows = self.series.len().div_ceil(LEGEND.1) as f64;
        let height = TOP + HEIGHT + 34.0 + rows * LEGEND.0 + 8.0;
        let mut canvas = Canvas::new(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"DejaVu Sans, sans-serif\" \
             font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n"
        ));
        canvas.text([LEFT, 22.0], "font-size=\"17\" font-weight=\"bold\"", &self.title);
        canvas.text([LEFT, 40.0], "fill=\"#444\"", &self.subtitle);
        canvas.text([LEFT - 7.0, TOP - 10.0], "fill=\"#444\" text-anchor=\"end\"", &self.unit);
        let area = self.area();
        area.draw_axis(&mut canvas, "#ddd");
        self.draw_groups(&mut canvas, &area);
        area.draw_floor(&mut canvas, "#333");
        self.draw_mark(&mut canvas, &area);
        self.draw_legend(&mut canvas);
        canvas.finish()
    }

    fn area(&self) -> Area {
        Area {
            x: [LEFT, WIDTH - RIGHT],
            y: [TOP, TOP + HEIGHT],
            values: [self.range.0, self.range.1],
            logarithmic: self.logarithmic,
        }
    }

    fn draw_groups(&self, to: &mut Canvas, area: &Area) {
        let group_width = (WIDTH - LEFT - RIGHT) / self.groups.len().max(1) as f64;
        let width = group_width * 0.9 / self.series.len().max(1) as f64;
        for (group, name) in self.groups.iter().enumerate() {
            let left = LEFT + group_width * (group as f64 + 0.05);
            let under = [left + group_width * 0.45, TOP + HEIGHT + 20.0];
            to.text(under, "text-anchor=\"middle\" font-size=\"13\"", name);
            for (index, series) in self.series.iter().enumerate() {
                let bar = series.bars.get(group).copied().flatten();
                draw_bar(to, area, [left + width * index as f64, width], bar, self.colour(index));
            }
        }
    }

    /// After the bars, which it crosses.
    fn draw_mark(&self, to: &mut Canvas, area: &Area) {
        let Some((value, meaning)) = &self.mark else { return };
        let (y, right) = (area.at(*value), WIDTH - RIGHT);
        to.line([LEFT, y], [right, y], "stroke=\"#d00\" stroke-dasharray=\"5 4\"");
        let outlined = "stroke=\"white\" stroke-width=\"3\" paint-order=\"stroke\"";
        to.text(
            [right, y - 4.0],
            &format!("text-anchor=\"end\" fill=\"#d00\" {outlined} font-size=\"11\""),
            meaning,
        );
    }

    fn draw_legend(&self, to: &mut Canvas) {
        let column = (WIDTH - LEFT - RIGHT) / LEGEND.1 as f64;
        for (index, series) in self.series.iter().enumerate() {
            let x = LEFT + column * (index % LEGEND.1) as f64;
            let y = TOP + HEIGHT + 46.0 + LEGEND.0 * (index / LEGEND.1) as f64;
            to.rect([x, y - 10.0], [11.0, 11.0], self.colour(index));
            to.text([x + 16.0, y], "", &series.name);
        }
    }

    /// The last colours, so that limiter's are the same in every plot.
    fn colour(&self, index: usize) -> &'static str {
        COLOURS[(COLOURS.len() - self.series.len().min(COLOURS.len()) + index) % COLOURS.len()]
    }
}

/// Draws a bar `width` wide from `x` on; one that is not there as a dash.
fn draw_bar(to: &mut Canvas, area: &Area, [x, width]: [f64; 2], bar: Option<Bar>, colour: &str) {
    let (middle, floor) = (x + width / 2.0, TOP + HEIGHT);
    let Some(Bar { value, spread }) = bar.filter(|bar| bar.value.is_finite()) else {
        return to.text(
            [middle, floor - 4.0],
            "text-anchor=\"middle\" fill=\"#888\" font-size=\"10\"",
            "-",
        );
    };
    let (top, high, low) = (area.at(value), area.at(spread.1), area.at(spread.0));
    to.rect([x + 0.5, top], [width - 1.0, (floor - top).max(0.5)], colour);
    to.line([middle, low], [middle, high], "stroke=\"black\"");
    // Above the whisker, upright: a label is wider than its bar.
    let (x, y) = (middle + 3.5, high.min(top) - 4.0);
    let place = format!("transform=\"translate({x:.1} {y:.1}) rotate(-90)\" font-size=\"10\"");
    to.text([0.0, 0.0], &place, &number(value));
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
        assert_eq!(plot.area().at(10.0), TOP + HEIGHT / 2.0);
        assert_eq!(text.matches("fill=\"#009e73\"").count(), 2, "one bar and its legend");
    }
}
