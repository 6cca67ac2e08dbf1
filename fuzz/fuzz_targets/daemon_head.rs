//! Heads of requests to the Engine API: the router, the query, filters, credentials, the options of a build.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut lines = text.lines();
    let Some((method, target)) = lines.next().and_then(|line| line.split_once(' ')) else { return };
    let mut request = http::Request::builder().method(method).uri(target);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        request = request.header(name, value.trim());
    }
    let Ok(request) = request.body(()) else { return };
    if let Err(status) = shale_daemon::check_head(request.into_parts().0) {
        let is_told = status.is_client_error() || status == http::StatusCode::NOT_IMPLEMENTED;
        assert!(is_told, "{status} is the daemon's fault");
    }
});
