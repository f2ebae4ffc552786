//! Which pages a router has: all of them for reading, but those of services' servers.

use alloc::string::String;

use super::{Router, history, metrics, status};
use crate::app::http::{Change, Refusal, Route, only};
use crate::app::server::Page;
use crate::app::status::Report;

pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// The page for people. Its script asks for the JSON each second.
const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// The pages of a router.
///
/// # Errors
///
/// [`Refusal`]: there is no such page, or it is not to be had so.
pub fn routes(method: &str, target: &str) -> Result<Route, Refusal> {
    let (path, _) = target.split_once('?').unwrap_or((target, ""));
    if path.starts_with("/services/") {
        let is_change = matches!(method, "POST" | "DELETE");
        let route = Route::Change(Change::new(method, target));
        return only(is_change, route, "servers are for POST and DELETE; /status.json shows them");
    }
    if matches!(path, "/debug/flows" | "/debug/neighbours" | "/debug/pcap") {
        let route = Route::Pieces(Change::new(method, target));
        return only(matches!(method, "GET" | "HEAD"), route, "a router's pages are for GET");
    }
    if matches!(path, "/stop" | "/restart") {
        let route = Route::Change(Change::new(method, target));
        return only(method == "POST", route, "/stop and /restart are for POST");
    }
    let page = match path {
        "/" => "page",
        "/page.css" => "style",
        "/page.js" => "script",
        "/status.json" => "status",
        "/history.json" => "history",
        "/metrics" => "metrics",
        "/livez" => "livez",
        "/readyz" => "readyz",
        _ => {
            return Err(Refusal::new(
                "404 Not Found",
                "there are /, /status.json, /history.json, /metrics, /livez, /readyz, /debug/flows, /debug/neighbours, /debug/pcap, /stop, /restart and /services/SERVICE/servers/SERVER",
            ));
        }
    };
    only(matches!(method, "GET" | "HEAD"), Route::Program(page), "a router's pages are for GET")
}

/// The page called `name`.
pub(super) fn page(router: &Router, name: &str, report: &Report) -> Page {
    const OK: &str = "200 OK";
    match name {
        "page" => (OK, "text/html; charset=utf-8", PAGE.into()),
        "style" => (OK, "text/css; charset=utf-8", STYLE.into()),
        "script" => (OK, "text/javascript; charset=utf-8", SCRIPT.into()),
        "status" => (OK, "application/json", status::to_json(router, report).into()),
        "history" => (OK, "application/json", history::to_json(&router.history).into()),
        "metrics" => {
            (OK, "text/plain; version=0.0.4; charset=utf-8", metrics::to_text(router, report).into())
        }
        // Whoever answers is alive.
        "livez" => (OK, TEXT, "ok\n".into()),
        _ => {
            let unready = router.unready();
            if unready.is_empty() {
                return (OK, TEXT, "ok\n".into());
            }
            let mut lines = String::new();
            for line in unready {
                lines.push_str(&line);
                lines.push('\n');
            }
            ("503 Service Unavailable", TEXT, lines.into())
        }
    }
}
