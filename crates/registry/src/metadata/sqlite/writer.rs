//! The one thread that changes the database. Changes that wait together are committed together, with one sync.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use super::MetadataError;
use crate::metadata::cache::Cache;

/// How many changes share a transaction at most; the first one waits for the last one.
const BATCH_MAX: usize = 128;

/// Whether an acknowledged change must survive the loss of power.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// It must.
    Power,
    /// It is enough that it survives the process.
    Process,
}

/// What a change makes wrong in the cache.
pub(super) enum Touches {
    Nothing,
    Repository(Box<str>),
    Everything,
}

/// Handle of the thread; dropping it finishes what waits and ends the thread.
pub(super) struct Writer {
    sender: Option<Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

trait Job: Send {
    fn durability(&self) -> Durability;
    fn run(&mut self, connection: &Connection) -> Result<(), rusqlite::Error>;
    fn touches(&self) -> &Touches;
    fn acknowledge(self: Box<Self>);
    fn refuse(self: Box<Self>, error: &rusqlite::Error);
}

struct Change<T, F> {
    durability: Durability,
    touches: Touches,
    act: Option<F>,
    value: Option<T>,
    reply: oneshot::Sender<Result<T, MetadataError>>,
}

impl<T: Send, F: FnOnce(&Connection) -> Result<T, rusqlite::Error> + Send> Job for Change<T, F> {
    fn durability(&self) -> Durability {
        self.durability
    }

    fn run(&mut self, connection: &Connection) -> Result<(), rusqlite::Error> {
        let act = self.act.take().expect("a change runs once");
        self.value = Some(act(connection)?);
        Ok(())
    }

    fn touches(&self) -> &Touches {
        &self.touches
    }

    fn acknowledge(self: Box<Self>) {
        if let Some(value) = self.value {
            let _ = self.reply.send(Ok(value));
        }
    }

    fn refuse(self: Box<Self>, error: &rusqlite::Error) {
        let _ = self.reply.send(Err(metadata_error(error)));
    }
}

/// Names a database error for those above.
pub(super) fn metadata_error(error: &rusqlite::Error) -> MetadataError {
    let source = error.to_string().into();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => MetadataError::Full { source },
        _ => MetadataError::Database { source },
    }
}

impl Writer {
    pub(super) fn start(path: &Path, connection: Connection, cache: Arc<Cache>) -> std::io::Result<Writer> {
        let (sender, receiver) = channel();
        let name = format!("metadata {}", path.display());
        let name = name.chars().take(15).collect();
        let thread =
            std::thread::Builder::new().name(name).spawn(move || serve(&connection, &receiver, &cache))?;
        Ok(Writer { sender: Some(sender), thread: Some(thread) })
    }

    pub(super) async fn change<T: Send + 'static>(
        &self,
        durability: Durability,
        touches: Touches,
        act: impl FnOnce(&Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, MetadataError> {
        let (reply, answer) = oneshot::channel();
        let change = Change { durability, touches, act: Some(act), value: None, reply };
        let sender = self.sender.as_ref().ok_or(MetadataError::Closed)?;
        sender.send(Box::new(change)).map_err(|_| MetadataError::Closed)?;
        answer.await.map_err(|_| MetadataError::Closed)?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(connection: &Connection, receiver: &Receiver<Box<dyn Job>>, cache: &Cache) {
    let mut synchronous = Durability::Power;
    while let Ok(first) = receiver.recv() {
        let mut waiting = vec![first];
        while waiting.len() < BATCH_MAX
            && let Ok(next) = receiver.try_recv()
        {
            waiting.push(next);
        }
        let durability = match waiting.iter().any(|job| job.durability() == Durability::Power) {
            true => Durability::Power,
            false => Durability::Process,
        };
        if durability != synchronous {
            let level = if durability == Durability::Power { "FULL" } else { "NORMAL" };
            match connection.pragma_update(None, "synchronous", level) {
                Ok(()) => synchronous = durability,
                Err(error) => {
                    waiting.into_iter().for_each(|job| job.refuse(&error));
                    continue;
                }
            }
        }
        commit_together(connection, waiting, cache);
    }
}

fn commit_together(connection: &Connection, waiting: Vec<Box<dyn Job>>, cache: &Cache) {
    let mut done: Vec<Box<dyn Job>> = Vec::with_capacity(waiting.len());
    let refuse_all = |jobs: Vec<Box<dyn Job>>, error: &rusqlite::Error| {
        tracing::error!("metadata change failed: {error}");
        jobs.into_iter().for_each(|job| job.refuse(error));
    };
    for mut job in waiting {
        if connection.is_autocommit()
            && let Err(error) = connection.execute_batch("BEGIN IMMEDIATE")
        {
            refuse_all(vec![job], &error);
            continue;
        }
        let ran = connection.execute_batch("SAVEPOINT change").and_then(|()| job.run(connection));
        match ran.and_then(|()| connection.execute_batch("RELEASE change")) {
            Ok(()) => done.push(job),
            Err(error) => {
                // A full disk or a failed read undoes the whole transaction, with the changes before this one.
                let undone = connection.is_autocommit()
                    || connection.execute_batch("ROLLBACK TO change; RELEASE change").is_err();
                if undone {
                    if !connection.is_autocommit() {
                        let _ = connection.execute_batch("ROLLBACK");
                    }
                    refuse_all(std::mem::take(&mut done), &error);
                }
                refuse_all(vec![job], &error);
            }
        }
    }
    if connection.is_autocommit() {
        return;
    }
    match connection.execute_batch("COMMIT") {
        Ok(()) => {
            for job in &done {
                match job.touches() {
                    Touches::Nothing => {}
                    Touches::Repository(name) => cache.forget(name),
                    Touches::Everything => cache.forget_all(),
                }
            }
            done.into_iter().for_each(Job::acknowledge);
        }
        Err(error) => {
            let _ = connection.execute_batch("ROLLBACK");
            refuse_all(done, &error);
        }
    }
}
