//! Tells the linker how an image lies in memory, the router which file and which rules it has built
//! in, and all of them which commit they are of. Only the bare target gets the linker's arguments:
//! on a host everything is built to be checked and tested.

use std::env::var;
use std::path::Path;
use std::process::Command;
#[cfg(feature = "router")]
use std::process::exit;

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=link.ld");
    // What a router has built in where neither a disk nor the command line says otherwise.
    println!("cargo::rerun-if-env-changed=PARAVANE_TOML");
    let built_in = var("PARAVANE_TOML").unwrap_or_else(|_| "src/app/router/built-in.toml".into());
    let built_in = std::env::current_dir()?.join(built_in);
    println!("cargo::rerun-if-changed={}", built_in.display());
    println!("cargo::rustc-env=PARAVANE_TOML={}", built_in.display());
    println!("cargo::rerun-if-env-changed=PARAVANE_COMMIT");
    let commit = var("PARAVANE_COMMIT").ok().or_else(commit).unwrap_or_default();
    let is_plain = commit.len() <= 40 && commit.bytes().all(|byte| byte.is_ascii_alphanumeric());
    assert!(is_plain, "PARAVANE_COMMIT is '{commit}'; a commit has 40 letters and digits at most");
    println!("cargo::rustc-env=PARAVANE_COMMIT={commit}");
    println!("cargo::rustc-check-cfg=cfg(built_in_rules)");
    #[cfg(feature = "router")]
    build_rules();
    if var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none") {
        // Cargo runs this in the package's folder.
        let here = std::env::current_dir()?;
        // The target links position-independent executables; the last word on that is the linker's.
        // What the compiler made position-independent works at a fixed place as well, and the
        // script checks that no relocation is left over.
        for argument in ["--no-pie", "--build-id=none", "-zmax-page-size=0x1000", "-znognustack", "-znorelro"]
        {
            println!("cargo::rustc-link-arg={argument}");
        }
        println!("cargo::rustc-link-arg=-T{}", here.join("link.ld").display());
    }
    Ok(())
}

/// The commit that is checked out here, if git knows these files: what it says depends on the
/// sources alone, and is asked for again only after another commit.
fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output =
            Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
    };
    // They may lie in a folder of somebody else's.
    git(&["ls-files", "--error-unmatch", "build.rs"])?;
    for name in ["logs/HEAD", "HEAD", "packed-refs"] {
        let path = git(&["rev-parse", "--git-path", name])?;
        // One that is not there would have cargo ask each time.
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
            if name == "logs/HEAD" {
                break;
            }
        }
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

/// Compiles the rules of a firewall that `PARAVANE_RULES` names, for the NICs of `PARAVANE_ZONES`;
/// without a name there are none.
#[cfg(feature = "router")]
fn build_rules() {
    println!("cargo::rerun-if-env-changed=PARAVANE_RULES");
    println!("cargo::rerun-if-env-changed=PARAVANE_ZONES");
    let Ok(file) = var("PARAVANE_RULES") else { return };
    let zones = var("PARAVANE_ZONES").unwrap_or_else(|_| "public,private".into());
    let zones: Vec<_> = zones.split(',').chain(["self"]).collect();
    if let Err(error) = paravane_firewall_build::build(&file, &zones) {
        // As it is meant to be read.
        eprintln!("PARAVANE_RULES: {error}");
        exit(1);
    }
    println!("cargo::rustc-cfg=built_in_rules");
}
