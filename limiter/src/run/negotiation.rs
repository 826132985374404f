//! Which of the two texts a scraper wants, by its Accept header.

use crate::report::Form;

/// The one that it likes better; the classic one if it says nothing of them.
pub fn form<'a>(accepts: impl Iterator<Item = &'a str>) -> Form {
    let (mut open, mut classic) = (0.0, 0.0);
    for range in accepts.flat_map(|accept| accept.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
        let find = |name: &str| {
            let found = parameters.iter().find(|(key, _)| key.trim().eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.trim().trim_matches('"'))
        };
        // What is no weight is taken for none, as if it was not asked for.
        let weight: f64 = find("q").map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
        let version = find("version");
        match kind.as_str() {
            "application/openmetrics-text" if version.is_none_or(|version| version == "1.0.0") => {
                open = weight.max(open);
            }
            "text/plain" | "text/*" | "*/*" => classic = weight.max(classic),
            _ => {}
        }
    }
    if open > 0.0 && open >= classic { Form::OpenMetrics } else { Form::Classic }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_scraper_likes_better() {
        for (accept, expected) in [
            ("", Form::Classic),
            ("*/*", Form::Classic),
            ("text/html", Form::Classic),
            ("text/plain;version=0.0.4", Form::Classic),
            ("application/openmetrics-text", Form::OpenMetrics),
            ("application/openmetrics-text; version=1.0.0; charset=utf-8", Form::OpenMetrics),
            ("Application/OpenMetrics-Text;Version=\"1.0.0\"", Form::OpenMetrics),
            ("application/openmetrics-text; version=0.0.1", Form::Classic),
            ("application/openmetrics-text;q=0.2, text/plain;q=0.4", Form::Classic),
            ("application/openmetrics-text;q=0", Form::Classic),
            ("application/openmetrics-text;q=much", Form::Classic),
            // Prometheus 2.42 and 2.53.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Form::OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                 text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                Form::OpenMetrics,
            ),
        ] {
            assert_eq!(form([accept].into_iter()), expected, "{accept}");
        }
        assert_eq!(
            form(["text/plain;q=0.1", "application/openmetrics-text"].into_iter()),
            Form::OpenMetrics
        );
    }
}
