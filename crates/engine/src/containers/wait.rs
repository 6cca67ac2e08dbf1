//! Waiting for what becomes of a container.

use std::time::Duration;

use shale_runtime::{ControlError, ExitStatus, Status as ProcessStatus};

use super::start::SignalContainerError;
use crate::Engine;

/// How often is looked for what nobody tells of.
const INTERVAL: Duration = Duration::from_millis(5);

/// What is waited for, in the words of the Engine API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WaitCondition {
    /// It does not run; true at once for one that was never started.
    #[default]
    NotRunning,
    /// It ends from now on, be it started later.
    NextExit,
    /// It is gone.
    Removed,
}

impl Engine {
    /// Waits for `condition` and returns the exit code; `None` when `goes_on` said no more, which is asked a few times a
    /// second.
    ///
    /// # Errors
    /// [`SignalContainerError`].
    ///
    /// Source: moby `container/state.go` `Wait` at v20.10.24.
    pub fn wait_container_until(
        &self,
        text: &str,
        condition: WaitCondition,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<Option<i64>, SignalContainerError> {
        let record = self.find_container(text)?;
        let id = &record.id;
        let (before, mut code) = (record.finished(), record.exit_code());
        let mut ended = condition == WaitCondition::NotRunning && !self.is_about_to_run(&record);
        let mut ticks = 0_u32;
        while !ended {
            if let Some((container, state)) = self.supervised(id)
                && state.status != ProcessStatus::Exited
            {
                let waited = match container.begin_wait(condition == WaitCondition::NextExit) {
                    Ok(waiting) => waiting.finish_while(goes_on),
                    Err(_) => container.wait().map(Some),
                };
                match waited {
                    Ok(Some(ExitStatus { code: now, .. })) => (code, ended) = (now.into(), true),
                    Ok(None) => return Ok(None),
                    // It never started, or was removed at once.
                    Err(ControlError::Refused { .. } | ControlError::State(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if ended {
                break;
            }
            match self.container_record(id)? {
                Some(record)
                    if record.finished() > before
                        && (condition == WaitCondition::NextExit || !record.is_running()) =>
                {
                    (code, ended) = (record.exit_code(), true);
                }
                Some(_) => {}
                None => return Ok(Some(code)),
            }
            ticks += 1;
            if ticks.is_multiple_of(20) && !goes_on() {
                return Ok(None);
            }
            std::thread::sleep(INTERVAL);
        }
        self.settle_container(id)?;
        while condition == WaitCondition::Removed && self.container_record(id)?.is_some() {
            if !goes_on() {
                return Ok(None);
            }
            std::thread::sleep(INTERVAL);
        }
        Ok(Some(code))
    }

    fn is_about_to_run(&self, record: &super::Record) -> bool {
        let is_created = |state: &shale_runtime::State| state.status != ProcessStatus::Exited;
        record.is_running() || self.supervised(&record.id).is_some_and(|(_, state)| is_created(&state))
    }
}
