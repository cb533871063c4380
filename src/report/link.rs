//! Links from a report to the files of the run.

use std::io;
use std::path::{Component, Path, PathBuf};

/// The way from the folder of the file `report` to `target`. Where there is none, for example to another drive, the whole path.
pub(super) fn from(report: &Path, target: &Path) -> PathBuf {
    let (Ok(report), Ok(target)) = (whole(report), whole(target)) else {
        return target.into();
    };
    let folder: Vec<Component> = report.parent().unwrap_or(&report).components().collect();
    let target: Vec<Component> = target.components().collect();
    let common = folder.iter().zip(&target).take_while(|(ours, theirs)| ours == theirs).count();
    if common == 0 {
        return target.iter().collect();
    }
    let up = folder[common..].iter().map(|_| Component::ParentDir);
    let way: PathBuf = up.chain(target[common..].iter().copied()).collect();
    if way.as_os_str().is_empty() { ".".into() } else { way }
}

/// The path from the root, without `..`: these lead out of folders that the report does not lie in.
fn whole(path: &Path) -> io::Result<PathBuf> {
    let mut whole = PathBuf::new();
    for part in std::path::absolute(path)?.components() {
        if part == Component::ParentDir {
            whole.pop();
        } else {
            whole.push(part);
        }
    }
    Ok(whole)
}

/// The address of a file as a link has it: slashes between the parts, and `%` codes for all bytes that mean something in an
/// address.
pub(super) fn address(file: &Path) -> String {
    let parts: Vec<String> = file
        .components()
        .map(|part| match part {
            // The first of two slashes comes from joining.
            Component::RootDir => String::new(),
            part => part.as_os_str().as_encoded_bytes().iter().map(|&byte| coded(byte)).collect(),
        })
        .collect();
    let scheme = if file.is_absolute() { "file://" } else { "" };
    format!("{scheme}{}", parts.join("/"))
}

fn coded(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).into(),
        byte => format!("%{byte:02X}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn links_lead_from_the_report_to_the_file() {
        for (report, target, expected) in [
            ("report.html", "epochs.csv", "epochs.csv"),
            ("out/report.html", "epochs.csv", "../epochs.csv"),
            ("out/report.html", "out/plots/losses.svg", "plots/losses.svg"),
            ("/a/b/report.html", "/a/c/d.csv", "../c/d.csv"),
            ("/a/b/report.html", "/a/b", "."),
            ("/a/b/report.html", "/a", ".."),
            ("/a/b/../report.html", "/a/b/c.csv", "b/c.csv"),
            ("/a/b/../c/report.html", "/a/b/../d.csv", "../d.csv"),
            ("/../report.html", "/a/../../b.csv", "b.csv"),
        ] {
            assert_eq!(from(Path::new(report), Path::new(target)), Path::new(expected), "{report} to {target}");
        }
    }

    #[test]
    fn addresses_have_no_special_letters() {
        for (path, expected) in [
            ("plots/losses.svg", "plots/losses.svg"),
            ("../my runs/a#1?.csv", "../my%20runs/a%231%3F.csv"),
            ("javascript:alert(1)", "javascript%3Aalert%281%29"),
            ("\"><script>", "%22%3E%3Cscript%3E"),
            ("ä", "%C3%A4"),
        ] {
            assert_eq!(address(Path::new(path)), expected);
        }
        if cfg!(unix) {
            assert_eq!(address(Path::new("/tmp/a b")), "file:///tmp/a%20b");
        }
    }
}
