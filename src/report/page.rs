//! The HTML of a report.

use std::time::Duration;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

use super::Report;
use super::settings::settings;
use super::summary::{Summary, count, metrics};
use crate::feedback::Stop;
use crate::history::{History, LOSS, LossPlot, Per, Table};
use crate::hyper::Hyper;
use crate::picture::{PlotError, SHOWN, number};
use crate::range_test::{LossCurve, PeakChoice, Suggestion};
use crate::review::Finding;
use crate::smoothing::Smoothing;

/// Nothing is loaded, and no script runs, whatever stands in the page.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// A table of epochs shows at most so many.
const LISTED: usize = 200;

struct Section {
    id: &'static str,
    heading: &'static str,
    body: Markup,
}

/// The page of a report; `links` are labels and addresses.
pub(super) fn page(report: &Report, links: &[(&str, String)]) -> Result<Markup, PlotError> {
    let sections = sections(report, links)?;
    let figures = key_figures(report);
    Ok(html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="color-scheme" content="light dark";
                title { (report.title) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                header {
                    h1 { (report.title) }
                    @if !figures.is_empty() {
                        dl.figures {
                            @for (name, value) in &figures {
                                div { dt { (name) } dd { (value) } }
                            }
                        }
                    }
                    @if sections.len() > 1 {
                        nav aria-label="Sections" {
                            @for section in &sections { a href={ "#" (section.id) } { (section.heading) } " " }
                        }
                    }
                }
                main {
                    @for section in &sections {
                        section aria-labelledby=(section.id) {
                            h2 id=(section.id) { (section.heading) }
                            (section.body)
                        }
                    }
                }
                footer { p { "Made by cyclic-optim " (env!("CARGO_PKG_VERSION")) ". Updates and epochs are counted from 0." } }
            }
        }
    })
}

fn sections(report: &Report, links: &[(&str, String)]) -> Result<Vec<Section>, PlotError> {
    let section = |id, heading, body: Markup| Section { id, heading, body };
    let mut sections = vec![section("summary", "Summary", summary(report))];
    if let Some(history) = report.history {
        sections.push(section("epochs", "Epochs", epochs(history.epochs())?));
        sections.push(section("loss", "Loss", losses(history)?));
        sections.push(section("rates", "Learning rate and other hyper-parameters", rates(history)?));
        sections.push(section("values", "Other values of the updates", others(history.updates())?));
    }
    if let Some(choice) = report.choice {
        sections.push(section("choice", "Choice of the peak rate", peak_choice(choice)?));
    }
    if let Some((curve, smoothing)) = report.curve {
        sections.push(section("range-test", "Range test", range_test(curve, &smoothing)?));
    }
    if let Some(config) = &report.config {
        let json = serde_json::to_string_pretty(config).unwrap_or_else(|_| config.to_string());
        let rows = settings(config).into_iter().map(|(path, value)| vec![path, value]).collect();
        let body = html! {
            (table("The settings of the config", &["setting", "value"], rows))
            details { summary { "The config as JSON" } pre { code { (json) } } }
        };
        sections.push(section("config", "Config", body));
    }
    if let Some(findings) = report.findings {
        sections.push(section("review", "Review of the config", review(findings)));
    }
    if report.environment {
        sections.push(section("environment", "Environment", environment()));
    }
    if !links.is_empty() {
        let body = html! { ul { @for (label, address) in links { li { a href=(address) { (label) } } } } };
        sections.push(section("files", "Files", body));
    }
    sections.retain(|section| !section.body.0.is_empty());
    Ok(sections)
}

/// What stands at the top in large letters.
fn key_figures(report: &Report) -> Vec<(String, String)> {
    let mut figures: Vec<(String, String)> = Vec::new();
    figures.extend(updates(report).map(|updates| ("updates".into(), count(updates))));
    if let Some(history) = report.history {
        let epochs = history.epochs();
        if !epochs.is_empty() {
            figures.push(("epochs".into(), count(epochs.len())));
        }
        for name in epochs.names().filter(|name| name.starts_with("val_")).take(2) {
            let best = Summary::of(epochs, name).and_then(|summary| summary.best(name));
            figures.extend(best.map(|best| (format!("best {name}, epoch {}", best.index), number(best.value))));
        }
    }
    figures.extend(report.duration.map(|duration| ("duration".into(), time(duration))));
    figures
}

/// The number of updates of the run.
fn updates(report: &Report) -> Option<u64> {
    let recorded = || report.history?.updates().index().last().map(|last| last.saturating_add(1));
    report.state.map(|state| state.iterations).or_else(recorded)
}

fn summary(report: &Report) -> Markup {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |name: &str, value: String| rows.push(vec![name.into(), value]);
    if let Some(updates) = updates(report) {
        row("updates", count(updates));
    }
    if let Some(history) = report.history {
        let table = history.updates();
        if history.kept_every() > 1 {
            row("recorded updates", format!("{}, every {}th", count(table.len()), history.kept_every()));
        }
        if let Some(loss) = Summary::of(table, LOSS) {
            let (first, lowest, last) = (number(loss.first.value), number(loss.lowest.value), number(loss.last.value));
            row(
                "loss of an update",
                format!("first {first}, lowest {lowest} (update {}), last {last}", loss.lowest.index),
            );
        }
        for hyper in Hyper::ALL {
            if let Some(found) = Summary::of(table, hyper.name()) {
                row(&hyper.name().replace('_', " "), course(&found));
            }
        }
    }
    if let Some(state) = report.state {
        row("end", ending(state.stop));
    }
    for (name, value) in &report.facts {
        row(name, value.clone());
    }
    if rows.is_empty() { Markup::default() } else { table("The run in short", &[], rows) }
}

/// How a hyper-parameter went.
fn course(found: &Summary) -> String {
    if found.lowest.value == found.highest.value {
        return format!("{}, constant", number(found.first.value));
    }
    let (first, last) = (number(found.first.value), number(found.last.value));
    let (lowest, highest) = (number(found.lowest.value), number(found.highest.value));
    let (low_at, high_at) = (found.lowest.index, found.highest.index);
    format!("first {first}, lowest {lowest} (update {low_at}), highest {highest} (update {high_at}), last {last}")
}

fn ending(stop: Option<Stop>) -> String {
    // The name of the reason, as files have it.
    match stop.map(serde_json::to_value) {
        Some(Ok(Value::String(reason))) => format!("stopped early: {}", spaced(&reason)),
        _ => "not stopped early".into(),
    }
}

fn epochs(epochs: &Table) -> Result<Markup, PlotError> {
    if epochs.is_empty() {
        return Ok(Markup::default());
    }
    let rows = epochs.names().filter_map(|name| {
        let found = Summary::of(epochs, name)?;
        let best = found.best(name);
        Some(vec![
            name.to_owned(),
            number(found.first.value),
            best.map_or("–".into(), |best| number(best.value)),
            best.map_or("–".into(), |best| best.index.to_string()),
            number(found.last.value),
        ])
    });
    let rows = rows.collect();
    let (thinned, mut pictures) = (thinned(epochs.len(), "epochs"), Vec::new());
    for metric in metrics(epochs) {
        let svg = epochs.metric_to_svg(metric);
        pictures.push(figure(svg, &format!("The {} of each epoch{thinned}", spaced(metric)))?);
    }
    Ok(html! {
        (table("The metrics of the epochs: the first, the best and the last value", &["metric", "first", "best", "best epoch", "last"], rows))
        @for picture in &pictures { (picture) }
        details { summary { "All epochs" } (all_epochs(epochs)) }
    })
}

/// A row for each epoch, or for each of some of them if they are very many.
fn all_epochs(epochs: &Table) -> Markup {
    let step = epochs.len().div_ceil(LISTED).max(1);
    let head: Vec<&str> = [Per::Epoch.name()].into_iter().chain(epochs.names()).collect();
    let series: Vec<&[Option<f64>]> = epochs.names().filter_map(|name| epochs.get(name)).collect();
    let shown = |row: &usize| row % step == 0 || row + 1 == epochs.len();
    let rows = (0..epochs.len()).filter(shown).map(|row| {
        let values = series.iter().map(|values| values[row].map_or(String::new(), number));
        [epochs.index()[row].to_string()].into_iter().chain(values).collect()
    });
    let caption = match step {
        1 => "All epochs".to_owned(),
        _ => format!("Every {step}th of {} epochs, and the last", count(epochs.len())),
    };
    table(&caption, &head, rows.collect())
}

fn losses(history: &History) -> Result<Markup, PlotError> {
    let updates = history.updates();
    // A logarithmic axis would leave out losses of 0 and below.
    let logarithmic = Summary::of(updates, LOSS).is_some_and(|summary| summary.lowest.value > 0.0);
    let caption = format!(
        "The loss of each update, and as a thick line its exponential mean with a weight of 0.9, on a {} axis{}",
        if logarithmic { "logarithmic" } else { "linear" },
        thinned(updates.len(), "updates")
    );
    figure(history.losses_to_svg(&LossPlot { logarithmic, ..LossPlot::default() }), &caption)
}

fn rates(history: &History) -> Result<Markup, PlotError> {
    let caption = format!("What each update used{}", thinned(history.updates().len(), "updates"));
    figure(history.rates_to_svg(), &caption)
}

/// What a picture of very many updates, epochs or rates leaves out.
fn thinned(all: usize, what: &str) -> String {
    if all <= SHOWN {
        return String::new();
    }
    let stretch = count(all.div_ceil(SHOWN / 2));
    format!("; of the {} {what}, the lowest and the highest of each {stretch} are drawn", count(all))
}

/// The series of the updates that have no picture elsewhere, such as the norm of the gradients.
fn others(updates: &Table) -> Result<Markup, PlotError> {
    let known =
        |name: &str| name == LOSS || Hyper::ALL.iter().any(|hyper| name.split('/').next() == Some(hyper.name()));
    let (thinned, mut pictures) = (thinned(updates.len(), "updates"), Vec::new());
    for name in updates.names().filter(|name| !known(name)) {
        let svg = updates.series_to_svg(&spaced(name), &spaced(name), &[("value".into(), name)]);
        pictures.push(figure(svg, &format!("The {} of each update{thinned}", spaced(name)))?);
    }
    Ok(html! { @for picture in &pictures { (picture) } })
}

fn peak_choice(choice: &PeakChoice) -> Result<Markup, PlotError> {
    let rows = choice.candidates.iter().map(|candidate| {
        let loss = candidate.loss.map_or("diverged".into(), number);
        vec![number(candidate.lr), loss]
    });
    let rows = rows.collect();
    let caption = format!(
        "The search took {} updates. The loss of the sweep, the mean losses of the short runs, and the peak",
        count(choice.updates)
    );
    Ok(html! {
        p {
            "Peak rate " strong { (number(choice.peak)) } " for " (count(choice.total_updates)) " updates; in short runs the model "
            "learns fastest at " (number(choice.rate)) "."
        }
        (figure(choice.to_svg(), &caption)?)
        (table("The rates that were tried", &["learning rate", "mean loss"], rows))
    })
}

fn range_test(curve: &LossCurve, smoothing: &Smoothing) -> Result<Markup, PlotError> {
    let smoothed = curve.smoothed(smoothing);
    let mut rows: Vec<Vec<String>> = vec![match curve.recommended(smoothing) {
        Ok(found) => vec!["recommended".into(), found.to_string()],
        Err(error) => vec!["recommended".into(), error.to_string()],
    }];
    rows.extend(Suggestion::ALL.iter().map(|rule| {
        let found = smoothed.suggest(*rule).map_or_else(|error| error.to_string(), |found| number(found.lr));
        vec![rule.to_string(), found]
    }));
    let caption =
        format!("The loss at rising rates, and the suggested rates{}", thinned(curve.points().len(), "rates"));
    Ok(html! {
        (figure(curve.to_svg(smoothing), &caption)?)
        (table("The rates that each rule suggests", &["rule", "learning rate"], rows))
    })
}

fn review(findings: &[Finding]) -> Markup {
    if findings.is_empty() {
        return html! { p { "Nothing was found that may not be meant." } };
    }
    html! { ul { @for finding in findings { li { code { (finding.name()) } ": " (finding) } } } }
}

fn environment() -> Markup {
    let processors = std::thread::available_parallelism().map_or("unknown".into(), |number| number.to_string());
    let rows = [
        ("crate", format!("cyclic-optim {}", env!("CARGO_PKG_VERSION"))),
        ("operating system", std::env::consts::OS.into()),
        ("processor", format!("{}, {processors} logical", std::env::consts::ARCH)),
    ];
    table("Where the run took place", &[], rows.map(|(name, value)| vec![name.into(), value]).into())
}

/// `12.3 s`, `5 min 7 s`, `2 h 5 min`.
fn time(duration: Duration) -> String {
    match duration.as_secs() {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", count(seconds / 3600), seconds / 60 % 60),
    }
}

/// A picture with its caption; nothing for a picture without a point.
fn figure(svg: Result<String, PlotError>, caption: &str) -> Result<Markup, PlotError> {
    Ok(match svg {
        Ok(svg) => html! { figure { div.picture { (PreEscaped(svg)) } figcaption { (caption) "." } } },
        Err(PlotError::Nothing) => Markup::default(),
        Err(error) => return Err(error),
    })
}

/// The first cell of each row is its heading.
fn table(caption: &str, head: &[&str], rows: Vec<Vec<String>>) -> Markup {
    html! {
        div.table {
            table {
                caption { (caption) }
                @if !head.is_empty() { thead { tr { @for name in head { th scope="col" { (name) } } } } }
                tbody {
                    @for row in rows {
                        tr {
                            @for (n, cell) in row.iter().enumerate() {
                                @if n == 0 { th scope="row" { (cell) } } @else { td { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn spaced(name: &str) -> String {
    name.replace('_', " ")
}
