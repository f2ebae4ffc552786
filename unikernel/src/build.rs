//! Which build this is.

/// The version of this package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that it was built from, as 12 digits of it; nothing where that is not known. What was
/// changed since and not committed does not show. At build time `PARAVANE_COMMIT` names another.
pub const COMMIT: &str = env!("PARAVANE_COMMIT");

/// Both, as `0.1.0+0123456789ab`.
pub const ID: &str = {
    const WITH_COMMIT: &str = concat!(env!("CARGO_PKG_VERSION"), "+", env!("PARAVANE_COMMIT"));
    if COMMIT.is_empty() { VERSION } else { WITH_COMMIT }
};
