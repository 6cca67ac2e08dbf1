//! The head of a request, read as far as it can be read without a store.

use http::StatusCode;
use http::request::Parts;
use jiff::Timestamp;

use crate::daemon::Experiments;
use crate::failure::Failure;
use crate::registry_auth::{self, AuthConfig};
use crate::request::Call;
use crate::route::Route;
use crate::{build, events, images};

/// Reads everything of a request's head that does not depend on what is stored: the version, the route, the query with
/// its filters, and the credentials. Nothing is done. For fuzz targets, and for whoever wants to refuse early.
///
/// # Errors
/// The status with which a daemon would refuse the request.
pub fn check_head(head: Parts) -> Result<(), StatusCode> {
    check(head).map_err(|failure| failure.status)
}

fn check(head: Parts) -> Result<(), Failure> {
    let call = Call::parse(head)?;
    let route = Route::find(&call.method, &call.path).ok_or_else(|| Failure::missing("page not found"))?;
    call.query.filters()?;
    call.query.json_platform("platform")?;
    for name in ["since", "until"] {
        let _ = call.query.text(name).map(|text| events::moment(text, Timestamp::UNIX_EPOCH));
    }
    let _ = AuthConfig::of(&call).credential();
    let _ = registry_auth::credentials_of_build(&call);
    match route {
        Route::Build => drop(build::options::read(&call.query, None, Experiments::Served)?),
        Route::ImageCreate => {
            let name = call.query.text("fromImage").unwrap_or_default();
            images::pull::reference(name, call.query.text("tag"))?;
        }
        _ => {}
    }
    Ok(())
}
