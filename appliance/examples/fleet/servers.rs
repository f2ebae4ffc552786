//! Servers, and balancers that know of them.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};

use paravane_appliance::pool::{Algorithm, Health, Pool, Server, Settings};
use paravane_hal::time::Instant;

use crate::options::Options;
use crate::play::mix;
use crate::scenario::Step;

/// Pools do not look at the time here.
const NOW: Instant = Instant::from_nanos(0);

pub(crate) fn name(number: u16) -> String {
    format!("server-{number}")
}

fn server(number: u16) -> Server {
    let [high, low] = number.to_be_bytes();
    Server::new(name(number), ([10, 0, high, low], 80).into())
}

const fn max_servers(options: &Options) -> u16 {
    options.servers + options.servers / 100 + 1
}

fn empty(options: &Options) -> Result<Pool, Box<dyn Error>> {
    let algorithm = Algorithm::Maglev { places: options.places, key: [options.seed, 1] };
    let settings = Settings { algorithm, ..Settings::new(max_servers(options)) };
    Ok(Pool::new(settings)?)
}

/// The servers as they are after those steps.
pub(crate) fn pool(options: &Options, steps: &[&Step]) -> Result<Pool, Box<dyn Error>> {
    let mut pool = empty(options)?;
    for number in 0..options.servers {
        pool.add(server(number), Health::Up)?;
    }
    let find = |pool: &Pool, number: u16| pool.find(&name(number)).ok_or("a server that is not there");
    for step in steps {
        match step {
            Step::Fail(_) | Step::Return(_) => {}
            Step::Crash(number) => drop(pool.mark(find(&pool, *number)?, Health::Down, NOW)?),
            Step::Recover(number) => drop(pool.mark(find(&pool, *number)?, Health::Up, NOW)?),
            Step::Drain(number) => pool.drain(find(&pool, *number)?, None)?,
            Step::Remove(number) => pool.remove(find(&pool, *number)?, None)?,
            Step::Add(range) => {
                for number in range.clone() {
                    pool.add(server(number), Health::Up)?;
                }
            }
            Step::Weigh(range, weight) => {
                for number in range.clone() {
                    pool.set_weight(find(&pool, number)?, *weight)?;
                }
            }
        }
    }
    pool.poll();
    Ok(pool)
}

/// Balancers that were told of the servers in another order each send the same sources to the same
/// servers; or there is an error.
pub(crate) fn check_tables(options: &Options) -> Result<(), Box<dyn Error>> {
    let sources: Vec<IpAddr> =
        (0..1000).map(|number| Ipv4Addr::from_bits(mix(number) as u32).into()).collect();
    let names = |pool: &Pool| -> Vec<Option<String>> {
        let name = |id| pool.server(id, NOW).map(|view| view.server.name.clone());
        sources.iter().map(|source| pool.lookup(*source).and_then(name)).collect()
    };
    let one = names(&pool(options, &[])?);
    for balancer in 1..options.balancers {
        let mut order: Vec<u16> = (0..options.servers).collect();
        order.sort_by_key(|number| mix(u64::from(*number) << 16 | u64::from(balancer)));
        let mut other = empty(options)?;
        for number in order {
            other.add(server(number), Health::Up)?;
        }
        other.poll();
        if names(&other) != one {
            return Err(format!("balancer {balancer} has another table than balancer 0").into());
        }
    }
    Ok(())
}
