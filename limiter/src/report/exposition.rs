//! The two texts that Prometheus reads: OpenMetrics 1.0, and the older one, which textfile collectors want. It knows nothing of limiter.
//!
//! They differ in the names of families (OpenMetrics names a counter without its `_total`), in types that only one of them has, in units,
//! and in the end. Sample lines are the same, but for the count of a histogram: OpenMetrics wants it only beside a sum.

use std::fmt::Write as _;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Prometheus' own text format, version 0.0.4.
    Classic,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

impl Form {
    /// What HTTP calls it.
    pub const fn content_type(self) -> &'static str {
        match self {
            Form::Classic => "text/plain; version=0.0.4; charset=utf-8",
            Form::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What a family is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricType {
    /// Only rises while limiter is loaded. Its samples end in `_total`.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Always 1: the labels say it. Its samples end in `_info`.
    Info,
    /// 1 for the state that is so, 0 for the others. The label has the name of the family.
    States,
    /// Counts of what is at most as large as the label `le` says.
    Histogram,
}

/// The value of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Count(u64),
    /// Any number.
    Number(f64),
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Value::Count(count)
    }
}

impl From<usize> for Value {
    fn from(count: usize) -> Self {
        Value::Count(count as u64)
    }
}

impl From<bool> for Value {
    fn from(is_so: bool) -> Self {
        Value::Count(u64::from(is_so))
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Value::Number(number)
    }
}

/// A text that is being written.
#[derive(Debug)]
pub struct Exposition {
    form: Form,
    text: String,
}

impl Exposition {
    /// An empty one.
    pub fn new(form: Form) -> Self {
        Self { form, text: String::new() }
    }

    /// Begins a family. `name`: without `_total` or `_info`. `unit`: what the name ends in, or nothing. `help`: a sentence.
    pub fn family(
        &mut self,
        kind: MetricType,
        name: &'static str,
        unit: &str,
        help: &str,
    ) -> Family<'_> {
        debug_assert!(unit.is_empty() || name.ends_with(unit), "{name} does not say its unit");
        let (open, suffix) = (self.form == Form::OpenMetrics, kind.suffix());
        let shown = if open { name.to_owned() } else { format!("{name}{suffix}") };
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "# HELP {shown} {}", escape(help, open));
        let _ = writeln!(self.text, "# TYPE {shown} {}", kind.name(self.form));
        if open && !unit.is_empty() {
            let _ = writeln!(self.text, "# UNIT {shown} {unit}");
        }
        Family { to: &mut self.text, form: self.form, name, suffix }
    }

    /// All of it.
    pub fn finish(mut self) -> String {
        if self.form == Form::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

impl MetricType {
    const fn suffix(self) -> &'static str {
        match self {
            MetricType::Counter => "_total",
            MetricType::Info => "_info",
            MetricType::Gauge | MetricType::States | MetricType::Histogram => "",
        }
    }

    const fn name(self, form: Form) -> &'static str {
        match (self, form) {
            (MetricType::Counter, _) => "counter",
            (MetricType::Histogram, _) => "histogram",
            (MetricType::Info, Form::OpenMetrics) => "info",
            (MetricType::States, Form::OpenMetrics) => "stateset",
            (MetricType::Gauge | MetricType::Info | MetricType::States, _) => "gauge",
        }
    }
}

/// A family whose samples are being written.
#[derive(Debug)]
pub struct Family<'a> {
    to: &'a mut String,
    form: Form,
    name: &'static str,
    suffix: &'static str,
}

impl Family<'_> {
    /// One sample.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Into<Value>) {
        let suffix = self.suffix;
        self.line(suffix, labels, value.into());
    }

    /// The samples of a histogram: how many fell into each bucket, with its upper bound. The last bound is taken for infinity.
    pub fn buckets(
        &mut self,
        labels: &[(&str, &str)],
        buckets: impl ExactSizeIterator<Item = (f64, u64)>,
    ) {
        let last = buckets.len().saturating_sub(1);
        let mut sum: u64 = 0;
        for (index, (bound, count)) in buckets.enumerate() {
            sum = sum.wrapping_add(count);
            let bound = if index == last { "+Inf".to_owned() } else { number(bound) };
            self.line("_bucket", &[labels, &[("le", bound.as_str())]].concat(), sum.into());
        }
        if self.form == Form::Classic {
            self.line("_count", labels, sum.into());
        }
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], value: Value) {
        let _ = write!(self.to, "{}{suffix}", self.name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.to, "{before}{label}=\"{}\"", escape(text, true));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let value = match value {
            Value::Count(count) => count.to_string(),
            Value::Number(value) => number(value),
        };
        let _ = writeln!(self.to, "{end} {value}");
    }
}

/// A number as both texts want it: bounds of buckets have a fraction.
fn number(number: f64) -> String {
    if number.is_finite() { format!("{number:?}") } else { "NaN".to_owned() }
}

fn escape(text: &str, quotes: bool) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    if quotes { text.replace('"', "\\\"") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(form: Form) -> String {
        let mut to = Exposition::new(form);
        to.family(MetricType::Counter, "x_things", "", "Some \"things\".")
            .sample(&[("a", "b\\\"c\nd"), ("e", "")], 7_u64);
        to.family(MetricType::Gauge, "x_used_ratio", "ratio", "A share.").sample(&[], 0.5);
        to.family(MetricType::Info, "x_build", "", "A build.").sample(&[("version", "1")], true);
        to.family(MetricType::States, "x_mode", "", "A mode.").sample(&[("x_mode", "on")], true);
        let counts = [(0.0, 1), (0.5, 2), (9.0, 4)];
        to.family(MetricType::Histogram, "x_size", "", "A size.")
            .buckets(&[("a", "b")], counts.into_iter());
        to.finish()
    }

    #[test]
    fn the_classic_text() {
        let expected = r#"# HELP x_things_total Some "things".
# TYPE x_things_total counter
x_things_total{a="b\\\"c\nd",e=""} 7
# HELP x_used_ratio A share.
# TYPE x_used_ratio gauge
x_used_ratio 0.5
# HELP x_build_info A build.
# TYPE x_build_info gauge
x_build_info{version="1"} 1
# HELP x_mode A mode.
# TYPE x_mode gauge
x_mode{x_mode="on"} 1
# HELP x_size A size.
# TYPE x_size histogram
x_size_bucket{a="b",le="0.0"} 1
x_size_bucket{a="b",le="0.5"} 3
x_size_bucket{a="b",le="+Inf"} 7
x_size_count{a="b"} 7
"#;
        assert_eq!(written(Form::Classic), expected);
    }

    #[test]
    fn the_openmetrics_text() {
        let expected = r#"# HELP x_things Some \"things\".
# TYPE x_things counter
x_things_total{a="b\\\"c\nd",e=""} 7
# HELP x_used_ratio A share.
# TYPE x_used_ratio gauge
# UNIT x_used_ratio ratio
x_used_ratio 0.5
# HELP x_build A build.
# TYPE x_build info
x_build_info{version="1"} 1
# HELP x_mode A mode.
# TYPE x_mode stateset
x_mode{x_mode="on"} 1
# HELP x_size A size.
# TYPE x_size histogram
x_size_bucket{a="b",le="0.0"} 1
x_size_bucket{a="b",le="0.5"} 3
x_size_bucket{a="b",le="+Inf"} 7
# EOF
"#;
        assert_eq!(written(Form::OpenMetrics), expected);
    }

    #[test]
    fn what_is_no_number_is_said_to_be_none() {
        let shown = [f64::INFINITY, f64::NAN, -1.0, 1.0e20].map(number);
        assert_eq!(shown, ["NaN", "NaN", "-1.0", "1e20"]);
    }
}
