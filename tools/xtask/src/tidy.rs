//! `cargo xtask tidy`: the rules of the house that a program can hold.
//!
//! Each rule is a function from what was read to a list of complaints, so that its tests need no tree.

mod edges;
mod sources;
mod versions;

use anyhow::Result;

use crate::workspace;

/// One breach of a rule, in words that say what to change.
type Complaint = String;

/// Prints every complaint; true when there is none.
pub fn run() -> Result<bool> {
    let root = workspace::root();
    let metadata = workspace::metadata()?;
    let mut complaints = edges::check(&edges::packages(&metadata)?);
    complaints.extend(versions::check(&root)?);
    complaints.extend(sources::check(&root)?);
    for complaint in &complaints {
        println!("tidy: {complaint}");
    }
    if complaints.is_empty() {
        println!("tidy: nothing to say");
    }
    Ok(complaints.is_empty())
}
