//! Which of the processor's instructions the fused kernels use.

use std::sync::OnceLock;

/// What the kernels are compiled for; see `build.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InstructionSet {
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl InstructionSet {
    fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512Bf16 => "avx512_bf16",
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => "avx2",
            InstructionSet::Portable => "portable",
        }
    }
}

/// The one in use: the fastest, unless `F3_INSTRUCTION_SET` names a lesser one.
pub(super) fn chosen() -> InstructionSet {
    static CHOSEN: OnceLock<InstructionSet> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let all = usable();
        let wanted = std::env::var("F3_INSTRUCTION_SET").ok();
        let named = all.iter().find(|set| wanted.as_deref() == Some(set.name()));
        *named.unwrap_or(&all[0])
    })
}

/// All that this processor has, the fastest first.
fn usable() -> Vec<InstructionSet> {
    let mut usable = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        let fma = is_x86_feature_detected!("fma");
        let avx512 = fma
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        let bf16 = avx512 && is_x86_feature_detected!("avx512bf16");
        let avx2 = fma && is_x86_feature_detected!("avx2");
        let sets = [
            (bf16, InstructionSet::Avx512Bf16),
            (avx512, InstructionSet::Avx512),
            (avx2, InstructionSet::Avx2),
        ];
        usable.extend(sets.into_iter().filter(|(there, _)| *there).map(|(_, set)| set));
    }
    usable.push(InstructionSet::Portable);
    usable
}

/// The name of the instruction set that the fused kernels use here: `avx512_bf16`, `avx512`,
/// `avx2` or `portable`.
pub fn instruction_set() -> &'static str {
    chosen().name()
}

/// The names of all that the processor has, the fastest one first; `F3_INSTRUCTION_SET` may be one of
/// them when the program starts.
pub fn instruction_sets() -> Vec<&'static str> {
    usable().into_iter().map(InstructionSet::name).collect()
}

/// Whether the processor has instructions with which they are faster than libtorch's own kernels.
pub fn kernels_are_fast() -> bool {
    chosen() != InstructionSet::Portable
}

/// Whether the processor multiplies bfloat16.
pub fn has_bfloat16() -> bool {
    instruction_set() == "avx512_bf16"
}
