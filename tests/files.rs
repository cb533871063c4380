//! Checkpoint files: several writing processes, full disks, links, permissions, and what the errors say.
//!
//! `CYCLIC_OPTIM_FULL=1` makes two processes write 1,000 times each; without it, 100 times.

#![cfg(all(feature = "dfdx", feature = "checkpoint"))]

mod support;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use cyclic_optim::{Adam, Checkpoint, CheckpointError, Constant, CyclicOptimizer, ModelCheckpoint};
use dfdx::prelude::*;
use support::Folder;

type Optimizer = CyclicOptimizer<Adam<f32, Cpu>>;

fn optimizer(iterations: u64) -> Optimizer {
    let mut optimizer = CyclicOptimizer::new(Adam::default(), Constant::new(0.1).unwrap());
    optimizer.seek(iterations);
    optimizer
}

/// Runs of different sizes, so that a mixture of two files would be noticed.
fn small() -> (Tensor<Rank1<10>, f32, Cpu>, Optimizer) {
    (Cpu::default().ones(), optimizer(1))
}

fn large() -> (Tensor<Rank1<20_000>, f32, Cpu>, Optimizer) {
    (Cpu::default().ones(), optimizer(2))
}

const ROLE: &str = "CYCLIC_OPTIM_TEST_ROLE";
const PATH: &str = "CYCLIC_OPTIM_TEST_PATH";
const TIMES: &str = "CYCLIC_OPTIM_TEST_TIMES";

/// Not a test: the program that other tests run in a separate process.
#[test]
fn child() {
    let (Ok(role), Ok(path)) = (env::var(ROLE), env::var(PATH)) else { return };
    for _ in 0..env::var(TIMES).unwrap().parse().unwrap() {
        let written = if role == "small" {
            let (model, optimizer) = small();
            Checkpoint::write(&path, &model, &optimizer)
        } else {
            let (model, optimizer) = large();
            Checkpoint::write(&path, &model, &optimizer)
        };
        if let Err(error) = written {
            println!("error: {error}");
            std::process::exit(1);
        }
    }
}

/// Makes the process that runs [`child`]; `before` is what comes before its command line.
fn process(before: &[&str], role: &str, path: &Path, times: u32) -> Command {
    let own = env::current_exe().unwrap();
    let mut words = before.iter().map(|word| (*word).to_owned()).chain([own.to_str().unwrap().to_owned()]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words).args(["child", "--exact", "--nocapture"]);
    command.env(ROLE, role).env(PATH, path).env(TIMES, times.to_string());
    command
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn two_processes_write_one_checkpoint_while_a_third_reads() {
    let folder = Folder::new("writers");
    let path = folder.0.join("run.st");
    let times = if env::var_os("CYCLIC_OPTIM_FULL").is_some() { 1000 } else { 100 };
    let runs = {
        let ((one, of_one), (other, of_other)) = (small(), large());
        [Checkpoint::to_bytes(&one, &of_one).unwrap(), Checkpoint::to_bytes(&other, &of_other).unwrap()]
    };
    fs::write(&path, &runs[0]).unwrap();
    let mut writers =
        ["small", "large"].map(|role| process(&[], role, &path, times).stdout(Stdio::piped()).spawn().unwrap());
    let mut reads = BTreeMap::new();
    while writers.iter_mut().any(|writer| writer.try_wait().unwrap().is_none()) {
        let bytes = fs::read(&path).unwrap();
        assert!(runs.contains(&bytes), "{} bytes are neither run", bytes.len());
        let iterations = Checkpoint::read(&path).unwrap().iterations();
        *reads.entry(iterations).or_insert(0) += 1;
    }
    for writer in writers {
        let output = writer.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    assert_eq!(names(&folder.0), ["run.st"]);
    println!("{times} writes by each of two processes; reads by what was found: {reads:?}");
    assert!(reads.contains_key(&Some(1)) && reads.contains_key(&Some(2)), "{reads:?}");
}

/// With a limit of 4 KiB for a file, as on a full disk, the old file stays complete and no other file is left.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_the_old_file() {
    let folder = Folder::new("full");
    let path = folder.0.join("run.st");
    let (model, optimizer) = small();
    Checkpoint::write(&path, &model, &optimizer).unwrap();
    let before = fs::read(&path).unwrap();
    let limit = ["bash", "-c", "trap '' XFSZ; ulimit -f 4; exec \"$0\" \"$@\""];
    let output = process(&limit, "large", &path, 1).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && said.contains("run.st: File too large"), "{said}");
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(names(&folder.0), ["run.st"]);
    assert!(process(&limit, "small", &path, 1).output().unwrap().status.success());
}

/// The system calls show the order: the new file is synced, renamed, and then the folder is synced.
#[cfg(target_os = "linux")]
#[test]
fn a_write_is_synced_before_and_after_the_rename() {
    let folder = Folder::new("synced");
    let trace = folder.0.join("trace");
    let path = folder.0.join("here/run.st");
    fs::create_dir(folder.0.join("here")).unwrap();
    let calls = "trace=openat,write,fsync,rename,renameat,renameat2";
    let strace = ["strace", "-f", "-y", "-e", calls, "-o", trace.to_str().unwrap()];
    let tried = Command::new("strace").args(["-o", "/dev/null", "true"]).output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        println!("skipped: strace is not installed or may not trace");
        return;
    }
    assert!(process(&strace, "large", &path, 1).output().unwrap().status.success());
    let trace = fs::read_to_string(trace).unwrap();
    // Which of them comes where, of those calls that touch the folder.
    let found: Vec<&str> = trace
        .lines()
        .filter(|line| line.contains("synced-"))
        .filter_map(|line| {
            let call = line.split_once(' ')?.1.trim_start().split('(').next()?;
            let partial = line.contains(".partial");
            Some(match call {
                "openat" if partial && line.contains("O_EXCL") => "create",
                "write" if partial => "write",
                "fsync" if partial => "sync the file",
                "rename" | "renameat" | "renameat2" if partial => "rename",
                "fsync" if line.contains("/here>") => "sync the folder",
                _ => return None,
            })
        })
        .collect();
    let mut order = found.clone();
    order.dedup();
    assert_eq!(order, ["create", "write", "sync the file", "rename", "sync the folder"], "{trace}");
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_permissions_kept() {
    use std::os::unix::fs::{PermissionsExt, symlink};

    let folder = Folder::new("linked");
    let (link, target) = (folder.0.join("latest.st"), folder.0.join("disk/run.st"));
    fs::create_dir(folder.0.join("disk")).unwrap();
    symlink("disk/run.st", &link).unwrap();
    let (model, first) = small();
    Checkpoint::write(&link, &model, &first).unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
    Checkpoint::write(&link, &model, &optimizer(7)).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(Checkpoint::read(&target).unwrap().iterations(), Some(7));
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
    // A pipe stays a pipe, and the test does not wait for a reader.
    let pipe = folder.0.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).output().unwrap().status.success());
    let error = Checkpoint::write(&pipe, &model, &first).unwrap_err().to_string();
    assert!(error.ends_with("pipe: this is a device, a pipe or a socket; name a regular file"), "{error}");
    assert_eq!(names(&folder.0), ["disk", "latest.st", "pipe"]);
}

#[test]
fn an_error_names_its_file_once() {
    let folder = Folder::new("named");
    let path = folder.0.join("run.st");
    let (model, optimizer) = small();
    let said = |error: CheckpointError| {
        let text = error.to_string();
        assert_eq!(text.matches("run.st").count(), 1, "{text}");
        text.strip_prefix(&format!("{}: ", path.display())).expect(&text).to_owned()
    };
    let read = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let error = Checkpoint::read(&path).unwrap_err();
        assert!(matches!(error, CheckpointError::File { .. }), "{error:?}");
        let text = said(error);
        assert_eq!(Checkpoint::from_bytes(bytes.to_vec()).unwrap_err().to_string(), text, "without the file");
        text
    };
    assert!(read(b"").starts_with("not a checkpoint: "));
    let foreign = |text: &str| {
        let header = serde_json::json!({"__metadata__": {"cyclic_optim": text}}).to_string();
        [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat()
    };
    assert_eq!(read(&foreign("{}")), "the checkpoint's document: missing field `format` at line 1 column 2");
    let version = "the checkpoint has format version 9, and this version of the crate reads ";
    assert!(read(&foreign("{\"format\":9}")).starts_with(version));
    let mut bytes = Checkpoint::to_bytes(&model, &optimizer).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(read(&bytes), "the checkpoint is damaged: its checksum does not match");
    fs::remove_dir_all(&folder.0).unwrap();
    let missing = std::io::Error::from_raw_os_error(2).to_string();
    assert_eq!(said(Checkpoint::read(&path).unwrap_err()), missing);
    assert_eq!(said(Checkpoint::write(&path, &model, &optimizer).unwrap_err()), missing);
    assert_eq!(said(Checkpoint::write_weights(&path, &model).unwrap_err()), missing);
    fs::create_dir_all(&path).unwrap();
    let folder = "this is a folder; name a regular file";
    assert_eq!(said(Checkpoint::write(&path, &model, &optimizer).unwrap_err()), folder);
}

/// A file that is written again is one file, and the newest.
#[test]
fn the_last_files_are_counted_by_their_names() {
    let folder = Folder::new("again");
    let template = folder.0.join("{epoch}.st");
    let mut keep = ModelCheckpoint::new(template.to_str().unwrap()).unwrap().keep_last(2).unwrap();
    let (model, optimizer) = small();
    let mut save = |epoch| {
        keep.save(epoch, &[], &model, &optimizer).unwrap();
        names(&folder.0)
    };
    assert_eq!(save(0), ["1.st"]);
    assert_eq!(save(0), ["1.st"]);
    assert_eq!(save(1), ["1.st", "2.st"]);
    assert_eq!(save(0), ["1.st", "2.st"]);
    assert_eq!(save(2), ["1.st", "3.st"]);
}
