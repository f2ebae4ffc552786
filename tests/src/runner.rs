//! Runs cases a few at a time and prints one line for each.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, anyhow};

/// What a case is given to judge.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The ELF file.
    pub image: &'a Path,
}

type Body = Box<dyn Fn(Subject<'_>) -> Result<String> + Send + Sync>;

/// Something that passes, with a remark worth reading, or fails.
pub struct Case {
    name: String,
    body: Body,
}

impl Case {
    /// A case called `name`, in the form `group/detail/detail`.
    pub fn new(
        name: impl Into<String>,
        body: impl Fn(Subject<'_>) -> Result<String> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), body: Box::new(body) }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the case is picked by `filters`: any of them is part of its name, or there are none.
    pub fn is_picked_by(&self, filters: &[String]) -> bool {
        filters.is_empty() || filters.iter().any(|filter| self.name.contains(filter.as_str()))
    }

    fn run(&self, subject: Subject<'_>) -> Result<String> {
        // A bug of ours in one case must not take the verdict on the others away.
        let result = panic::catch_unwind(AssertUnwindSafe(|| (self.body)(subject)));
        result.unwrap_or_else(|panic| Err(anyhow!("the case itself panicked: {}", panic_text(&*panic))))
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// How many passed and failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Cases that passed.
    pub passed: usize,
    /// Names of the cases that failed.
    pub failed: Vec<String>,
}

/// Runs `cases`, `jobs` at a time, and passes one line for each to `print` as it ends.
pub fn run(cases: &[Case], jobs: usize, subject: Subject<'_>, print: impl Fn(&str) + Sync) -> Summary {
    let width = cases.iter().map(|case| case.name.len()).max().unwrap_or(0);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut passed = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(index) else { return passed };
            let start = Instant::now();
            let result = case.run(subject);
            print(&line(&case.name, width, start.elapsed(), &result));
            if result.is_ok() {
                passed.push(index);
            }
        }
    };
    let passed: Vec<usize> = thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    // What did not pass has failed; a case that a lost worker took along is among that.
    let failed = cases.iter().enumerate().filter(|(index, _)| !passed.contains(index));
    Summary { passed: passed.len(), failed: failed.map(|(_, case)| case.name.clone()).collect() }
}

fn line(name: &str, width: usize, took: Duration, result: &Result<String, Error>) -> String {
    let seconds = took.as_secs_f64();
    match result {
        Ok(remark) => format!("PASS  {name:width$}  {seconds:6.1} s  {remark}"),
        Err(error) => format!("FAIL  {name:width$}  {seconds:6.1} s  {error:#}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;
    use std::sync::Mutex;

    fn cases() -> Vec<Case> {
        vec![
            Case::new("pc/good", |_| Ok("fast".into())),
            Case::new("pc/bad", |_| bail!("it broke")),
            Case::new("q35/worse", |_| panic!("our bug {}", 7)),
            // The same name as one that fails: a verdict belongs to a case, not to a name.
            Case::new("pc/bad", |_| Ok(String::new())),
        ]
    }

    #[test]
    fn every_case_gets_one_line_and_one_verdict() {
        for jobs in [0, 1, 2, 9] {
            let lines = Mutex::new(Vec::new());
            let subject = Subject { image: Path::new("none") };
            let summary = run(&cases(), jobs, subject, |line| lines.lock().unwrap().push(line.to_owned()));
            assert_eq!(summary, Summary { passed: 2, failed: vec!["pc/bad".into(), "q35/worse".into()] });
            let lines = lines.into_inner().unwrap();
            assert_eq!(lines.len(), 4);
            assert!(lines.iter().any(|line| line.starts_with("FAIL  pc/bad") && line.ends_with("it broke")));
            assert!(lines.iter().any(|line| line.contains("our bug 7")));
        }
    }

    #[test]
    fn filters_pick_by_part_of_the_name() {
        let picked = |filters: &[&str]| {
            let filters: Vec<String> = filters.iter().map(|&filter| filter.to_owned()).collect();
            cases().iter().filter(|case| case.is_picked_by(&filters)).count()
        };
        assert_eq!([picked(&[]), picked(&["pc/"]), picked(&["good", "worse"]), picked(&["x"])], [4, 3, 2, 0]);
    }
}
