//! Options that are not set, as dfdx's kernels are fastest with.

use core::hint::black_box;

/// Writes a zero where an option that is `None` has no value.
///
/// dfdx's kernels convert momentum and weight decay to the type of the parameters before they check whether they are set. The memory
/// of one that is not set holds whatever was there before. A denormal number there makes the conversion take 45 ns instead of 1.
pub(super) fn zero_if_unset<T>(option: &mut Option<T>, zero: T) {
    if option.is_none() {
        *option = Some(zero);
        // Without it the compiler would leave out the zero.
        black_box(&mut *option);
        *option = None;
    }
}
