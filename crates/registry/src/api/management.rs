//! `/api/v1/`: what the distribution API has no words for. Deleting a repository is for those who may; the rest is for
//! the command line, over the control socket.

use http::{HeaderValue, Method, StatusCode, header};
use hyper::body::Incoming;
use serde::Serialize;

use super::answer::{Answer, Body};
use super::dispatch::Call;
use super::problem::Problem;
use super::receive::{self, metadata_problem};
use crate::auth::Action;
use crate::maintenance::check::check;
use crate::maintenance::collect::{CollectOptions, CollectRequest, collect};
use crate::name::RepositoryName;

/// Largest body of a command.
const COMMAND_BYTES_MAX: usize = 64 << 10;

pub(super) async fn answer(call: &Call, path: &str, body: Incoming) -> Result<Answer, Problem> {
    let method = &call.parts.method;
    match path {
        "gc" | "check" if !call.peer.is_control => Err(Problem::Denied),
        "gc" if *method == Method::POST => {
            let body = receive::small(&call.registry, body, COMMAND_BYTES_MAX).await?;
            let asked: CollectRequest = serde_json::from_slice(&body)
                .map_err(|_| Problem::BadRequest("not the options of a collection"))?;
            let options = CollectOptions::new(&call.registry.gc, asked);
            let collected =
                collect(&call.registry, &options).await.map_err(|error| Problem::internal(&error))?;
            json(&collected)
        }
        "check" if *method == Method::POST => {
            let repair = call.parts.uri.query() == Some("repair=true");
            json(&check(&call.registry, repair).await.map_err(|error| Problem::internal(&error))?)
        }
        "gc" | "check" => Err(Problem::MethodNotAllowed { allow: "POST" }),
        _ => match path.strip_prefix("repositories/") {
            Some(name) => repository(call, name).await,
            None => Err(Problem::NotFound),
        },
    }
}

async fn repository(call: &Call, name: &str) -> Result<Answer, Problem> {
    let name = RepositoryName::parse(name).map_err(|_| Problem::NameInvalid)?;
    if call.parts.method != Method::DELETE {
        return Err(Problem::MethodNotAllowed { allow: "DELETE" });
    }
    call.require(&name, Action::Delete)?;
    delete_repository(call, &name).await?;
    let mut answer = Answer::new(Body::Empty);
    *answer.status_mut() = StatusCode::ACCEPTED;
    Ok(answer)
}

/// Removes a repository; the caller may do that.
pub(crate) async fn delete_repository(call: &Call, name: &RepositoryName) -> Result<(), Problem> {
    match call.registry.metadata.delete_repository(name).await.map_err(metadata_problem)? {
        true => {
            call.tell_of_removed(name).await;
            Ok(())
        }
        false => Err(Problem::NameUnknown),
    }
}

fn json(value: &impl Serialize) -> Result<Answer, Problem> {
    let body = serde_json::to_string(value).map_err(|error| Problem::internal(&error))?;
    let mut answer = Answer::new(Body::from(body));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(answer)
}
