//! `POST /containers/{id}/attach`.

use std::time::Duration;

use http::StatusCode;
use shale_engine::containers::{Record, Status};
use shale_runtime::AttachStreams;
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;

use super::lives::Attaching;
use super::logs::{self, Wanted};
use crate::answer::Answer;
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::request::Call;
use crate::wire::detach_keys::DetachKeys;
use crate::wire::hijack::{Duplex, Framing, JoinEnd, hand_over, join};

/// How often is looked whether another program started or removed the container.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Joins a client to a container's streams; before its start, from its first byte on.
pub(crate) async fn answer(daemon: &Daemon, call: &Call, name: String) -> Result<Answer, Failure> {
    let keys = DetachKeys::parse(call.query.text("detachKeys").unwrap_or_default())?;
    let record = daemon.container(&name).await?;
    if record.status() == Status::Paused {
        let text = format!("container {name} is paused, unpause the container before attach");
        return Err(Failure::new(StatusCode::CONFLICT, text));
    }
    let config = record.config();
    let framing = if config.tty { Framing::Raw } else { Framing::Multiplexed };
    let streams = AttachStreams {
        stdin: call.query.is_on("stdin") && config.open_stdin,
        stdout: call.query.is_on("stdout"),
        stderr: call.query.is_on("stderr"),
    };
    let (has_logs, follows) = (call.query.is_on("logs"), call.query.is_on("stream"));
    let keys = Some(keys).filter(|_| config.tty);
    daemon.container_event(&record, "attach", &[]);
    // Joined before the answer: whoever has the answer may start the container, or has missed nothing since.
    let waiting = if follows { Some(begin(daemon, &record, streams).await?) } else { None };
    let after = daemon.clone_for_long();
    Ok(hand_over(daemon, call, framing, move |mut client| async move {
        if has_logs {
            let wanted = Wanted { stdout: streams.stdout, stderr: streams.stderr, ..Wanted::default() };
            if send_logs(&after, &record, wanted, framing, &mut client).await.is_err() {
                return;
            }
        }
        let Some(waiting) = waiting else {
            let _ = client.shutdown().await;
            return;
        };
        if let Some(stream) = after.attached(&record, waiting).await
            && join(client, stream, streams.stdin, keys, Framing::Raw).await == JoinEnd::Detached
        {
            after.container_event(&record, "detach", &[]);
        }
    }))
}

type Waiting = oneshot::Receiver<std::os::unix::net::UnixStream>;

/// Joins the streams of a container that runs; of one that does not, from its start on.
async fn begin(daemon: &Daemon, record: &Record, streams: AttachStreams) -> Result<Waiting, Failure> {
    let (sender, waiting) = oneshot::channel();
    if record.is_running() {
        let id = record.id.clone();
        let stream = daemon.blocking(move |engine| {
            let (_, container) = engine.running_container(&id)?;
            container.attach(streams).map_err(Failure::from)
        });
        // It may have ended just now; then there is nothing to see.
        if let Ok(stream) = stream.await {
            let _ = sender.send(stream);
        }
    } else {
        daemon.lives.attach(&record.id, Attaching { streams, stream: sender });
    }
    Ok(waiting)
}

impl Daemon {
    /// Waits for the container's start; `None` when it is gone.
    async fn attached(
        &self,
        record: &Record,
        mut waiting: Waiting,
    ) -> Option<std::os::unix::net::UnixStream> {
        loop {
            tokio::select! {
                stream = &mut waiting => return stream.ok(),
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
            let now = self.container(&record.id).await.ok()?;
            if now.is_running() {
                // Another program started it: what came before is in the log.
                let attaching = self.lives.take_attaching(&record.id);
                let id = record.id.clone();
                let joined = self.blocking(move |engine| {
                    let (_, container) = engine.running_container(&id)?;
                    for waiting in attaching {
                        container.attach(waiting.streams).map(|stream| waiting.stream.send(stream)).ok();
                    }
                    Ok::<(), Failure>(())
                });
                joined.await.ok()?;
            }
        }
    }
}

async fn send_logs(
    daemon: &Daemon,
    record: &Record,
    wanted: Wanted,
    framing: Framing,
    client: &mut Box<dyn Duplex>,
) -> std::io::Result<()> {
    let Some(mut pages) = logs::Pages::open(daemon, record, &wanted).await.ok().flatten() else {
        return Ok(());
    };
    loop {
        let page = pages
            .next(daemon, &wanted, framing)
            .await
            .map_err(|failure| std::io::Error::other(failure.message))?;
        if page.is_empty() {
            return Ok(());
        }
        client.write_all(&page).await?;
    }
}
