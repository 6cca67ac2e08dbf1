//! Plugins and swarms: there are none.

use http::StatusCode;
use serde_json::json;

use crate::answer::{Answer, document};
use crate::failure::Failure;
use crate::request::Call;
use crate::route::Route;

/// Answers a route that is about such an object.
pub(crate) fn answer(call: &Call, route: Route) -> Result<Answer, Failure> {
    match route {
        Route::Plugins => Ok(document(&json!([]))),
        Route::BuildPrune => Ok(document(&json!({ "CachesDeleted": null, "SpaceReclaimed": 0 }))),
        Route::Swarm if call.path == "/swarm/leave" => {
            Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "This node is not part of a swarm"))
        }
        Route::Plugin(name) => Err(Failure::missing(format!("plugin {name:?} not found"))),
        Route::Swarm => Err(Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.",
        )),
        _ => Err(Failure::missing("page not found")),
    }
}
