//! Compiles the layer over libipsec-mb where the library is; without it the portable ciphers do everything.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=csrc");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(culvert_ipsec_mb)");
    let wanted = env::var_os("CARGO_FEATURE_IPSEC_MB").is_some();
    let is_x86 = env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64");
    let header = ["/usr/include", "/usr/local/include"].map(|place| format!("{place}/intel-ipsec-mb.h"));
    if !wanted || !is_x86 || !header.iter().any(|path| Path::new(path).exists()) {
        return;
    }
    cc::Build::new()
        .file("csrc/ipsec_mb.c")
        .std("c11")
        .opt_level(2)
        .warnings_into_errors(true)
        .compile("culvert_ipsec_mb");
    println!("cargo::rustc-link-lib=IPSec_MB");
    println!("cargo::rustc-cfg=culvert_ipsec_mb");
}
