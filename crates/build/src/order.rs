//! What stages say while several run: told stage by stage, as if one ran after the other.
//!
//! The first stage that is not finished speaks directly; what later ones say waits, and a stage whose words fill their
//! room waits with them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use shale_oci::ImageId;

use crate::ports::Output;

/// Text of one stage that waits, at most.
const WAITING_BYTES_MAX: usize = 4 << 20;

/// Puts the texts of stages in order.
pub(crate) struct Order<'a> {
    output: &'a dyn Output,
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Default)]
struct State {
    /// Stages that have not finished speaking, and may speak directly when they are first.
    open: BTreeSet<usize>,
    waiting: BTreeMap<usize, String>,
    /// The stage that failed: nobody waits any more, and only this one is heard.
    failed: Option<usize>,
}

impl<'a> Order<'a> {
    pub fn new(output: &'a dyn Output, stages: impl IntoIterator<Item = usize>) -> Order<'a> {
        let state = State { open: stages.into_iter().collect(), ..State::default() };
        Order { output, state: Mutex::new(state), moved: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, stage: usize, text: &str) {
        let mut state = self.state();
        while state.failed.is_none() && state.open.first() != Some(&stage) {
            let length = state.waiting.get(&stage).map_or(0, String::len);
            if length + text.len() <= WAITING_BYTES_MAX {
                state.waiting.entry(stage).or_default().push_str(text);
                return;
            }
            // A stage can only be first once all before it are done, and none of those waits for this one.
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.failed.is_none_or(|failed| failed == stage) {
            self.output.text(text);
        }
    }

    /// Notes that a stage has said all; what others said meanwhile is told as far as it is their turn.
    pub fn finish(&self, stage: usize) {
        let mut state = self.state();
        if state.failed.is_some() {
            return;
        }
        state.open.remove(&stage);
        let next = state.open.first().copied();
        let turn = |stage: &usize| next.is_none_or(|next| *stage <= next);
        let told: Vec<usize> = state.waiting.keys().copied().filter(turn).collect();
        for stage in told {
            let text = state.waiting.remove(&stage).unwrap_or_default();
            self.output.text(&text);
        }
        self.moved.notify_all();
    }

    /// Ends all waiting, because stage `failed` failed: its words are told, those of others are not. The first counts.
    pub fn fail(&self, failed: usize) {
        let mut state = self.state();
        if *state.failed.get_or_insert(failed) != failed {
            return;
        }
        if let Some(text) = state.waiting.remove(&failed) {
            self.output.text(&text);
        }
        self.moved.notify_all();
    }
}

/// The output of one stage.
pub(crate) struct StageOutput<'a> {
    pub order: &'a Order<'a>,
    pub stage: usize,
}

impl Output for StageOutput<'_> {
    fn text(&self, text: &str) {
        self.order.say(self.stage, text);
    }

    fn note(&self, text: &str) {
        self.order.output.note(text);
    }

    fn stage(&self, image: ImageId) {
        self.order.output.stage(image);
    }

    fn kept_root(&self, image: ImageId) {
        self.order.output.kept_root(image);
    }

    fn yield_terminal(&self, why: &str) {
        self.order.fail(self.stage);
        self.order.output.yield_terminal(why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Told(Mutex<String>);

    impl Output for Told {
        fn text(&self, text: &str) {
            self.0.lock().unwrap().push_str(text);
        }
    }

    #[test]
    fn stages_are_told_one_after_the_other() {
        let told = Told::default();
        let order = Order::new(&told, [0, 1, 3]);
        order.say(1, "b1 ");
        order.say(0, "a1 ");
        order.say(3, "c1 ");
        order.finish(3);
        order.say(0, "a2 ");
        assert_eq!(*told.0.lock().unwrap(), "a1 a2 ");
        order.finish(0);
        order.say(1, "b2 ");
        order.finish(1);
        assert_eq!(*told.0.lock().unwrap(), "a1 a2 b1 b2 c1 ");
    }

    #[test]
    fn the_words_of_the_stage_that_failed_are_told() {
        let told = Told::default();
        let order = Order::new(&told, [0, 1, 2]);
        order.say(0, "a ");
        order.say(1, "b ");
        order.say(2, "c ");
        order.fail(2);
        // What the others say on their way to their end is of no interest.
        order.say(0, "a2 ");
        order.say(2, "c2 ");
        order.fail(0);
        order.finish(0);
        assert_eq!(*told.0.lock().unwrap(), "a c c2 ");
    }
}
