//! Lets the program find libtorch when it starts: `f3-tch` knows where it is.

fn main() {
    let lib = std::env::var("DEP_F3_TCH_LIBTORCH_LIB").expect("f3-tch says where libtorch is");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
}
