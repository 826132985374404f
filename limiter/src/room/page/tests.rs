//! Pages: their size, their words, and that nothing of the operator's text is markup.

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn head(languages: &str, forms: Option<&str>) -> Head {
    Head {
        reads: true,
        bodiless: false,
        languages: Some(languages.to_owned()),
        forms: forms.map(ToOwned::to_owned),
    }
}

fn pages(text: Option<&str>) -> Pages {
    Pages::new(Languages::default(), text).expect("pages")
}

fn turn(waited: u64, wait: Option<u64>) -> Turn {
    let wait = wait.map(Duration::from_secs);
    Turn { waited: Duration::from_secs(waited), wait, least: wait }
}

#[test]
fn every_page_is_small() {
    let pages = pages(Some(&"é".repeat(TEXT_BYTES / 2)));
    for (tag, _) in Languages::default().all() {
        for turn in [None, Some(turn(90, None)), Some(turn(3599, Some(3599)))] {
            let page = pages.answer(&head(tag, None), turn).body;
            assert!(page.len() < PAGE_BYTES, "{tag}: {} bytes", page.len());
            assert!(page.contains(&format!("<html lang={tag}>")), "{page}");
        }
    }
}

#[test]
fn a_text_that_does_not_fit_is_refused() {
    let said = |text: String| {
        format!("{:#}", Pages::new(Languages::default(), Some(&text)).expect_err("too long"))
    };
    assert!(said("a".repeat(TEXT_BYTES + 1)).contains("1001 bytes"));
    // Each becomes six bytes.
    assert!(said("\"".repeat(TEXT_BYTES)).contains("in [en]"));
    let missing = Path::new("/nowhere/text");
    let error = Pages::with_text_of(Languages::default(), Some(missing)).expect_err("no file");
    assert!(format!("{error:#}").contains("/nowhere/text"), "{error:#}");
}

#[test]
fn the_operators_text_is_no_markup() {
    let text = "<script>alert(\"1\")</script> & so on\r\nnext";
    let page = pages(Some(text)).answer(&head("en", None), None).body;
    let escaped = "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; so on\nnext";
    assert!(page.contains(escaped) && !page.contains("<script"), "{page}");
    let mut languages = Languages::default();
    languages.add("[en]\nfull = \"<b>\"").expect("a sentence");
    let pages = Pages::new(languages, Some("  \n")).expect("pages");
    let page = pages.answer(&head("en", None), None).body;
    assert!(page.contains("<h1>&lt;b&gt;</h1>") && !page.contains("class=text"), "{page}");
}

#[test]
fn pages_say_how_long() {
    let pages = pages(None);
    let page = |languages: &str, turn| pages.answer(&head(languages, None), turn).body;
    let waits = page("en", Some(Turn { waited: 2 * MINUTE, wait: Some(3 * MINUTE), least: None }));
    assert!(waits.contains("You have waited for 2 minutes. About 3 minutes to go."), "{waits}");
    let waits = page("fr", Some(Turn { waited: 2 * MINUTE, wait: Some(3 * MINUTE), least: None }));
    assert!(waits.contains("Vous attendez depuis 2 minutes. Encore 3 minutes environ."), "{waits}");
    let unknown = page("en", Some(turn(4, None)));
    assert!(unknown.contains("<p>You have waited for a few seconds.</p>"), "{unknown}");
    let full = page("en", None);
    assert!(full.contains("<h1>The site is full</h1>"), "{full}");
    assert!(full.contains("This page tries again by itself in "), "{full}");
    assert!(full.contains("the page does it by itself.</p>"), "it has no place to keep: {full}");
    for page in [waits, unknown, full] {
        assert!(page.contains("Do not reload") || page.contains("N’actualisez pas"), "{page}");
        assert!(!page.contains("http:") && !page.contains("https:"), "{page}");
    }
}

#[test]
fn times_are_rounded_as_people_say_them() {
    let words = Languages::default().all()[0].1.clone();
    for (seconds, waited, wait) in [
        (0, "a few seconds", "A few seconds to go."),
        (9, "a few seconds", "A few seconds to go."),
        (10, "10 seconds", "About 10 seconds to go."),
        (14, "10 seconds", "About 10 seconds to go."),
        (15, "20 seconds", "About 20 seconds to go."),
        (90, "90 seconds", "About 90 seconds to go."),
        (91, "2 minutes", "About 2 minutes to go."),
        (149, "2 minutes", "About 2 minutes to go."),
        (150, "3 minutes", "About 3 minutes to go."),
        (3600, "60 minutes", "About 60 minutes to go."),
        (3601, "more than an hour", "More than an hour to go."),
        (u64::MAX, "more than an hour", "More than an hour to go."),
    ] {
        let said = status(&words, Some(turn(seconds, Some(seconds))), 9);
        assert_eq!(said, format!("You have waited for {waited}. {wait}"), "{seconds}");
    }
}

#[test]
fn a_page_comes_again_while_its_place_is_kept_and_not_with_the_others() {
    let pages = pages(None);
    for (turn, expected) in [
        (None, AGAIN),
        (Some(turn(60, None)), AGAIN),
        (Some(turn(60, Some(600))), AGAIN),
        (Some(turn(60, Some(15))), AGAIN),
        (Some(turn(60, Some(8))), 4..=8),
        (Some(turn(60, Some(3))), SOON),
        (Some(turn(60, Some(0))), SOON),
    ] {
        let times: std::collections::BTreeSet<u64> = (0..1000)
            .map(|_| {
                let answer = pages.answer(&head("en", None), turn);
                let refresh = format!("<meta http-equiv=refresh content={}>", answer.again);
                assert!(answer.body.contains(&refresh), "{}", answer.body);
                answer.again
            })
            .collect();
        // That one of the ten is missing after a thousand has a chance of one in 10^44.
        assert!(times.iter().copied().eq(expected), "{turn:?}: {times:?}");
    }
}

#[test]
fn programs_get_an_object_and_others_a_line() {
    let pages = pages(Some("The operator's text."));
    let answer = pages.answer(&head("fr", Some("application/json")), Some(turn(61, None)));
    assert_eq!((answer.kind, answer.language), ("application/json", None));
    let object: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
    let expected = serde_json::json!({
        "error": "full", "retry_after": answer.again, "waited_seconds": 61, "wait_seconds": null,
    });
    assert_eq!(object, expected);
    let post = Head { reads: false, ..head("fr", None) };
    let answer = pages.answer(&post, Some(turn(61, Some(130))));
    assert_eq!(answer.kind, "text/plain; charset=utf-8");
    assert_eq!(
        answer.body,
        "Vous êtes dans la file d’attente. Vous attendez depuis 60 secondes. \
         Encore 2 minutes environ.\n"
    );
}
