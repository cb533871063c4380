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
        assert_eq!(text(&output.stderr), "", "{config}");
    }
}

#[test]
fn preview_reviews_the_run() {
    let reviewed = |config: &str, arguments: &[&str]| {
        let output = example("preview").arg(format!("examples/configs/{config}")).args(arguments).output().unwrap();
        assert!(output.status.success() && text(&output.stdout).lines().count() == 101, "{}", text(&output.stderr));
        text(&output.stderr).to_owned()
    };
    let run = ["--updates", "900", "--batches-per-epoch", "45", "--snapshots", "5", "--rate-limit", "0.02"];
    assert_eq!(reviewed("triangular2.toml", &run), "");
    let findings = reviewed("triangular2.toml", &["--updates", "1000", "--snapshots", "6", "--rate-limit", "0.01"]);
    let names: Vec<&str> = findings.lines().map(|line| line.split(": ").nth(1).unwrap()).collect();
    assert_eq!(names, ["ends_in_mid_cycle", "fewer_snapshots", "above_limit"], "{findings}");
    assert!(findings.lines().all(|line| line.starts_with("review: ")), "{findings}");
    assert!(
        reviewed("one_cycle.toml", &["--updates", "1000"]).starts_with("review: horizon_before_end: the schedule ends")
    );
    for (flag, value, expected) in [
        ("--updates", "0", "--updates must be at least 1, got 0"),
        ("--batches-per-epoch", "0", "--batches-per-epoch must be at least 1, got 0"),
        ("--rate-limit", "0", "--rate-limit must lie in (0, inf), got 0"),
    ] {
        let output = example("preview").args(["examples/configs/one_cycle.toml", flag, value]).output().unwrap();
        assert_one_line_error(&output, expected);
    }
}

#[test]
fn lengths_in_epochs_are_read_and_previewed() {
    let preview = |arguments: &[&str]| example("preview").arg("examples/configs/epochs.toml").args(arguments).output();
    let output = preview(&["--updates", "900", "--batches-per-epoch", "45", "--steps", "900"]).unwrap();
    assert_eq!(text(&output.stderr), "");
    let lines: Vec<&str> = text(&output.stdout).lines().collect();
    assert_eq!((lines[0], lines[1]), ("step,learning_rate,momentum,epoch", "0,0.0001,,0"));
    // The warm-up ends after 2 epochs; the first peak comes 3.5 epochs, 158 updates, later.
    assert_eq!((lines[91], lines[91 + 158]), ("90,0.001,,2", "248,0.02,,5.511111111111111"));
    let unknown = "steps: 2 epochs cannot be turned into updates: the number of batches in an epoch is not known";
    assert_one_line_error(&preview(&[]).unwrap(), unknown);
    let unknown = "steps: 70 % cannot be turned into updates: the number of updates of the run is not known";
    assert_one_line_error(&preview(&["--batches-per-epoch", "45"]).unwrap(), unknown);
    let digits =
        example("digits").args(["--config", "examples/configs/epochs.toml", "--epochs", "10"]).output().unwrap();
    assert!(digits.status.success(), "{}", text(&digits.stderr));
}

#[test]
fn preview_prints_other_hyper_parameters() {
    let folder = Folder::new("hyper");
    let file = folder.0.join("config.toml");
    fs::write(
        &file,
        "[schedule.constant]\nlr = 0.5\n[hyper.weight_decay.linear_decay]\nstart_lr = 1\nend_lr = 0\nsteps = 4\n",
    )
    .unwrap();
    let output = example("preview").arg(&file).args(["--steps", "2"]).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed, "step,learning_rate,momentum,weight_decay\n0,0.5,,1\n1,0.5,,0.75\n");
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

/// The 21 experiments of the notebook, and those of the rules that it did not have: the rates are the published ones as far as
/// float32 goes, and every loss has fallen.
#[test]
fn optimizers_has_the_rates_of_the_notebook() {
    let folder = Folder::new("optimizers");
    let output = example("optimizers").arg("--out").arg(&folder.0).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let rows: Vec<Vec<&str>> =
        text(&output.stdout).lines().skip(1).map(|row| row.split_whitespace().collect()).collect();
    assert_eq!(rows.len(), 30);
    for row in &rows {
        let number = |n: usize| row[n].parse::<f64>().unwrap();
        // A GPU's float32 powers of gamma.
        let within = if row[1] == "exp_range" { 2e-4 } else { 2e-6 };
        assert!(number(5) < within, "{row:?}");
        assert!(number(3) < 0.9 * number(2), "{row:?}");
    }
    assert!(fs::read_to_string(folder.0.join("optimizers.svg")).unwrap().starts_with("<svg"));
}

#[test]
fn own_rule_resumes_to_the_same_bits() {
    let output = example("own_rule").output().unwrap();
    let said = text(&output.stdout);
    assert!(output.status.success() && said.ends_with("the same bits\n") && !said.contains("NOT"), "{said}");
}

#[test]
fn digits_trains() {
    let output = example("digits").args(["--epochs", "2", "--seed", "3"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines: Vec<&str> = text(&output.stdout).lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(
        lines[0].starts_with("epoch   1/2  loss ") && lines[0].contains("  lr ") && lines[0].contains("  momentum ")
    );
    assert!(lines[2].starts_with("seed 3: test accuracy 0.9"), "{}", lines[2]);
}

#[test]
fn convolution_trains() {
    let output = example("convolution").args(["--epochs", "2", "--images", "320"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines: Vec<&str> = text(&output.stdout).lines().collect();
    assert!(lines.len() == 3 && lines[0].starts_with("epoch   1/2  lr "), "{lines:?}");
    // Guessing gets a tenth right.
    let accuracy: f64 = lines[2].split(' ').nth(2).unwrap().parse().unwrap();
    assert!(lines[2].starts_with("test accuracy ") && accuracy > 0.3, "{lines:?}");
}

#[test]
fn convolution_names_the_flag_of_a_wrong_rate() {
    let output = example("convolution").args(["--max-lr", "nan"]).output().unwrap();
    assert_one_line_error(&output, "--max-lr must be a finite rate of at least 0, got NaN");
}

#[test]
fn digits_chooses_its_peak() {
    let output = example("digits").args(["--auto", "--epochs", "4"]).output().unwrap();
    let lines: Vec<&str> = text(&output.stdout).lines().collect();
    assert_eq!(lines[0], "choosing the peak: about 188 updates, 104 % of the run's 180; at most 433");
    assert!(lines[2].starts_with("peak "), "{}", lines[2]);
    assert!(lines.last().unwrap().starts_with("seed 0: test accuracy 0.9"), "{lines:?}");
}

/// The short form of the gate's run: a table row for each optimizer, and the summary.
#[test]
fn no_rate_by_hand_prints_its_table() {
    let quick = ["--updates", "40", "--seeds", "1", "--tuning-seeds", "1", "--batches", "32", "--regression"];
    let output = example("no_rate_by_hand").args(quick).output().unwrap();
    let printed = text(&output.stdout);
    assert_eq!(printed.lines().filter(|line| line.starts_with("| digits | ")).count(), 3, "{printed}");
    assert_eq!(printed.lines().filter(|line| line.starts_with("| regression | ")).count(), 3, "{printed}");
    assert!(printed.lines().last().unwrap().starts_with("batch 32: short by "), "{printed}");
}

#[cfg(all(feature = "csv", feature = "plot", feature = "progress"))]
#[test]
fn find_range_has_the_options_of_older_finders() {
    let folder = Folder::new("find_range_options");
    let run = |arguments: &[&str]| {
        let mut command = example("find_range");
        command.arg("--out").arg(&folder.0).args(["--epochs", "1"]).args(arguments).output().unwrap()
    };
    let output =
        run(&["--verbose", "--max-loss-factor", "1.5", "--logarithmic-loss", "--winsorised", "--smoothing", "0.9"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines: Vec<&str> = text(&output.stdout).lines().take_while(|line| line.starts_with("lr ")).collect();
    let rows = fs::read_to_string(folder.0.join("loss_curve.csv")).unwrap().lines().count() - 1;
    // A line for each rate. The last loss is the first one above 1.5 times the first.
    assert_eq!(lines.len(), rows);
    let losses: Vec<f64> = lines.iter().map(|line| line.split("loss ").nth(1).unwrap().parse().unwrap()).collect();
    let above = losses.iter().position(|loss| *loss > 1.5 * losses[0]);
    assert!(above.is_none_or(|above| above + 1 == rows), "{losses:?}");
    assert!(fs::read_to_string(folder.0.join("loss_curve.svg")).unwrap().contains("smoothed"));
    let both = run(&["--losses", "both"]);
    assert!(both.status.success(), "{}", text(&both.stderr));
    assert!(fs::read_to_string(folder.0.join("loss_curve.svg")).unwrap().contains("validation loss, smoothed"));
    let row = fs::read_to_string(folder.0.join("loss_curve.csv")).unwrap().lines().nth(1).unwrap().to_owned();
    assert!(row.split(',').nth(2).unwrap().parse::<f64>().unwrap() > 0.0, "{row}");
    for (arguments, expected) in [
        (["--smoothing", "1"], "--smoothing must lie in [0, 1), got 1"),
        (["--max-loss-factor", "1"], "--max-loss-factor must lie in (1, inf), got 1"),
    ] {
        assert_one_line_error(&run(&arguments), expected);
    }
    assert!(text(&run(&["--linear-rate", "--weight-decays", "0"]).stderr).contains("cannot be used with"));
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
    for line in [
        "recommended ",
        "steepest ",
        "minimum / 10 ",
        "valley ",
        "slide ",
        "Smith's range ",
        "seed 0: test accuracy 0.",
    ] {
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

    assert_one_line_error(&run(&["--weight-decays=-1"]), "--weight-decays must lie in [0, inf), got -1");
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

/// The digits, cropped to 6 x 7 pixels, packed, and packed beside plain files that count.
#[test]
fn packed_files_and_every_image_size() {
    use std::io::Write;

    const FILES: [&str; 4] =
        ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];
    let folder = Folder::new("digits-packed");
    let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/digits");
    let packed = |file: &str| folder.0.join(format!("{file}.gz"));
    let pack = |file: &str, bytes: &[u8]| {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(bytes).unwrap();
        fs::write(packed(file), gz.finish().unwrap()).unwrap();
    };
    let run = || example("digits").arg("--data").arg(&folder.0).args(["--epochs", "1"]).output().unwrap();
    // The output without the time.
    let results = |output: &Output| {
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).split(" in ").next().unwrap().to_owned()
    };
    for file in FILES {
        pack(file, &fs::read(original.join(file)).unwrap());
    }
    let plain = results(&example("digits").args(["--epochs", "1"]).output().unwrap());
    assert_eq!(results(&run()), plain);

    let whole = fs::read(packed(FILES[0])).unwrap();
    fs::write(packed(FILES[0]), &whole[..whole.len() / 2]).unwrap();
    assert_one_line_error(&run(), "train-images-idx3-ubyte.gz: not a complete gzip file");
    fs::copy(original.join(FILES[0]), folder.0.join(FILES[0])).unwrap();
    assert_eq!(results(&run()), plain);
    fs::remove_file(packed(FILES[1])).unwrap();
    assert_one_line_error(&run(), "train-labels-idx1-ubyte: not found, and ");

    fs::copy(original.join(FILES[1]), folder.0.join(FILES[1])).unwrap();
    for file in [FILES[0], FILES[2]] {
        let images = fs::read(original.join(file)).unwrap();
        let mut cropped = images[..8].to_vec();
        cropped.extend([0, 0, 0, 7, 0, 0, 0, 6]);
        for image in images[16..].chunks_exact(64) {
            cropped.extend(image.chunks_exact(8).take(7).flat_map(|row| &row[1..7]));
        }
        fs::write(folder.0.join(file), cropped).unwrap();
    }
    let output = example("digits").arg("--data").arg(&folder.0).args(["--epochs", "3"]).output().unwrap();
    let accuracy = results(&output).split_once("test accuracy ").unwrap().1[..6].parse::<f64>().unwrap();
    assert!(accuracy > 0.85, "{accuracy}");
}

/// `example | head` has seen enough: no panic, no message.
#[cfg(all(feature = "checkpoint", feature = "csv", feature = "plot", feature = "tensorboard", feature = "remote"))]
#[cfg(feature = "progress")]
#[test]
fn a_closed_stdout_ends_an_example_quietly() {
    use std::process::Stdio;

    let folder = Folder::new("closed");
    let path = |name: &str| folder.0.join(name).to_str().unwrap().to_owned();
    let (found, record, resume) = (path("found"), path("record"), path("run.st"));
    for (name, arguments) in [
        ("digits", &["--epochs", "1"][..]),
        ("find_range", &["--epochs", "1", "--out", &found]),
        ("preview", &["examples/configs/one_cycle.toml"]),
        ("record", &["--epochs", "1", "--out", &record]),
        ("resume", &["--epochs", "1", "--checkpoint", &resume]),
        ("snapshot_ensemble", &["--epochs", "1", "--snapshots", "2"]),
        ("train", &["--epochs", "1"]),
        ("train", &["--help"]),
    ] {
        let mut child = example(name).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((text(&output.stderr), output.status.code()), ("", Some(0)), "{name}");
    }
}

#[test]
fn a_negative_number_is_a_value() {
    let output = example("digits").args(["--epochs", "-1"]).output().unwrap();
    assert!(text(&output.stderr).contains("invalid value '-1' for '--epochs <EPOCHS>'"), "{}", text(&output.stderr));
}

#[cfg(feature = "plot")]
#[test]
fn a_picture_does_not_replace_the_config() {
    let folder = Folder::new("preview-same");
    let config = folder.0.join("config.toml");
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/configs/one_cycle.toml"), &config).unwrap();
    let output = example("preview").arg(&config).arg("--svg").arg(folder.0.join("./config.toml")).output().unwrap();
    assert_one_line_error(&output, "config.toml: --svg would replace the config");
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

    use cyclic_optim::Applied;
    use cyclic_optim::history::{CsvLog, Per, Recorder, Table, TensorBoard};

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
        assert_one_line_error(&record(&out, "2").output().unwrap(), "updates.csv: already holds a run");
        assert_one_line_error(&record(Path::new("/dev/null/x"), "2").output().unwrap(), "/dev/null/x: ");
        let other = record(&folder.0.join("other"), "2").args(["--remote", "ftp://host/"]).output().unwrap();
        assert_one_line_error(&other, "is not an http or https address");
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
                let mut log = CsvLog::open(&path, per, &["loss"], Some(0)).unwrap();
                let used = Applied { lr: 0.1, ..Applied::default() };
                log.update(&used, &[("loss", 1.0)]).unwrap();
                log.epoch(0, &[("loss", 1.0)]).unwrap();
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
    fn the_model_does_not_replace_the_run() {
        let folder = Folder::new("resume-same");
        let checkpoint = folder.0.join("run.st");
        assert!(resume(&checkpoint).args(["--stop-after", "5"]).status().unwrap().success());
        let output = resume(&checkpoint).arg("--model").arg(folder.0.join("../").join(&checkpoint)).output().unwrap();
        assert_one_line_error(&output, "run.st: --model and --checkpoint cannot be the same file");
        assert!(resume(&checkpoint).args(["--stop-after", "6"]).status().unwrap().success());
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

    /// Snapshots and the average of the weights are part of the checkpoint: killed behind a snapshot, the run ends the same.
    #[test]
    fn a_killed_ensemble_is_continued() {
        let folder = Folder::new("snapshots-killed");
        let command = |name: &str| {
            let mut command = example("snapshot_ensemble");
            command.args(["--epochs", "3", "--snapshots", "6", "--out"]).arg(folder.0.join(name));
            command.arg("--checkpoint").arg(folder.0.join(name).with_extension("st"));
            command
        };
        let whole = command("whole").output().unwrap();
        let mut child = command("parts").stdout(Stdio::null()).spawn().unwrap();
        while !folder.0.join("parts/snapshot-3.safetensors").exists() {
            assert_eq!(child.try_wait().unwrap(), None, "ended by itself");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let parts = command("parts").output().unwrap();
        let (continued, rest) = text(&parts.stdout).split_once('\n').unwrap();
        assert!(continued.starts_with("continuing after update "), "{continued}");
        assert_ne!(continued, "continuing after update 0 of 135");
        assert_eq!(rest, text(&whole.stdout));
        let [whole, parts] = ["whole.st", "parts.st"].map(|file| fs::read(folder.0.join(file)).unwrap());
        assert!(whole == parts, "other checkpoints");
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
        assert!(text(&output.stdout).starts_with("test accuracy:\n"), "{}", text(&output.stdout));
        let wrong =
            |flags: [&str; 2]| example("snapshot_ensemble").args(["--epochs", "2"]).args(flags).output().unwrap();
        assert_one_line_error(
            &wrong(["--snapshots", "1000"]),
            "--snapshots must be at most the number of updates, 90, got 1000",
        );
        assert_one_line_error(&wrong(["--max-lr", "-1"]), "--max-lr must be a finite rate of at least 0, got -1");
        assert!(text(&wrong(["--snapshots", "0"]).stderr).contains("invalid value '0' for '--snapshots <SNAPSHOTS>'"));
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
    use std::io::{BufRead, BufReader};
    use std::path::Path;
    use std::process::{Child, Stdio};
    use std::time::{Duration, Instant};

    use cyclic_optim::Checkpoint;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    use support::events::read_folder;

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
        // Two epochs are too short for most schedules, as the review says.
        let others: Vec<&str> = text(&output.stderr).lines().filter(|line| !line.starts_with("review: ")).collect();
        assert_eq!(others, [""; 0], "{arguments:?}");
        text(&output.stdout).to_owned()
    }

    /// Runs of eight epochs, in which the default cycles come out even.
    #[test]
    fn the_defaults_have_no_findings() {
        for policy in ["constant", "triangular", "triangular2", "exp-range", "one-cycle", "warm-restarts"] {
            let output = example("train").args(["--policy", policy, "--epochs", "8"]).output().unwrap();
            assert!(output.status.success());
            assert_eq!(text(&output.stderr), "", "{policy}");
        }
        assert_eq!(text(&train(&["--snapshots", "4"]).output().unwrap().stderr), "");
        let cut = train(&["--policy", "triangular"]).output().unwrap();
        assert!(
            text(&cut.stderr).starts_with("review: ends_in_mid_cycle: the run ends after update 82 of the 164"),
            "{cut:?}"
        );
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
        let cycled = said(&["--policy", "triangular", "--base-lr", "0.002", "--step-size", "30"]);
        assert!(accuracy(&cycled) > 0.85);
        assert!(accuracy(&said(&["--base-momentum", "0.8", "--max-momentum", "0.95"])) > 0.85);
        let found = said(&["--range-test"]);
        assert!(found.starts_with("range test: base_lr ") && accuracy(&found) > 0.7, "{found}");
    }

    /// Killed while it chooses and while it trains, and continued each time: the same bytes, and the choice is made once.
    #[test]
    fn a_choice_is_made_once() {
        let folder = Folder::new("train-auto");
        let path = |name: &str| folder.0.join(name).to_str().unwrap().to_owned();
        let (whole, plots) = (path("whole.st"), path("plots"));
        let chosen = said(&["--auto", "--checkpoint", &whole, "--plot", &plots]);
        let cost =
            "choosing the peak: about 188 updates, 229 % of the run's 82; at most 433\nthat is more than a quarter";
        assert!(chosen.starts_with(cost) && chosen.contains("\npeak "), "{chosen}");
        assert!(accuracy(&chosen) > 0.85, "{chosen}");
        assert!(fs::read_to_string(folder.0.join("plots/choice.svg")).unwrap().contains("Choice of the peak rate"));
        let expected = fs::read(&whole).unwrap();

        let killed = path("killed.st");
        for delay in [5, 50, 150, 300, 500, 700] {
            let mut child = train(&["--auto", "--checkpoint", &killed]).stdout(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(delay));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        said(&["--auto", "--checkpoint", &killed]);
        assert!(fs::read(&killed).unwrap() == expected, "the killed run ended elsewhere");
        let continued = said(&["--auto", "--checkpoint", &killed]);
        assert!(continued.starts_with("continuing after update 82"), "{continued}");

        let without = path("without.st");
        said(&["--checkpoint", &without]);
        let output = train(&["--auto", "--checkpoint", &without]).output().unwrap();
        assert_one_line_error(&output, "without.st: saved without --auto");
        let both = train(&["--auto", "--max-lr", "0.1"]).output().unwrap();
        assert!(!both.status.success() && text(&both.stderr).contains("cannot be used with"), "{}", text(&both.stderr));
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
        let histograms = read_folder(&folder.0.join("board/train")).histograms;
        // Of 64 weights for each of 64 units; of 144 validation images.
        for (tag, values) in
            [("0.0.weight", 64.0 * 64.0), ("activations/0.1", 144.0 * 64.0), ("activations/1.1", 144.0 * 32.0)]
        {
            let found: Vec<_> = histograms.iter().filter(|histogram| histogram.1 == tag).collect();
            assert!(found.len() == 2 && found.iter().all(|histogram| histogram.2 == values), "{tag}: {found:?}");
        }
        said(&["--plot", &path("plots")]);
        assert_eq!(files(&folder.0.join("plots")), 3);
        assert_eq!(said(&["--progress"]).lines().count(), 3, "the lines of the epochs where there is no terminal");
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

    /// The statistics of each layer are in every record, and they are those of the network that the run has saved.
    #[test]
    #[expect(clippy::cast_possible_truncation, reason = "TensorBoard has single precision")]
    fn activations_are_recorded_after_each_epoch() {
        let folder = Folder::new("train-activations");
        let path = |name: &str| folder.0.join(name).to_str().unwrap().to_owned();
        let records = ["--csv", &path("epochs.csv"), "--tensorboard", &path("board"), "--plot", &path("plots")];
        // A report is a record, too.
        let report = path("report.html");
        assert!(said(&["--activation-stats", "--report", &report]).contains("test accuracy "));
        assert!(fs::read_to_string(report).unwrap().contains("activation_mean/0.1"));
        let said = said(&[&["--activation-stats", "--dead-relu"][..], &records].concat());
        let csv = fs::read_to_string(path("epochs.csv")).unwrap();
        let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
        let names = [
            "activation_mean/0.1",
            "activation_std/0.1",
            "activation_zeros/0.1",
            "activation_mean/1.1",
            "activation_std/1.1",
            "activation_zeros/1.1",
            "dead_share/0.1",
            "dead_share/1.1",
        ];
        assert_eq!(rows[0][4..], names);
        let number = |row: usize, name: &str| -> f64 {
            rows[row][4 + names.iter().position(|other| *other == name).unwrap()].parse().unwrap()
        };
        for row in [1, 2] {
            for layer in ["0.1", "1.1"] {
                let of = |statistic: &str| number(row, &format!("{statistic}/{layer}"));
                assert!(of("activation_mean") > 0.0 && of("activation_std") > 0.0, "{csv}");
                // What is dead is always 0.
                assert!((of("dead_share")..1.0).contains(&of("activation_zeros")), "{csv}");
            }
        }
        assert_ne!(number(1, "activation_mean/0.1"), number(2, "activation_mean/0.1"));
        // The last row and the report at the end are about the same network.
        let dead = number(2, "dead_share/0.1") * 64.0;
        assert!(said.contains(&format!("layer 0.1: {dead} of 64 units dead ")), "{said}\n{csv}");
        let events = read_folder(&folder.0.join("board/train")).scalars;
        for name in names {
            let tag = format!("epoch/{name}");
            let values: Vec<f32> = events.iter().filter(|event| event.1 == tag).map(|event| event.2).collect();
            assert_eq!(values, [1, 2].map(|row| number(row, name) as f32), "{name}");
        }
        for picture in ["activation_mean", "activation_std", "activation_zeros", "dead_share"] {
            let svg = fs::read_to_string(path(&format!("plots/{picture}.svg"))).unwrap();
            assert!(svg.contains("0.1\n") && svg.contains("1.1\n"), "{picture}: a line for each layer");
        }
    }

    /// The last picture shows the weights that the run has saved, unit by unit.
    #[test]
    fn the_weights_of_the_first_layer_are_a_picture() {
        let folder = Folder::new("train-images");
        let path = |name: &str| folder.0.join(name).to_str().unwrap().to_owned();
        let board = ["--tensorboard", &path("board"), "--tensorboard-image-freq", "1", "--checkpoint", &path("run.st")];
        said(&board);
        let images = read_folder(&folder.0.join("board/train")).images;
        let found = images.iter().map(|(epoch, tag, (height, width, _))| (*epoch, tag.as_str(), *height, *width));
        // Eight rows of eight tiles of 8 x 8 pixels, and lines of one pixel around them.
        assert_eq!(found.collect::<Vec<_>>(), [0, 1].map(|epoch| (epoch, "weights of the first layer", 73, 73)));
        let saved = fs::read(path("run.st")).unwrap();
        let saved = safetensors::SafeTensors::deserialize(&saved).unwrap();
        let weights: Vec<f32> = saved
            .tensor("model.0.0.weight")
            .unwrap()
            .data()
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
            .collect();
        let (min, max) =
            weights.iter().fold((f32::MAX, f32::MIN), |(min, max), &weight| (min.min(weight), max.max(weight)));
        let pixels = &images[1].2.2;
        for (n, &weight) in weights.iter().enumerate() {
            let (unit, y, x) = (n / 64, n % 64 / 8, n % 8);
            let pixel = pixels[(unit / 8 * 9 + 1 + y) * 73 + unit % 8 * 9 + 1 + x];
            let expected = (f64::from(weight) - f64::from(min)) / (f64::from(max) - f64::from(min)) * 255.0;
            assert!((f64::from(pixel) - expected).abs() <= 0.5 + 1e-9, "unit {unit}, {y}, {x}");
        }
        // The lines.
        assert!(pixels.iter().enumerate().all(|(n, &pixel)| (n / 73 % 9 > 0 && n % 73 % 9 > 0) || pixel == 0));
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The two best by each of two metrics, of four epochs with an interruption after each: the files of a run without any.
    #[test]
    fn the_best_models_by_several_metrics() {
        let folder = Folder::new("train-top-k");
        let run = |name: &str, epochs: &[&str]| {
            let path = |file: &str| folder.0.join(name).join(file).to_str().unwrap().to_owned();
            fs::create_dir_all(folder.0.join(name)).unwrap();
            let (loss, accuracy) = (path("loss/{epoch}-{val_loss}.st"), path("accuracy/{epoch}-{val_accuracy}.st"));
            let mut said = String::new();
            for epochs in epochs {
                // A rate at which the metrics go up and down.
                let mut command = example("train");
                command.args(["--epochs", epochs, "--policy", "constant", "--max-lr", "0.05"]);
                command.args(["--model-checkpoint", &loss, "--model-checkpoint-monitor", "val_loss"]);
                command.args(["--model-checkpoint", &accuracy, "--model-checkpoint-monitor", "val_accuracy"]);
                command.args(["--model-checkpoint-save-top-k", "2", "--checkpoint", &path("run.st")]);
                let output = command.output().unwrap();
                assert!(output.status.success(), "{}", text(&output.stderr));
                said += text(&output.stdout);
            }
            let values = |metric: &str| -> Vec<f64> {
                let lines = said.lines().filter(|line| line.starts_with("epoch "));
                lines
                    .map(|line| line.split_once(metric).unwrap().1.split(' ').next().unwrap().parse().unwrap())
                    .collect()
            };
            let files = ["loss", "accuracy"].map(|part| names(&folder.0.join(name).join(part)));
            (files, values("val_loss "), values("val_accuracy "))
        };
        let (whole, losses, accuracies) = run("whole", &["6"]);
        let best = |values: &[f64], larger: bool| -> Vec<String> {
            let mut epochs: Vec<usize> = (0..values.len()).collect();
            // Of two equal ones the earlier comes first.
            epochs.sort_by(
                |&a, &b| if larger { values[b].total_cmp(&values[a]) } else { values[a].total_cmp(&values[b]) },
            );
            let mut best: Vec<String> = epochs[..2].iter().map(|epoch| format!("{}-", epoch + 1)).collect();
            best.sort();
            best
        };
        for (files, expected) in whole.iter().zip([best(&losses, false), best(&accuracies, true)]) {
            assert_eq!(files.len(), 2);
            assert!(files.iter().zip(&expected).all(|(file, start)| file.starts_with(start)), "{files:?} {expected:?}");
        }
        assert_ne!(best(&losses, false), ["5-", "6-"], "the last are not the best");
        let (parts, ..) = run("parts", &["1", "2", "3", "4", "5", "6"]);
        assert_eq!(parts, whole);
    }

    #[test]
    fn feedback_stops_and_reduces() {
        // An accuracy above 1 never comes.
        let stop = ["--early-stopping", "--early-stopping-patience", "1", "--early-stopping-min-delta", "100"];
        let stopped = said(&[&stop[..], &["--early-stopping-restore-best-weights"]].concat());
        let sentence = "stopped early after epoch 2 (update 82): no improvement of val_loss in 1 epoch\n";
        assert!(stopped.contains(sentence), "{stopped}");
        assert!(stopped.contains("restored the weights of the best epoch, 1 (val_loss "), "{stopped}");
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
        let line = reduced.lines().find(|line| line.contains("no longer improves")).unwrap();
        assert!(line.starts_with("epoch 2: loss no longer improves: rate times 0.25, next "), "{line}");
    }

    /// The first metric that no longer improves ends the run; also after an interruption.
    #[test]
    fn several_metrics_can_end_a_run() {
        let folder = Folder::new("train-monitors");
        let checkpoint = folder.0.join("run.st").to_str().unwrap().to_owned();
        // The training loss falls for long, the accuracy does not rise for long.
        let monitors = ["--early-stopping-monitor", "loss", "--early-stopping-monitor", "val_accuracy"];
        let rule = ["--early-stopping", "--early-stopping-patience", "2", "--policy", "constant", "--max-lr", "0.01"];
        let run = |epochs: &str, flags: &[&str]| {
            let output = example("train").args(rule).args(["--epochs", epochs]).args(flags).output().unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
            text(&output.stdout).to_owned()
        };
        let alone = run("12", &monitors[2..]);
        let sentence = alone.lines().find(|line| line.starts_with("stopped early after epoch ")).unwrap();
        assert!(sentence.ends_with("no improvement of val_accuracy in 2 epochs"), "{alone}");
        let both = run("12", &monitors);
        assert_eq!(both, alone, "the loss has still improved");
        let restore = "--early-stopping-restore-best-weights";
        let saved = [&monitors[..], &["--checkpoint", &checkpoint, restore]].concat();
        let first = run("12", &saved);
        assert!(first.contains(sentence) && first.contains("(loss "), "the best by the first metric: {first}");
        let again = run("12", &saved);
        assert!(again.contains(sentence) && !again.contains("epoch  "), "{again}");
    }

    /// A value that is good enough ends the run, in the epoch in which it is reached; also after an interruption.
    #[test]
    fn a_value_to_stop_at_ends_the_run() {
        let folder = Folder::new("train-stop-at");
        let checkpoint = folder.0.join("run.st").to_str().unwrap().to_owned();
        let at = |value: &str, flags: &[&str]| {
            let stop = ["--stop-at", value, "--early-stopping-monitor", "val_accuracy", "--policy", "constant"];
            let output = example("train").args(["--epochs", "4"]).args(stop).args(flags).output().unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
            text(&output.stdout).to_owned()
        };
        let all = at("1.1", &[]);
        assert!(all.contains("epoch   4/4") && !all.contains("stopped"), "{all}");
        let accuracy = |epoch: &str| {
            let line = all.lines().find(|line| line.starts_with(epoch)).unwrap();
            line.rsplit_once("val_accuracy ").unwrap().1.to_owned()
        };
        // Above the first epoch's accuracy, and reached by the second's.
        assert!(
            accuracy("epoch   2/4").parse::<f64>().unwrap() > 0.9 && accuracy("epoch   1/4") < accuracy("epoch   2/4")
        );
        let between = (accuracy("epoch   1/4").parse::<f64>().unwrap() + 1e-3).to_string();
        let stopped = at(&between, &["--checkpoint", &checkpoint, "--early-stopping-restore-best-weights"]);
        let sentence = format!("stopped early after epoch 2 (update 82): val_accuracy reached {between}, with ");
        assert!(stopped.contains(&sentence) && stopped.contains("of the best epoch, 2 (val_accuracy "), "{stopped}");
        let again = at(&between, &["--checkpoint", &checkpoint, "--early-stopping-restore-best-weights"]);
        assert!(again.contains(&sentence) && !again.contains("epoch   3/4"), "{again}");
        // A loss is reached from above, and with patience, too.
        let loss = ["--early-stopping", "--early-stopping-monitor", "loss", "--stop-at", "1000"];
        assert!(said(&loss).contains("stopped early after epoch 1 (update 41): loss reached 1000, with "));
        let max = ["--stop-at", "0.1", "--early-stopping-monitor", "loss", "--early-stopping-mode", "max"];
        assert!(said(&max).contains("stopped early after epoch 1 (update 41): loss reached 0.1, with "));
    }

    /// The epoch in which the time is over is the last one, and what an interrupted run has spent counts.
    #[test]
    fn the_time_of_a_run_is_limited() {
        let folder = Folder::new("train-time");
        let path = |name: &str| folder.0.join(name).to_str().unwrap().to_owned();
        let (checkpoint, csv) = (path("run.st"), path("epochs.csv"));
        let limited = |limit: &str| {
            let run = ["--policy", "constant", "--epochs", "100000", "--checkpoint", &checkpoint, "--csv", &csv];
            let output = example("train").args(run).args(["--max-time", limit]).output().unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
            text(&output.stdout).to_owned()
        };
        let seconds = || -> Vec<f64> {
            let csv = fs::read_to_string(&csv).unwrap();
            assert!(csv.starts_with("epoch,loss,val_loss,val_accuracy,seconds\n"), "{csv}");
            csv.lines().skip(1).map(|line| line.rsplit_once(',').unwrap().1.parse().unwrap()).collect()
        };
        let first = limited("1s");
        assert!(
            first.contains("stopped early after epoch ") && first.contains("): its time of 1 s is over, the epochs")
        );
        let before = seconds();
        let (last, earlier) = before.split_last().unwrap();
        let sum: f64 = earlier.iter().sum();
        assert!(sum < 1.0 && sum + last >= 1.0, "{before:?}");
        // Nothing is left of the same time, and at least a second of a longer one.
        let again = limited("1s");
        assert!(!again.contains("epoch  ") && seconds() == before, "{again}");
        let longer = (sum + last).ceil() + 1.0;
        let more = limited(&format!("{longer}s"));
        assert!(more.contains(&format!("): its time of {longer} s is over, the epochs have taken ")), "{more}");
        let after = seconds();
        let (last, earlier) = after.split_last().unwrap();
        let sum: f64 = earlier.iter().sum();
        assert!(after[..before.len()] == before && sum < longer && sum + last >= longer, "{after:?}");
        let enough = said(&["--max-time", "1.5h"]);
        assert!(enough.contains("epoch   2/2") && !enough.contains("stopped"), "{enough}");
    }

    /// What is larger when it is better is not minimised: the best epoch is the one with the largest accuracy.
    #[test]
    fn the_mode_follows_from_the_metric() {
        let said = said(&[
            "--early-stopping",
            "--early-stopping-monitor",
            "val_accuracy",
            "--early-stopping-restore-best-weights",
        ]);
        let of_epoch = |line: &str| line.split_once("val_accuracy ").unwrap().1.parse::<f64>().unwrap();
        let epochs: Vec<f64> = said.lines().filter(|line| line.starts_with("epoch ")).map(of_epoch).collect();
        assert!(epochs[1] > epochs[0], "{said}");
        assert!(said.contains("restored the weights of the best epoch, 2 (val_accuracy "), "{said}");
        let folder = Folder::new("train-mode");
        let template = folder.0.join("{epoch}.st");
        let best = ["--model-checkpoint-save-best-only", "--model-checkpoint-monitor", "val_accuracy"];
        assert!(train(&best).arg("--model-checkpoint").arg(template).status().unwrap().success());
        assert_eq!(files(&folder.0), 2, "each epoch was better");
    }

    #[test]
    fn each_reaction_has_its_own_metric() {
        // No accuracy improves by 100; the loss does, by 0.
        let reduce = ["--reduce-lr", "--reduce-lr-monitor", "val_accuracy", "--reduce-lr-min-delta", "100"];
        let more = ["--reduce-lr-patience", "1", "--early-stopping", "--early-stopping-monitor", "loss"];
        let patience = ["--early-stopping-patience", "1"];
        let said = said(&[&reduce[..], &more, &patience].concat());
        assert!(said.contains("epoch 2: val_accuracy no longer improves: rate times 0.5, next "), "{said}");
        assert!(!said.contains("stopped"), "{said}");
    }

    #[test]
    fn an_epoch_has_a_line_with_its_rate_and_metrics() {
        let said = said(&[]);
        let line = said.lines().nth(1).unwrap();
        let names: Vec<&str> = line.split_whitespace().step_by(2).collect();
        assert_eq!(names, ["epoch", "lr", "loss", "val_loss", "val_accuracy"], "{line}");
        assert!(line.starts_with("epoch   2/2  lr 8.00e-8  "), "{line}");
    }

    /// Where nobody looks on there is no bar and no colour: plain lines, and nothing on stderr.
    #[test]
    fn what_is_piped_is_plain_text() {
        let cycled = ["--base-momentum", "0.85", "--max-momentum", "0.95"];
        let said = said(&[&["--progress", "--auto", "--snapshots", "2", "--dead-relu"][..], &cycled].concat());
        assert!(said.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)), "{said:?}");
        let line = said.lines().find(|line| line.starts_with("epoch ")).unwrap();
        let names: Vec<&str> = line.split_whitespace().step_by(2).collect();
        assert_eq!(names, ["epoch", "lr", "momentum", "loss", "val_loss", "val_accuracy"], "{line}");
    }

    /// A tenth of the training images is held out, and the test images change nothing before the end.
    #[test]
    fn validation_images_are_training_images() {
        let folder = Folder::new("train-validation");
        let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/digits");
        for file in fs::read_dir(original).unwrap().map(|entry| entry.unwrap().path()) {
            fs::copy(&file, folder.0.join(file.file_name().unwrap())).unwrap();
        }
        let path = folder.0.join("t10k-images-idx3-ubyte");
        let mut black = fs::read(&path).unwrap();
        black[16..].fill(0);
        fs::write(&path, black).unwrap();
        let run = |data: &str| said(&["--data", data, "--early-stopping", "--early-stopping-restore-best-weights"]);
        let (dark, bright) = (run(folder.0.to_str().unwrap()), run("examples/data/digits"));
        let without_last = |said: &str| said.trim_end().rsplit_once('\n').unwrap().0.to_owned();
        assert_eq!(without_last(&dark), without_last(&bright));
        assert!(accuracy(&dark) < 0.2 && accuracy(&bright) > 0.85);
        // 1,437 images: 144 of them are held out, which leaves 41 batches; half of them leaves 23.
        assert!(bright.ends_with("after 82 updates\n"));
        assert!(said(&["--validation-split", "0.5"]).ends_with("after 46 updates\n"));
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
                ("--tensorboard-image-freq", "1".into()),
                ("--ema", "0.99".into()),
                ("--group", "2=0.5".into()),
                ("--accumulate", "2".into()),
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
                "--activation-stats",
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
        assert!(continued.contains("continuing after update 41 (epoch 1 of 3)\n"), "{continued}");
        for file in ["run.st", "epochs.csv", "plots/losses.svg", "plots/epochs.svg"] {
            let [whole, parts] = ["whole", "parts"].map(|name| fs::read(folder.0.join(name).join(file)).unwrap());
            assert!(whole == parts, "{file} differs");
        }
        assert_eq!(accuracy(&continued), accuracy(&whole));
        assert_eq!(files(&folder.0.join("whole/models")), files(&folder.0.join("parts/models")));
    }

    /// The best weights are those of the first epoch, from before the interruption.
    #[test]
    fn best_weights_and_snapshots_outlive_an_interruption() {
        let folder = Folder::new("train-interrupted");
        let run = |checkpoint: &str, epochs: &str, flags: &[&str]| {
            let mut command = example("train");
            command.arg("--checkpoint").arg(folder.0.join(checkpoint)).args(["--epochs", epochs]).args(flags);
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
            text(&output.stdout)
                .lines()
                .filter(|line| !line.starts_with("epoch "))
                .map(Into::into)
                .collect::<Vec<String>>()
        };
        let best = ["--early-stopping", "--early-stopping-min-delta", "100", "--early-stopping-restore-best-weights"];
        let best = [&best[..], &["--policy", "triangular"]].concat();
        let whole = run("best", "3", &best);
        assert!(whole[0].starts_with("restored the weights of the best epoch, 1 "), "{whole:?}");
        run("best-parts", "2", &best);
        assert_eq!(run("best-parts", "3", &best)[1..], whole);

        let snapshots = ["--snapshots", "3"];
        let whole = run("snapshots", "3", &snapshots);
        assert!(whole[3].starts_with("ensemble of 3: "), "{whole:?}");
        kill_after(
            "epoch   2/3",
            example("train").arg("--checkpoint").arg(folder.0.join("parts")).args(["--epochs", "3"]).args(snapshots),
        );
        assert_eq!(run("parts", "3", &snapshots)[1..], whole);
    }

    /// Each snapshot is in a file of its own, also of a run that was killed, and can be loaded again: it recognises as many images.
    #[test]
    fn snapshots_are_written_to_files() {
        let folder = Folder::new("train-snapshots");
        let command = |name: &str| {
            let path = |file: &str| folder.0.join(name).join(file);
            fs::create_dir_all(folder.0.join(name)).unwrap();
            let mut command = example("train");
            command.args(["--epochs", "3", "--snapshots", "3", "--snapshots-dir"]).arg(path("made/snapshots"));
            command.arg("--checkpoint").arg(path("run.st"));
            command
        };
        let output = command("whole").output().unwrap();
        let said = text(&output.stdout);
        assert!(output.status.success(), "{}", text(&output.stderr));
        kill_after("epoch   2/3", &mut command("parts"));
        assert!(command("parts").output().unwrap().status.success());
        let digits = support::digits::Digits::read();
        for n in 1..=3 {
            let file = format!("made/snapshots/snapshot-{n}.safetensors");
            let [whole, parts] = ["whole", "parts"].map(|name| fs::read(folder.0.join(name).join(&file)).unwrap());
            assert!(whole == parts, "{file} differs");
            let checkpoint = Checkpoint::from_bytes(whole).unwrap();
            assert_eq!(checkpoint.iterations(), None, "weights alone");
            let mut model = digits.model();
            checkpoint.restore_weights(&mut model).unwrap();
            let accuracy = format!("snapshot {n}: test accuracy {:.4}\n", digits.accuracy(&model));
            assert!(said.contains(&accuracy), "{accuracy}{said}");
        }
        assert_eq!(files(&folder.0.join("whole/made/snapshots")), 3);
    }

    /// The average is tested beside the weights, and goes on after an interruption.
    #[test]
    fn averaged_weights_are_tested_beside_the_others() {
        let folder = Folder::new("train-ema");
        let run = |checkpoint: &str, epochs: &str, decay: &str| {
            let mut command = example("train");
            command.args(["--epochs", epochs, "--policy", "constant", "--ema", decay]);
            command.arg("--checkpoint").arg(folder.0.join(checkpoint));
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
            text(&output.stdout).to_owned()
        };
        let whole = run("whole.st", "2", "0.99");
        run("parts.st", "1", "0.99");
        let continued = run("parts.st", "2", "0.99");
        let end = |said: &str| said.lines().rev().take(3).map(Into::into).collect::<Vec<String>>();
        assert_eq!(end(&continued), end(&whole));
        assert!(fs::read(folder.0.join("whole.st")).unwrap() == fs::read(folder.0.join("parts.st")).unwrap());
        // One model for each of 82 updates.
        let file = fs::read(folder.0.join("whole.st")).unwrap();
        let content = String::from_utf8_lossy(&file);
        assert!(content.contains(r#"exponential_weight_average\""#) && content.contains(r#"averaged\":82"#));
        let last = whole.lines().nth(1).unwrap();
        let value = |name: &str| last.split_once(name).unwrap().1.split(' ').next().unwrap().to_owned();
        assert_ne!(value("val_loss "), value("val_ema_loss "), "{whole}");
        assert!(end(&whole)[1].starts_with("test accuracy of the averaged weights 0.9"), "{whole}");
        // Without a past it is the model itself.
        let same = run("same.st", "1", "0");
        let last = same.lines().next().unwrap();
        let value = |name: &str| last.split_once(name).unwrap().1.split(' ').next().unwrap().to_owned();
        assert_eq!(value("val_accuracy "), value("val_ema_accuracy "), "{same}");
        let other = train(&["--checkpoint", folder.0.join("whole.st").to_str().unwrap(), "--policy", "constant"]);
        let output = { other }.output().unwrap();
        assert_one_line_error(&output, "average");
        // With other options: an average less, and one more.
        for ema in [&[][..], &["--ema", "0.5"]] {
            let mut command = example("train");
            command.args(["--epochs", "3", "--policy", "constant", "--continue-with-changes", "--checkpoint"]);
            let output = command.arg(folder.0.join("whole.st")).args(ema).output().unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
            assert!(text(&output.stdout).starts_with("continuing after update "), "{}", text(&output.stdout));
        }
    }

    /// A frozen layer keeps its first weights, and the other groups have rates of their own.
    #[test]
    fn groups_have_rates_of_their_own() {
        let folder = Folder::new("train-groups");
        let path = |name: &str| folder.0.join(name).to_str().unwrap().to_owned();
        let (start, end) = (path("1.st"), path("2.st"));
        let groups = ["--group", "0=0", "--group", "1.0.bias=0.5", "--policy", "constant", "--plot", &path("plots")];
        said(&[&groups[..], &["--model-checkpoint", &path("{epoch}.st")]].concat());
        let [start, end] = [start, end].map(|file| fs::read(file).unwrap());
        let [start, end] = [&start, &end].map(|bytes| safetensors::SafeTensors::deserialize(bytes).unwrap());
        let stays = |name: &str| {
            let name = format!("model.{name}");
            start.tensor(&name).unwrap() == end.tensor(&name).unwrap()
        };
        assert!(stays("0.0.weight") && stays("0.0.bias") && !stays("1.0.bias") && !stays("2.weight"));
        let rates = fs::read_to_string(path("plots/rates.svg")).unwrap();
        assert!(rates.contains("learning_rate/1.0.bias"), "a line for each group");
        let config = path("groups.json");
        fs::write(&config, r#"{"schedule": {"constant": {"lr": 0.01}}, "groups": [{"prefix": "0", "rate": 0.1}]}"#)
            .unwrap();
        for (arguments, expected) in [
            (&["--group", "0=0.1", "--config", &config][..], "--group cannot be used with this --config"),
            (&["--group", "7=0.1"], r#""7", the prefix of a group; the names are 0.0.weight, 0.0.bias, "#),
            (&["--group", "0=1", "--group", "0=2"], "\"0\""),
        ] {
            assert_refused(1, arguments, expected);
        }
        for (group, expected) in [
            ("0", "write the prefix, = and the factor"),
            ("0=x", "\"x\" is not a number"),
            ("0=-1", "the factor must be a finite number of at least 0, got -1"),
            ("0=nan", "got NaN"),
        ] {
            assert_refused(2, &["--group", group], expected);
        }
    }

    /// A batch in parts is the same batch, up to rounding.
    #[test]
    fn a_batch_in_parts_makes_the_same_updates() {
        let values = |flags: &[&str]| -> Vec<f64> {
            let said = said(flags);
            assert!(said.ends_with("after 82 updates\n"), "{said}");
            let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("epoch ")).collect();
            let words = lines.iter().flat_map(|line| line.split_whitespace());
            words.filter_map(|word| word.parse().ok()).collect()
        };
        let whole = values(&[]);
        assert_eq!(values(&["--accumulate", "1"]), whole);
        for parts in ["4", "32"] {
            let parts = values(&["--accumulate", parts]);
            assert_eq!(parts.len(), whole.len());
            assert!(parts.iter().zip(&whole).all(|(a, b)| (a - b).abs() <= 0.01), "{parts:?} {whole:?}");
        }
    }

    /// Kills a run when it has printed a line that begins like this.
    fn kill_after(line: &str, command: &mut Command) {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|printed| printed.starts_with(line)));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// The scalars of a run for `TensorBoard` in order, but for the speed.
    fn scalars(folder: &Path) -> Vec<(u64, String, u32)> {
        let scalars = ["train", "validation"].map(|part| read_folder(&folder.join(part)).scalars).concat();
        let mut scalars: Vec<_> = scalars
            .into_iter()
            .filter(|(_, tag, _)| tag != "update/steps_per_second")
            .map(|(step, tag, value)| (step, tag, value.to_bits()))
            .collect();
        scalars.sort();
        scalars
    }

    /// Killed at random moments, many of them in the first tenth of a second, and started again with the same command: every
    /// run comes to its end, with the same files. `CYCLIC_OPTIM_FULL=1` makes three hundred runs.
    #[test]
    fn a_killed_run_is_started_again_by_the_same_command() {
        let runs = if std::env::var_os("CYCLIC_OPTIM_FULL").is_some() { 300 } else { 15 };
        let folder = Folder::new("train-killed");
        let command = |out: &Path| {
            let path = |name: &str| out.join(name).to_str().unwrap().to_owned();
            let mut command = train(&["--snapshots", "3", "--early-stopping", "--early-stopping-restore-best-weights"]);
            for (flag, name) in [
                ("--checkpoint", "run.st"),
                ("--csv", "epochs.csv"),
                ("--tensorboard", "board"),
                ("--plot", "plots"),
                ("--model-checkpoint", "models/{epoch}.st"),
            ] {
                command.args([flag, &path(name)]);
            }
            command.args(["--tensorboard-histogram-freq", "1", "--tensorboard-image-freq", "1", "--activation-stats"]);
            command.args(["--model-checkpoint-save-top-k", "2", "--ema", "0.9", "--snapshots-dir", &path("snapshots")]);
            command
        };
        let new = |name: String| {
            let out = folder.0.join(name);
            fs::create_dir(&out).unwrap();
            out
        };
        let whole = new("whole".into());
        let start = Instant::now();
        let output = command(&whole).output().unwrap();
        let time = start.elapsed();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let end = |output: &Output| {
            let lines = text(&output.stdout)
                .lines()
                .filter(|line| !line.starts_with("epoch ") && !line.starts_with("continuing "));
            lines.map(Into::into).collect::<Vec<String>>()
        };
        let (expected, events) = (end(&output), scalars(&whole.join("board")));
        let images = |out: &Path| read_folder(&out.join("board/train")).images;
        assert_eq!(images(&whole).len(), 2);
        // Two epochs of 41 updates: rate, momentum and loss of each; a loss, and two metrics of the validation images.
        assert!(events.len() >= 2 * (41 * 2 + 3), "{}", events.len());
        let (mut rng, mut kills) = (StdRng::seed_from_u64(11), 0);
        for run in 0..runs {
            let out = new(run.to_string());
            let output = loop {
                let child = command(&out).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
                let pause = if rng.r#gen() {
                    Duration::from_millis(rng.gen_range(0..100))
                } else {
                    time.mul_f64(rng.gen_range(0.0..1.2))
                };
                std::thread::sleep(pause);
                let output = kill(child);
                if output.status.code().is_some() {
                    break output;
                }
                kills += 1;
            };
            assert!(output.status.success(), "run {run} after {kills} kills: {}", text(&output.stderr));
            assert_eq!(end(&output), expected, "run {run}");
            for file in [
                "run.st",
                "epochs.csv",
                "plots/losses.svg",
                "plots/rates.svg",
                "plots/epochs.svg",
                "plots/activation_std.svg",
                "snapshots/snapshot-3.safetensors",
                "models/1.st",
                "models/2.st",
            ] {
                let [whole, killed] = [&whole, &out].map(|out| fs::read(out.join(file)).unwrap());
                assert!(whole == killed, "run {run}: {file} differs");
            }
            assert!(scalars(&out.join("board")) == events, "run {run}: other events");
            assert!(images(&out) == images(&whole), "run {run}: other images");
        }
        assert!(kills >= runs, "{kills} kills in {runs} runs");
        println!("{runs} runs, killed {kills} times: all have the same files");
    }

    fn kill(mut child: Child) -> Output {
        // It may be over by itself.
        let _ = child.kill();
        child.wait_with_output().unwrap()
    }

    #[test]
    fn a_saved_run_is_continued_with_other_options_if_asked_to() {
        let folder = Folder::new("train-changed");
        let checkpoint = folder.0.join("run.st");
        let run = |epochs: &str, flags: &[&str]| {
            let mut command = example("train");
            command.arg("--checkpoint").arg(&checkpoint).args(["--epochs", epochs]).args(flags).output().unwrap()
        };
        assert!(run("1", &[]).status.success());
        let error = "config.schedule.one_cycle.total_steps was 41 and is 82; \
                     to continue with the present options add --continue-with-changes";
        assert_one_line_error(&run("2", &[]), error);
        let other = run("2", &["--policy", "constant"]);
        let error = "config.schedule was one_cycle (curve cosine, dialect exact, max_lr 0.02, total_steps 41) \
                     and is constant (lr 0.02); to continue";
        assert_one_line_error(&other, error);
        let error = "config.plateau was nothing and is cooldown 0, counting keras, factor 0.5, ";
        assert_one_line_error(&run("1", &["--reduce-lr"]), error);
        let optimizer = run("2", &["--optimizer", "sgd", "--continue-with-changes"]);
        assert_one_line_error(&optimizer, "optimizer was adam and is sgd");
        assert!(!text(&optimizer.stderr).contains("--continue-with-changes"), "{}", text(&optimizer.stderr));
        let continued = run("2", &["--continue-with-changes"]);
        assert!(continued.status.success(), "{}", text(&continued.stderr));
        let said = text(&continued.stdout);
        assert!(said.starts_with("continuing after update 41 (epoch 1 of 2)\nepoch   2/2 "), "{said}");
        // Saved with the present options now.
        assert!(run("2", &[]).status.success() && run("2", &["--continue-with-changes"]).status.success());
        assert_one_line_error(
            &run("2", &["--validation-split", "0.3", "--continue-with-changes"]),
            "run.st: saved with other --data or --validation-split: 2 epochs have 82 updates there",
        );

        // What early stopping has ended goes on with other options, and only then.
        let stop = ["--early-stopping", "--early-stopping-patience", "1", "--early-stopping-min-delta", "100"];
        let stop = [&stop[..], &["--policy", "constant", "--continue-with-changes"]].concat();
        assert!(text(&run("3", &stop).stdout).contains("epoch   3/3"));
        assert!(text(&run("4", &stop).stdout).contains("stopped early after epoch 4"));
        assert!(!text(&run("5", &stop).stdout).contains("epoch   5/5"));
        let patient = [&stop[..], &["--reduce-lr"]].concat();
        assert!(text(&run("5", &patient).stdout).contains("epoch   5/5"));
    }

    /// Each of these is refused before the training: not even an epoch is printed.
    fn assert_refused(code: i32, arguments: &[&str], expected: &str) {
        let output = train(arguments).output().unwrap();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(error.starts_with("error: ") && error.contains(expected), "{arguments:?}: {error}");
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
        if code == 1 {
            assert_one_line_error(&output, expected);
        }
    }

    #[test]
    fn what_is_no_command_line_is_refused() {
        for (arguments, expected) in [
            (&["--config", "x.toml", "--policy", "constant"][..], "cannot be used with"),
            (&["--range-test", "--max-lr", "1"], "cannot be used with"),
            (&["--snapshots", "3", "--policy", "constant"], "cannot be used with"),
            (&["--tensorboard-update-freq", "2"], "--tensorboard <DIR>"),
            (&["--tensorboard-image-freq", "2"], "--tensorboard <DIR>"),
            (&["--tensorboard", "x", "--tensorboard-update-freq", "0"], "for '--tensorboard-update-freq <N>'"),
            (&["--model-checkpoint-keep-last", "2"], "--model-checkpoint <TEMPLATE>"),
            (
                &["--model-checkpoint", "x", "--model-checkpoint-keep-last", "0"],
                "for '--model-checkpoint-keep-last <N>'",
            ),
            (&["--model-checkpoint", "x", "--model-checkpoint-monitor", "loss"], "--model-checkpoint-save-best-only"),
            (&["--model-checkpoint", "x", "--model-checkpoint-mode", "max"], "--model-checkpoint-save-best-only"),
            (
                &["--model-checkpoint", "x", "--model-checkpoint-save-top-k", "0"],
                "for '--model-checkpoint-save-top-k <K>'",
            ),
            (&["--model-checkpoint-save-top-k", "2"], "--model-checkpoint <TEMPLATE>"),
            (
                &["--model-checkpoint", "x", "--model-checkpoint-save-top-k", "2", "--model-checkpoint-save-best-only"],
                "cannot be used with",
            ),
            (
                &["--model-checkpoint", "x", "--model-checkpoint-save-top-k", "2", "--model-checkpoint-keep-last", "2"],
                "cannot be used with",
            ),
            (&["--early-stopping-patience", "2"], "--early-stopping"),
            (
                &["--early-stopping", "--early-stopping-monitor", "f1"],
                "[possible values: loss, val_loss, val_accuracy]",
            ),
            (&["--stop-at", "0.9"], "--early-stopping-monitor <METRIC>"),
            (&["--max-time", "90"], "write a number above 0 and its unit, as in 90s, 5m or 1.5h"),
            (&["--max-time", "0s"], "write a number above 0"),
            (&["--max-time=-1h"], "write a number above 0"),
            (&["--max-time", "nanm"], "write a number above 0"),
            (&["--reduce-lr", "--reduce-lr-monitor", "f1"], "[possible values: loss, val_loss, val_accuracy]"),
            (&["--reduce-lr-factor", "0.1"], "--reduce-lr"),
            (&["--base-momentum", "0.1"], "--max-momentum"),
            (&["--policy", "square"], "possible values: constant"),
            (&["--epochs", "0"], "cannot be used multiple times"),
            (&["--snapshots", "0"], "for '--snapshots <M>'"),
            (&["--accumulate", "3"], "the 32 images of a batch cannot be divided into so many equal parts"),
            (&["--snapshots-dir", "x"], "--snapshots <M>"),
            (&["--continue-with-changes"], "--checkpoint <FILE>"),
            (
                &["--reduce-lr", "True"],
                "error: --reduce-lr takes no value, and \"True\" was given: write --reduce-lr alone, or leave it out",
            ),
            (&["--csv", "False", "--early-stopping", "False"], "error: --early-stopping takes no value"),
            (&["True"], "unexpected argument 'True' found"),
        ] {
            assert_refused(2, arguments, expected);
        }
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        for (arguments, expected) in [
            (&["--policy", "exp-range", "--gamma", "2"][..], "--gamma must lie in (0, 1], got 2"),
            (&["--policy", "triangular", "--step-size", "0"], "--step-size must be at least 1, got 0"),
            (&["--policy", "warm-restarts", "--step-size", "0"], "--step-size must be at least 1, got 0"),
            (&["--max-lr", "-1"], "--max-lr must be a finite rate of at least 0, got -1"),
            (&["--policy", "triangular", "--max-lr", "-1"], "--max-lr must be a finite rate of at least 0, got -1"),
            (&["--max-lr", "nan", "--policy", "constant"], "--max-lr must be a finite rate of at least 0, got NaN"),
            (
                &["--policy", "triangular", "--base-lr", "1"],
                "--base-lr must not be above --max-lr, got --base-lr = 1, --max-lr = 0.02",
            ),
            (&["--snapshots", "1000"], "--snapshots must be at most the number of updates, 82, got 1000"),
            (&["--optimizer", "sgd", "--momentum", "1"], "--momentum must lie in [0, 1), got 1"),
            (&["--optimizer", "rmsprop", "--momentum", "-0.1"], "--momentum must lie in [0, 1), got -0.1"),
            (&["--ema", "1"], "--ema must lie in [0, 1), got 1"),
            (&["--ema", "nan"], "--ema must lie in [0, 1), got NaN"),
            (&["--optimizer", "sgd", "--momentum", "nan"], "--momentum must lie in [0, 1), got NaN"),
            (&["--base-momentum", "0.8", "--max-momentum", "1"], "--max-momentum must lie in [0, 1), got 1"),
            (&["--validation-split", "0"], "--validation-split must lie in (0, 1), got 0"),
            (&["--validation-split", "0.9999"], "--validation-split: a share of 0.9999 of 1437 training images"),
            (
                &["--early-stopping", "--early-stopping-min-delta", "-1"],
                "--early-stopping-min-delta must lie in [0, inf), got -1",
            ),
            (
                &["--early-stopping", "--early-stopping-monitor", "loss", "--early-stopping-monitor", "loss"],
                "--early-stopping-monitor loss was given twice",
            ),
            (
                &[
                    "--early-stopping",
                    "--early-stopping-monitor",
                    "loss",
                    "--early-stopping-monitor",
                    "val_loss",
                    "--early-stopping-baseline",
                    "1",
                ],
                "--early-stopping-baseline is for one metric, and --early-stopping-monitor names 2",
            ),
            (&["--stop-at", "nan", "--early-stopping-monitor", "loss"], "--stop-at must be finite, got NaN"),
            (&["--reduce-lr", "--reduce-lr-factor", "1.5"], "--reduce-lr-factor must lie in (0, 1), got 1.5"),
            (&["--reduce-lr", "--reduce-lr-trend-window", "3"], "--reduce-lr-trend-window must be at least 4, got 3"),
            (&["--reduce-lr", "--reduce-lr-min-lr", "-1"], "--reduce-lr-min-lr must be a finite rate"),
        ] {
            assert_refused(1, arguments, expected);
        }
    }

    #[test]
    fn what_has_no_effect_is_refused() {
        let folder = Folder::new("train-wrong");
        let path = |name: &str| folder.0.join(name).to_str().unwrap().to_owned();
        let (cycled, plateau) = (path("cycled.json"), path("plateau.json"));
        let schedule = r#"{"schedule": {"cyclic": {"base_lr": 0.001, "max_lr": 0.01, "step_size": 9}}"#;
        fs::write(&cycled, format!(r#"{schedule}, "momentum": {{"base_momentum": 0.8, "max_momentum": 0.9}}}}"#))
            .unwrap();
        fs::write(&plateau, format!(r#"{schedule}, "plateau": {{"factor": 0.5, "patience": 2}}}}"#)).unwrap();
        for (arguments, expected) in [
            (&["--momentum", "0.5"][..], "--momentum has no effect with --optimizer adam"),
            (
                &["--optimizer", "sgd", "--momentum", "0.5", "--base-momentum", "0.8", "--max-momentum", "0.9"],
                "--momentum has no effect with --base-momentum and --max-momentum",
            ),
            (
                &["--optimizer", "sgd", "--momentum", "0.5", "--config", &cycled],
                "--momentum has no effect with this --config",
            ),
            (&["--base-lr", "0.1"], "--base-lr has no effect with --policy one-cycle, the default"),
            (&["--base-lr", "0.1", "--policy", "constant"], "--base-lr has no effect with --policy constant"),
            (&["--base-lr", "0.1", "--snapshots", "2"], "--base-lr has no effect with --snapshots"),
            (&["--step-size", "9"], "--step-size has no effect with --policy one-cycle, the default"),
            (&["--step-size", "9", "--policy", "constant"], "--step-size has no effect with --policy constant"),
            (&["--step-size", "9", "--snapshots", "2"], "--step-size has no effect with --snapshots"),
            (&["--gamma", "0.9"], "--gamma has no effect with --policy one-cycle, the default"),
            (&["--gamma", "0.9", "--policy", "triangular"], "--gamma has no effect with --policy triangular"),
            (&["--gamma", "0.9", "--snapshots", "2"], "--gamma has no effect with --snapshots"),
            (
                &["--policy", "constant", "--base-momentum", "0.8", "--max-momentum", "0.9"],
                "--base-momentum has no effect with --policy constant",
            ),
            (
                &["--activation-stats"],
                "--activation-stats has no effect without --csv, --tensorboard, --plot, --report or --remote",
            ),
            (&["--early-stopping-monitor", "loss"], "--early-stopping-monitor has no effect without --early-stopping"),
            (&["--reduce-lr-monitor", "loss"], "--reduce-lr-monitor has no effect without --reduce-lr"),
            (
                &["--early-stopping-restore-best-weights"],
                "--early-stopping-restore-best-weights has no effect without --early-stopping",
            ),
            (
                &["--config", &plateau],
                "this --config does the same as --reduce-lr: name the metric with --reduce-lr-monitor",
            ),
            (
                &["--config", &plateau, "--reduce-lr"],
                "--reduce-lr cannot be used with this --config, which has it already",
            ),
        ] {
            assert_refused(1, arguments, expected);
        }
        assert!(said(&["--config", &plateau, "--reduce-lr-monitor", "loss"]).contains("test accuracy "));
        let stopping = path("stopping.json");
        fs::write(&stopping, format!(r#"{schedule}, "early_stopping": {{"patience": 9, "threshold": 9.5}}}}"#))
            .unwrap();
        let monitor = ["--config", &stopping, "--early-stopping-monitor", "loss"];
        assert!(said(&monitor).contains("stopped early after epoch 1 (update 41): loss reached 9.5, with "));
        let twice = [&monitor[..], &["--stop-at", "0.5"]].concat();
        assert_refused(1, &twice, "--stop-at cannot be used with this --config, which has it already");
        assert_refused(1, &["--config", &stopping], "this --config does the same as --early-stopping: name the metric");
    }

    #[test]
    fn the_logs_of_another_run_are_refused_again_and_again() {
        let folder = Folder::new("train-other-logs");
        let path = |name: &str| folder.0.join(name).to_str().unwrap().to_owned();
        let (csv, board) = (path("epochs.csv"), path("board"));
        assert!(train(&["--csv", &csv, "--tensorboard", &board]).status().unwrap().success());
        let (rows, events) = (fs::read(&csv).unwrap(), scalars(Path::new(&board)));
        for (flag, log) in [("--csv", &csv), ("--tensorboard", &board)] {
            for _ in 0..2 {
                assert_refused(1, &[flag, log, "--checkpoint", &path("run.st")], "already holds a run");
            }
        }
        assert!(fs::read(&csv).unwrap() == rows && scalars(Path::new(&board)) == events);
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        let folder = Folder::new("train-unwritable");
        let path = |name: &str| folder.0.join(name).to_str().unwrap().to_owned();
        let existing = path("epochs.csv");
        fs::write(&existing, "not empty").unwrap();
        for (arguments, expected) in [
            (&["--model-checkpoint", "{f1}.st"][..], "there is no \"f1\"; there are"),
            (&["--model-checkpoint", "{epoch"], "a brace is unmatched"),
            (
                &["--model-checkpoint", "{epoch}.st", "--model-checkpoint", "{epoch}.st"],
                "--model-checkpoint was given twice with the same template",
            ),
            (
                &[
                    "--model-checkpoint",
                    "a.st",
                    "--model-checkpoint",
                    "b.st",
                    "--model-checkpoint-save-best-only",
                    "--model-checkpoint-monitor",
                    "loss",
                ],
                "--model-checkpoint-monitor must be given once for each --model-checkpoint: 1 for 2",
            ),
            (&["--remote", "ftp://host/"], "is not an http or https address"),
            (&["--csv", "/no/such/folder.csv"], "/no/such/folder.csv: there is no folder /no/such"),
            (&["--checkpoint", "/no/such/folder.st"], "/no/such/folder.st: there is no folder /no/such"),
            (&["--csv", &existing], "epochs.csv"),
            (&["--checkpoint", &existing], "epochs.csv: not a checkpoint"),
            (&["--plot", &existing], "epochs.csv"),
            (&["--snapshots", "2", "--snapshots-dir", &existing], "epochs.csv"),
            (&["--tensorboard", &existing], "epochs.csv"),
            (&["--config", "no.toml"], "no.toml: "),
            (&["--data", "/no/such/folder"], "/no/such/folder"),
        ] {
            assert_refused(1, arguments, expected);
        }
        // Before the training, not at its end.
        let inside = folder.0.to_str().unwrap();
        for flag in ["--csv", "--checkpoint", "--report"] {
            assert_refused(1, &[flag, inside], &format!("{inside}: this is a folder; {flag} needs a file"));
        }
        let (one, same) = (path("one"), "--csv and --report cannot be the same file");
        assert_refused(1, &["--csv", &one, "--report", &one], same);
        assert_refused(1, &["--csv", &one, "--checkpoint", &one], "--csv and --checkpoint cannot be the same file");
        // However they are written.
        let (dotted, upward) = (path("./one"), path("../one"));
        let upward = upward.replace("../", &format!("../{}/", folder.0.file_name().unwrap().to_str().unwrap()));
        for other in [&dotted, &upward] {
            assert_refused(1, &["--csv", &one, "--report", other], same);
            let same = "--checkpoint and --model-checkpoint cannot be the same file";
            assert_refused(1, &["--checkpoint", &one, "--model-checkpoint", other], same);
        }
        let config = path("config.toml");
        fs::copy("examples/configs/one_cycle.toml", &config).unwrap();
        let same = "--config and --report cannot be the same file";
        assert_refused(1, &["--config", &config, "--report", &config], same);
        // A folder instead of a template.
        assert_refused(1, &["--model-checkpoint", ""], "--model-checkpoint needs the name of a file");
        assert_refused(1, &["--model-checkpoint", inside], "this is a folder; --model-checkpoint needs a file");
        assert_refused(
            1,
            &["--model-checkpoint", &path("models/")],
            "models/: --model-checkpoint needs the name of a file",
        );
        #[cfg(unix)]
        {
            let pipe = path("pipe");
            assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
            for flag in ["--csv", "--checkpoint", "--report", "--model-checkpoint"] {
                let expected = format!("this is a device, a pipe or a socket; {flag} needs a regular file");
                assert_refused(1, &[flag, &pipe], &expected);
            }
        }
        // A file is named once.
        for flag in ["--csv", "--checkpoint"] {
            let output = train(&[flag, &existing]).output().unwrap();
            assert_eq!(text(&output.stderr).matches("epochs.csv").count(), 1, "{}", text(&output.stderr));
        }
        // Folders that exist and that nobody can write to, not even root.
        #[cfg(target_os = "linux")]
        for flag in ["--csv", "--checkpoint", "--model-checkpoint", "--plot", "--tensorboard"] {
            let inside = if flag == "--plot" || flag == "--tensorboard" { "/proc" } else { "/proc/file" };
            assert_refused(1, &[flag, inside], "/proc: cannot be written: ");
        }
    }
}
