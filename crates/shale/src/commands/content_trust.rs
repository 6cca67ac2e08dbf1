//! Docker's signatures of tags (Notary), which Shale does not have: whoever asks for them is told so.

use anyhow::bail;

/// Fails when signatures are asked for: by `--disable-content-trust=false`, or by `DOCKER_CONTENT_TRUST` where nothing was
/// said on the command line.
pub(super) fn refuse(disabled: Option<bool>) -> anyhow::Result<()> {
    let by_environment = std::env::var("DOCKER_CONTENT_TRUST").is_ok_and(|value| is_on(&value));
    if disabled.map_or(by_environment, |disabled| !disabled) {
        bail!(
            "content trust is asked for, and Shale has no signatures of Notary; pull by digest, or pass --disable-content-trust"
        );
    }
    Ok(())
}

/// Reads the variable as docker does; what is no truth value counts as one that is not set.
///
/// Source: docker/cli `cli/command/trust.go`, `getDefaultContentTrust`, at v28.2.
fn is_on(value: &str) -> bool {
    matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True")
}
