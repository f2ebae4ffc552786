//! Programs of the machine that these tools lean on.

use std::env;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

/// The full path of `name`.
///
/// # Errors
///
/// It is not installed; the message says what installs it.
pub fn find(name: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
    found.with_context(|| format!("{name} is not installed; `ci/setup` installs it, or says how"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_there_and_names_what_is_not() {
        assert!(find("sh").unwrap().is_absolute());
        let error = find("no-such-program").unwrap_err().to_string();
        assert!(error.contains("no-such-program") && error.contains("ci/setup"), "{error}");
    }
}
