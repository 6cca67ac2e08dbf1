//! `POST /containers/{id}/start`.

use http::StatusCode;
use shale_engine::containers::Record;
use shale_engine::containers::remove::RemoveContainer;
use shale_engine::containers::start::Preparation;
use shale_runtime::{EndNotice, WindowSize};

use super::lives::Turn;
use crate::answer::{Answer, empty};
use crate::daemon::Daemon;
use crate::failure::Failure;

/// What became of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Started {
    Now,
    Before,
}

/// Starts a container; clients that attached before get its first byte.
pub(crate) async fn answer(daemon: &Daemon, name: String) -> Result<Answer, Failure> {
    let record = daemon.container(&name).await?;
    daemon.lives.set_stopped(&record.id, false);
    match daemon.start_container(&record).await? {
        Started::Now => Ok(empty(StatusCode::NO_CONTENT)),
        Started::Before => Ok(empty(StatusCode::NOT_MODIFIED)),
    }
}

impl Daemon {
    pub(crate) async fn start_container(&self, record: &Record) -> Result<Started, Failure> {
        let attaching = self.lives.take_attaching(&record.id);
        let id = record.id.clone();
        let size = console_size(record);
        // Announced before: those who wait for the container must not watch it on their own.
        self.lives.begin_watch(&record.id);
        let started = self
            .blocking(move |engine| -> Result<Option<EndNotice>, Failure> {
                let prepared = match engine.prepare_container(&id, size)? {
                    Preparation::Prepared(prepared) => prepared,
                    Preparation::Running(container) => {
                        for waiting in attaching {
                            container.attach(waiting.streams).map(|stream| waiting.stream.send(stream)).ok();
                        }
                        return Ok(None);
                    }
                };
                for waiting in attaching {
                    prepared.container.attach(waiting.streams).map(|stream| waiting.stream.send(stream)).ok();
                }
                // Asked before the start, so that no container is too short to be seen.
                let notice = prepared.container.notice_of_end();
                engine.start_prepared(*prepared)?;
                notice.map(Some).map_err(Failure::from)
            })
            .await;
        match started {
            Ok(Some(notice)) => {
                self.mount_events(record);
                self.container_event(record, "start", &[]);
                self.spawn_watch(record.clone(), notice);
                Ok(Started::Now)
            }
            Ok(None) => {
                self.lives.end_watch(&record.id);
                Ok(Started::Before)
            }
            Err(failure) => {
                self.lives.end_watch(&record.id);
                if record.is_auto_remove() {
                    self.remove_unstarted(record).await;
                }
                Err(failure)
            }
        }
    }

    /// A container that goes when it ends goes when it does not begin, too.
    async fn remove_unstarted(&self, record: &Record) {
        let id = record.id.clone();
        let how = RemoveContainer { force: true, volumes: true };
        let removed = self.blocking(move |engine| {
            let code = engine.find_container(&id).map_or(128, |record| record.exit_code());
            engine.remove_container(&id, how).map(|()| code)
        });
        if let Ok(code) = removed.await {
            self.container_event(record, "destroy", &[]);
            self.lives.tell(&record.id, Turn::Removed(code));
        }
    }

    fn mount_events(&self, record: &Record) {
        for volume in record.volumes() {
            let is_writable = volume.is_writable.to_string();
            let more = [
                ("container", record.id.as_str()),
                ("destination", volume.destination.as_str()),
                ("propagation", ""),
                ("read/write", is_writable.as_str()),
            ];
            self.volume_event(&volume.name, "mount", &more);
        }
    }

    pub(crate) fn unmount_events(&self, record: &Record) {
        for volume in record.volumes() {
            self.volume_event(&volume.name, "unmount", &[("container", record.id.as_str())]);
        }
    }
}

/// The size that the client's terminal had when the container was made.
fn console_size(record: &Record) -> Option<WindowSize> {
    let size = &record.host_config.document()["ConsoleSize"];
    let number = |at: usize| size[at].as_u64().and_then(|number| u16::try_from(number).ok());
    match (number(0)?, number(1)?) {
        (0, _) | (_, 0) => None,
        (rows, columns) => Some(WindowSize { rows, columns }),
    }
}
