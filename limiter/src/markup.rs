//! Words that may be anybody's, for a terminal or a page: what could mislead a terminal, a browser or a
//! reader is taken from them.

/// The text without control characters, and without those that reverse the order of letters. Lines stay.
pub fn clean(text: &str) -> String {
    let misleads = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
    };
    text.chars().map(|c| if misleads(c) { '\u{fffd}' } else { c }).collect()
}

/// Text that can stand anywhere in the page, in attributes too.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in clean(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
