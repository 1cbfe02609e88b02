//! Compiles `src/native/ops.cpp` against libtorch's headers, and lets the programs find libtorch
//! when they run, without LD_LIBRARY_PATH.

use std::path::PathBuf;

fn main() {
    let lib = std::env::var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys tells where libtorch is");
    let root =
        PathBuf::from(&lib).parent().expect("libtorch's lib folder has a parent").to_path_buf();
    // LIBTORCH_INCLUDE is torch-sys's variable for headers that are kept elsewhere.
    println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");
    let headers = std::env::var("LIBTORCH_INCLUDE").map_or(root, PathBuf::from);
    let abi = std::env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_string());

    println!("cargo:rerun-if-changed=src/native/ops.cpp");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(false)
        .define("_GLIBCXX_USE_CXX11_ABI", abi.as_str())
        .include(headers.join("include"))
        .include(headers.join("include/torch/csrc/api/include"))
        .file("src/native/ops.cpp")
        .compile("f3_native");

    println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
}
