//! Sends the metrics of each epoch to a server.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Map, Number, Value};
use thiserror::Error;
use ureq::Agent;
use ureq::http::Uri;

use crate::history::{RecordError, Recorder};

/// An address to which nothing can be sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{url:?} is not an http or https address: {problem}")]
pub struct InvalidUrl {
    /// The address.
    pub url: String,
    /// What is wrong with it.
    pub problem: String,
}

/// How many epochs were sent, and how many were not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use]
#[non_exhaustive]
pub struct Published {
    /// Accepted by the server.
    pub sent: u64,
    /// Refused by the server, or not accepted in time.
    pub failed: u64,
    /// Not sent, because too many were waiting.
    pub dropped: u64,
    /// Still waiting to be sent.
    pub waiting: u64,
    /// The last error.
    pub last_error: Option<String>,
}

/// Epochs that may wait for the server.
const QUEUE: usize = 1024;

/// A century. Adding an arbitrary duration to a clock may overflow.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Sends the metrics of each epoch to a server, as JSON in the body of a POST: `{"epoch": 3, "loss": 0.25, "val_loss": 0.5}`.
/// NaN and infinities, which JSON does not have, become `null`.
///
/// A separate thread sends them, so that a slow or missing server neither delays nor ends the training. As a [`Recorder`] it
/// ignores updates, and [`epoch`](Recorder::epoch) returns at once and never fails. [`published`](Self::published) says how many
/// epochs have arrived, how many have not, and why.
///
/// Epochs that are still waiting when the program ends are lost. So call [`finish`](Recorder::finish) at the end of the run, or
/// [`wait`](Self::wait) with a time limit of your own. `finish` waits for at most `timeout`, the time that one epoch may take, and
/// fails if an epoch was not sent.
///
/// Redirects are not followed.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use cyclic_optim::history::{Recorder, RemoteMonitor};
///
/// // No server listens on port 1.
/// let mut monitor = RemoteMonitor::new("http://127.0.0.1:1/publish/epoch/end/", Duration::from_secs(1))?;
/// monitor.epoch(0, &[("loss", 0.25)])?;
/// let published = monitor.wait(Duration::from_secs(5));
/// assert_eq!((published.sent, published.failed), (0, 1));
/// assert!(monitor.finish().unwrap_err().to_string().starts_with("0 epochs were sent, 1 failed"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # References
///
/// Keras' `RemoteMonitor` with `send_as_json`, which sends to `http://localhost:9000/publish/epoch/end/` by default.
#[derive(Debug)]
pub struct RemoteMonitor {
    queue: SyncSender<Vec<u8>>,
    counts: Arc<Counts>,
    thread: JoinHandle<()>,
    timeout: Duration,
}

#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicU64,
    sent: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl Counts {
    fn published(&self) -> Published {
        let (sent, failed) = (self.sent.load(Ordering::Acquire), self.failed.load(Ordering::Acquire));
        Published {
            sent,
            failed,
            dropped: self.dropped.load(Ordering::Acquire),
            waiting: self.accepted.load(Ordering::Acquire).saturating_sub(sent + failed),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    fn note(&self, error: String) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

impl RemoteMonitor {
    /// A monitor that sends to `url`. An epoch that the server does not accept within `timeout` counts as failed.
    ///
    /// # Errors
    ///
    /// The address does not begin with `http://` or `https://`, has no host, or has a port that is not from 1 to 65535.
    pub fn new(url: &str, timeout: Duration) -> Result<Self, InvalidUrl> {
        let invalid = |problem: &str| InvalidUrl { url: url.into(), problem: problem.into() };
        let uri: Uri = url.parse().map_err(|error: ureq::http::uri::InvalidUri| invalid(&error.to_string()))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(invalid("it must begin with http:// or https://"));
        }
        if uri.host().is_none_or(str::is_empty) {
            return Err(invalid("it has no host"));
        }
        // The parser accepts any digits as a port. For a number that is too large it reports no port, which would mean
        // port 80.
        let port = uri.authority().and_then(|authority| authority.as_str().rsplit_once(authority.host()));
        let port = port.and_then(|(_, rest)| rest.strip_prefix(':'));
        if port.is_some_and(|port| port.parse::<u16>().unwrap_or(0) == 0) {
            return Err(invalid("its port must be a number from 1 to 65535"));
        }
        let timeout = timeout.min(LONGEST);
        let agent: Agent = Agent::config_builder().timeout_global(Some(timeout)).max_redirects(0).build().into();
        let (queue, waiting) = sync_channel::<Vec<u8>>(QUEUE);
        let counts = Arc::new(Counts::default());
        let theirs = Arc::clone(&counts);
        let thread = thread::spawn(move || {
            for body in waiting {
                let result = agent.post(&uri).content_type("application/json").send(&body[..]);
                match result.map(|response| response.status()) {
                    Ok(status) if status.is_success() => {
                        theirs.sent.fetch_add(1, Ordering::Release);
                        continue;
                    }
                    Ok(status) => theirs.note(format!("the server answered {status}")),
                    Err(error) => theirs.note(error.to_string()),
                }
                theirs.failed.fetch_add(1, Ordering::Release);
            }
        });
        Ok(Self { queue, counts, thread, timeout })
    }

    /// How many of the epochs so far were sent, and how many were not.
    pub fn published(&self) -> Published {
        self.counts.published()
    }

    /// Waits until every epoch was sent or has failed, but no longer than `patience`.
    pub fn wait(&self, patience: Duration) -> Published {
        let end = Instant::now() + patience.min(LONGEST);
        // The thread ends early only if it panics.
        while self.published().waiting > 0 && !self.thread.is_finished() && Instant::now() < end {
            thread::sleep(Duration::from_millis(2));
        }
        self.published()
    }
}

impl Recorder for RemoteMonitor {
    fn epoch(&mut self, epoch: u64, metrics: &[(&str, f64)]) -> Result<(), RecordError> {
        let number = |value| Number::from_f64(value).map_or(Value::Null, Value::Number);
        let mut body: Map<_, _> = metrics.iter().map(|&(name, value)| (name.to_owned(), number(value))).collect();
        body.insert("epoch".to_owned(), epoch.into());
        self.counts.accepted.fetch_add(1, Ordering::Release);
        if let Err(error) = self.queue.try_send(Value::Object(body).to_string().into_bytes()) {
            self.counts.accepted.fetch_sub(1, Ordering::Release);
            self.counts.dropped.fetch_add(1, Ordering::Release);
            self.counts.note(match error {
                TrySendError::Full(_) => format!("{QUEUE} epochs were waiting already"),
                TrySendError::Disconnected(_) => "the sending thread has ended".into(),
            });
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), RecordError> {
        let Published { sent, failed, dropped, waiting, last_error } = self.wait(self.timeout);
        if failed + dropped + waiting == 0 {
            return Ok(());
        }
        let error = last_error.unwrap_or_else(|| "the server did not answer in time".into());
        let problem =
            format!("{sent} epochs were sent, {failed} failed, {dropped} were dropped, {waiting} are waiting");
        Err(RecordError::new(format!("{problem}: {error}")))
    }
}
