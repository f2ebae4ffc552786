//! A series of storms: how many steps in all, from which seed on, and an end to what hangs.
//!
//! `PARAVANE_STORM_STEPS` says how many steps in all, over as many seeds as that takes;
//! `PARAVANE_STORM_SEED` where the seeds start. A storm that fails says which seed it had.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// No step takes longer, on any machine that tests are run on; what does is a loop without an end.
const STUCK: Duration = Duration::from_secs(120);

/// Steps taken, for whoever watches.
#[derive(Clone, Debug, Default)]
pub struct Steps(Arc<AtomicU64>);

impl Steps {
    /// One more.
    pub fn step(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many so far.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Ends the process when steps stop coming: a loop without an end never returns to a test. Ends
    /// itself when the series is over, which others may outlive.
    fn watch(self, stuck: Duration) -> JoinHandle<()> {
        std::thread::spawn(move || {
            let mut last = u64::MAX;
            loop {
                std::thread::sleep(stuck);
                if Arc::strong_count(&self.0) == 1 {
                    return;
                }
                let now = self.taken();
                if now == last {
                    eprintln!("stuck after step {now}");
                    std::process::abort();
                }
                last = now;
            }
        })
    }
}

/// Says how to see a failure again.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to see it again: PARAVANE_STORM_SEED={}", self.0);
        }
    }
}

/// Runs `storm` with one seed after the other, each for `steps_a_storm`, until as many steps were
/// taken as the environment says, or `default_steps`. Returns how many storms there were.
///
/// # Panics
///
/// When the environment says what is no number; and as `storm` does.
pub fn run(steps_a_storm: u64, default_steps: u64, mut storm: impl FnMut(u64, &Steps)) -> u64 {
    let steps = Steps::default();
    let _ = steps.clone().watch(STUCK);
    let first = from_env("PARAVANE_STORM_SEED", 1);
    let storms = from_env("PARAVANE_STORM_STEPS", default_steps).div_ceil(steps_a_storm).max(1);
    for seed in first..first + storms {
        let named = Seed(seed);
        storm(seed, &steps);
        drop(named);
    }
    storms
}

fn from_env(name: &str, default: u64) -> u64 {
    let Ok(value) = std::env::var(name) else { return default };
    let number = value.parse();
    assert!(number.is_ok(), "{name}={value:?} is no number");
    number.unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_watches_a_series_that_is_over() {
        let steps = Steps::default();
        let watcher = steps.clone().watch(Duration::from_millis(50));
        drop(steps);
        assert!(watcher.join().is_ok());
    }
}
