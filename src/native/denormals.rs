//! Numbers below 1.2e-38, which processors compute ten to a hundred times as slowly as others: here they
//! count as 0. Saturated softmaxes, small errors and their squares are full of them.

use std::ffi::c_void;

use super::openmp;

/// While this lives, denormal numbers count as 0 on its thread, in what it reads and in what it computes.
pub(crate) struct Flushed {
    before: u64,
}

/// Lets denormal numbers count as 0 on the calling thread.
pub(crate) fn flush() -> Flushed {
    let before = control();
    set_control(before | FLUSH);
    Flushed { before }
}

/// As [`flush`], also on the calling thread's OpenMP threads, where they stay so.
pub(crate) fn flush_with_openmp() -> Flushed {
    extern "C" fn stay_so(_: *mut c_void) {
        std::mem::forget(flush());
    }
    let flushed = flush();
    if flushed.before & FLUSH != FLUSH {
        openmp::on_each_thread(stay_so);
    }
    flushed
}

impl Drop for Flushed {
    fn drop(&mut self) {
        set_control(self.before);
    }
}

#[cfg(target_arch = "x86_64")]
mod register {
    use std::arch::asm;

    /// Flush to zero, denormals are zero: of MXCSR.
    pub const FLUSH: u64 = 0x8040;

    pub fn control() -> u64 {
        let mut control = 0u32;
        // SAFETY: writes the register to the variable.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut control, options(nostack)) };
        control.into()
    }

    pub fn set_control(control: u64) {
        let control = control as u32;
        // SAFETY: the value is that of the register but for how denormal numbers are treated.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const control, options(nostack)) };
    }
}

#[cfg(target_arch = "aarch64")]
mod register {
    use std::arch::asm;

    /// Flush to zero: of FPCR.
    pub const FLUSH: u64 = 1 << 24;

    pub fn control() -> u64 {
        let control: u64;
        // SAFETY: reads the register.
        unsafe { asm!("mrs {}, fpcr", out(reg) control, options(nomem, nostack)) };
        control
    }

    pub fn set_control(control: u64) {
        // SAFETY: the value is that of the register but for how denormal numbers are treated.
        unsafe { asm!("msr fpcr, {}", in(reg) control, options(nomem, nostack)) };
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod register {
    pub const FLUSH: u64 = 1;

    pub fn control() -> u64 {
        0
    }

    pub fn set_control(_: u64) {}
}

use register::{FLUSH, control, set_control};

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn denormal_numbers_count_as_zero_where_it_is_wanted() {
        let half = || black_box(f32::MIN_POSITIVE) * black_box(0.5);
        assert!(half() > 0.0);
        let flushed = flush();
        assert_eq!(half(), 0.0);
        drop(flush_with_openmp());
        assert_eq!(half(), 0.0);
        drop(flushed);
        assert!(half() > 0.0);
    }
}
