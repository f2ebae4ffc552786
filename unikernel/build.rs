//! Tells the linker how an image lies in memory, and the router which file it has built in. Only
//! the bare target gets the linker's arguments: on a host everything is built to be checked and
//! tested.

use std::env::var;

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=link.ld");
    // What a router has built in where neither a disk nor the command line says otherwise.
    println!("cargo::rerun-if-env-changed=PARAVANE_TOML");
    let built_in = var("PARAVANE_TOML").unwrap_or_else(|_| "src/app/router/built-in.toml".into());
    let built_in = std::env::current_dir()?.join(built_in);
    println!("cargo::rerun-if-changed={}", built_in.display());
    println!("cargo::rustc-env=PARAVANE_TOML={}", built_in.display());
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
