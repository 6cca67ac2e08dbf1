//! `GET /containers/{id}/logs`.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use shale_engine::containers::Record;
use shale_runtime::log::{LogOptions, LogReader, LogStream};
use tokio::sync::mpsc;

use crate::answer::{Answer, Body, stream};
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::request::Call;
use crate::wire::hijack::Framing;

/// How often a growing log is looked at.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(50);
/// About so much is read before it is sent.
const PAGE_BYTES: usize = 64 << 10;

/// Which entries, and how they are shown.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    pub(crate) timestamps: bool,
    pub(crate) details: bool,
    pub(crate) options: LogOptions,
}

/// Sends a container's log, and what is added to it while the container runs if the client follows.
pub(crate) async fn answer(daemon: &Daemon, call: &Call, name: String) -> Result<Answer, Failure> {
    let query = &call.query;
    let wanted = Wanted {
        stdout: query.is_on("stdout"),
        stderr: query.is_on("stderr"),
        timestamps: query.is_on("timestamps"),
        details: query.is_on("details"),
        options: LogOptions {
            // Anything but a number is everything, as in Docker.
            tail: query.text("tail").and_then(|tail| tail.parse().ok()),
            since: query.text("since").map(moment).transpose()?,
            until: query.text("until").filter(|until| *until != "0").map(moment).transpose()?,
        },
    };
    if !wanted.stdout && !wanted.stderr {
        return Err(Failure::invalid("Bad parameters: you must choose at least one stream"));
    }
    let follows = query.is_on("follow");
    let record = daemon.container(&name).await?;
    let asked = record.clone();
    daemon.blocking(move |engine| engine.container_log(&asked)).await?;
    let framing = if record.config().tty { Framing::Raw } else { Framing::Multiplexed };
    let (pieces, receiver) = mpsc::channel(4);
    let daemon = daemon.clone();
    tokio::spawn(async move {
        let sent = tokio::select! {
            sent = send(&daemon, &record, &wanted, framing, follows, &pieces) => sent,
            () = pieces.closed() => return,
            () = daemon.stopping.wait() => return,
        };
        if let Err(failure) = sent {
            // The head is gone; what is left is to break the connection off.
            let _ = pieces.send(Err(std::io::Error::other(failure.message))).await;
        }
    });
    Ok(stream(Body::Pieces(receiver), framing.media_type(call)))
}

/// Reads `seconds[.nanoseconds]`, or a time.
fn moment(text: &str) -> Result<Timestamp, Failure> {
    crate::events::moment(text, Timestamp::now())
        .map_err(|_| Failure::internal_text(format!("strconv.ParseInt: parsing {text:?}: invalid syntax")))
}

async fn send(
    daemon: &Daemon,
    record: &Record,
    wanted: &Wanted,
    framing: Framing,
    follows: bool,
    pieces: &mpsc::Sender<std::io::Result<Bytes>>,
) -> Result<(), Failure> {
    let mut pages = Pages::open(daemon, record, wanted).await?;
    loop {
        // Asked before reading: what was written up to then is read below.
        let is_over = !follows || !daemon.container(&record.id).await.is_ok_and(|record| record.is_running());
        loop {
            let page = match &mut pages {
                Some(pages) => pages.next(daemon, wanted, framing).await?,
                None => Vec::new(),
            };
            if page.is_empty() {
                break;
            }
            if pieces.send(Ok(page.into())).await.is_err() {
                return Ok(());
            }
        }
        let is_past = wanted.options.until.is_some_and(|until| Timestamp::now() > until);
        if is_over || is_past {
            return Ok(());
        }
        tokio::time::sleep(FOLLOW_INTERVAL).await;
        if pages.is_none() {
            pages = Pages::open(daemon, record, wanted).await?;
        }
    }
}

/// A log, read in pieces of a handy size.
pub(crate) struct Pages(Option<LogReader>);

impl Pages {
    /// Opens a container's log; `None` while there is none.
    pub(crate) async fn open(
        daemon: &Daemon,
        record: &Record,
        wanted: &Wanted,
    ) -> Result<Option<Pages>, Failure> {
        let (record, options) = (record.clone(), wanted.options.clone());
        daemon
            .blocking(move |engine| {
                let log = engine.container_log(&record)?;
                if !log.exists() {
                    return Ok(None);
                }
                let reader = LogReader::open(&log, options).map_err(|error| Failure::internal(&error))?;
                Ok::<_, Failure>(Some(Pages(Some(reader))))
            })
            .await
    }

    /// Returns the next entries as they go over the wire; nothing at the present end.
    pub(crate) async fn next(
        &mut self,
        daemon: &Daemon,
        wanted: &Wanted,
        framing: Framing,
    ) -> Result<Vec<u8>, Failure> {
        let Some(mut reader) = self.0.take() else { return Ok(Vec::new()) };
        let wanted = wanted.clone();
        let (reader, page) = daemon
            .blocking(move |_| {
                let mut page = Vec::new();
                while page.len() < PAGE_BYTES {
                    let entry = reader.next_entry().map_err(|error| Failure::internal(&error))?;
                    let Some(entry) = entry else { break };
                    let (number, is_wanted) = match entry.stream {
                        LogStream::Stdout => (1, wanted.stdout),
                        LogStream::Stderr => (2, wanted.stderr),
                    };
                    if !is_wanted {
                        continue;
                    }
                    let mut line = String::new();
                    if wanted.timestamps {
                        line.push_str(&format!("{:.9} ", entry.time));
                    }
                    if wanted.details {
                        line.push(' ');
                    }
                    line.push_str(&entry.line);
                    page.extend(framing.frame(number, line.as_bytes()));
                }
                Ok::<_, Failure>((reader, page))
            })
            .await?;
        self.0 = Some(reader);
        Ok(page)
    }
}
