//! Who asked for memory: the innermost function outside the HAL, read from the stack.

use std::backtrace::Backtrace;
use std::fmt;
use std::sync::Arc;

/// Functions that pass a request on and are not who asked.
const BETWEEN: [&str; 7] = [
    "paravane_hal::",
    "paravane_mock_hal::memory::",
    "paravane_mock_hal::platform::",
    "paravane_mock_hal::record::",
    "std::",
    "core::",
    "alloc::",
];

/// Where in the program something happened. Captured cheaply, looked up when it is shown.
#[derive(Clone, Debug)]
pub(super) struct Site(Option<Arc<Backtrace>>);

impl Site {
    /// Here. `None` of it where a stack costs too much to walk.
    pub(super) fn here(wanted: bool) -> Self {
        Self((wanted && !cfg!(miri)).then(|| Arc::new(Backtrace::force_capture())))
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(stack) = &self.0 else {
            return f.write_str("an unknown place (sites are off)");
        };
        match first_caller(&stack.to_string()) {
            Some((function, place)) => write!(f, "{function} at {place}"),
            None => f.write_str("an unknown place (built without debug information)"),
        }
    }
}

/// Function and place of the first frame of a printed stack that is nobody in [`BETWEEN`].
///
/// ```text
///   12: paravane_vmxnet3::device::Device<P,C>::start
///              at ./src/device.rs:88:9
/// ```
fn first_caller(stack: &str) -> Option<(&str, &str)> {
    let mut lines = stack.lines().map(str::trim).peekable();
    while let Some(line) = lines.next() {
        let Some((number, function)) = line.split_once(": ") else { continue };
        let place = lines.peek().and_then(|next| next.strip_prefix("at "));
        let is_frame = number.bytes().all(|byte| byte.is_ascii_digit());
        if let Some(place) = place.filter(|_| is_frame && !is_between(function)) {
            return Some((function, place));
        }
    }
    None
}

fn is_between(function: &str) -> bool {
    // `<paravane_mock_hal::platform::MockPlatform as paravane_hal::dma::Dma>::alloc` is as much
    // between as its type; a module of tests is not.
    let path = function.trim_start_matches(['<', '&']);
    !function.contains("tests::") && BETWEEN.iter().any(|prefix| path.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_is_the_first_outside_the_hal() {
        let stack = "   0: std::backtrace::Backtrace::create\n             at /rustc/x/backtrace.rs:331:13\n   \
                     1: <paravane_mock_hal::memory::Memory as paravane_hal::dma::Dma>::alloc\n             at ./src/memory.rs:1:1\n   \
                     2: driver::start\n             at ./src/lib.rs:7:9\n   3: main\n";
        assert_eq!(first_caller(stack), Some(("driver::start", "./src/lib.rs:7:9")));
        assert_eq!(first_caller("   0: main\n"), None, "no place, no site");
    }
}
