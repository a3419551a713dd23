//! Compiles the layer over libipsec-mb where the library is; without it the portable ciphers do everything.

use std::env;
use std::path::Path;

const HEADERS: [&str; 2] = ["/usr/include", "/usr/local/include"];
const LIBRARIES: [&str; 4] = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib"];

fn holds(places: &[&str], name: &str) -> bool {
    places.iter().any(|place| Path::new(place).join(name).exists())
}

fn main() {
    println!("cargo::rerun-if-changed=csrc");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(culvert_ipsec_mb)");
    let wanted = env::var_os("CARGO_FEATURE_IPSEC_MB").is_some();
    let is_x86 = env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64");
    let is_there = holds(&HEADERS, "intel-ipsec-mb.h") && holds(&LIBRARIES, "libIPSec_MB.so");
    if !wanted || !is_x86 || !is_there {
        return;
    }
    let compiled = cc::Build::new()
        .files(["csrc/ipsec_mb.c", "csrc/key.c", "csrc/bare.c"])
        .std("c11")
        .opt_level(2)
        .warnings_into_errors(true)
        .try_compile("culvert_ipsec_mb");
    match compiled {
        Ok(()) => {
            println!("cargo::rustc-link-lib=IPSec_MB");
            println!("cargo::rustc-cfg=culvert_ipsec_mb");
        }
        // As with a release of it that names things otherwise.
        Err(error) => println!("cargo::warning=the layer over libipsec-mb is left out: {error}"),
    }
}
