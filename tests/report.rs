//! The report of a run: one HTML file that needs nothing else.
//!
//! `CYCLIC_OPTIM_FULL=1` makes the report of a million updates, and prints its size and the time that it took; without it, of
//! 100,000.

#![cfg(feature = "report")]

mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use cyclic_optim::feedback::Stop;
use cyclic_optim::history::Recorder;
use cyclic_optim::range_test::{Candidate, LossCurve, LossPoint, PeakChoice, RangeTest, StopReason};
use cyclic_optim::report::{Report, ReportError};
use cyclic_optim::review::Review;
use cyclic_optim::{ClrConfig, ClrState, Cyclic, History, OneCycle, Smoothing};
use proptest::collection::vec;
use proptest::prelude::*;
use support::Folder;

fn config(updates: u64) -> ClrConfig {
    ClrConfig::new(OneCycle::new(0.02, updates).unwrap()).with_momentum(0.85, 0.95).unwrap()
}

/// 90 updates of losses that fall, with a NaN, and 9 epochs.
fn history() -> History {
    let mut history = History::new();
    for (update, used) in (0_u16..).zip(config(90).preview().take(90)) {
        let loss = if update == 7 { f64::NAN } else { 2.0 / f64::from(update + 1) };
        history.update(&used, &[("loss", loss), ("examples", 32.0)]).unwrap();
    }
    for epoch in 0_u8..9 {
        let x = f64::from(epoch);
        let accuracy = if epoch == 6 { 0.99 } else { 0.9 + x / 100.0 };
        let metrics = [("loss", 1.0 / (x + 1.0)), ("val_loss", 1.1 / (x + 1.0)), ("val_accuracy", accuracy)];
        history.epoch(epoch.into(), &metrics).unwrap();
    }
    history
}

fn curve() -> LossCurve {
    let mut loss = 2.0;
    let test = RangeTest::logarithmic(1e-4, 1.0, 80).unwrap();
    test.run(|lr| {
        loss *= if lr > 0.3 { 3.0 } else { 1.0 - lr.min(0.2) };
        Ok::<_, ()>(Some(loss))
    })
    .unwrap()
}

fn choice() -> PeakChoice {
    let candidate = |lr, loss| Candidate { lr, loss };
    PeakChoice {
        total_updates: 900,
        peak: 0.0056,
        rate: 0.01,
        candidates: vec![candidate(0.001, Some(0.9)), candidate(0.01, Some(0.4)), candidate(0.1, None)],
        curve: curve(),
        updates: 230,
    }
}

/// A report with everything in it.
fn everything(with: impl FnOnce(Report) -> String) -> String {
    let (history, config, choice, curve) = (history(), config(90), choice(), curve());
    let findings = Review::new(120).unwrap().findings(&config);
    assert!(!findings.is_empty());
    let state = ClrState { iterations: 90, stop: Some(Stop::NoImprovement), ..ClrState::default() };
    let report = Report::new("Digits")
        .with_history(&history)
        .with_state(&state)
        .with_config(&config)
        .unwrap()
        .with_review(&findings)
        .with_choice(&choice)
        .with_curve(&curve, &Smoothing::exponential(0.5).unwrap())
        .with_environment()
        .with_duration(Duration::from_secs(67))
        .with_fact("test accuracy", 0.9811)
        .with_link("epochs", "out/epochs.csv");
    with(report)
}

fn html() -> String {
    everything(|report| report.to_html().unwrap())
}

/// The texts between `start` and `end`.
fn between<'a>(html: &'a str, start: &str, end: &str) -> Vec<&'a str> {
    html.split(start).skip(1).map(|rest| rest.split(end).next().unwrap()).collect()
}

/// The tags in their order: name, whether it closes, and all of it. Fails where an element is not closed in its place.
fn tags(html: &str) -> Vec<String> {
    const WITHOUT_END: [&str; 1] = ["meta"];
    let (mut open, mut tags) = (Vec::new(), Vec::new());
    for (at, _) in html.match_indices('<') {
        let tag = html[at + 1..].split('>').next().unwrap();
        if tag.starts_with('!') {
            continue;
        }
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        assert!(!name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric()), "<{tag}>");
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "closed at {at}");
        } else if !tag.ends_with('/') && !WITHOUT_END.contains(&name) {
            open.push(name);
        }
        tags.push(tag.to_owned());
    }
    assert!(open.is_empty(), "not closed: {open:?}");
    tags
}

#[test]
fn everything_has_a_section() {
    let html = html();
    let headings = between(&html, "<h2 ", "</h2>");
    let headings: Vec<&str> = headings.iter().map(|heading| heading.split_once('>').unwrap().1).collect();
    let expected = [
        "Summary",
        "Epochs",
        "Loss",
        "Learning rate and other hyper-parameters",
        "Other values of the updates",
        "Choice of the peak rate",
        "Range test",
        "Config",
        "Review of the config",
        "Environment",
        "Files",
    ];
    assert_eq!(headings, expected);
    for text in [
        "<h1>Digits</h1>",
        "<dt>updates</dt><dd>90</dd>",
        "<dt>epochs</dt><dd>9</dd>",
        "<dt>best val_accuracy, epoch 6</dt><dd>0.99</dd>",
        "<dt>duration</dt><dd>1 min 7 s</dd>",
        "stopped early: no improvement",
        "first 2, lowest 0.02222 (update 89), last 0.02222",
        "lowest 0.85 (update ",
        "<th scope=\"row\">val_accuracy</th><td>0.9</td><td>0.99</td><td>6</td><td>0.98</td>",
        "<th scope=\"row\">schedule.one_cycle.max_lr</th><td>0.02</td>",
        "<th scope=\"row\">test accuracy</th><td>0.9811</td>",
        "<th scope=\"row\">0.1</th><td>diverged</td>",
        "<th scope=\"row\">valley</th>",
        "<code>horizon_before_end</code>: the schedule ends after 90 updates",
        "<a href=\"out/epochs.csv\">epochs</a>",
        std::env::consts::ARCH,
    ] {
        assert!(html.contains(text), "{text} is missing");
    }
}

#[test]
fn what_is_missing_has_no_section() {
    let html = Report::new("Nothing").to_html().unwrap();
    tags(&html);
    assert!(!html.contains("<h2") && !html.contains("<svg") && !html.contains("<table"));
    let history = History::new();
    let html = Report::new("Empty").with_history(&history).to_html().unwrap();
    assert!(!html.contains("<svg") && !html.contains("<h2"), "an empty history has nothing to show");
    let mut history = History::new();
    history.epoch(0, &[("val_loss", f64::NAN)]).unwrap();
    let html = Report::new("NaN").with_history(&history).to_html().unwrap();
    tags(&html);
    assert!(!html.contains("<svg") && html.contains("NaN"));
}

#[test]
fn the_file_needs_nothing_else() {
    let html = html();
    let elsewhere = html.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    for text in ["http:", "https:", "//", "<script", "<link", "<img", "src=", "url(", "@import", "javascript"] {
        assert!(!elsewhere.contains(text), "{text} in the report");
    }
    assert!(html.contains("content=\"default-src 'none'; style-src 'unsafe-inline';"));
}

#[test]
fn readers_of_all_kinds_are_served() {
    let html = html();
    let tags = tags(&html);
    assert!(html.starts_with("<!DOCTYPE html><html lang=\"en\">"));
    let count = |name: &str| tags.iter().filter(|tag| tag.split(' ').next() == Some(name)).count();
    // One heading of the page, and no level is skipped.
    assert_eq!((count("h1"), count("h2"), count("h3")), (1, 11, 0));
    assert_eq!(count("table"), count("caption"));
    assert!(count("svg") >= 7 && count("svg") == count("figure") && count("svg") == count("figcaption"));
    assert_eq!(count("svg"), count("desc"));
    let pictures: Vec<&String> = tags.iter().filter(|tag| tag.starts_with("svg ")).collect();
    assert!(pictures.iter().all(|tag| tag.contains("role=\"img\"")), "{pictures:?}");
    assert!(between(&html, "<desc>", "</desc>").iter().any(|text| text.contains("last 0.02222 at 89")));
    for text in ["prefers-color-scheme: dark", "@media print", "name=\"viewport\""] {
        assert!(html.contains(text), "{text} is missing");
    }
    // The places that the navigation leads to.
    for target in between(&html, "<a href=\"#", "\"") {
        assert!(html.contains(&format!("<h2 id=\"{target}\"")), "{target}");
    }
}

#[test]
fn texts_of_the_caller_are_texts() {
    let evil = "</title><script>alert(1)</script> & \"x\" 'y' <svg/onload=z>";
    let mut history = history();
    history.epoch(9, &[(evil, 1.0)]).unwrap();
    let html = Report::new(evil)
        .with_history(&history)
        .with_config(&serde_json::json!({ evil: evil }))
        .unwrap()
        .with_fact(evil, evil)
        .with_link(evil, evil)
        .to_html()
        .unwrap();
    let names: Vec<String> = tags(&html).into_iter().map(|tag| tag.split(' ').next().unwrap().to_owned()).collect();
    assert!(!names.iter().any(|name| name == "script"), "{names:?}");
    assert!(!html.contains("<script") && !html.contains("<svg/onload"));
    assert!(html.contains("<h1>&lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt; &amp; "));
    assert!(html.contains("href=\"%3C/title%3E%3Cscript%3Ealert%281%29%3C/script%3E%20%26"));
}

#[test]
fn dark_pictures_have_a_colour_for_each_of_their_colours() {
    let html = html();
    let style = between(&html, "<style>", "</style>")[0];
    let dark = style.split("prefers-color-scheme: dark").nth(1).unwrap().split("@media").next().unwrap();
    // Those that read well on both are left as they are.
    let on_both = ["none", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];
    for name in ["fill", "stroke"] {
        for value in between(html.split("</style>").nth(1).unwrap(), &format!(" {name}=\""), "\"") {
            let known = on_both.contains(&value) || dark.contains(&format!("[{name}=\"{value}\"]"));
            assert!(known, "{name} {value} is as on white paper");
        }
    }
}

#[test]
fn a_file_is_replaced_as_a_whole() {
    let folder = Folder::new("report");
    let (report, link) = (folder.0.join("report.html"), folder.0.join("runs/a run.csv"));
    fs::write(&report, "old").unwrap();
    Report::new("one").with_link("run", &link).write(&report).unwrap();
    let html = fs::read_to_string(&report).unwrap();
    assert!(html.contains("<a href=\"runs/a%20run.csv\">"), "relative to the report: {html}");
    let names: Vec<_> = fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["report.html"], "no temporary file is left");
    for (path, problem) in [("no/such/report.html", "No such file"), (".", "this is a folder")] {
        let path = folder.0.join(path);
        let error = Report::new("two").write(&path).unwrap_err();
        assert!(matches!(&error, ReportError::Io { path: named, .. } if *named == path));
        assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
        assert!(cfg!(not(unix)) || error.to_string().contains(problem), "{error}");
    }
}

#[test]
fn a_config_that_json_cannot_hold_is_an_error() {
    let config = std::collections::BTreeMap::from([((1, 2), 3)]);
    let error = Report::new("x").with_config(&config).unwrap_err();
    assert!(error.to_string().starts_with("the config cannot be written as JSON: "), "{error}");
}

#[test]
fn a_long_run_makes_a_small_report() {
    let updates = if std::env::var_os("CYCLIC_OPTIM_FULL").is_some() { 1_000_000 } else { 100_000 };
    let config = ClrConfig::new(Cyclic::triangular2(0.001, 0.02, 50_000).unwrap()).with_momentum(0.85, 0.95).unwrap();
    let mut history = History::new();
    for (update, used) in (0_u32..).zip(config.preview().take(updates)) {
        let noise = f64::from(update.wrapping_mul(2_654_435_761) >> 8) / f64::from(1 << 24);
        history.update(&used, &[("loss", 2.3 * (-f64::from(update) / 2e5).exp() + 0.2 * noise)]).unwrap();
    }
    for epoch in 0_u16..1000 {
        history.epoch(epoch.into(), &[("loss", 1.0 / f64::from(epoch + 1)), ("val_loss", 0.5)]).unwrap();
    }
    let start = Instant::now();
    let html = Report::new("Long").with_history(&history).with_config(&config).unwrap().to_html().unwrap();
    println!("report of {updates} updates: {} kB in {:?}", html.len() / 1000, start.elapsed());
    tags(&html);
    assert!(html.len() < 400_000, "{} bytes", html.len());
    let said =
        format!("the lowest and the highest of each {} are drawn", if updates == 100_000 { "100" } else { "1,000" });
    assert!(html.contains(&said), "{said}");
    assert!(html.contains("Every 5th of 1,000 epochs, and the last"));
}

/// A logarithmic axis has no place for a loss of 0, and for one below it.
#[test]
fn no_loss_is_left_out() {
    for (losses, axis) in [
        ([2.0, 1.0, f64::NAN, 0.5], "logarithmic"),
        ([2.0, 1.0, 0.5, 0.0], "linear"),
        ([2.0, 1.0, -1.0, -3.0], "linear"),
        ([-1.0, -2.0, f64::INFINITY, -3.0], "linear"),
    ] {
        let mut history = History::new();
        for (used, loss) in config(90).preview().zip(losses) {
            history.update(&used, &[("loss", loss)]).unwrap();
        }
        let html = Report::new("Losses").with_history(&history).to_html().unwrap();
        assert!(html.contains(&format!("on a {axis} axis.")), "{losses:?}");
        let finite = losses.iter().filter(|loss| loss.is_finite()).count();
        assert!(html.contains(&format!("loss: {finite} points")), "{losses:?}");
    }
}

#[test]
fn every_metric_of_an_epoch_has_a_picture() {
    let mut history = History::new();
    for epoch in 0..2 {
        let metrics = [("accuracy", 0.5), ("val_accuracy", 0.25), ("val_accuracy/cats", 0.125), ("val_iou/dogs", 0.75)];
        history.epoch(epoch, &metrics).unwrap();
    }
    let html = Report::new("Parts").with_history(&history).to_html().unwrap();
    let said = between(&html, "<desc>", "</desc>");
    assert!(said.len() == 2 && said[0].contains("validation cats: 2 points, first 0.125 at 0"), "{said:?}");
    assert!(said[1].contains("validation dogs: 2 points, first 0.75 at 0"), "{said:?}");
}

#[test]
fn every_picture_says_what_it_leaves_out() {
    let mut history = History::new();
    for epoch in 0_u16..2001 {
        history.epoch(epoch.into(), &[("loss", 1.0 / f64::from(epoch + 1))]).unwrap();
    }
    let point = |n: u16| LossPoint { lr: 1e-4 * f64::from(n + 1), loss: 2.0 - f64::from(n) / 4e3, validation: None };
    let curve = LossCurve::new((0..4001).map(point).collect(), StopReason::EndOfRange);
    let html = Report::new("Long").with_history(&history).with_curve(&curve, &Smoothing::exponential(0.5).unwrap());
    let html = html.to_html().unwrap();
    for text in [
        "The loss of each epoch; of the 2,001 epochs, the lowest and the highest of each 3 are drawn.",
        "the suggested rates; of the 4,001 rates, the lowest and the highest of each 5 are drawn.",
    ] {
        assert!(html.contains(text), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever was recorded, there is a report, and its elements are closed.
    #[test]
    fn every_history_has_a_report(
        updates in vec((0..u64::MAX, vec((".{0,8}", any::<f64>()), 0..4)), 0..20),
        epochs in vec((any::<u64>(), vec(("(val_)?[a-z<&]{1,4}", any::<f64>()), 0..4)), 0..8),
        title in ".{0,40}",
    ) {
        let mut history = History::new();
        for (update, metrics) in &updates {
            let used = cyclic_optim::Applied { iteration: *update, step: *update, lr: 0.1, ..Default::default() };
            let metrics: Vec<(&str, f64)> = metrics.iter().map(|(name, value)| (name.as_str(), *value)).collect();
            history.update(&used, &metrics).unwrap();
        }
        for (epoch, metrics) in &epochs {
            let metrics: Vec<(&str, f64)> = metrics.iter().map(|(name, value)| (name.as_str(), *value)).collect();
            history.epoch(*epoch, &metrics).unwrap();
        }
        tags(&Report::new(title).with_history(&history).to_html().unwrap());
    }

    #[test]
    fn every_curve_has_a_report(points in vec((any::<f64>(), any::<f64>()), 0..30)) {
        let points = points.into_iter().map(|(lr, loss)| LossPoint { lr, loss, validation: None });
        let curve = LossCurve::new(points.collect(), StopReason::EndOfRange);
        let report = Report::new("curve").with_curve(&curve, &Smoothing::exponential(0.8).unwrap());
        tags(&report.to_html().unwrap());
    }
}

#[cfg(all(feature = "checkpoint", feature = "csv"))]
mod example {
    use std::process::{Command, Output};

    use cyclic_optim::{Checkpoint, CyclicOptimizer};

    use super::*;

    fn report(files: &[&Path], out: &Path) -> Output {
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().unwrap().parent().unwrap();
        let program = profile.join("examples").join(format!("report{}", std::env::consts::EXE_SUFFIX));
        Command::new(program).args(files).arg("--out").arg(out).output().unwrap()
    }

    fn assert_error(output: &Output, file: &Path, problem: &str) {
        let error = std::str::from_utf8(&output.stderr).unwrap();
        assert_eq!((output.status.code(), error.lines().count()), (Some(1), 1), "{error}");
        assert!(error.starts_with(&format!("error: {}: ", file.display())) && error.contains(problem), "{error}");
    }

    #[test]
    fn csv_and_json() {
        let folder = Folder::new("report-files");
        let path = |name: &str| folder.0.join(name);
        let history = history();
        history.updates().write_csv(fs::File::create(path("updates.csv")).unwrap()).unwrap();
        history.epochs().write_csv(fs::File::create(path("epochs.csv")).unwrap()).unwrap();
        fs::write(path("run.json"), serde_json::to_string(&history).unwrap()).unwrap();
        let mut made = Vec::new();
        for (name, files) in [("csv.html", &["updates.csv", "epochs.csv"][..]), ("json.html", &["run.json"])] {
            let files: Vec<_> = files.iter().map(|file| path(file)).collect();
            let output = report(&files.iter().map(AsRef::as_ref).collect::<Vec<_>>(), &path(name));
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let html = fs::read_to_string(path(name)).unwrap();
            tags(&html);
            made.push(
                between(&html, "<section aria-labelledby=\"epochs\">", "<section aria-labelledby=\"files\">")[0]
                    .to_owned(),
            );
        }
        assert_eq!(made[0], made[1], "both hold the same history");
        assert!(made[0].contains("val_accuracy") && made[0].contains("learning rate"));
    }

    #[test]
    fn what_is_wrong_with_a_file() {
        let folder = Folder::new("report-errors");
        let path = |name: &str| folder.0.join(name);
        let (header, empty) = ("epoch,loss\n", serde_json::to_string(&History::new()).unwrap());
        for (name, content, problem) in [
            ("a.csv", "epoch,loss\n0,0.5\n1,low\n", "line 3: \"low\" is not a number"),
            ("b.csv", "time,loss\n", "not a history"),
            ("c.csv", header, "no update and no epoch was recorded"),
            ("d.json", "{\"every\": 1, \"updates\": 3}", "updates: invalid type"),
            ("e.json", &empty, "no update and no epoch was recorded"),
            ("f.safetensors", "no checkpoint", "not a checkpoint"),
        ] {
            fs::write(path(name), content).unwrap();
            assert_error(&report(&[&path(name)], &path("report.html")), &path(name), problem);
        }
        assert_error(&report(&[&path("none.csv")], &path("report.html")), &path("none.csv"), "");
        assert_error(&report(&[&path("none.st")], &path("report.html")), &path("none.st"), "");
        assert!(!path("report.html").exists());
        fs::write(path("good.csv"), "epoch,loss\n0,0.5\n").unwrap();
        let good = fs::read(path("good.csv")).unwrap();
        assert_error(
            &report(&[&path("good.csv")], &path("./good.csv")),
            &path("good.csv"),
            "--out would replace the run",
        );
        assert!(fs::read(path("good.csv")).unwrap() == good);
        assert_error(&report(&[&path("good.csv")], &path("no/report.html")), &path("no/report.html"), "");
    }

    #[cfg(feature = "dfdx")]
    #[test]
    fn a_checkpoint() {
        use cyclic_optim::Adam;
        use dfdx::prelude::{Cpu, OnesTensor, Rank1, Tensor};

        let folder = Folder::new("report-checkpoint");
        let path = |name: &str| folder.0.join(name);
        let model: Tensor<Rank1<3>, f32, Cpu> = Cpu::default().ones();
        let mut optimizer = CyclicOptimizer::new(Adam::default(), config(90)).with_history(history());
        optimizer.seek(90);
        Checkpoint::write_with(path("run.safetensors"), &model, &optimizer, &[("choice", &choice())]).unwrap();
        let read = Checkpoint::read(path("run.safetensors")).unwrap();
        // As JSON, in which NaN equals NaN.
        let json = |history: &History| serde_json::to_string(history).unwrap();
        assert!(json(&read.history().unwrap().unwrap()) == json(optimizer.history().unwrap()));
        assert_eq!(read.state(), Some(&optimizer.state()));
        assert_eq!(read.config(), Some(&serde_json::to_value(config(90)).unwrap()));
        let output = report(&[&path("run.safetensors")], &path("report.html"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let html = fs::read_to_string(path("report.html")).unwrap();
        for text in
            ["not stopped early", "Choice of the peak rate", "schedule.one_cycle.max_lr", "href=\"run.safetensors\""]
        {
            assert!(html.contains(text), "{text} is missing");
        }

        Checkpoint::write_weights(path("weights.st"), &model).unwrap();
        assert_error(&report(&[&path("weights.st")], &path("x.html")), &path("weights.st"), "weights only, no run");
        let bare = CyclicOptimizer::new(Adam::<f32, Cpu>::default(), config(90));
        Checkpoint::write(path("bare.st"), &model, &bare).unwrap();
        assert_error(&report(&[&path("bare.st")], &path("x.html")), &path("bare.st"), "a run without a history");
    }
}

#[cfg(all(
    feature = "dfdx",
    feature = "checkpoint",
    feature = "csv",
    feature = "progress",
    feature = "remote",
    feature = "tensorboard"
))]
mod train {
    use std::process::{Command, Output};

    use super::*;

    fn train(arguments: &[&str], report: &Path) -> Output {
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().unwrap().parent().unwrap();
        let program = profile.join("examples").join(format!("train{}", std::env::consts::EXE_SUFFIX));
        let mut command = Command::new(program);
        command.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments).arg("--report").arg(report).output().unwrap()
    }

    #[test]
    fn a_run_leaves_a_report() {
        let folder = Folder::new("report-train");
        let (report, csv) = (folder.0.join("report.html"), folder.0.join("epochs.csv"));
        let output = train(&["--epochs", "2", "--csv", csv.to_str().unwrap()], &report);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let html = fs::read_to_string(report).unwrap();
        tags(&html);
        let said = String::from_utf8(output.stdout).unwrap();
        let accuracy = said.lines().last().unwrap().split(' ').nth(2).unwrap();
        for text in [
            &format!("<th scope=\"row\">test accuracy</th><td>{accuracy}</td>"),
            "href=\"epochs.csv\"",
            "<dt>epochs</dt><dd>2</dd>",
            "best val_accuracy",
            "schedule.one_cycle.max_lr",
            "Environment",
        ] {
            assert!(html.contains(text), "{text} is missing");
        }
    }

    /// The reasons that only the program knows, too.
    #[test]
    fn a_report_says_why_the_run_has_stopped() {
        let folder = Folder::new("report-stopped");
        let report = folder.0.join("report.html");
        let monitors = ["--early-stopping-monitor", "val_loss", "--early-stopping-monitor", "val_accuracy"];
        let hopeless =
            ["--early-stopping", "--early-stopping-patience", "1", "--policy", "constant", "--max-lr", "1e-6"];
        let other = ["--early-stopping", "--early-stopping-min-delta", "100", "--early-stopping-patience", "1"];
        for (flags, end) in [
            (&["--max-time", "0.000001s"][..], "stopped early: its time of 0.000001 s is over, the epochs have taken "),
            (&[&hopeless[..], &monitors].concat(), "stopped early: no improvement of val_accuracy in 1 epoch"),
            (&other, "stopped early: no improvement"),
            (&[], "not stopped early"),
        ] {
            let output = train(&[&["--epochs", "3"][..], flags].concat(), &report);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let html = fs::read_to_string(&report).unwrap();
            let ends = between(&html, "<th scope=\"row\">end</th><td>", "</td>");
            assert!(ends.len() == 1 && ends[0].starts_with(end), "{flags:?}: {ends:?}");
        }
    }

    #[test]
    fn a_report_has_the_activations() {
        let folder = Folder::new("report-activations");
        let report = folder.0.join("report.html");
        let output = train(&["--epochs", "1", "--activation-stats", "--dead-relu"], &report);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let html = fs::read_to_string(&report).unwrap();
        assert!(html.contains("The activation mean of each epoch") && html.contains("The dead share of each epoch"));
    }

    #[test]
    fn a_report_shows_how_the_rates_were_chosen() {
        let folder = Folder::new("report-found");
        let report = folder.0.join("report.html");
        for (flag, text) in [("--range-test", "<h2 id=\"range-test\">"), ("--auto", "<h2 id=\"choice\">")] {
            let output = train(&["--epochs", "5", flag], &report);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            assert!(fs::read_to_string(&report).unwrap().contains(text), "{flag}: {text} is missing");
        }
    }

    #[test]
    fn a_report_that_cannot_be_written_is_an_error_before_the_training() {
        let output = train(&[], Path::new("no/such/report.html"));
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{error}");
        assert!(error.starts_with("error: no/such/report.html: there is no folder"), "{error}");
        let folder = Folder::new("report-folder");
        let output = train(&[], &folder.0);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{error}");
        assert!(error.ends_with(": this is a folder; --report needs a file\n"), "{error}");
    }
}
