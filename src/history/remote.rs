//! A page on another machine that is told about each epoch.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Map, Number, Value};
use thiserror::Error;
use ureq::Agent;
use ureq::http::Uri;

/// An address that cannot be published to.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{url:?} is no http or https address: {problem}")]
pub struct InvalidUrl {
    /// The address.
    pub url: String,
    /// What is wrong with it.
    pub problem: String,
}

/// What has become of the epochs that were published.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use]
pub struct Published {
    /// Taken by the server.
    pub sent: u64,
    /// Refused by the server, or not taken in time.
    pub failed: u64,
    /// Never sent: too many were waiting already.
    pub dropped: u64,
    /// Still on their way.
    pub waiting: u64,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// Epochs that may wait for the server.
const QUEUE: usize = 1024;

/// A century: clocks cannot add any duration.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Sends the metrics of each epoch to a server, as JSON in the body of a POST: `{"epoch": 3, "loss": 0.25, "lr": 0.001}`. NaN
/// and infinities, which JSON does not have, become `null`.
///
/// A thread of its own does the sending: a server that is slow or gone never holds up the training nor ends it. Nothing is lost
/// silently: [`published`](Self::published) and [`finish`](Self::finish) say what has arrived, what has not, and why. Call
/// `finish` at the end: what still waits when the program ends is lost with it.
///
/// Redirects are not followed.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use cyclic_optim::history::RemoteMonitor;
///
/// // Nobody listens on port 1.
/// let mut monitor = RemoteMonitor::new("http://127.0.0.1:1/publish/epoch/end/", Duration::from_secs(1))?;
/// monitor.publish(0, &[("loss", 0.25)]);
/// let published = monitor.finish(Duration::from_secs(5));
/// assert_eq!((published.sent, published.failed), (0, 1));
/// # Ok::<(), cyclic_optim::history::InvalidUrl>(())
/// ```
///
/// # References
///
/// Keras' `RemoteMonitor` with `send_as_json`, which sends to `http://localhost:9000/publish/epoch/end/` by default.
#[derive(Debug)]
pub struct RemoteMonitor {
    queue: SyncSender<Vec<u8>>,
    counts: Arc<Counts>,
    /// Its handle is kept to see whether it is done.
    thread: JoinHandle<()>,
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
    /// A monitor that sends to `url`, and gives up on an epoch that was not taken within `timeout`.
    ///
    /// # Errors
    ///
    /// An address that is not an `http://` or `https://` one with a host, or whose port is not a number from 1 to 65535.
    pub fn new(url: &str, timeout: Duration) -> Result<Self, InvalidUrl> {
        let invalid = |problem: &str| InvalidUrl { url: url.into(), problem: problem.into() };
        let uri: Uri = url.parse().map_err(|error: ureq::http::uri::InvalidUri| invalid(&error.to_string()))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(invalid("it must begin with http:// or https://"));
        }
        if uri.host().is_none_or(str::is_empty) {
            return Err(invalid("it has no host"));
        }
        // The parser takes any digits for a port, and says that there is none if they are too many: it would be port 80.
        let port = uri.authority().and_then(|authority| authority.as_str().rsplit_once(authority.host()));
        let port = port.and_then(|(_, rest)| rest.strip_prefix(':'));
        if port.is_some_and(|port| port.parse::<u16>().unwrap_or(0) == 0) {
            return Err(invalid("its port must be a number from 1 to 65535"));
        }
        let agent: Agent =
            Agent::config_builder().timeout_global(Some(timeout.min(LONGEST))).max_redirects(0).build().into();
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
        Ok(Self { queue, counts, thread })
    }

    /// Hands over the metrics of an epoch, counted from 0, and returns at once.
    pub fn publish(&mut self, epoch: u64, metrics: &[(&str, f64)]) {
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
    }

    /// What has become of the epochs so far.
    pub fn published(&self) -> Published {
        self.counts.published()
    }

    /// Waits until everything has been sent or has failed, for `patience` at most, and says what has become of it.
    pub fn finish(self, patience: Duration) -> Published {
        let Self { queue, counts, thread } = self;
        drop(queue);
        let end = Instant::now() + patience.min(LONGEST);
        while !thread.is_finished() && Instant::now() < end {
            thread::sleep(Duration::from_millis(2));
        }
        counts.published()
    }
}
