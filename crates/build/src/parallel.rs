//! Stages that do not need each other, at the same time.
//!
//! Each stage is run by a builder of its own; what all share is the cache, the images that were resolved, and the news
//! that one failed. The classic builder's stages run one after the other, as Docker's do.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use shale_dockerfile::Origin;
use shale_runtime::{Signal, SignalSender, Signals};

use crate::build::{Builder, Failed, Kept, StepReport};
use crate::error::BuildError;
use crate::options::NamedContext;
use crate::order::{Order, StageOutput};
use crate::stage::StageState;

/// Stages at the same time, at most: most of them wait for a process of theirs.
const STAGES_AT_ONCE_MAX: usize = 8;

/// Tells a build that it is over, from any thread.
#[derive(Debug, Default)]
pub struct Cancel {
    is_over: AtomicBool,
    commands: Mutex<Vec<SignalSender>>,
}

impl Cancel {
    /// Whether the build is over, or is to be.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Returns the signals of a command that ends when the build does.
    pub(crate) fn signals(&self) -> Signals {
        let Ok((sender, signals)) = Signals::channel() else { return Signals::none() };
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_over() {
            sender.send(Signal::KILL);
        }
        commands.push(sender);
        signals
    }

    /// Kills the commands that run, and lets no further step begin. What was finished stays as the cache of the next build.
    pub fn end(&self) {
        self.is_first_to_end();
    }

    /// As [`Cancel::end`]; returns whether the build was not over yet.
    pub(crate) fn is_first_to_end(&self) -> bool {
        let commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        let was_over = self.is_over.swap(true, Ordering::AcqRel);
        for command in commands.iter() {
            command.send(Signal::KILL);
        }
        !was_over
    }
}

/// What the threads share.
struct Schedule {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Default)]
struct State {
    waiting: BTreeSet<usize>,
    finished: HashMap<usize, StageState>,
    reports: HashMap<usize, Vec<StepReport>>,
    failed: Option<Failed>,
}

impl Schedule {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a stage whose dependencies are finished and takes it, the first one first; `None` when none is left.
    fn take(&self, builder: &Builder<'_>) -> Option<(usize, HashMap<usize, StageState>)> {
        let mut state = self.state();
        loop {
            if state.failed.is_some() || state.waiting.is_empty() {
                return None;
            }
            let dependencies = |stage: usize| &builder.plan.stages[stage].dependencies;
            let is_ready =
                |stage: &usize| dependencies(*stage).iter().all(|needed| state.finished.contains_key(needed));
            if let Some(stage) = state.waiting.iter().copied().find(is_ready) {
                state.waiting.remove(&stage);
                let needed = dependencies(stage).iter();
                let needed = needed.map(|needed| (*needed, state.finished[needed].clone())).collect();
                return Some((stage, needed));
            }
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Builder<'_> {
    /// Resolves the bases of all stages and takes in their triggers, so that the plan changes no more.
    pub(crate) fn resolve_bases(&mut self) -> Result<(), Failed> {
        let mut index = 0;
        while index < self.plan.stages.len() {
            let stage = &self.plan.stages[index];
            let (base, span, is_due) =
                (stage.base.clone(), stage.span, stage.is_needed && !self.ready[index]);
            index += 1;
            let name = match base {
                Origin::Image(name) => name,
                Origin::NamedContext(name) => match self.options.named_contexts.get(&name) {
                    Some(NamedContext::Image(image)) => image.clone(),
                    _ => continue,
                },
                _ => continue,
            };
            if !is_due {
                continue;
            }
            self.take_in_triggers(index - 1, &name)
                .map_err(|error| Failed { span: error.span().or(Some(span)), error })?;
            // A trigger may need a stage that nobody needed before.
            index = 0;
        }
        Ok(())
    }

    /// Runs the stages that the target needs, each as soon as those that it needs are done.
    pub(crate) fn run_stages_at_once(&mut self) -> Result<(), Failed> {
        self.resolve_bases()?;
        let needed: Vec<usize> = self.plan.needed_stages().map(|stage| stage.index).collect();
        let mut first_steps = HashMap::new();
        let mut step = self.step;
        for index in &needed {
            first_steps.insert(*index, step);
            step += self.own_steps(*index);
        }
        let state = State { waiting: needed.iter().copied().collect(), ..State::default() };
        let schedule = Schedule { state: Mutex::new(state), moved: Condvar::new() };
        let order = Order::new(self.output, needed.iter().copied());
        let kept = Mutex::new(Kept::default());
        let main: &Builder<'_> = self;
        let work = || {
            while let Some((index, dependencies)) = schedule.take(main) {
                let output = StageOutput { order: &order, stage: index };
                let mut builder = main.of_stage(&output, dependencies, first_steps[&index]);
                let ran = builder.run_stage(index);
                let finished = builder.stages.remove(&index);
                let own = builder.into_kept(|reports| {
                    schedule.state().reports.insert(index, reports);
                });
                kept.lock().unwrap_or_else(PoisonError::into_inner).extend(own);
                let mut state = schedule.state();
                match (ran, finished) {
                    (Ok(()), Some(stage)) => {
                        state.finished.insert(index, stage);
                        drop(state);
                        order.finish(index);
                    }
                    (ran, _) => {
                        // Only the first failure is told: the others are what it did to them.
                        if state.failed.is_none() {
                            state.failed = Some(ran.err().unwrap_or_else(|| BuildError::NoImage.into()));
                            order.fail(index);
                            main.cancel.end();
                        }
                    }
                }
                schedule.moved.notify_all();
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..needed.len().min(STAGES_AT_ONCE_MAX) {
                scope.spawn(work);
            }
            work();
        });
        let state = schedule.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.kept.extend(kept.into_inner().unwrap_or_else(PoisonError::into_inner));
        let mut reports = state.reports;
        self.reports.extend(needed.iter().flat_map(|index| reports.remove(index).unwrap_or_default()));
        self.stages.extend(state.finished);
        state.failed.map_or(Ok(()), Err)
    }
}
