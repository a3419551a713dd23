//! The fuzzer: `CULVERT_FUZZ_TARGET=headers culvert-engine-fuzz DIRECTORY...`, with the arguments of libFuzzer. Started by
//! `make fuzz-engine`.
#![no_main]

mod targets;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static CHOSEN: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("CULVERT_FUZZ_TARGET").unwrap_or_default();
    let found = targets::TARGETS.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("CULVERT_FUZZ_TARGET: {name:?} is no target")).1
});

fuzz_target!(|octets: &[u8]| CHOSEN(octets));
