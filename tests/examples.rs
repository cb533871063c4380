//! The built examples, run as a user runs them: their output, and one line on stderr for whatever is wrong.

#![cfg(all(feature = "dfdx", feature = "serde"))]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use support::Folder;

/// Cargo builds the examples with the tests, beside them; but not where only this test is asked for (`--test examples`).
fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().unwrap().parent().unwrap();
    let mut command = Command::new(profile.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX)));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn assert_one_line_error(output: &Output, expected: &str) {
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.starts_with("error: ") && error.contains(expected), "said: {error} expected: {expected}");
}

#[test]
fn preview_prints_csv_and_nothing_else() {
    let output = example("preview").args(["examples/configs/triangular2.toml", "--steps", "3"]).output().unwrap();
    assert!(output.status.success());
    let mut lines = text(&output.stdout).lines();
    assert_eq!(lines.next(), Some("step,learning_rate,momentum"));
    assert_eq!(lines.next(), Some("0,0.001,"));
    assert_eq!(lines.count(), 2);
    assert_eq!(text(&output.stderr), "");
    for config in ["one_cycle.toml", "warmup_cosine.json"] {
        let output = example("preview").arg(format!("examples/configs/{config}")).output().unwrap();
        assert_eq!(text(&output.stdout).lines().count(), 101, "{config}: {}", text(&output.stderr));
    }
}

#[test]
fn preview_names_what_is_wrong_with_a_config() {
    let folder = Folder::new("configs");
    for (name, content, expected) in [
        ("a.toml", "[schedule.cyclic]\nbase_lr = nan\nmax_lr = 1\nstep_size = 5", "base_lr must be a finite rate"),
        (
            "b.toml",
            "[schedule.cyclic]\nbase_lr = 'x'\nmax_lr = 1\nstep_size = 5",
            "schedule.cyclic.base_lr: invalid type",
        ),
        ("c.toml", "[schedule.cyclic\n", "c.toml: TOML parse error"),
        ("d.json", r#"{"schedule": {"constant": {"lr": 0.1, "momentum": 1}}}"#, "unknown field `momentum`"),
        ("e.json", "", "EOF"),
        ("h.json", r#"{"schedule": {"constant": {"lr": 0.1}}} x"#, "trailing characters"),
        ("f.yaml", "", "must end in .json or .toml"),
        (
            "g.json",
            "{\"schedule\": {\"one_cycle\": {\"max_lr\": 1, \"total_steps\": 0}}}",
            "total_steps must be at least 1",
        ),
    ] {
        let file = folder.0.join(name);
        fs::write(&file, content).unwrap();
        assert_one_line_error(&example("preview").arg(&file).output().unwrap(), expected);
        assert_one_line_error(&example("digits").arg("--config").arg(&file).output().unwrap(), expected);
    }
    assert_one_line_error(&example("preview").arg("no/such.toml").output().unwrap(), "no/such.toml: ");
}

#[test]
fn digits_trains() {
    let output = example("digits").args(["--epochs", "2", "--seed", "3", "--seeds", "2"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines: Vec<&str> = text(&output.stdout).lines().collect();
    assert_eq!(lines.len(), 2 * 3 + 1);
    assert!(
        lines[0].starts_with("epoch   1/2  loss ") && lines[0].contains("  lr ") && lines[0].contains("  momentum ")
    );
    assert!(lines[2].starts_with("seed 3: test accuracy 0.9"), "{}", lines[2]);
    assert!(lines[6].starts_with("2 seeds: mean accuracy 0.9"), "{}", lines[6]);
}

#[cfg(all(feature = "csv", feature = "plot", feature = "progress"))]
#[test]
fn find_range_writes_its_curve_and_trains() {
    let folder = Folder::new("find_range");
    let run = |arguments: &[&str]| {
        let mut command = example("find_range");
        command.arg("--out").arg(folder.0.join("made/here")).args(["--epochs", "1"]).args(arguments);
        command.output().unwrap()
    };
    let written = |file: &str| fs::read_to_string(folder.0.join("made/here").join(file)).unwrap();

    let output = run(&[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    for line in ["steepest ", "minimum / 10 ", "valley ", "slide ", "Smith's range ", "seed 0: test accuracy 0."] {
        assert!(printed.contains(line), "{line} is missing in {printed}");
    }
    assert!(written("loss_curve.csv").starts_with("learning_rate,loss,validation_loss\n1e-5,"));
    assert!(written("loss_curve.svg").starts_with("<svg") && written("loss_curve.svg").contains("valley"));
    // Where there is no terminal there is no bar.
    assert_eq!(text(&output.stderr), "");

    let output = run(&["--weight-decays", "0,0.1"]);
    assert!(text(&output.stdout).contains("best weight decay: 0"), "{}", text(&output.stderr));
    assert!(written("loss_curve.csv").starts_with("weight_decay,learning_rate,loss,validation_loss\n0.0,1e-5,"));
    assert!(written("loss_curve.svg").contains("weight decay 0.1"));

    assert_one_line_error(&run(&["--weight-decays=-1"]), "weight_decays must lie in [0, inf), got -1");
    fs::write(folder.0.join("file"), "").unwrap();
    let into_a_file = example("find_range").arg("--out").arg(folder.0.join("file/below")).output().unwrap();
    assert_one_line_error(&into_a_file, "file/below: ");
}

/// Missing, truncated, overlong, foreign and contradictory files come out as one line.
#[test]
fn digits_names_what_is_wrong_with_its_data() {
    const FILES: [&str; 4] =
        ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];
    let folder = Folder::new("digits");
    let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/digits");
    let run = || example("digits").arg("--data").arg(&folder.0).args(["--epochs", "1"]).output().unwrap();
    let restore = || FILES.map(|file| fs::copy(original.join(file), folder.0.join(file)).unwrap());
    restore();
    assert!(run().status.success());
    for file in FILES {
        let path = folder.0.join(file);
        let whole = fs::read(&path).unwrap();

        fs::remove_file(&path).unwrap();
        assert_one_line_error(&run(), file);
        for length in [0, 3, 7, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            assert_one_line_error(&run(), "truncated");
        }
        fs::write(&path, [&whole[..], &[0]].concat()).unwrap();
        assert_one_line_error(&run(), "overlong");
        let mut other = whole.clone();
        other[3] ^= 2;
        fs::write(&path, &other).unwrap();
        assert_one_line_error(&run(), "not an IDX file of this kind");
        other.clone_from(&whole);
        other[4] = 0xff;
        fs::write(&path, &other).unwrap();
        assert_one_line_error(&run(), "truncated");
        restore();
    }
    fs::copy(folder.0.join(FILES[3]), folder.0.join(FILES[1])).unwrap();
    assert_one_line_error(&run(), "1437 images but 360 labels");
    restore();
    let mut labels = fs::read(folder.0.join(FILES[1])).unwrap();
    labels[8] = 10;
    fs::write(folder.0.join(FILES[1]), labels).unwrap();
    assert_one_line_error(&run(), "label 10 of image 0");
}

#[cfg(feature = "plot")]
#[test]
fn preview_draws() {
    let folder = Folder::new("preview");
    let svg = folder.0.join("one_cycle.svg");
    let arguments = ["examples/configs/one_cycle.toml", "--steps", "900", "--svg"];
    let output = example("preview").args(arguments).arg(&svg).output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty(), "{}", text(&output.stderr));
    assert!(fs::read_to_string(&svg).unwrap().contains("momentum"));
    let output = example("preview").args(arguments).arg(folder.0.join("no/such.svg")).output().unwrap();
    assert_one_line_error(&output, "no/such.svg");
}

#[cfg(all(feature = "csv", feature = "plot", feature = "tensorboard", feature = "progress", feature = "remote"))]
mod record {
    use std::path::Path;
    use std::process::Stdio;

    use cyclic_optim::history::{CsvLog, Per, Table, TensorBoard};

    use super::*;

    fn record(out: &Path, epochs: &str) -> Command {
        let mut command = example("record");
        command.arg("--out").arg(out).args(["--epochs", epochs]);
        command
    }

    fn rows(path: &Path) -> Table {
        Table::read_csv(fs::File::open(path).unwrap()).unwrap()
    }

    #[test]
    fn everything_is_written() {
        let folder = Folder::new("record");
        let out = folder.0.join("made/here");
        let output = record(&out, "2").args(["--remote", "http://127.0.0.1:1/"]).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!((rows(&out.join("updates.csv")).len(), rows(&out.join("epochs.csv")).len()), (90, 2));
        for picture in ["losses", "rates", "epochs", "schedule", "schedules"] {
            assert!(fs::read_to_string(out.join(format!("{picture}.svg"))).unwrap().contains("</svg>"), "{picture}");
        }
        for part in ["train", "validation"] {
            assert_eq!(fs::read_dir(out.join("tensorboard").join(part)).unwrap().count(), 1);
        }
        let said = text(&output.stdout);
        assert!(said.contains("layer 0.1: ") && said.contains("published 0 epochs, 2 failed"), "{said}");
        assert_eq!(text(&output.stderr), "", "a bar has no business where there is no terminal");
        assert_one_line_error(&record(&out, "2").output().unwrap(), "updates.csv: holds a run already");
        assert_one_line_error(&record(Path::new("/dev/null/x"), "2").output().unwrap(), "/dev/null/x: ");
        let other = record(&folder.0.join("other"), "2").args(["--remote", "ftp://host/"]).output().unwrap();
        assert_one_line_error(&other, "is no http or https address");
    }

    /// Killed at any moment, everything is readable up to the last row and the last flush, and can be gone on with.
    #[test]
    fn what_was_written_outlives_a_kill() {
        let folder = Folder::new("record-killed");
        for bytes in [0, 1, 40, 500, 2000, 5000] {
            let out = folder.0.join(bytes.to_string());
            let path = out.join("updates.csv");
            let mut child = record(&out, "200").stdout(Stdio::null()).spawn().unwrap();
            while fs::metadata(&path).map_or(0, |file| file.len()) < bytes {
                assert_eq!(child.try_wait().unwrap(), None, "ended by itself");
            }
            child.kill().unwrap();
            child.wait().unwrap();
            if !path.exists() {
                continue;
            }
            drop(CsvLog::append(&path, Per::Update, &["loss"]).unwrap());
            let updates = rows(&path);
            assert!(updates.index().iter().copied().eq(0..updates.len() as u64));
            assert!(updates.len() as u64 >= bytes / 70, "{} rows of {bytes} bytes", updates.len());
            drop(TensorBoard::open(out.join("tensorboard"), Some((u64::MAX, u64::MAX))).unwrap());
        }
    }

    /// Killed while it opens its files: what is there is nothing, or can be continued from the beginning.
    #[test]
    fn a_kill_in_the_first_moments_leaves_nothing_in_the_way() {
        let folder = Folder::new("record-begun");
        for moment in 0..20 {
            let out = folder.0.join(moment.to_string());
            let mut child = record(&out, "200").stdout(Stdio::null()).spawn().unwrap();
            std::thread::sleep(std::time::Duration::from_millis(5 * moment));
            child.kill().unwrap();
            child.wait().unwrap();
            fs::create_dir_all(&out).unwrap();
            for (name, per) in [("updates.csv", Per::Update), ("epochs.csv", Per::Epoch)] {
                let path = out.join(name);
                CsvLog::open(&path, per, &["loss"], Some(0)).unwrap().row(0, &[("loss", 1.0)]).unwrap();
                let table = rows(&path);
                assert_eq!((table.index(), table.values("loss").unwrap()), (&[0][..], vec![1.0]), "{moment}");
            }
            drop(TensorBoard::open(out.join("tensorboard"), Some((0, 0))).unwrap());
        }
    }

    /// A disk that is full midway: no file grows beyond 16 KiB.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_disk_that_is_full_midway_ends_the_run_with_an_error_and_whole_rows() {
        let folder = Folder::new("record-full");
        let program = example("record").get_program().to_owned();
        let mut command = Command::new("bash");
        command
            .args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$0\" --out \"$1\" --epochs 50"])
            .arg(program)
            .arg(&folder.0);
        let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
        assert_one_line_error(&output, "File too large");
        let updates = rows(&folder.0.join("updates.csv"));
        assert!(updates.len() > 100 && updates.index().iter().copied().eq(0..updates.len() as u64));
        let text = fs::read(folder.0.join("updates.csv")).unwrap();
        assert_eq!(text.last(), Some(&b'\n'));
        drop(TensorBoard::open(folder.0.join("tensorboard"), Some((u64::MAX, u64::MAX))).unwrap());
    }
}

#[cfg(feature = "checkpoint")]
mod resume {
    use std::ffi::OsString;
    use std::path::Path;
    use std::process::Stdio;
    use std::time::{Duration, Instant};

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn resume(checkpoint: &Path) -> Command {
        let mut command = example("resume");
        command.arg("--checkpoint").arg(checkpoint).args(["--epochs", "3", "--save-every", "1"]);
        command
    }

    /// Killed at random moments, over and over, and continued each time: the same bytes as a run that nobody disturbed.
    /// `CYCLIC_OPTIM_FULL=1` kills a hundred times.
    #[test]
    fn a_killed_run_ends_with_the_same_bytes() {
        let kills = if std::env::var_os("CYCLIC_OPTIM_FULL").is_some() { 100 } else { 10 };
        let folder = Folder::new("resume-killed");
        let start = Instant::now();
        let output = resume(&folder.0.join("whole.st")).output().unwrap();
        let whole_run = start.elapsed();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let expected = fs::read(folder.0.join("whole.model.safetensors")).unwrap();
        let mut rng = StdRng::seed_from_u64(8);
        let (mut killed, mut runs) = (0, 0);
        while killed < kills {
            runs += 1;
            let checkpoint = folder.0.join(format!("{runs}.st"));
            loop {
                let mut child = resume(&checkpoint).stdout(Stdio::null()).spawn().unwrap();
                std::thread::sleep(whole_run.mul_f64(rng.gen_range(0.0..0.6)).max(Duration::from_millis(1)));
                child.kill().unwrap();
                let status = child.wait().unwrap();
                if status.success() {
                    break;
                }
                assert_eq!(status.code(), None, "it failed by itself");
                killed += 1;
            }
            let model = folder.0.join(format!("{runs}.model.safetensors"));
            assert!(fs::read(&model).unwrap() == expected, "run {runs} ended elsewhere after {killed} kills");
            let checkpoint = fs::read(&checkpoint).unwrap();
            assert!(checkpoint == fs::read(folder.0.join("whole.st")).unwrap(), "run {runs} has another checkpoint");
        }
        println!("{runs} runs, killed {killed} times: all models and checkpoints have the same bytes");
    }

    #[test]
    fn what_cannot_be_continued_is_named() {
        let folder = Folder::new("resume-wrong");
        let checkpoint = folder.0.join("run.st");
        assert!(resume(&checkpoint).args(["--stop-after", "5"]).status().unwrap().success());
        let output = resume(&checkpoint).args(["--epochs", "3"]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "clap takes an option once");
        let mut longer = example("resume");
        longer.arg("--checkpoint").arg(&checkpoint).args(["--epochs", "4"]);
        assert_one_line_error(&longer.output().unwrap(), "config.schedule.one_cycle.total_steps was 135 and is 180");
        fs::write(&checkpoint, "something else").unwrap();
        assert_one_line_error(&resume(&checkpoint).output().unwrap(), "not a checkpoint");
        let mut folder = example("resume");
        folder.args(["--checkpoint", "/no/such/folder/run.st", "--epochs", "1"]);
        assert_one_line_error(&folder.output().unwrap(), "/no/such/folder/run.st");
    }

    /// 2 epochs are 90 updates: 4 does not divide them, and there are 4 files all the same.
    #[test]
    fn snapshots_are_as_many_as_asked_for() {
        let folder = Folder::new("snapshots");
        let mut command = example("snapshot_ensemble");
        command.args(["--epochs", "2", "--snapshots", "4", "--out"]).arg(folder.0.join("made"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let mut names: Vec<_> =
            fs::read_dir(folder.0.join("made")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [1, 2, 3, 4].map(|n| OsString::from(format!("snapshot-{n}.safetensors"))));
        assert!(text(&output.stdout).contains("\nensemble "), "{}", text(&output.stdout));
        let none = example("snapshot_ensemble").args(["--snapshots", "0"]).output().unwrap();
        assert_one_line_error(&none, "snapshots must be at least 1, got 0");
    }
}

#[cfg(all(
    feature = "checkpoint",
    feature = "csv",
    feature = "plot",
    feature = "tensorboard",
    feature = "progress",
    feature = "remote"
))]
mod train {
    use std::path::Path;

    use super::*;

    fn train(arguments: &[&str]) -> Command {
        let mut command = example("train");
        command.args(["--epochs", "2"]).args(arguments);
        command
    }

    /// What a run with these flags says.
    fn said(arguments: &[&str]) -> String {
        let output = train(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
        text(&output.stdout).to_owned()
    }

    /// The test accuracy at the end.
    fn accuracy(said: &str) -> f64 {
        let line = said.lines().last().unwrap();
        line.strip_prefix("test accuracy ").unwrap().split(' ').next().unwrap().parse().unwrap()
    }

    fn files(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn every_policy_and_optimizer_learns() {
        for policy in ["constant", "triangular", "triangular2", "exp-range", "one-cycle", "warm-restarts"] {
            let said = said(&["--policy", policy]);
            assert_eq!(said.lines().count(), 3);
            assert!(accuracy(&said) > 0.85, "{policy}: {said}");
        }
        for (optimizer, max_lr) in [("adam", "0.01"), ("sgd", "0.1"), ("rmsprop", "0.01")] {
            let said = said(&["--optimizer", optimizer, "--max-lr", max_lr, "--seed", "3"]);
            assert!(accuracy(&said) > 0.85, "{optimizer}: {said}");
        }
        assert!(accuracy(&said(&["--config", "examples/configs/triangular2.toml"])) > 0.85);
        assert!(accuracy(&said(&["--optimizer", "sgd", "--momentum", "0.5"])) > 0.3);
        let cycled = said(&["--policy", "triangular", "--base-lr", "0.002", "--step-size", "30", "--gamma", "0.99"]);
        assert!(accuracy(&cycled) > 0.85);
        assert!(accuracy(&said(&["--base-momentum", "0.8", "--max-momentum", "0.95"])) > 0.85);
        let found = said(&["--range-test"]);
        assert!(found.starts_with("range test: base_lr ") && accuracy(&found) > 0.7, "{found}");
    }

    #[test]
    fn every_output_on_its_own() {
        let folder = Folder::new("train-outputs");
        let path = |name: &str| folder.0.join(name).to_str().unwrap().to_owned();
        said(&["--csv", &path("epochs.csv")]);
        assert_eq!(fs::read_to_string(path("epochs.csv")).unwrap().lines().count(), 3);
        let sparse = ["--tensorboard-update-freq", "20", "--tensorboard-histogram-freq", "1"];
        said(&[&["--tensorboard", &path("board")][..], &sparse].concat());
        assert_eq!(files(&folder.0.join("board/train")), 1);
        said(&["--plot", &path("plots")]);
        assert_eq!(files(&folder.0.join("plots")), 3);
        assert_eq!(
            said(&["--progress"]).lines().count(),
            1,
            "a bar in place of the lines, and none without a terminal"
        );
        assert!(said(&["--remote", "http://127.0.0.1:1/"]).contains("published 0 epochs, 2 failed"));
        assert!(said(&["--dead-relu"]).contains("layer 1.1: "));
        let snapshots = said(&["--snapshots", "3"]);
        assert!(snapshots.contains("snapshot 3: ") && snapshots.contains("ensemble of 3: "), "{snapshots}");
        let template = path("models/{epoch}-{val_loss:.2}.st");
        said(&["--model-checkpoint", &template]);
        assert_eq!(files(&folder.0.join("models")), 2);
        let template = path("best/{epoch}.st");
        let best = ["--model-checkpoint-monitor", "val_accuracy", "--model-checkpoint-mode", "max"];
        let more = ["--model-checkpoint-save-best-only", "--model-checkpoint-save-weights-only"];
        let last = ["--model-checkpoint-save-freq", "1", "--model-checkpoint-keep-last", "1"];
        said(&[&["--model-checkpoint", &template][..], &best, &more, &last].concat());
        assert_eq!(files(&folder.0.join("best")), 1);
    }

    #[test]
    fn feedback_stops_and_reduces() {
        // An accuracy above 1 never comes.
        let stop = ["--early-stopping", "--early-stopping-patience", "1", "--early-stopping-min-delta", "100"];
        let stopped = said(&[&stop[..], &["--early-stopping-restore-best-weights"]].concat());
        assert!(stopped.contains("stopped after update 90: NoImprovement"), "{stopped}");
        let baseline = [
            "--early-stopping-mode",
            "max",
            "--early-stopping-monitor",
            "val_accuracy",
            "--early-stopping-baseline",
            "2",
        ];
        assert!(said(&[&stop[..], &baseline].concat()).contains("stopped"));
        let reduce =
            ["--reduce-lr", "--reduce-lr-patience", "1", "--reduce-lr-factor", "0.25", "--reduce-lr-min-delta", "100"];
        let more = ["--reduce-lr-cooldown", "1", "--reduce-lr-min-lr", "0.0001", "--reduce-lr-mode", "min"];
        let reduced = said(&[&reduce[..], &more, &["--reduce-lr-monitor", "loss"]].concat());
        assert!(reduced.contains("epoch 2: the rate is scaled by 0.25"), "{reduced}");
    }

    /// Everything at once; interrupted after one epoch and continued it leaves the same files.
    #[test]
    fn all_together_and_continued() {
        let folder = Folder::new("train-all");
        let flags = |name: &str| -> Vec<String> {
            let path = |file: &str| folder.0.join(name).join(file).to_str().unwrap().to_owned();
            fs::create_dir_all(folder.0.join(name)).unwrap();
            let with = [
                ("--optimizer", "sgd".into()),
                ("--policy", "triangular2".into()),
                ("--base-momentum", "0.85".into()),
                ("--max-momentum", "0.95".into()),
                ("--tensorboard", path("board")),
                ("--tensorboard-histogram-freq", "1".into()),
                ("--csv", path("epochs.csv")),
                ("--plot", path("plots")),
                ("--remote", "http://127.0.0.1:1/".into()),
                ("--checkpoint", path("run.st")),
                ("--model-checkpoint", path("models/{epoch}.st")),
                ("--seed", "4".into()),
            ];
            let without = [
                "--range-test",
                "--progress",
                "--early-stopping",
                "--early-stopping-restore-best-weights",
                "--reduce-lr",
                "--dead-relu",
                "--model-checkpoint-save-best-only",
            ];
            let with = with.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
            with.chain(without.map(Into::into)).collect()
        };
        let run = |name: &str, epochs: &str| {
            let mut command = example("train");
            command.args(["--epochs", epochs]).args(flags(name));
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
            text(&output.stdout).to_owned()
        };
        let whole = run("whole", "3");
        run("parts", "1");
        let continued = run("parts", "3");
        assert!(continued.contains("continuing from update 45\n"), "{continued}");
        for file in ["run.st", "epochs.csv", "plots/losses.svg", "plots/epochs.svg"] {
            let [whole, parts] = ["whole", "parts"].map(|name| fs::read(folder.0.join(name).join(file)).unwrap());
            assert!(whole == parts, "{file} differs");
        }
        assert_eq!(accuracy(&continued), accuracy(&whole));
        assert_eq!(files(&folder.0.join("whole/models")), files(&folder.0.join("parts/models")));
    }

    #[test]
    fn wrong_combinations_are_clear_errors() {
        for (arguments, expected) in [
            (&["--config", "x.toml", "--policy", "constant"][..], "cannot be used with"),
            (&["--range-test", "--max-lr", "1"], "cannot be used with"),
            (&["--snapshots", "3", "--policy", "constant"], "cannot be used with"),
            (&["--tensorboard-update-freq", "2"], "--tensorboard <DIR>"),
            (&["--model-checkpoint-keep-last", "2"], "--model-checkpoint <TEMPLATE>"),
            (&["--early-stopping-patience", "2"], "--early-stopping"),
            (&["--reduce-lr-factor", "0.1"], "--reduce-lr"),
            (&["--base-momentum", "0.1"], "--max-momentum"),
            (&["--policy", "square"], "possible values: constant"),
            (&["--epochs", "0"], "cannot be used multiple times"),
        ] {
            let output = train(arguments).output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{arguments:?}");
            assert!(text(&output.stderr).contains(expected), "{arguments:?}: {}", text(&output.stderr));
        }
        for (arguments, expected) in [
            (&["--policy", "exp-range", "--gamma", "2"][..], "gamma must lie in (0, 1], got 2"),
            (&["--policy", "triangular", "--step-size", "0"], "step_size must be at least 1, got 0"),
            (&["--snapshots", "0"], "snapshots must be at least 1, got 0"),
            (&["--early-stopping", "--early-stopping-monitor", "f1"], "there is no metric \"f1\" to monitor"),
            (
                &["--early-stopping", "--reduce-lr", "--reduce-lr-monitor", "loss"],
                "--early-stopping-monitor val_loss and --reduce-lr-monitor loss must be the same",
            ),
            (&["--reduce-lr", "--reduce-lr-factor", "1.5"], "factor must lie in"),
            (&["--model-checkpoint", "{f1}.st"], "there is no \"f1\"; there are"),
            (&["--model-checkpoint", "{epoch"], "a brace has no partner"),
            (&["--remote", "ftp://host/"], "is no http or https address"),
            (&["--csv", "/no/such/folder.csv"], "/no/such/folder.csv"),
            (&["--checkpoint", "/no/such/folder.st"], "/no/such/folder.st"),
            (&["--config", "no.toml"], "no.toml: "),
            (&["--data", "/no/such/folder"], "/no/such/folder"),
        ] {
            assert_one_line_error(&train(arguments).output().unwrap(), expected);
        }
    }
}
