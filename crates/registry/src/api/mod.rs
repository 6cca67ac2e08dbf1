//! The distribution API: routes, who may use them, handlers, answers.
//!
//! Promise: no handler sees a name that was not parsed, and none runs before the access rules were asked.

pub(crate) mod answer;
mod blobs;
pub(crate) mod dispatch;
mod lists;
pub(crate) mod management;
pub(crate) mod manifests;
#[cfg(test)]
mod mutation_tests;
pub(crate) mod problem;
pub mod query;
pub mod range;
pub(crate) mod receive;
pub mod route;
mod token;
mod uploads;
