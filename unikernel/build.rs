//! Tells the linker how an image lies in memory. Only the bare target gets the arguments: on a host
//! everything is built to be checked and tested.

use std::env::var;

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=link.ld");
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
