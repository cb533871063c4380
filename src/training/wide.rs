//! Loops over numbers, compiled for the widest instructions that the processor has.

/// A plain loop that the compiler can vectorise. `run` and everything that it calls must be inlined.
///
/// Each number is calculated by itself and in the same order on every processor, so the results have the same bits.
pub(crate) trait Kernel {
    /// What the loop returns.
    type Output;

    /// Runs the loop. `FMA` says whether the processor multiplies and adds in one instruction; see [`multiply_add`].
    fn run<const FMA: bool>(self) -> Self::Output;
}

/// Runs the version of a loop that was compiled for this processor.
#[cfg(feature = "simd")]
pub(crate) fn run<K: Kernel>(kernel: K) -> K::Output {
    struct Dispatched<K>(K);

    impl<K: Kernel> pulp::WithSimd for Dispatched<K> {
        type Output = K::Output;

        #[inline(always)]
        #[expect(clippy::inline_always, reason = "only what is inlined is compiled for the processor")]
        fn with_simd<S: pulp::Simd>(self, _: S) -> K::Output {
            // pulp's levels above the scalar one have such instructions on these processors.
            let fma = cfg!(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")) && !S::IS_SCALAR;
            if fma { self.0.run::<true>() } else { self.0.run::<false>() }
        }
    }

    pulp::Arch::new().dispatch(Dispatched(kernel))
}

/// Runs a loop; there is only one version.
#[cfg(not(feature = "simd"))]
pub(crate) fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<false>()
}

/// `a b + c`. `a b` must be exact, so that one rounding gives the same bits as two.
#[inline(always)]
#[expect(clippy::inline_always, reason = "only what is inlined is compiled for the processor")]
pub(crate) fn multiply_add<const FMA: bool>(a: f64, b: f64, c: f64) -> f64 {
    #[cfg(feature = "simd")]
    if FMA {
        return a.mul_add(b, c);
    }
    a * b + c
}
