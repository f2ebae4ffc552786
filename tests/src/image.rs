//! The images under test: release ELF files of the programs of `unikernel`.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;

const PACKAGE: &str = "paravane-unikernel";
/// The image that serves HTTP.
pub const HTTP: &str = "paravane-http";
/// The image that serves a disk's files as well.
pub const FILES: &str = "paravane-files";
/// The image that routes.
pub const ROUTER: &str = "paravane-router";
/// The image that runs the driver suite.
pub const SUITE: &str = "paravane-guest-suite";
/// The image that makes a report about VMXNET3 devices.
pub const REPORT: &str = "paravane-device-report";
/// The image that does one check of the library under the programs; an example.
pub const CHECKS: &str = "checks";
/// The image that drives a disk; an example.
pub const DISK: &str = "disk";
/// The image that has devices driven by `virtio-drivers`; an example.
pub const OTHERS: &str = "others";
const TARGET: &str = "x86_64-unknown-none";

/// The image of `program`, built once in this process, whoever asks first.
///
/// # Errors
///
/// As [`build`].
pub fn built_once(program: &'static str) -> Result<PathBuf> {
    static IMAGES: Mutex<BTreeMap<&str, Result<PathBuf, String>>> = Mutex::new(BTreeMap::new());
    let mut images = IMAGES.lock().unwrap_or_else(PoisonError::into_inner);
    let built = images.entry(program).or_insert_with(|| build(program).map_err(|error| format!("{error:#}")));
    built.clone().map_err(|error| anyhow!(error))
}

/// Builds the image of `program` and gives the path of the ELF file. Cargo's progress goes to
/// standard error as usual.
///
/// # Errors
///
/// The build fails, or cargo does not say where it put the result.
pub fn build(program: &str) -> Result<PathBuf> {
    build_with(program, &[])
}

/// The same with variables that its build script looks at.
///
/// # Errors
///
/// As [`build`].
pub fn build_with(program: &str, variables: &[(&str, &OsStr)]) -> Result<PathBuf> {
    let kind = if [CHECKS, DISK, OTHERS].contains(&program) { "--example" } else { "--bin" };
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(cargo)
        .current_dir(&workspace)
        .args(["build", "--release", "--package", PACKAGE, kind, program, "--target", TARGET])
        .args(if program == ROUTER { &["--features", "router"][..] } else { &[] })
        // Diagnostics stay readable on standard error; standard output tells which file was made.
        .args(["--message-format", "json-render-diagnostics"])
        .envs(variables.iter().copied())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "the image does not build ({})", output.status);
    let messages = String::from_utf8(output.stdout).context("cargo's messages are not UTF-8")?;
    executable_in(&messages, program).context("cargo did not say where it put the image")
}

/// The HTTP image at `given`, or a fresh build where nothing is given.
///
/// # Errors
///
/// There is no such file, or as [`build`].
pub fn find_or_build(given: Option<&Path>) -> Result<PathBuf> {
    let Some(given) = given else { return build(HTTP) };
    fs::canonicalize(given).with_context(|| format!("no image at {}", given.display()))
}

fn executable_in(messages: &str, program: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut made = messages
        .filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == program);
    made.find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_executable_among_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"paravane_unikernel"},"executable":null}
not json
{"reason":"compiler-artifact","target":{"name":"paravane-http"},"executable":"/t/paravane-http"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable_in(messages, HTTP), Some(PathBuf::from("/t/paravane-http")));
        assert_eq!(executable_in(messages, SUITE), None, "another program's");
        assert_eq!(executable_in("{}", HTTP), None);
    }
}
