//! The return type of the closures of a range test: a plain value or a `Result`.

use core::convert::Infallible;

/// What a closure of a range test may return: a plain value or a `Result`.
///
/// A closure that cannot fail returns a plain value:
///
/// ```
/// use cyclic_optim::range_test::RangeTest;
///
/// let test = RangeTest::logarithmic(1e-3, 1.0, 4)?;
/// let curve = test.run(|lr| Some(1.0 - lr))?;
/// assert_eq!(curve.points().len(), 4);
/// let interrupted = test.run(|_| Err::<Option<f64>, _>("no data")).unwrap_err();
/// assert_eq!(interrupted.error, "no data");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait IntoResult<T> {
    /// The error; [`Infallible`] for a plain value.
    type Err;

    /// The value, as a `Result`.
    ///
    /// # Errors
    ///
    /// The error of the `Result`.
    fn into_result(self) -> Result<T, Self::Err>;
}

impl<T> IntoResult<T> for T {
    type Err = Infallible;

    #[inline]
    fn into_result(self) -> Result<T, Infallible> {
        Ok(self)
    }
}

impl<T, Err> IntoResult<T> for Result<T, Err> {
    type Err = Err;

    #[inline]
    fn into_result(self) -> Self {
        self
    }
}
