//! Commands that the pages show are commands that there are; help texts use the words of the glossary.

#[path = "../../xtask/src/markdown.rs"]
#[expect(dead_code, reason = "prose, links and anchors are for the tests of pages in xtask")]
mod markdown;

use std::fs;
use std::path::Path;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};
use limiter::cli::Command;
use markdown::Line;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What is typed in the blocks of a page: lines behind a prompt, or in a block without any, lines that begin with the command.
fn typed(text: &str) -> Vec<&str> {
    let lines = markdown::lines(text);
    let blocks = lines.split(|line| !matches!(line, Line::Code(_)));
    blocks.flat_map(typed_in).collect()
}

fn typed_in<'a>(block: &[Line<'a>]) -> Vec<&'a str> {
    let code =
        |line: &Line<'a>| if let Line::Code(words) = *line { Some(words.trim()) } else { None };
    let prompts: Vec<&str> =
        block.iter().filter_map(code).filter_map(|line| line.strip_prefix("# ")).collect();
    let commands =
        if prompts.is_empty() { block.iter().filter_map(code).collect() } else { prompts };
    // Behind a name in a table of figures there is more than one space.
    commands
        .into_iter()
        .filter(|line| line.starts_with("limiter ") && !line.starts_with("limiter  "))
        .collect()
}

/// The words of a line that the shell hands to the command.
fn words(line: &str) -> Vec<&str> {
    let line = line.split("  #").next().unwrap_or(line);
    line.split_whitespace().take_while(|word| !matches!(*word, ">" | "|" | "#" | "&&")).collect()
}

/// Why the command would not take this line. In prose what it wants besides may be left out.
fn refusal(line: &str, in_prose: bool) -> Option<String> {
    let error = Command::try_parse_from(words(line)).err()?;
    let incomplete = [ErrorKind::MissingRequiredArgument, ErrorKind::MissingSubcommand];
    let help = [
        ErrorKind::DisplayHelp,
        ErrorKind::DisplayVersion,
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
    ];
    let fine = help.contains(&error.kind()) || (in_prose && incomplete.contains(&error.kind()));
    (!fine).then(|| format!("`{line}`: {error}"))
}

#[test]
fn every_command_of_the_pages_is_one() {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for page in markdown::pages(root()) {
        let text = read(&page);
        let paragraphs = text.split("\n\n").filter(|paragraph| !paragraph.starts_with("    "));
        let quoted: Vec<String> = paragraphs
            .flat_map(|paragraph| paragraph.split('`').skip(1).step_by(2))
            .map(|words| words.split_whitespace().collect::<Vec<_>>().join(" "))
            .filter(|words| words.starts_with("limiter "))
            .collect();
        let blocks = typed(&text);
        count += blocks.len();
        let refused = blocks.iter().filter_map(|line| refusal(line, false));
        let refused = refused.chain(quoted.iter().filter_map(|line| refusal(line, true)));
        wrong.extend(refused.map(|why| format!("{}: {why}", page.display())));
    }
    assert!(count > 60, "{count} commands");
    assert!(wrong.is_empty(), "the command does not take these: {wrong:#?}");
}

/// All that a command says of itself and of its arguments, and so its man pages.
fn help(command: &clap::Command, texts: &mut Vec<String>) {
    let about = [
        command.get_about(),
        command.get_long_about(),
        command.get_after_help(),
        command.get_after_long_help(),
    ];
    let arguments = command
        .get_arguments()
        .flat_map(|argument| [argument.get_help(), argument.get_long_help()]);
    texts.extend(about.into_iter().chain(arguments).flatten().map(ToString::to_string));
    command.get_subcommands().for_each(|below| help(below, texts));
}

#[test]
fn help_uses_the_words_of_the_glossary() {
    let words = markdown::ruled_out(&read(&root().join("docs/glossary.md")));
    let mut texts = vec![read(&root().join("limiter/src/cli/manual.roff"))];
    help(&Command::command(), &mut texts);
    assert!(texts.len() > 100, "{} texts", texts.len());
    let wrong: Vec<_> = texts
        .iter()
        .map(|text| text.split('`').step_by(2).collect::<Vec<_>>().join("`"))
        .filter_map(|text| {
            markdown::found(&words, &text).first().map(|word| format!("{word}: {text}"))
        })
        .collect();
    assert!(wrong.is_empty(), "docs/glossary.md has other words for these: {wrong:#?}");
}

#[test]
fn what_is_typed_is_told_from_what_is_said() {
    let page = "    # limiter arm --for 30m\n    limiter is armed\n\nwords\n\n    limiter status --quick   # look\n    cargo x\n";
    assert_eq!(typed(page), ["limiter arm --for 30m", "limiter status --quick   # look"]);
    assert!(typed("    limiter      75   60\n").is_empty());
    assert_eq!(words("limiter status --quick  # look"), ["limiter", "status", "--quick"]);
    assert_eq!(words("limiter policy show > a.toml"), ["limiter", "policy", "show"]);
    assert!(
        refusal("limiter arm --fore 30m", false).is_some()
            && refusal("limiter report", false).is_some()
    );
    assert!(
        refusal("limiter report", true).is_none() && refusal("limiter --help", false).is_none()
    );
}
