//! Stages: which are needed, what they copy from, and the variables that hold in each.

mod environment;
mod nearest;
mod plan;
mod resolve;
mod scope;

pub use environment::{ENVIRONMENT_SIZE_MAX, Environment};
pub use plan::{BuildArguments, Origin, Plan, PlanError, PlanFault, PlanOptions, PlannedStage, Step};
pub use resolve::{ResolveError, ResolveFault};
pub use scope::{StageScope, Variable};
