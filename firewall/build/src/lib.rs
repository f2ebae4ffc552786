#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod case;
mod emit;
mod plan;
mod render;
mod sweep;

use std::path::{Path, PathBuf};
use std::{env, fmt, fs, io};

use paravane_firewall::Rules;

pub use emit::compile;
pub use render::render;

/// Why nothing was compiled.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// A file could not be read or written.
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// There is no `OUT_DIR`: nobody but a build script calls this.
    NoOutDir,
    /// The rules are wrong: all that is, for people to read.
    Rules(String),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, error } => write!(f, "{}: {error}", path.display()),
            Self::NoOutDir => f.write_str("there is no OUT_DIR, which cargo gives to build scripts"),
            Self::Rules(said) => f.write_str(said),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { error, .. } => Some(error),
            Self::NoOutDir | Self::Rules(_) => None,
        }
    }
}

/// Compiles `file`, in a build script, into `firewall.rs` in `OUT_DIR`. Cargo asks again when the
/// file changes, and shows warnings.
///
/// # Errors
///
/// [`BuildError`], whose text has each error with its line; nothing was written.
pub fn build(file: impl AsRef<Path>, zones: &[&str]) -> Result<(), BuildError> {
    let path = file.as_ref();
    println!("cargo::rerun-if-changed={}", path.display());
    let at = |path: &Path| {
        let path = path.to_owned();
        |error| BuildError::File { path, error }
    };
    let text = fs::read_to_string(path).map_err(at(path))?;
    let (rules, warnings) = Rules::read(&text, zones)
        .map_err(|errors| BuildError::Rules(render(&errors, &path.display().to_string(), &text, false)))?;
    for warning in warnings {
        println!("cargo::warning={}:{warning}", path.display());
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(BuildError::NoOutDir)?).join("firewall.rs");
    fs::write(&out, compile(&rules)).map_err(at(&out))
}
