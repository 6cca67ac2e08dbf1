//! `POST /containers/{id}/wait`: the head goes out at once, the exit code when there is one.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use shale_engine::containers::Record;
use shale_engine_api::ApiVersion;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::lives::Turn;
use crate::answer::{Answer, Body, stream};
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::request::Call;

/// How often is looked for what another program did to the container.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// How often is still looked when the container is gone and nobody told how it ended.
const LOOKS_AFTER_REMOVAL: u32 = 10;

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    NotRunning,
    NextExit,
    Removed,
}

/// Waits for a container; clients that hang up end the wait.
pub(crate) async fn answer(daemon: &Daemon, call: &Call, name: String) -> Result<Answer, Failure> {
    // dockerd 20.10 takes an unknown word for the first condition.
    let condition = match call.query.text("condition").unwrap_or_default() {
        "next-exit" => Condition::NextExit,
        "removed" => Condition::Removed,
        _ => Condition::NotRunning,
    };
    let record = daemon.container(&name).await?;
    let turns = daemon.lives.listen(&record.id);
    daemon.watch_if_running(&record).await;
    let (pieces, receiver) = mpsc::channel(1);
    let (daemon, version) = (daemon.clone(), call.version);
    tokio::spawn(async move {
        let code = tokio::select! {
            code = wait(&daemon, &record, condition, turns) => code,
            () = pieces.closed() => return,
            () = daemon.stopping.wait() => return,
        };
        let mut document = json!({});
        if version < ApiVersion::one(42) {
            document["Error"] = json!(null);
        }
        document["StatusCode"] = json!(code);
        let _ = pieces.send(Ok(Bytes::from(format!("{document}\n")))).await;
    });
    Ok(stream(Body::Pieces(receiver), "application/json"))
}

async fn wait(daemon: &Daemon, record: &Record, condition: Condition, mut turns: Receiver<Turn>) -> i64 {
    if condition == Condition::NotRunning && !record.is_running() {
        return record.exit_code();
    }
    let mut code = record.exit_code();
    let mut was_running = record.is_running();
    let mut looks_left = LOOKS_AFTER_REMOVAL;
    loop {
        let turn = tokio::select! {
            turn = turns.recv() => Some(turn),
            () = tokio::time::sleep(LOOK_INTERVAL) => None,
        };
        match turn {
            Some(Ok(Turn::Removed(code))) => return code,
            Some(Ok(Turn::Ended(ended))) if condition != Condition::Removed => return ended,
            Some(Ok(Turn::Ended(ended))) => code = ended,
            Some(Err(RecvError::Lagged(_))) => {}
            Some(Err(RecvError::Closed)) => return code,
            // Another program may have started, ended or removed it.
            None => match daemon.container(&record.id).await {
                // Its supervisor removes it as well; who watches it tells the code in a moment.
                Err(_) if looks_left > 0 => looks_left -= 1,
                Err(_) => return code,
                Ok(now) => {
                    daemon.watch_if_running(&now).await;
                    if was_running && !now.is_running() {
                        code = now.exit_code();
                        if condition != Condition::Removed {
                            return code;
                        }
                    }
                    was_running = now.is_running();
                }
            },
        }
    }
}
