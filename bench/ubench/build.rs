//! Tells the linker an address that no other program of the workload executes: probes of the
//! instrument know addresses, not processes.

fn main() {
    println!("cargo::rustc-link-arg=--image-base=0x400000");
}
