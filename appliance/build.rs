//! Links the TCTIs of the static TSS: `tss2-tcti-device` always, and `tss2-tcti-swtpm` where the
//! prefix has it (the tests' prefix; the firmware's is built without). The loader library refers to
//! them by name, and pkg-config does not say so.

use std::{env, path::PathBuf};

fn main() {
    println!("cargo:rerun-if-env-changed=PKG_CONFIG_PATH");
    println!("cargo:rustc-link-lib=static:-bundle=tss2-tcti-device");
    let prefixes = env::var_os("PKG_CONFIG_PATH").unwrap_or_default();
    let lib = env::split_paths(&prefixes).find_map(|path| {
        let lib: PathBuf = path.parent()?.to_owned();
        lib.join("libtss2-tcti-device.a").exists().then_some(lib)
    });
    if let Some(lib) = lib {
        println!("cargo:rustc-link-search=native={}", lib.display());
        println!("cargo:rerun-if-changed={}", lib.display());
        if lib.join("libtss2-tcti-swtpm.a").exists() {
            println!("cargo:rustc-link-lib=static:-bundle=tss2-tcti-swtpm");
        }
    }
}
