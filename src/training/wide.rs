//! Loops over numbers, compiled for the widest instructions that the processor has.

/// A plain loop that the compiler can vectorise. `run` and everything that it calls must be inlined.
///
/// Each number is calculated by itself and in the same order on every processor, so the results have the same bits.
pub(crate) trait Kernel {
    /// What the loop returns.
    type Output;

    /// Runs the loop.
    fn run(self) -> Self::Output;
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
            self.0.run()
        }
    }

    pulp::Arch::new().dispatch(Dispatched(kernel))
}

/// Runs a loop; there is only one version.
#[cfg(not(feature = "simd"))]
pub(crate) fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}
