//! Turns in the lives of containers, for those who wait for them: attached clients, `wait`, and the tellers of events.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use shale_engine::containers::Record;
use shale_runtime::{AttachStreams, EndNotice};
use tokio::net::UnixStream;
use tokio::sync::{broadcast, oneshot};

use crate::daemon::Daemon;
use crate::failure::Failure;

/// Turns that somebody who waits may be behind.
const BEHIND_MAX: usize = 16;

/// A container that ran for so long is not one that fails at once.
const RAN_WELL_SECONDS: i64 = 10;
/// Before the first start by a restart policy; it doubles from one to the next.
const RESTART_PAUSE: Duration = Duration::from_millis(100);

/// Checks are seconds apart.
const BETWEEN_LOOKS_AT_HEALTH: Duration = Duration::from_millis(250);

/// Something that happened to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It ended, with this exit code.
    Ended(i64),
    /// It is gone; the exit code is that of its last run.
    Removed(i64),
}

/// A client that is attached to a container before its start.
pub(crate) struct Attaching {
    pub(crate) streams: AttachStreams,
    /// Takes the container's stream; dropped when there is no start.
    pub(crate) stream: oneshot::Sender<std::os::unix::net::UnixStream>,
}

struct Life {
    turns: broadcast::Sender<Turn>,
    attaching: Vec<Attaching>,
    watchers: u32,
    /// Somebody stopped it, so its restart policy does not count.
    is_stopped: bool,
    /// It ended, and its restart policy is about to start it again.
    is_restarting: bool,
    /// How often it was started again by its policy, without having run well in between.
    restarts: u32,
}

impl Default for Life {
    fn default() -> Life {
        Life {
            turns: broadcast::channel(BEHIND_MAX).0,
            attaching: Vec::new(),
            watchers: 0,
            is_stopped: false,
            is_restarting: false,
            restarts: 0,
        }
    }
}

/// What is known of the containers that somebody waits for, by ID.
#[derive(Clone, Default)]
pub(crate) struct Lives(Arc<Mutex<HashMap<String, Life>>>);

impl Lives {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Life>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a listener that hears of everything from now on.
    pub(crate) fn listen(&self, id: &str) -> broadcast::Receiver<Turn> {
        self.lock().entry(id.to_owned()).or_default().turns.subscribe()
    }

    /// Keeps a client until the container's start.
    pub(crate) fn attach(&self, id: &str, attaching: Attaching) {
        let mut lives = self.lock();
        let life = lives.entry(id.to_owned()).or_default();
        // Clients that have gone meanwhile are let go here.
        life.attaching.retain(|attaching| !attaching.stream.is_closed());
        life.attaching.push(attaching);
    }

    /// Takes the clients that wait for the start.
    pub(crate) fn take_attaching(&self, id: &str) -> Vec<Attaching> {
        let mut lives = self.lock();
        lives.get_mut(id).map(|life| std::mem::take(&mut life.attaching)).unwrap_or_default()
    }

    /// Notes that somebody stopped the container, or started it again.
    pub(crate) fn set_stopped(&self, id: &str, is_stopped: bool) {
        self.lock().entry(id.to_owned()).or_default().is_stopped = is_stopped;
    }

    pub(crate) fn is_stopped(&self, id: &str) -> bool {
        self.lock().get(id).is_some_and(|life| life.is_stopped)
    }

    fn set_restarting(&self, id: &str, is_restarting: bool) {
        if let Some(life) = self.lock().get_mut(id) {
            life.is_restarting = is_restarting;
        }
    }

    /// Whether a restart policy is about to start the container again.
    pub(crate) fn is_restarting(&self, id: &str) -> bool {
        self.lock().get(id).is_some_and(|life| life.is_restarting && !life.is_stopped)
    }

    /// Counts one more start by the policy, and returns how many came before; a container that ran well begins anew.
    fn count_restart(&self, id: &str, ran_well: bool) -> u32 {
        let mut lives = self.lock();
        let life = lives.entry(id.to_owned()).or_default();
        if ran_well {
            life.restarts = 0;
        }
        life.restarts += 1;
        life.restarts - 1
    }

    /// Notes that a run is watched that begins now, whoever still watches the one before.
    pub(crate) fn begin_watch(&self, id: &str) {
        self.lock().entry(id.to_owned()).or_default().watchers += 1;
    }

    /// As [`Lives::begin_watch`], unless somebody watches.
    fn begin_watch_if_none(&self, id: &str) -> bool {
        let mut lives = self.lock();
        let life = lives.entry(id.to_owned()).or_default();
        let is_first = life.watchers == 0;
        life.watchers += u32::from(is_first);
        is_first
    }

    pub(crate) fn end_watch(&self, id: &str) {
        if let Some(life) = self.lock().get_mut(id) {
            life.watchers = life.watchers.saturating_sub(1);
        }
    }

    /// Tells everyone who listens; a removed container is forgotten.
    pub(crate) fn tell(&self, id: &str, turn: Turn) {
        let mut lives = self.lock();
        if let Some(life) = lives.get(id) {
            let _ = life.turns.send(turn);
        }
        if matches!(turn, Turn::Removed(_)) {
            lives.remove(id);
        }
    }
}

impl Daemon {
    /// Watches all containers that run already: those that another daemon or the command line started.
    pub(crate) async fn watch_running(&self) {
        let records =
            self.blocking(|engine| engine.container_records().map_err(|error| Failure::internal(&error)));
        for record in records.await.unwrap_or_default().iter().filter(|record| record.is_running()) {
            self.watch_if_running(record).await;
        }
    }

    /// Watches a container that runs and is not watched yet.
    pub(crate) async fn watch_if_running(&self, record: &Record) {
        if !record.is_running() || !self.lives.begin_watch_if_none(&record.id) {
            return;
        }
        let id = record.id.clone();
        let notice = self
            .blocking(move |engine| {
                let (_, container) = engine.running_container(&id)?;
                container.notice_of_end().map_err(Failure::from)
            })
            .await;
        match notice {
            Ok(notice) => self.spawn_watch(record.clone(), notice),
            Err(_) => self.lives.end_watch(&record.id),
        }
    }

    /// Watches the run that [`Lives::begin_watch`] announced.
    pub(crate) fn spawn_watch(&self, record: Record, notice: EndNotice) {
        let daemon = self.clone_for_long();
        tokio::spawn(async move {
            let end = tokio::select! {
                end = daemon.end_of(notice) => end,
                never = daemon.tell_of_health(&record) => match never {},
            };
            let code = match end {
                Ok(code) => code,
                Err(failure) => {
                    tracing::warn!(
                        container = record.id,
                        error = failure.message,
                        "the end of a container is unknown"
                    );
                    255
                }
            };
            daemon.after_end(record, code).await;
        });
    }

    /// Tells of each change of a running container's health, for as long as the caller waits.
    ///
    /// The supervisor makes the checks and knows of no daemon, so what it wrote down is looked at. A change that is over
    /// before the next look is not told.
    async fn tell_of_health(&self, record: &Record) -> Infallible {
        if !record.has_health_check() {
            return std::future::pending().await;
        }
        let mut last = record.health().map(str::to_owned);
        loop {
            if let Ok(record) = self.container(&record.id).await
                && record.is_running()
                && record.health() != last.as_deref()
            {
                last = record.health().map(str::to_owned);
                if let Some(status @ ("healthy" | "unhealthy")) = record.health() {
                    self.container_event(&record, &format!("health_status: {status}"), &[]);
                }
            }
            tokio::time::sleep(BETWEEN_LOOKS_AT_HEALTH).await;
        }
    }

    async fn end_of(&self, notice: EndNotice) -> Result<i64, Failure> {
        let watched =
            notice.watched().and_then(UnixStream::from_std).map_err(|error| Failure::internal(&error))?;
        watched.readable().await.map_err(|error| Failure::internal(&error))?;
        drop(watched);
        let exit = self.blocking(move |_| notice.read()).await?;
        Ok(exit.code.into())
    }

    async fn after_end(&self, record: Record, code: i64) {
        let id = record.id.clone();
        // It may have another name by now.
        let record = self.container(&id).await.unwrap_or(record);
        self.container_event(&record, "die", &[("exitCode", &code.to_string())]);
        self.unmount_events(&record);
        // Before the telling: whoever hears it may start it again, or want to remove it.
        let pause = self.pause_before_restart(&record, code);
        self.lives.set_restarting(&id, pause.is_some());
        self.lives.end_watch(&id);
        self.lives.tell(&id, Turn::Ended(code));
        let settled = {
            let id = id.clone();
            self.blocking(move |engine| {
                engine.settle_container(&id).map_err(|error| Failure::internal(&error))
            })
        };
        if let Err(failure) = settled.await {
            tracing::warn!(
                container = id,
                error = failure.message,
                "the end of a container was not recorded"
            );
        }
        if record.is_auto_remove() {
            self.container_event(&record, "destroy", &[]);
            self.lives.tell(&id, Turn::Removed(code));
            return;
        }
        if let Some(pause) = pause {
            self.restart_after(&record, pause);
        }
    }

    /// Returns how long to wait before a container is started again; `None` where its policy wants none.
    fn pause_before_restart(&self, record: &Record, code: i64) -> Option<Duration> {
        let policy = &record.host_config.document()["RestartPolicy"];
        let is_due = match policy["Name"].as_str().unwrap_or_default() {
            "always" | "unless-stopped" => true,
            "on-failure" => code != 0,
            _ => false,
        };
        if !is_due || self.lives.is_stopped(&record.id) || record.is_auto_remove() {
            return None;
        }
        let maximum = policy["MaximumRetryCount"].as_u64().unwrap_or_default();
        let ran_well = record.started().is_some_and(|started| {
            Timestamp::now().duration_since(started) >= SignedDuration::from_secs(RAN_WELL_SECONDS)
        });
        let before = self.lives.count_restart(&record.id, ran_well);
        if maximum > 0 && u64::from(before) >= maximum {
            return None;
        }
        Some(RESTART_PAUSE.saturating_mul(1 << before.min(9)))
    }

    fn restart_after(&self, record: &Record, pause: Duration) {
        let (daemon, record) = (self.clone(), record.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = daemon.stopping.wait() => return,
            }
            if daemon.lives.is_stopped(&record.id) {
                return;
            }
            let started = daemon.start_container(&record).await;
            daemon.lives.set_restarting(&record.id, false);
            if let Err(failure) = started {
                tracing::warn!(
                    container = record.id,
                    error = failure.message,
                    "a container did not start again"
                );
            }
        });
    }

    /// Returns a daemon for work that goes on when the connection that asked for it is gone.
    pub(crate) fn clone_for_long(&self) -> Daemon {
        Daemon { slot: None, ..self.clone() }
    }
}
