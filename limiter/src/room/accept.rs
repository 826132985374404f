//! What a client would like: the language and the form of the answer, from `Accept-Language` and
//! `Accept` (RFC 9110, 12.4 and 12.5). Parts of a header that cannot be read are passed over.

/// Most elements of a header that are looked at.
const ELEMENTS: usize = 64;

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The page.
    Html,
    /// An object for programs.
    Json,
    /// A line.
    Text,
}

/// The elements of a header with their weights in thousandths, in the order of the header.
fn elements(header: &str) -> impl Iterator<Item = (&str, u32)> {
    header.split(',').take(ELEMENTS).filter_map(|element| {
        let mut parts = element.split(';').map(str::trim);
        let name = parts.next().filter(|name| !name.is_empty())?;
        let weight = parts.find_map(|part| {
            let (key, value) = part.split_once('=')?;
            key.trim().eq_ignore_ascii_case("q").then(|| weight(value.trim()))
        });
        Some((name, weight.unwrap_or(Some(1000))?))
    })
}

/// `1`, `0.8`, `0.125` and so on, in thousandths.
fn weight(text: &str) -> Option<u32> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    if rest.len() > 3 || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths: u32 = format!("{rest:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

/// Which of `tags` a client likes best; the first where it likes none. `de-AT` finds `de`, and `pt`
/// finds `pt-BR` (RFC 4647, 3.4: lookup; and the reverse).
pub(super) fn language<'a>(header: Option<&str>, tags: impl Fn() -> Tags<'a>) -> usize {
    let mut best = (0, 0);
    for (wanted, weight) in elements(header.unwrap_or_default()) {
        if weight > best.1
            && let Some(at) = find(wanted, &tags)
        {
            best = (at, weight);
        }
    }
    best.0
}

/// Tags of languages.
pub(super) type Tags<'a> = Box<dyn Iterator<Item = &'a str> + 'a>;

fn find<'a>(wanted: &str, tags: &impl Fn() -> Tags<'a>) -> Option<usize> {
    if wanted == "*" {
        return Some(0);
    }
    let mut range = wanted;
    loop {
        if let Some(at) = tags().position(|tag| tag.eq_ignore_ascii_case(range)) {
            return Some(at);
        }
        let Some((shorter, _)) = range.rsplit_once('-') else { break };
        range = shorter;
    }
    tags().position(|tag| {
        tag.split_once('-').is_some_and(|(first, _)| first.eq_ignore_ascii_case(range))
    })
}

/// The form that a client wants. Browsers ask for HTML where they show a page.
pub(super) fn form(header: Option<&str>, reads: bool) -> Form {
    let (mut html, mut json) = (0, 0);
    for (kind, weight) in elements(header.unwrap_or_default()) {
        let kind = kind.to_ascii_lowercase();
        match kind.as_str() {
            "text/html" | "application/xhtml+xml" => html = html.max(weight),
            "application/json" | "application/problem+json" => json = json.max(weight),
            _ => {}
        }
    }
    if json > html {
        Form::Json
    } else if html > 0 || reads {
        Form::Html
    } else {
        Form::Text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(header: &str) -> &'static str {
        let tags = ["en", "fr", "pt-BR", "de"];
        tags[language(Some(header), || Box::new(tags.into_iter()))]
    }

    #[test]
    fn languages() {
        for (header, expected) in [
            ("", "en"),
            ("fr", "fr"),
            ("FR-be", "fr"),
            ("fr-CH, en;q=0.8", "fr"),
            ("en;q=0.5, fr;q=0.7", "fr"),
            ("en;q=0.8, fr;q=0.8", "en"),
            ("it, es;q=0.9", "en"),
            ("it, fr;q=0.1", "fr"),
            ("fr;q=0", "en"),
            ("fr;q=0, de;q=0.001", "de"),
            ("*", "en"),
            ("*;q=0.5, de", "de"),
            ("pt", "pt-BR"),
            ("pt-PT", "pt-BR"),
            ("de-Latn-AT", "de"),
            ("fr;q=2, de;q=0.2", "de"),
            ("fr;q=, de;q=0.2", "de"),
            ("fr;q=0.1234, de;q=0.1", "de"),
            (" ; q=1 ,, fr ; Q = 0.9", "fr"),
            ("fr;q=-1", "en"),
            ("frfr, xx-fr", "en"),
        ] {
            assert_eq!(chosen(header), expected, "{header:?}");
        }
        assert_eq!(language(None, || Box::new(["en", "fr"].into_iter())), 0);
        assert_eq!(chosen(&"it,".repeat(ELEMENTS)), "en");
    }

    #[test]
    fn forms() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        for (header, reads, expected) in [
            (Some(browser), true, Form::Html),
            (Some(browser), false, Form::Html),
            (None, true, Form::Html),
            (None, false, Form::Text),
            (Some("*/*"), true, Form::Html),
            (Some("*/*"), false, Form::Text),
            (Some("Application/JSON"), true, Form::Json),
            (Some("application/json, text/plain, */*"), false, Form::Json),
            (Some("application/json;q=0.5, text/html"), true, Form::Html),
            (Some("application/json, text/html;q=0.5"), true, Form::Json),
            (Some("application/json;q=0"), false, Form::Text),
        ] {
            assert_eq!(form(header, reads), expected, "{header:?} {reads}");
        }
    }
}
