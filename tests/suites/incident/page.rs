//! Whether a page is one: well-formed, whole, and asking nothing of the network. Chromium looks at it too.

use std::process::Command;

/// The words of a page.
pub struct Page(String);

impl Page {
    /// Of a page that is well-formed.
    #[track_caller]
    pub fn of(text: &str) -> Self {
        let options =
            roxmltree::ParsingOptions { allow_dtd: true, ..roxmltree::ParsingOptions::default() };
        let document = roxmltree::Document::parse_with_options(text, options).expect("well-formed");
        for svg in document
            .descendants()
            .filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "svg")))
        {
            let names: Vec<_> = svg
                .children()
                .filter(|node| node.is_element())
                .map(|node| node.tag_name().name())
                .collect();
            assert_eq!(names.get(..2), Some(&["title", "desc"][..]), "a plot says what it shows");
        }
        let words =
            document.descendants().filter(|node| node.is_text()).filter_map(|node| node.text());
        Self(words.collect::<Vec<_>>().join(" "))
    }

    /// Fails unless all of these are there.
    #[track_caller]
    pub fn shows(&self, words: &[&str]) {
        for words in words {
            assert!(self.0.contains(words), "{words}");
        }
    }
}

/// Fails unless it is a page that needs nothing else.
#[track_caller]
pub fn is_page(text: &str) {
    let without_names = text
        .replace("xmlns=\"http://www.w3.org/2000/svg\"", "")
        .replace("xmlns=\"http://www.w3.org/1999/xhtml\"", "");
    for word in
        ["http:", "https:", "//", "src=", "<script", "<link", "@import", "url(", "<iframe", "<img"]
    {
        assert!(!without_names.contains(word), "{word}");
    }
    let svgs = text.matches("<svg").count();
    assert!(svgs >= 3, "{svgs} plots");
    in_chromium(text);
}

/// What Chromium makes of it has as many plots and tables as we wrote.
fn in_chromium(text: &str) {
    let directory = lab::Directory::new().expect("a directory");
    let file = directory.path().join("page.html");
    std::fs::write(&file, text).expect("written");
    let mut chromium = Command::new("chromium");
    chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]);
    chromium
        .arg(format!("--user-data-dir={}", directory.path().display()))
        .arg(format!("file://{}", file.display()));
    let output = chromium.output().expect("chromium is installed by `cargo xtask setup`");
    let shown = String::from_utf8(output.stdout).expect("text");
    for part in ["<svg", "<table", "<tr"] {
        assert_eq!(shown.matches(part).count(), text.matches(part).count(), "{part}");
    }
}
