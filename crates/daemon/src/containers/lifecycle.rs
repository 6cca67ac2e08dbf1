//! Stopping, killing, pausing, renaming and resizing of containers.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use shale_engine::containers::{Record, Status};
use shale_engine_api::ApiVersion;
use shale_runtime::{Signal, WindowSize};

use super::lives::Turn;
use crate::answer::{Answer, document, empty};
use crate::body::RequestBody;
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::request::Call;

fn done() -> Result<Answer, Failure> {
    Ok(empty(StatusCode::NO_CONTENT))
}

/// The signal and the patience that the client asks for; -1 is patience without an end.
fn stop_options(call: &Call) -> Result<(Option<Signal>, Option<Duration>), Failure> {
    let seconds = call.query.number::<i64>("t")?;
    let forever = Duration::from_secs(u32::MAX.into());
    let patience = seconds.map(|seconds| u64::try_from(seconds).map_or(forever, Duration::from_secs));
    let signal = match call.query.text("signal") {
        Some(signal) if call.version >= ApiVersion::one(42) => Some(parse_signal(signal)?),
        _ => None,
    };
    Ok((signal, patience))
}

/// Reads the name or the number of a signal.
pub(crate) fn parse_signal(text: &str) -> Result<Signal, Failure> {
    text.parse().map_err(|error: shale_runtime::SignalError| Failure::invalid(error.to_string()))
}

/// Stops a container.
pub(crate) async fn stop(daemon: &Daemon, call: &Call, name: String) -> Result<Answer, Failure> {
    let (signal, patience) = stop_options(call)?;
    let record = daemon.container(&name).await?;
    if !record.is_running() {
        daemon.lives.set_stopped(&record.id, true);
        return Ok(empty(StatusCode::NOT_MODIFIED));
    }
    daemon.stop_container(&record, signal, patience).await?;
    done()
}

/// Stops a container if it runs, and starts it.
pub(crate) async fn restart(daemon: &Daemon, call: &Call, name: String) -> Result<Answer, Failure> {
    let (signal, patience) = stop_options(call)?;
    let record = daemon.container(&name).await?;
    if record.is_running() {
        daemon.stop_container(&record, signal, patience).await?;
    }
    daemon.lives.set_stopped(&record.id, false);
    daemon.start_container(&record).await?;
    daemon.container_event(&record, "restart", &[]);
    done()
}

impl Daemon {
    /// Asks a container to end, waits, kills it, and returns when its end is told.
    pub(crate) async fn stop_container(
        &self,
        record: &Record,
        signal: Option<Signal>,
        patience: Option<Duration>,
    ) -> Result<(), Failure> {
        self.lives.set_stopped(&record.id, true);
        self.watch_if_running(record).await;
        let mut turns = self.lives.listen(&record.id);
        let config = record.config();
        let signal = signal.or_else(|| config.stop_signal.parse().ok()).unwrap_or(Signal::TERM);
        let own = config.stop_timeout.map(|seconds| u64::try_from(seconds).unwrap_or(u32::MAX.into()));
        let patience = patience.or(own.map(Duration::from_secs)).unwrap_or(Duration::from_secs(10));
        self.send_signal(record, signal).await?;
        let ended =
            async { while !matches!(turns.recv().await, Ok(Turn::Ended(_) | Turn::Removed(_)) | Err(_)) {} };
        tokio::pin!(ended);
        if tokio::time::timeout(patience, &mut ended).await.is_err() {
            self.send_signal(record, Signal::KILL).await?;
            ended.await;
        }
        self.container_event(record, "stop", &[]);
        Ok(())
    }

    /// Sends a signal to a container's first process, and tells so; one that has ended is let be.
    async fn send_signal(&self, record: &Record, signal: Signal) -> Result<(), Failure> {
        let id = record.id.clone();
        let sent = self.blocking(move |engine| {
            let (_, container) = engine.running_container(&id)?;
            container.kill(signal).map_err(Failure::from)
        });
        match sent.await {
            Ok(()) => {
                self.container_event(record, "kill", &[("signal", &signal.number().to_string())]);
                Ok(())
            }
            Err(failure) if failure.status == StatusCode::CONFLICT => Ok(()),
            Err(failure) => Err(failure),
        }
    }
}

/// Sends a signal; after one that kills, the answer comes when the container is gone.
pub(crate) async fn kill(daemon: &Daemon, call: &Call, name: String) -> Result<Answer, Failure> {
    let signal = call.query.text("signal").map(parse_signal).transpose()?.unwrap_or(Signal::KILL);
    let cannot = |failure: Failure| Failure {
        message: format!("Cannot kill container: {name}: {}", failure.message),
        ..failure
    };
    let record = daemon.container(&name).await.map_err(cannot)?;
    if !record.is_running() {
        let text = format!("Container {} is not running", record.id);
        return Err(cannot(Failure::new(StatusCode::CONFLICT, text)));
    }
    let stops = signal == Signal::KILL || Some(signal) == record.config().stop_signal.parse().ok();
    if stops {
        daemon.lives.set_stopped(&record.id, true);
    }
    daemon.watch_if_running(&record).await;
    let mut turns = daemon.lives.listen(&record.id);
    daemon.send_signal(&record, signal).await.map_err(cannot)?;
    if signal == Signal::KILL {
        let ended =
            async { while !matches!(turns.recv().await, Ok(Turn::Ended(_) | Turn::Removed(_)) | Err(_)) {} };
        // A process that the kernel cannot end now is no reason to keep the client.
        let _ = tokio::time::timeout(Duration::from_secs(10), ended).await;
    }
    done()
}

/// Holds a container's processes, or lets them go on.
pub(crate) async fn pause(daemon: &Daemon, name: String, holds: bool) -> Result<Answer, Failure> {
    let record = daemon.container(&name).await?;
    let is_paused = record.status() == Status::Paused;
    let conflict =
        |text: &str| Failure::new(StatusCode::CONFLICT, format!("Container {} is {text}", record.id));
    match (holds, is_paused) {
        (false, false) => {
            // Not a conflict to dockerd 20.10, whose status this is.
            return Err(Failure::internal_text(format!("Container {} is not paused", record.id)));
        }
        (true, true) => return Err(conflict("already paused")),
        (true, false) if !record.is_running() => return Err(conflict("not running")),
        _ => {}
    }
    let id = record.id.clone();
    daemon
        .blocking(move |engine| {
            let (_, container) = engine.running_container(&id)?;
            let told = if holds { container.pause() } else { container.resume() };
            told.map_err(Failure::from)
        })
        .await?;
    daemon.container_event(&record, if holds { "pause" } else { "unpause" }, &[]);
    done()
}

/// Gives a container another name.
pub(crate) async fn rename(daemon: &Daemon, call: &Call, name: String) -> Result<Answer, Failure> {
    let record = daemon.container(&name).await?;
    let wanted = call.query.text("name").unwrap_or_default().to_owned();
    let id = record.id.clone();
    daemon.blocking(move |engine| engine.rename_container(&id, &wanted)).await?;
    let renamed = daemon.container(&record.id).await?;
    daemon.container_event(&renamed, "rename", &[("oldName", &format!("/{}", record.name()))]);
    done()
}

/// Sets the size of a container's terminal.
pub(crate) async fn resize(daemon: &Daemon, call: &Call, name: String) -> Result<Answer, Failure> {
    let size = window_size(call)?;
    let record = daemon.container(&name).await?;
    let (id, has_terminal) = (record.id.clone(), record.config().tty);
    daemon
        .blocking(move |engine| {
            let (_, container) = engine.running_container(&id)?;
            // Without a terminal there is nothing to do, which dockerd does not mind.
            if has_terminal { container.resize(size).map_err(Failure::from) } else { Ok(()) }
        })
        .await?;
    let (height, width) = (size.rows.to_string(), size.columns.to_string());
    daemon.container_event(&record, "resize", &[("height", &height), ("width", &width)]);
    Ok(empty(StatusCode::OK))
}

/// Reads `h` and `w`.
pub(crate) fn window_size(call: &Call) -> Result<WindowSize, Failure> {
    let number = |name: &str| -> Result<u16, Failure> {
        match call.query.number::<u16>(name)? {
            Some(number) => Ok(number),
            None => Err(Failure::invalid("strconv.Atoi: parsing \"\": invalid syntax")),
        }
    };
    Ok(WindowSize { rows: number("h")?, columns: number("w")? })
}

/// Changes a container's restart policy and limits.
pub(crate) async fn update(
    daemon: &Daemon,
    call: &Call,
    body: RequestBody,
    name: String,
) -> Result<Answer, Failure> {
    let wanted: Value = call.document(body).await?;
    let record = daemon.container(&name).await?;
    let id = record.id.clone();
    daemon.blocking(move |engine| engine.update_container(&id, &wanted)).await?;
    daemon.container_event(&record, "update", &[]);
    Ok(document(&json!({ "Warnings": null })))
}
