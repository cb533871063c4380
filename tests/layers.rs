//! The import rule of CONTRIBUTING.md: imports run down the list of rooms, and name the room that owns a name.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms, from the ground up.
const ROOMS: &[&str] = &[
    "error",
    "check",
    "numeric",
    "time",
    "atomic_file",
    "whole_append",
    "csv_number",
    "picture",
    "smoothing",
    "schedule",
    "feedback",
    "groups",
    "hyper",
    "config",
    "state",
    "run",
    "review",
    "history",
    "optimizer",
    "training",
    "range_test",
    "checkpoint",
    "report",
    "adapters",
    "guide",
];

fn rank(room: &str) -> Option<usize> {
    ROOMS.iter().position(|name| *name == room)
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The names after `crate::` in the code of a file; `crate::{a::B, c}` has two. Comments and unit tests do not count.
fn imports(source: &str) -> Vec<String> {
    let code = source.split("#[cfg(test)]").next().unwrap();
    let code: Vec<&str> = code.lines().map(|line| line.split("//").next().unwrap()).collect();
    let code = code.join("\n");
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let path = &code[at + "crate::".len()..];
        let name = |text: &str| -> String {
            text.trim_start().chars().take_while(|&letter| letter.is_alphanumeric() || letter == '_').collect()
        };
        let Some(list) = path.strip_prefix('{') else {
            found.push(name(path));
            continue;
        };
        let mut depth = 0;
        let mut start = true;
        for (n, letter) in list.char_indices() {
            if start && depth == 0 && !letter.is_whitespace() {
                found.push(name(&list[n..]));
                start = false;
            }
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => start = true,
                _ => {}
            }
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

#[test]
fn imports_run_down_and_name_the_room() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    files(&source, &mut all);
    let mut wrong = Vec::new();
    for path in all {
        let relative = path.strip_prefix(&source).unwrap();
        let room = relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if room == "lib" {
            continue;
        }
        let Some(own) = rank(room) else {
            wrong.push(format!("{}: no room of the list", relative.display()));
            continue;
        };
        for name in imports(&fs::read_to_string(&path).unwrap()) {
            match rank(&name) {
                None => wrong.push(format!("{}: crate::{name} comes through the crate root", relative.display())),
                Some(other) if other > own => {
                    wrong.push(format!("{}: crate::{name} lies above {room}", relative.display()));
                }
                Some(_) => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{} imports break the rule:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_reader_of_imports_sees_lists_and_paths() {
    let source = "use crate::{Applied, check, schedule::{Cycle, Policy}};\n// crate::no\nfn f() { crate::error::g() }";
    assert_eq!(imports(source), ["Applied", "check", "schedule", "error"]);
    assert_eq!(imports("use crate::state::Applied;\n#[cfg(test)]\nmod tests { use crate::X; }"), ["state"]);
}
