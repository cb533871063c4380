//! The README and the pages of the guide: what their blocks of code promise a reader who copies them.
//!
//! The documentation tests of the crate check that the blocks compile and run.

use std::fs;
use std::path::PathBuf;

/// The README and the pages of the guide: name and text.
fn pages() -> Vec<(String, String)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let guide = fs::read_dir(root.join("src/guide")).unwrap().map(|entry| entry.unwrap().path());
    let pages = guide.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let pages: Vec<_> = pages.chain([root.join("README.md")]).collect();
    assert!(pages.len() > 9, "{pages:?}");
    pages.into_iter().map(|path| (path.display().to_string(), fs::read_to_string(path).unwrap())).collect()
}

fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let start = format!("```{language}\n");
    text.split(&start).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// A reader who copies a block gets everything that it needs.
#[test]
fn each_block_is_a_whole_program() {
    for (page, text) in pages() {
        for block in blocks(&text, "rust") {
            assert!(block.contains("\nfn main() "), "{page}: no main in\n{block}");
            assert!(
                !block.lines().any(|line| line.trim_start().starts_with("# ")),
                "{page}: a hidden line in\n{block}"
            );
        }
    }
}

#[test]
fn the_quick_start_of_the_readme_is_the_example() {
    let example = include_str!("../examples/quickstart.rs");
    let program = &example[example.find("use ").unwrap()..];
    assert_eq!(blocks(include_str!("../README.md"), "rust"), [program]);
}

#[test]
fn the_readme_is_short() {
    assert!(include_str!("../README.md").lines().count() <= 150);
}
