//! Writes the guests' linker script for the board that the features choose.
//!
//! A library cannot pass linker arguments to the binaries that use it, but it can
//! add a directory to their search path. Guests therefore link with `-Tguest.ld`
//! (`guests/.cargo/config.toml`) and find the script written here.

use std::{env, fs, io, path::PathBuf};

const SCRIPT: &str = include_str!("guest.ld");

fn main() -> io::Result<()> {
    let out = env::var_os("OUT_DIR").map(PathBuf::from).ok_or(io::ErrorKind::NotFound)?;
    let link_address =
        if env::var_os("CARGO_FEATURE_VEXPRESS").is_some() { "0x60008000" } else { "0x40008000" };
    fs::write(out.join("guest.ld"), SCRIPT.replace("@LINK_ADDRESS@", link_address))?;
    println!("cargo:rustc-link-search={}", out.display());
    println!("cargo:rerun-if-changed=guest.ld");
    println!("cargo:rerun-if-changed=build.rs");
    Ok(())
}
