//! Loops over numbers, compiled for the widest instructions that the processor has.

/// A plain loop that the compiler can turn into wide instructions. `run` has to be inlined, with everything that it calls.
///
/// Each number is calculated by itself and in the same order on every processor, so the results have the same bits.
pub(crate) trait Kernel {
    /// What the loop returns.
    type Output;

    /// Runs the loop.
    fn run(self) -> Self::Output;
}

/// Runs a loop in the form that was compiled for this processor.
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

/// Runs a loop in the one form that there is.
#[cfg(not(feature = "simd"))]
pub(crate) fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}
