//! Tells the linker where the guest's memory is.

fn main() {
    let directory = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo::rustc-link-arg=-T{directory}/micro.ld");
    println!("cargo::rustc-link-arg=--no-rosegment");
    println!("cargo::rerun-if-changed=micro.ld");
}
