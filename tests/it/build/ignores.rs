//! `.dockerignore`: what each set of patterns leaves of the context.

use shale_tests::build::{Case, case};

/// The content of the file, as shell text for `printf`.
const PATTERNS: &[&str] = &[
    "printf '*.md\\n' > .dockerignore",
    "printf 'docs\\n' > .dockerignore",
    "printf 'docs/\\n' > .dockerignore",
    "printf '/docs\\n' > .dockerignore",
    "printf './docs/../d\\n' > .dockerignore",
    "printf '**/*.md\\n' > .dockerignore",
    "printf '**/sub\\n' > .dockerignore",
    "printf 'd2/**\\n' > .dockerignore",
    "printf '*\\n!a.txt\\n' > .dockerignore",
    "printf '*\\n!docs\\n' > .dockerignore",
    "printf 'docs\\n!docs/README.md\\n' > .dockerignore",
    "printf '!README.md\\n*.md\\n' > .dockerignore",
    "printf '*.md\\n!README.md\\nREADME.md\\n' > .dockerignore",
    "printf '# a comment\\n\\n  d  \\n' > .dockerignore",
    "printf '\\\\#x\\na.txt\\n' > .dockerignore; echo x > '#x'",
    "printf 'w?.md\\n[a-b].txt\\n' > .dockerignore",
    "printf '.dockerignore\\nDockerfile\\n' > .dockerignore",
    "printf '\\357\\273\\277a.txt\\r\\nb.txt\\r\\n' > .dockerignore",
    "printf '*/one\\n*/*/two\\n' > .dockerignore",
    "printf '**\\n!d2/deep/er/four\\n' > .dockerignore",
    "printf '! d/one\\nd\\n! d/sub\\n' > .dockerignore",
    "printf '.*\\nl*\\n' > .dockerignore",
    "printf 'a\\\\*b\\nsp ace\\n' > .dockerignore",
    "printf 'docs/**/x.md\\n**/deep/**\\n!**/four\\n' > .dockerignore",
    ": > .dockerignore",
];

/// Here docker's digest is another, although the tree is the same: a later dockerd builds that step anew.
const WITH_OWN_KEY: &str = "! d/sub";

pub fn cases() -> impl Iterator<Item = Case> {
    PATTERNS.iter().map(|context| {
        let case = case("COPY . /c").context(context);
        if context.contains(WITH_OWN_KEY) { case.with_own_key() } else { case }
    })
}
