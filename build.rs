//! Compiles `src/native/ops.cpp` and `cuda_graph.cpp` against libtorch's headers, and `dense.cpp` for
//! each instruction set; lets the programs find libtorch when they run, without LD_LIBRARY_PATH.

use std::path::PathBuf;

fn main() {
    let lib = std::env::var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys tells where libtorch is");
    let root =
        PathBuf::from(&lib).parent().expect("libtorch's lib folder has a parent").to_path_buf();
    // LIBTORCH_INCLUDE is torch-sys's variable for headers that are kept elsewhere.
    println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");
    let headers = std::env::var("LIBTORCH_INCLUDE").map_or(root, PathBuf::from);
    let abi = std::env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_string());

    for path in ["ops.cpp", "cuda_graph.cpp", "guarded.h"] {
        println!("cargo:rerun-if-changed=src/native/{path}");
    }
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(false)
        .define("_GLIBCXX_USE_CXX11_ABI", abi.as_str())
        .include(headers.join("include"))
        .include(headers.join("include/torch/csrc/api/include"))
        .files(["src/native/ops.cpp", "src/native/cuda_graph.cpp"])
        .compile("f3_native");

    for path in ["src/native/dense.cpp", "src/native/dense.h"] {
        println!("cargo:rerun-if-changed={path}");
    }
    compile_dense("portable", &[]);
    if std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|it| it == "x86_64") {
        compile_dense("avx2", &["-mavx2", "-mfma"]);
        let avx512 = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"];
        compile_dense("avx512", &[avx512.as_slice(), &["-mprefer-vector-width=512"]].concat());
        let half = ["-mprefer-vector-width=512", "-mavx512bf16"];
        compile_dense("avx512_bf16", &[avx512.as_slice(), &half].concat());
    }

    println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
}

/// The kernels for one instruction set; which one runs is decided when the program does.
fn compile_dense(isa: &str, flags: &[&str]) {
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").warnings(false).opt_level(3).define("F3_ISA", isa);
    for flag in flags {
        build.flag(flag);
    }
    // Multiplications and additions are fused where the processor can, on every compiler.
    build.flag("-ffp-contract=fast");
    build.file("src/native/dense.cpp").compile(&format!("f3_dense_{isa}"));
}
