//! The operator's file of languages: what it can say, and what is said of each mistake.

use super::*;

fn added(text: &str) -> Result<Languages> {
    let mut languages = Languages::default();
    languages.add(text).map(|()| languages)
}

/// A whole language.
fn german() -> String {
    let sentence = |(name, mark): &(&str, Option<&str>)| {
        format!("{name} = \"{name}-Satz {}\"\n", mark.unwrap_or_default())
    };
    format!("[de]\n{}", KEYS.iter().map(sentence).collect::<String>())
}

#[test]
fn a_file_adds_a_language_and_replaces_sentences() {
    let text = format!("[EN]\nfull = \"Please wait\"\n{}", german());
    let languages = added(&text).expect("languages");
    let tags: Vec<&str> = languages.all().iter().map(|(tag, _)| tag.as_str()).collect();
    assert_eq!(tags, ["en", "fr", "de"]);
    assert_eq!(languages.all()[0].1.full, "Please wait");
    assert_eq!(languages.all()[0].1.line, Sentences::english().line);
    assert_eq!(languages.all()[2].1.minutes, "minutes-Satz {n}");
}

#[test]
fn built_in_sentences_pass_the_checks() {
    for (tag, mut sentences) in Languages::default().0 {
        for (name, mark) in KEYS {
            let sentence = sentences.get_mut(name).expect("a sentence");
            check(sentence, *mark).unwrap_or_else(|error| panic!("[{tag}] {name}: {error}"));
        }
    }
}

#[test]
fn mistakes_are_named() {
    let long = format!("[en]\nfull = \"{}\"", "a".repeat(SENTENCE_BYTES + 1));
    for (text, words) in [
        ("[en", &["TOML"][..]),
        ("full = \"a\"", &["`full`", "no language"]),
        ("en = \"a\"", &["`en`", "stands in no language"]),
        ("[e]\nfull = \"a\"", &["[e]", "tag"]),
        ("[\"en\\\"><b\"]\nfull = \"a\"", &["tag"]),
        ("[en]\ntitle = \"a\"", &["[en]", "`title`", "full, line, again"]),
        ("[en]\nfull = 7", &["[en]", "`full`", "quotation marks"]),
        ("[en]\nfull = \" \"", &["[en]", "`full`", "empty"]),
        ("[en]\nfull = \"a\\nb\"", &["[en]", "`full`", "one line"]),
        ("[fr]\nwait = \"bientôt\"", &["[fr]", "`wait`", "{time}"]),
        ("[fr]\nwait = \"{time} {time}\"", &["[fr]", "`wait`", "{time} once"]),
        ("[fr]\nfull = \"{n}\"", &["[fr]", "`full`", "nothing"]),
        ("[de]\nfull = \"voll\"", &["[de]", "lacks line, again", "hours"]),
        (&long, &["[en]", "`full`", "201 bytes"]),
    ] {
        let said = format!("{:#}", added(text).expect_err(text));
        assert!(words.iter().all(|word| said.contains(word)), "{text}: {said}");
    }
}

#[test]
fn the_file_is_named() {
    let error = Languages::read(Path::new("/nowhere/languages.toml")).expect_err("no file");
    assert!(format!("{error:#}").contains("/nowhere/languages.toml"), "{error:#}");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("languages.toml");
    std::fs::write(&path, "[en]\nfull = 7").expect("written");
    let said = format!("{:#}", Languages::read(&path).expect_err("a number"));
    assert!(said.contains("languages.toml") && said.contains("`full`"), "{said}");
}
