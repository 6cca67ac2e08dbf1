//! From a method and a path to what is asked for. Names of images hold slashes, so the last segment decides.

use http::Method;

/// What is asked for. Names are as the client wrote them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    Ping,
    Version,
    Info,
    DiskUsage,
    Events,
    Auth,
    Images,
    ImageCreate,
    ImageInspect(String),
    ImageHistory(String),
    ImagePush(String),
    ImageTag(String),
    ImageRemove(String),
    ImagesGet,
    ImageGet(String),
    ImagesLoad,
    ImagesSearch,
    ImagesPrune,
    Distribution(String),
    BuildPrune,
    /// A list of objects that there are none of.
    Containers,
    ContainersPrune,
    Networks,
    NetworksPrune,
    Volumes,
    VolumesPrune,
    Plugins,
    /// An object that there is none of, or that is always there.
    Container(String),
    Network(String),
    Volume(String),
    Plugin(String),
    Exec(String),
    /// Of a container, of which there is none.
    Commit,
    /// Swarm: nodes, services, secrets and the like.
    Swarm,
    /// Docker has it, Shale does not yet.
    NotServed(&'static str),
}

impl Route {
    /// Finds the route; `None` is "page not found", for a wrong method too, as in dockerd.
    pub(crate) fn find(method: &Method, path: &str) -> Option<Route> {
        let (area, rest) = path.strip_prefix('/')?.split_once('/').unwrap_or((&path[1..], ""));
        let (is_get, is_post) = (matches!(*method, Method::GET | Method::HEAD), *method == Method::POST);
        let is_delete = *method == Method::DELETE;
        match (area, rest) {
            ("_ping", "") if is_get => Some(Route::Ping),
            ("version", "") if is_get => Some(Route::Version),
            ("info", "") if is_get => Some(Route::Info),
            ("system", "df") if is_get => Some(Route::DiskUsage),
            ("events", "") if is_get => Some(Route::Events),
            ("auth", "") if is_post => Some(Route::Auth),
            ("images", rest) => image(method, rest),
            ("distribution", rest) if is_get => named(rest, "/json").map(Route::Distribution),
            ("build", "") if is_post => Some(Route::NotServed("building")),
            ("build", "prune") if is_post => Some(Route::BuildPrune),
            ("commit", "") if is_post => Some(Route::Commit),
            ("session" | "grpc", "") if is_post => Some(Route::NotServed("BuildKit")),
            ("containers", "json") if is_get => Some(Route::Containers),
            ("containers", "prune") if is_post => Some(Route::ContainersPrune),
            ("containers", "create") if is_post => Some(Route::NotServed("running containers")),
            ("containers", rest) => first(rest).map(Route::Container),
            ("exec", rest) => first(rest).map(Route::Exec),
            ("networks", "") if is_get => Some(Route::Networks),
            ("networks", "prune") if is_post => Some(Route::NetworksPrune),
            ("networks", "create") if is_post => Some(Route::NotServed("creating networks")),
            ("networks", rest) if is_get || is_delete || is_post => first(rest).map(Route::Network),
            ("volumes", "") if is_get => Some(Route::Volumes),
            ("volumes", "prune") if is_post => Some(Route::VolumesPrune),
            ("volumes", "create") if is_post => Some(Route::NotServed("creating volumes")),
            ("volumes", rest) if is_get || is_delete => first(rest).map(Route::Volume),
            ("plugins", "") if is_get => Some(Route::Plugins),
            ("plugins", rest) => named(rest, "/json").or_else(|| first(rest)).map(Route::Plugin),
            ("swarm" | "nodes" | "services" | "tasks" | "secrets" | "configs", _) => Some(Route::Swarm),
            _ => None,
        }
    }
}

fn image(method: &Method, rest: &str) -> Option<Route> {
    match *method {
        Method::GET | Method::HEAD => match rest {
            "json" => Some(Route::Images),
            "get" => Some(Route::ImagesGet),
            "search" => Some(Route::ImagesSearch),
            rest => named(rest, "/json")
                .map(Route::ImageInspect)
                .or_else(|| named(rest, "/history").map(Route::ImageHistory))
                .or_else(|| named(rest, "/get").map(Route::ImageGet)),
        },
        Method::POST => match rest {
            "create" => Some(Route::ImageCreate),
            "load" => Some(Route::ImagesLoad),
            "prune" => Some(Route::ImagesPrune),
            rest => named(rest, "/push")
                .map(Route::ImagePush)
                .or_else(|| named(rest, "/tag").map(Route::ImageTag)),
        },
        Method::DELETE if !rest.is_empty() => Some(Route::ImageRemove(rest.to_owned())),
        _ => None,
    }
}

/// Returns what stands before `verb`, if it is anything.
fn named(rest: &str, verb: &str) -> Option<String> {
    rest.strip_suffix(verb).filter(|name| !name.is_empty()).map(str::to_owned)
}

/// Returns the first segment, if it is anything.
fn first(rest: &str) -> Option<String> {
    rest.split('/').next().filter(|name| !name.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: Method, path: &str, route: Option<Route>) {
        assert_eq!(Route::find(&method, path), route, "{method} {path}");
    }

    #[test]
    fn names_may_hold_slashes_and_verbs() {
        let name = |name: &str| name.to_owned();
        check(Method::GET, "/images/a:5000/b/c:1/json", Some(Route::ImageInspect(name("a:5000/b/c:1"))));
        check(Method::GET, "/images/json/json", Some(Route::ImageInspect(name("json"))));
        check(Method::GET, "/images/x/get/history", Some(Route::ImageHistory(name("x/get"))));
        check(Method::POST, "/images/r/x/push", Some(Route::ImagePush(name("r/x"))));
        check(Method::DELETE, "/images/r/x@sha256:00", Some(Route::ImageRemove(name("r/x@sha256:00"))));
        check(Method::GET, "/distribution/r/x:1/json", Some(Route::Distribution(name("r/x:1"))));
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        for path in ["/", "/nosuch", "/images", "/images/", "/images//json", "/_ping/x", "x", "", "/info/x"] {
            check(Method::GET, path, None);
        }
        check(Method::PUT, "/images/x/json", None);
        check(Method::POST, "/_ping", None);
    }
}
