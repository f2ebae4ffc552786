//! What may be changed while it runs, by who says the token: the servers of services, and its end.
//!
//! | Request | Does |
//! |---|---|
//! | `POST /services/S/servers/N?address=A:P[&weight=W][&connections=C]` | adds a server |
//! | `POST /services/S/servers/N/weight?value=W` | another share of what begins |
//! | `POST /services/S/servers/N/drain[?seconds=T]` | nothing new; what is left after that is cut off |
//! | `POST /services/S/servers/N/maintain` | nothing new, and no checks |
//! | `POST /services/S/servers/N/resume` | all as before |
//! | `DELETE /services/S/servers/N[?seconds=T]` | takes it out; what is left after that is cut off |
//!
//! | `POST /stop`, `POST /restart` | ends the machine, when connections are over or their time is |
//!
//! Nothing of it is kept over a restart: that is what the configuration is for.

use alloc::format;
use alloc::string::{String, ToString};
use core::time::Duration;

use log::info;
use paravane_appliance::balance::{BalanceError, Serving};
use paravane_appliance::pool::{Health, MAX_WEIGHT, PoolError, Server, ServerId};
use paravane_hal::time::Instant;

use super::Router;
use super::config::values::{listener, name};
use super::pages::TEXT;
use crate::app::http::Change;
use crate::app::server::{End, Page};

/// Why nothing changed: a status, and a line.
type Refused = (&'static str, String);

/// The most seconds that a server's connections are waited for: a year.
const MOST_SECONDS: u32 = 31_536_000;

/// Does it, or says why not.
pub(super) fn change(router: &mut Router, change: &Change, now: Instant) -> Page {
    let allowed = is_allowed(router.config.admin_token.value.as_deref(), change.token.as_deref());
    match allowed.and_then(|()| apply(router, change, now)) {
        Ok((status, line)) => {
            info!("admin: {line}");
            (status, TEXT, format!("{line}\n").into())
        }
        Err((status, why)) => (status, TEXT, format!("{why}\n").into()),
    }
}

/// Whether he may change something who says `said`.
pub(super) fn is_allowed(token: Option<&str>, said: Option<&str>) -> Result<(), Refused> {
    let Some(token) = token else {
        return Err(("403 Forbidden", "read only: the configuration has no token in [admin]".into()));
    };
    match said {
        Some(said) if is_same(token.as_bytes(), said.as_bytes()) => Ok(()),
        _ => Err(("401 Unauthorized", "say the token: Authorization: Bearer TOKEN".into())),
    }
}

/// Takes as long whatever is different.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let different = one.iter().zip(other).fold(0, |all, (one, other)| all | (one ^ other));
    core::hint::black_box(different) == 0 && one.len() == other.len()
}

/// A server by its service's name and its own, what is to be done, and how.
struct Wish<'a> {
    service: &'a str,
    server: &'a str,
    action: &'a str,
    query: &'a str,
}

impl<'a> Wish<'a> {
    fn of(change: &'a Change) -> Result<Self, Refused> {
        let (path, query) = change.target.split_once('?').unwrap_or((&change.target, ""));
        let mut parts = path.strip_prefix("/services/").unwrap_or("").split('/');
        let parts = (parts.next(), parts.next(), parts.next(), parts.next().unwrap_or(""), parts.next());
        let (Some(service), Some("servers"), Some(server), action, None) = parts else {
            return Err(("404 Not Found", "there is /services/SERVICE/servers/SERVER".into()));
        };
        Ok(Self { service, server, action, query })
    }

    fn value(&self, key: &str) -> Option<&'a str> {
        let mut pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// Its parameters have to be of these.
    fn only(&self, known: &[&str]) -> Result<(), Refused> {
        let keys = self.query.split('&').filter(|pair| !pair.is_empty());
        let mut keys = keys.map(|pair| pair.split_once('=').map_or(pair, |(key, _)| key));
        let unknown = keys.find(|key| !known.contains(key));
        unknown.map_or(Ok(()), |key| {
            Err(bad(format!("no such parameter '{key}'; there are: {}", known.join(", "))))
        })
    }

    fn number(&self, key: &str, least: u32, most: u32) -> Result<Option<u32>, Refused> {
        let Some(text) = self.value(key) else { return Ok(None) };
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        match number {
            Some(number) if text.bytes().all(|digit| digit.is_ascii_digit()) => Ok(Some(number)),
            _ => Err(bad(format!("{key} is a number from {least} to {most}"))),
        }
    }

    fn weight(&self, key: &str) -> Result<Option<u16>, Refused> {
        let weight = self.number(key, 0, MAX_WEIGHT.into())?;
        Ok(weight.and_then(|weight| u16::try_from(weight).ok()))
    }

    /// When what is left is cut off.
    fn until(&self, now: Instant) -> Result<Option<Instant>, Refused> {
        self.only(&["seconds"])?;
        let seconds = self.number("seconds", 0, MOST_SECONDS)?;
        Ok(seconds.map(|seconds| now.saturating_add(Duration::from_secs(seconds.into()))))
    }
}

const fn bad(why: String) -> Refused {
    ("400 Bad Request", why)
}

fn refused(error: impl Into<BalanceError>) -> Refused {
    let error = error.into();
    let status = match error {
        BalanceError::Pool(PoolError::Unknown) => "404 Not Found",
        BalanceError::Pool(
            PoolError::Full { .. } | PoolError::NameTaken | PoolError::AddressTaken { .. },
        ) => "409 Conflict",
        _ => "400 Bad Request",
    };
    (status, error.to_string())
}

fn apply(router: &mut Router, change: &Change, now: Instant) -> Result<(&'static str, String), Refused> {
    const DONE: &str = "200 OK";
    if let Some(end) = End::of(&change.target) {
        router.end = Some(end);
        let seconds = router.drain().as_secs();
        return Ok(("202 Accepted", format!("{} in {seconds} s at most", end.words())));
    }
    let wish = Wish::of(change)?;
    let balancer = router.path.as_mut().and_then(|path| path.balancer_mut());
    let balancer = balancer.ok_or_else(|| ("404 Not Found", "there are no services".to_string()))?;
    let number = balancer.services().iter().position(|serving| serving.service().name == wish.service);
    let serving = number.and_then(|number| balancer.service_mut(u16::try_from(number).ok()?));
    let Some(serving) = serving else {
        return Err(("404 Not Found", format!("there is no service '{}'", wish.service)));
    };
    let Wish { service, server, action, .. } = wish;
    if let ("POST", "") = (&*change.method, action) {
        let address = add(serving, &wish, now)?;
        return Ok(("201 Created", format!("{service}/{server}: added, at {address}")));
    }
    let Some(id) = serving.pool().find(server) else {
        return Err(("404 Not Found", format!("{service} has no server '{server}'")));
    };
    let done = match (&*change.method, action) {
        ("DELETE", "") => {
            let until = wish.until(now)?;
            serving.remove(id, until).map(|()| "taken out")
        }
        ("POST", "drain") => {
            let until = wish.until(now)?;
            serving.drain(id, until).map(|()| "drained")
        }
        ("POST", "maintain") => wish.only(&[]).map(|()| serving.maintain(id))?.map(|()| "maintained"),
        ("POST", "resume") => wish.only(&[]).map(|()| serving.resume(id, now))?.map(|()| "resumed"),
        ("POST", "weight") => return set_weight(serving, &wish, id),
        _ => {
            let why = "POST: weight, drain, maintain, resume, or nothing to add it; DELETE takes it out";
            return Err(("404 Not Found", why.into()));
        }
    };
    done.map(|done| (DONE, format!("{service}/{server}: {done}"))).map_err(refused)
}

fn add(serving: &mut Serving, wish: &Wish<'_>, now: Instant) -> Result<core::net::SocketAddr, Refused> {
    wish.only(&["address", "weight", "connections"])?;
    let called = name(wish.server).map_err(bad)?;
    let address = wish.value("address").ok_or_else(|| bad("say ?address=10.0.0.11:80".into()))?;
    let address = listener(address).map_err(bad)?;
    let mut server = Server::new(called, address);
    server.weight = wish.weight("weight")?.unwrap_or(server.weight);
    server.max_connections = wish.number("connections", 1, u32::MAX)?.unwrap_or(server.max_connections);
    serving.add(server, Health::Up, now).map_err(refused)?;
    Ok(address)
}

fn set_weight(
    serving: &mut Serving,
    wish: &Wish<'_>,
    id: ServerId,
) -> Result<(&'static str, String), Refused> {
    wish.only(&["value"])?;
    let Some(weight) = wish.weight("value")? else {
        return Err(bad(format!("say ?value=0 to {MAX_WEIGHT}")));
    };
    serving.set_weight(id, weight).map_err(refused)?;
    Ok(("200 OK", format!("{}/{}: weight {weight}", wish.service, wish.server)))
}
