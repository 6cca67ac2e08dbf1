//! Any bytes as a Dockerfile: parsed in both languages, linted, planned, and every step resolved. Nothing may panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shale_dockerfile::{Dialect, Dockerfile, LintContext, PlanOptions, StageScope, lint};

fuzz_target!(|source: &[u8]| {
    for dialect in [Dialect::Classic, Dialect::Shale] {
        let Ok(dockerfile) = Dockerfile::parse(source, "Dockerfile", dialect) else { continue };
        dockerfile.dump_nodes();
        dockerfile.dump_instructions();
        lint(&dockerfile, &LintContext::default());
        let Ok(plan) = dockerfile.plan(&PlanOptions::default()) else { continue };
        let mut scope = StageScope::from_image(&plan, []);
        for step in plan.needed_stages().flat_map(|stage| &stage.steps) {
            let _ = scope.resolve(step);
        }
    }
});
