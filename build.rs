//! Compiles `src/native/ops.cpp` and `cuda_graph.cpp` against libtorch's headers, and the fused kernels for
//! each instruction set; lets the programs find libtorch when they run, without LD_LIBRARY_PATH.

use std::path::PathBuf;
use std::sync::Mutex;

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
    let mut ops = cc::Build::new();
    ops.cpp(true)
        .std("c++17")
        .warnings(false)
        .define("_GLIBCXX_USE_CXX11_ABI", abi.as_str())
        .include(headers.join("include"))
        .include(headers.join("include/torch/csrc/api/include"))
        .files(["src/native/ops.cpp", "src/native/cuda_graph.cpp"]);

    for name in [
        "dense.cpp",
        "dense.h",
        "transformer.cpp",
        "transformer.h",
        "pooling.cpp",
        "steps.h",
        "vector.h",
    ] {
        println!("cargo:rerun-if-changed=src/native/{name}");
    }
    let both = ["dense", "transformer"];
    let mut libraries = Vec::new(); // the ones that take longest first
    if std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|it| it == "x86_64") {
        let avx512 = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"];
        let avx512 = [avx512.as_slice(), &["-mprefer-vector-width=512"]].concat();
        let half = [avx512.as_slice(), &["-mavx512bf16"]].concat();
        libraries.push(kernels(&both, "avx512", &avx512));
        libraries.push(kernels(&["dense"], "avx512_bf16", &half));
        libraries.push(kernels(&both, "avx2", &["-mavx2", "-mfma"]));
    }
    libraries.push(("f3_native".to_string(), ops));
    libraries.push(kernels(&["dense", "transformer", "pooling"], "portable", &[]));
    compile(libraries);

    println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
    println!("cargo:libtorch_lib={lib}");
}

/// Kernels for one instruction set; which one runs is decided when the program does.
fn kernels(names: &[&str], isa: &str, flags: &[&str]) -> (String, cc::Build) {
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").warnings(false).opt_level(3).define("F3_ISA", isa);
    for flag in flags {
        build.flag(flag);
    }
    // Multiplications and additions are fused where the processor can, on every compiler.
    build.flag("-ffp-contract=fast");
    build.files(names.iter().map(|name| format!("src/native/{name}.cpp")));
    (format!("f3_kernels_{isa}"), build)
}

/// Compiles libraries side by side, as many as cargo allows jobs.
fn compile(libraries: Vec<(String, cc::Build)>) {
    let out = PathBuf::from(std::env::var("OUT_DIR").expect("cargo sets OUT_DIR"));
    let jobs = std::env::var("NUM_JOBS").ok().and_then(|it| it.parse().ok()).unwrap_or(1);
    let waiting = Mutex::new(libraries.into_iter());
    let work = || {
        loop {
            let next = waiting.lock().expect("nobody panics with the lock").next();
            let Some((name, mut build)) = next else { break };
            // A folder for each: objects of one source with other flags have the same name.
            build.out_dir(out.join(&name)).compile(&name);
        }
    };
    std::thread::scope(|scope| (0..jobs).for_each(|_| drop(scope.spawn(work))));
}
