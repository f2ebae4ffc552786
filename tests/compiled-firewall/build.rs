//! Compiles the rules that tests and measurements are about.

#[path = "src/corpus.rs"]
mod corpus;

use std::path::PathBuf;
use std::{env, fs};

use paravane_firewall::Rules;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/corpus.rs");
    println!("cargo::rerun-if-changed=../../firewall/rules/example.rules");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("there is no OUT_DIR")?);
    for (name, text) in corpus::all() {
        let (rules, _) =
            Rules::read(&text, &corpus::ZONES).map_err(|errors| format!("{name}: {}", errors[0]))?;
        fs::write(out.join(name).with_extension("rs"), paravane_firewall_build::compile(&rules))?;
    }
    Ok(())
}
